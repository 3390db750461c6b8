import pytest
import torch

from socketlab.training.memory import peak_memory


def test_the_peak_of_a_block_is_seen_and_forgotten() -> None:
    """200 MiB that are gone at the end of the first block count in it, and not in the second."""
    cpu = torch.device("cpu")
    with peak_memory(cpu) as before:
        pass
    with peak_memory(cpu) as with_it:
        taken = torch.ones(200 * 2**18)  # float32
        assert taken[-1] == 1
        del taken
    with peak_memory(cpu) as after:
        pass
    assert before.mebibytes > 50
    assert with_it.mebibytes - before.mebibytes > 150
    assert with_it.mebibytes - after.mebibytes > 150


def test_the_peak_is_known_also_after_an_error() -> None:
    with pytest.raises(KeyError), peak_memory(torch.device("cpu")) as peak:
        raise KeyError
    assert peak.mebibytes > 50


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_cuda_the_devices_own_memory_counts() -> None:
    cuda = torch.device("cuda")
    with peak_memory(cuda) as peak:
        taken = torch.ones(200 * 2**18, device=cuda)
        del taken
    assert 200 <= peak.mebibytes < 400
