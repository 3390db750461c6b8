"""Loss terms: one pure function each, without state; imports torch and nothing of ours."""

from socketlab.objectives.early_learning import early_learning, next_targets
from socketlab.objectives.information import (
    diversity,
    entropy,
    information_maximisation,
    mean_entropy,
    next_running_mean,
)
from socketlab.objectives.neighbours import (
    attracting_dispersing,
    dispersion_weight,
    nearest,
    neighbourhood_reciprocity,
)
from socketlab.objectives.normalisation import (
    StatisticsForm,
    batch_statistics,
    statistics_distance,
)
from socketlab.objectives.pairing import PairReduction, feature_distance
from socketlab.objectives.pseudo_labels import PseudoLabels, centroids, pseudo_labels
from socketlab.objectives.translation import (
    domain_accuracy,
    domain_classification,
    knowledge_distillation,
    reversal_strength,
)
from socketlab.objectives.weighting import joint_confidence

__all__ = [
    "PairReduction",
    "PseudoLabels",
    "StatisticsForm",
    "attracting_dispersing",
    "batch_statistics",
    "centroids",
    "dispersion_weight",
    "diversity",
    "domain_accuracy",
    "domain_classification",
    "early_learning",
    "entropy",
    "feature_distance",
    "information_maximisation",
    "joint_confidence",
    "knowledge_distillation",
    "mean_entropy",
    "nearest",
    "neighbourhood_reciprocity",
    "next_running_mean",
    "next_targets",
    "pseudo_labels",
    "reversal_strength",
    "statistics_distance",
]
