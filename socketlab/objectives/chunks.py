"""How much is computed at once, where all samples meet all samples or all classes."""

from collections.abc import Iterator

from torch import Tensor

BUDGET_BYTES = {"cpu": 2**26, "cuda": 2**29}
"""What the tensors of one chunk may take together, by device; on others as on the CPU. There
64 MiB are enough for a matrix product to run at its full rate, and a quarter of them stays in the
cache while it is passed over again, which is twice as fast. A GPU passes 64 MiB in some 20
microseconds, hardly more than it takes to start a kernel: there it is more, and still little
beside its memory."""


def chunks(rows: int, values: int, like: Tensor, tensors: int = 4) -> Iterator[slice]:
    """Slices of 0 .. rows, so small that what is made of one of them stays within the budget.

    Args:
        rows: how many there are.
        values: how many each row makes, such as a similarity to every row of a bank.
        like: made on its device and of its type, or of float32 where its type is narrower.
        tensors: how many of that size there are at once, or are passed over.

    Returns:
        Slices that cover all rows in their order; a row that is too large alone gets one of its
        own. Sums over other slices differ by rounding.
    """
    budget = BUDGET_BYTES.get(like.device.type, BUDGET_BYTES["cpu"])
    size = max(1, budget // (values * max(4, like.element_size()) * tensors))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
