"""Features of pairs that several runs ask for: computed once, found again by what decided them."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save

from socketlab.data.views import ImagePairs
from socketlab.data.whole_files import replace_file
from socketlab.gap.features import PairOutputs
from socketlab.models.mixture import AnyClassifier
from socketlab.runs.stages import digest
from socketlab.training.inference import Outputs


def weights_digest(model: AnyClassifier) -> str:
    """sha256 of all weights and statistics of a model, by name."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).numpy().tobytes())
    return found.hexdigest()


def shared_outputs(
    folder: Path,
    models: tuple[AnyClassifier, AnyClassifier],
    pairs: ImagePairs,
    about: tuple[object, ...],
    make: Callable[[], PairOutputs],
) -> PairOutputs:
    """What two models say of pairs, read back where a run of the same sweep has asked before.

    Args:
        folder: where they are kept.
        models: of the RGB half and of the other one.
        pairs: their images; `about` must say which data they are of, and how they are shown.
        about: whatever else decides the features: the store, crop, encoding, number format.
        make: computes them.
    """
    key = digest([weights_digest(model) for model in models], pairs.pair_ids, about)
    file = folder / f"features-{key}.safetensors"
    try:
        kept = load(file.read_bytes())
        rgb, other = (Outputs(kept[f"{h}.features"], kept[f"{h}.logits"]) for h in ("rgb", "other"))
        return PairOutputs(rgb, other)
    except FileNotFoundError:
        pass
    except (SafetensorError, KeyError) as damaged:
        print(f"{file.name} is damaged and is made again ({damaged})")
    found = make()
    halves = {"rgb": found.rgb, "other": found.other}
    tensors = {f"{h}.features": half.features.contiguous() for h, half in halves.items()}
    tensors |= {f"{h}.logits": half.logits.contiguous() for h, half in halves.items()}
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(file, save(tensors))
    return found
