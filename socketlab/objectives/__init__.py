"""Loss terms: one pure function each, without state; imports torch and nothing of ours."""

from socketlab.objectives.information import (
    diversity,
    entropy,
    information_maximisation,
    mean_entropy,
    next_running_mean,
)
from socketlab.objectives.normalisation import (
    StatisticsForm,
    batch_statistics,
    statistics_distance,
)
from socketlab.objectives.pairing import PairReduction, feature_distance
from socketlab.objectives.pseudo_labels import PseudoLabels, centroids, pseudo_labels

__all__ = [
    "PairReduction",
    "PseudoLabels",
    "StatisticsForm",
    "batch_statistics",
    "centroids",
    "diversity",
    "entropy",
    "feature_distance",
    "information_maximisation",
    "mean_entropy",
    "next_running_mean",
    "pseudo_labels",
    "statistics_distance",
]
