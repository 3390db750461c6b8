"""Measuring the modality gap: features, numbers, pictures in the plane, label-free model choice.

Names are looked up when they are asked for, so that `scores` can be read without loading torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from socketlab.gap.measures import MEASURES, MINIMAL
    from socketlab.gap.metrics import PairGap, pair_gap
    from socketlab.gap.neighbours import Retrieval, mutual_neighbours
    from socketlab.gap.projection import Projection, project
    from socketlab.gap.rank_correlation import rank_correlations
    from socketlab.gap.scores import SCORES, UnknownScore, check_score
    from socketlab.gap.selection import choose_epoch, label_free_scorer
    from socketlab.gap.table import GapRow, gap_table
    from socketlab.gap.toys import calibration_case

__all__ = [
    "MEASURES",
    "MINIMAL",
    "SCORES",
    "GapRow",
    "PairGap",
    "Projection",
    "Retrieval",
    "UnknownScore",
    "calibration_case",
    "check_score",
    "choose_epoch",
    "gap_table",
    "label_free_scorer",
    "mutual_neighbours",
    "pair_gap",
    "project",
    "rank_correlations",
]

_MODULES = {
    "measures": ("MEASURES", "MINIMAL"),
    "metrics": ("PairGap", "pair_gap"),
    "neighbours": ("Retrieval", "mutual_neighbours"),
    "projection": ("Projection", "project"),
    "rank_correlation": ("rank_correlations",),
    "scores": ("SCORES", "UnknownScore", "check_score"),
    "selection": ("choose_epoch", "label_free_scorer"),
    "table": ("GapRow", "gap_table"),
    "toys": ("calibration_case",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
