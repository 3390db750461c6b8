"""Every picture that a notebook or a report shows: plain arrays in, a matplotlib Figure out."""

from socketlab.figures.animation import animated_png
from socketlab.figures.answers import answers_by_epoch
from socketlab.figures.calibration import CalibrationCurve, reliability_diagram
from socketlab.figures.compare import comparison_bars
from socketlab.figures.confusion import confusion
from socketlab.figures.data import class_counts, depth_histogram
from socketlab.figures.encodings import encoding_sheet
from socketlab.figures.gap import gap_bars
from socketlab.figures.images import changed_examples, pair_grid
from socketlab.figures.learning import learning_curves
from socketlab.figures.maps import MapPanel, joint_map
from socketlab.figures.per_class import per_class
from socketlab.figures.style import to_png
from socketlab.figures.trade_off import cost_against_accuracy, picture_against_accuracy
from socketlab.figures.translations import Translation, translation_sheet

__all__ = [
    "CalibrationCurve",
    "MapPanel",
    "Translation",
    "animated_png",
    "answers_by_epoch",
    "changed_examples",
    "class_counts",
    "comparison_bars",
    "confusion",
    "cost_against_accuracy",
    "depth_histogram",
    "encoding_sheet",
    "gap_bars",
    "joint_map",
    "learning_curves",
    "pair_grid",
    "per_class",
    "picture_against_accuracy",
    "reliability_diagram",
    "to_png",
    "translation_sheet",
]
