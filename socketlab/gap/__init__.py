"""Measuring the modality gap: features, numbers, pictures in the plane, label-free model choice."""

from socketlab.gap.metrics import GapRow, PairGap, Retrieval, gap_table, pair_gap
from socketlab.gap.projection import Projection, project

__all__ = [
    "GapRow",
    "PairGap",
    "Projection",
    "Retrieval",
    "gap_table",
    "pair_gap",
    "project",
]
