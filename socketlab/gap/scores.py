"""The label-free scores by name, and which way each is better; loads no torch."""

from typing import Literal, TypeAlias

Sign: TypeAlias = Literal[1, -1]

SCORES: dict[str, Sign] = {
    "entropy": -1,
    "information_maximisation": -1,
    "neighbourhood_density": 1,
    "nuclear_norm": 1,
    "pair_retrieval": 1,
    "pair_distance": -1,
}
"""+1 where a higher score speaks for a model, -1 where a lower one does."""

CHOICES = ("last", *SCORES, "oracle")
"""What an epoch can be chosen by; `oracle` alone looks at target labels."""


class UnknownScore(ValueError):  # noqa: N818 - reads as the thing found
    """A label-free score, or a way to choose an epoch, that does not exist."""


def check_score(name: str) -> str:
    """Return `name` if it is a label-free score.

    Raises:
        UnknownScore: with the known names.
    """
    if name not in SCORES:
        raise UnknownScore(f"Unknown score {name!r}. Known: {', '.join(SCORES)}.")
    return name


def check_choice(name: str) -> str:
    """Return `name` if an epoch can be chosen by it: a score, `last` or `oracle`.

    Raises:
        UnknownScore: with the known names.
    """
    if name not in CHOICES:
        raise UnknownScore(f"Cannot choose an epoch by {name!r}. Known: {', '.join(CHOICES)}.")
    return name
