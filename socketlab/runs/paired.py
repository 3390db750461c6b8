"""Two methods on the same images: how far apart they are, and how far chance alone would go."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Answers = Callable[[str], pd.DataFrame]
"""The answers of a stage: id, truth and answer (class indices), a row per scored image."""

REFERENCES = ("source_only", "socket")
"""What every method is held against."""

Case = tuple[str, str, str, str]
"""Protocol, source, target and method."""

_COLUMNS = ("id", "truth", "answer")
_CASE = ["protocol", "source", "target", "method"]
_COLUMNS_OF_ROWS = (*_CASE, "seed", "chosen_by", "stage")


@dataclass(frozen=True)
class Difference:
    """Points of balanced accuracy between two methods, mean over `seeds`, with its interval."""

    points: float
    low: float
    high: float
    seeds: int

    @property
    def inside_noise(self) -> bool:
        """Whether the interval holds 0."""
        return self.low <= 0.0 <= self.high

    def __str__(self) -> str:
        return f"{self.points:+z.1f} [{self.low:+z.1f}, {self.high:+z.1f}]"


def paired_difference(
    first: Mapping[int, pd.DataFrame],
    second: Mapping[int, pd.DataFrame],
    *,
    draws: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Balanced accuracy of `first` minus that of `second`, in points, on the same images.

    With right1, right2 in {0, 1} per image, classes k with n_k images, and S seeds,

        points = 100 * mean over seeds, over k of [ sum over images of k (right1 - right2) / n_k ].

    The interval is a percentile bootstrap of two levels: seeds are drawn with replacement, and
    within each drawn one images with replacement, n_k of each class, the same images for both
    methods. Only the sum of right1 - right2 counts, so a draw of n_k images is one multinomial
    draw of how many were gained, alike and lost. With one seed only images are drawn, and the
    interval says nothing of another seed. With two or three seeds that differ much it is rather
    too narrow: draws from so few vary less than new seeds would.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 8 and 13.

    Args:
        first: the answers of a method by seed: columns id, truth and answer.
        second: those of another on the same images. Seeds that only one has are left out.

    Raises:
        ValueError: for no common seed, or images that are not the same, naming what differs.
    """
    common = sorted(set(first) & set(second))
    if not common:
        raise ValueError(
            f"No common seed: found {sorted(first)} and {sorted(second)}. Compute the same seeds."
        )
    pairs = [_changes(first[number], second[number], number) for number in common]
    classes = 1 + max(int(truth.max()) for truth, _ in pairs)
    # How many images of each class were gained, alike and lost: [S, K, 3].
    cells = [np.bincount(3 * truth + 1 - change, minlength=3 * classes) for truth, change in pairs]
    counts = np.array(cells).reshape(len(common), classes, 3)
    n = counts.sum(2)
    shares = counts / np.maximum(n, 1)[..., None]
    generator = np.random.default_rng(seed)
    chosen = generator.integers(len(common), size=(draws, len(common)))
    drawn = generator.multinomial(n[chosen], shares[chosen])
    resampled = _mean_points(drawn, n[chosen])
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(resampled, [tail, 1.0 - tail])
    return Difference(float(_mean_points(counts, n)), float(low), float(high), len(common))


def _mean_points(
    counts: npt.NDArray[np.int64], n: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Mean over seeds and the classes present, from counts [..., S, K, 3] and n [..., S, K]."""
    change = (counts[..., 0] - counts[..., 2]) / np.maximum(n, 1)
    by_seed = change.sum(-1) / (n > 0).sum(-1)
    points: npt.NDArray[np.float64] = 100.0 * by_seed.mean(-1)
    return points


def _changes(
    first: pd.DataFrame, second: pd.DataFrame, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The truth of every image, and right1 - right2 in {-1, 0, 1}; images matched by id."""
    one, two = _by_id(first, seed), _by_id(second, seed)
    if not one.index.equals(two.index):
        alone = one.index.symmetric_difference(two.index)
        raise ValueError(
            f"Seed {seed}: {len(alone)} images are scored on one side only, such as {alone[0]!r} "
            f"({len(one)} and {len(two)} images). Score both methods on the same images."
        )
    other = one.index[one["truth"] != two["truth"]]
    if len(other):
        raise ValueError(
            f"Seed {seed}: the truth of {len(other)} images differs, such as {other[0]!r}. "
            "Score both methods with the same classes."
        )
    right = [(side["answer"] == side["truth"]).to_numpy(np.int64) for side in (one, two)]
    return one["truth"].to_numpy(np.int64), right[0] - right[1]


def _by_id(answers: pd.DataFrame, seed: int) -> pd.DataFrame:
    missing = [name for name in _COLUMNS if name not in answers.columns]
    if missing:
        raise ValueError(
            f"Seed {seed}: the answers have no column {missing[0]!r}. Give {', '.join(_COLUMNS)}."
        )
    if answers.empty:
        raise ValueError(f"Seed {seed}: there are no answers. Score at least one image.")
    repeated = answers["id"][answers["id"].duplicated()]
    if len(repeated):
        raise ValueError(
            f"Seed {seed}: {len(repeated)} ids come twice, such as {repeated.iloc[0]!r}. "
            "Give one answer per image."
        )
    return answers.set_index("id").sort_index()


def differences(rows: pd.DataFrame, answers: Answers, reference: str) -> dict[Case, Difference]:
    """Every method's last epoch against that of `reference`, from the same source on one target.

    `rows` has protocol, source, target, method, seed, chosen_by and stage, a row per result.
    A method that shares no seed with the reference is left out; without the reference, all are.

    Raises:
        ValueError: for a missing column, and for what `paired_difference` refuses.
    """
    missing = [name for name in _COLUMNS_OF_ROWS if name not in rows.columns]
    if missing:
        raise ValueError(
            f"The rows have no column {missing[0]!r}. Give {', '.join(_COLUMNS_OF_ROWS)}."
        )
    last = rows[rows["chosen_by"] == "last"]
    cases: dict[Case, dict[int, str]] = {}
    for (protocol, source, target, method), group in last.groupby(_CASE, sort=False):
        stages = dict(zip(group["seed"], group["stage"], strict=True))
        cases[str(protocol), str(source), str(target), str(method)] = stages
    found = {}
    for (protocol, source, target, method), stages in cases.items():
        others = cases.get((protocol, source, target, reference), {})
        common = stages.keys() & others.keys()
        if method != reference and common:
            found[protocol, source, target, method] = paired_difference(
                {seed: answers(stages[seed]) for seed in common},
                {seed: answers(others[seed]) for seed in common},
            )
    return found
