"""Measuring the modality gap: features, numbers, pictures in the plane, label-free model choice.

Names are looked up when they are asked for, so that `scores` can be read without loading torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from socketlab.gap.metrics import GapRow, PairGap, Retrieval, gap_table, pair_gap
    from socketlab.gap.projection import Projection, project
    from socketlab.gap.rank_correlation import rank_correlations
    from socketlab.gap.scores import SCORES, UnknownScore, check_score
    from socketlab.gap.selection import choose_epoch, label_free_scorer

__all__ = [
    "SCORES",
    "GapRow",
    "PairGap",
    "Projection",
    "Retrieval",
    "UnknownScore",
    "check_score",
    "choose_epoch",
    "gap_table",
    "label_free_scorer",
    "pair_gap",
    "project",
    "rank_correlations",
]

_MODULES = {
    "metrics": ("GapRow", "PairGap", "Retrieval", "gap_table", "pair_gap"),
    "projection": ("Projection", "project"),
    "rank_correlation": ("rank_correlations",),
    "scores": ("SCORES", "UnknownScore", "check_score"),
    "selection": ("choose_epoch", "label_free_scorer"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
