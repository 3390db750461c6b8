"""The shared look."""

import subprocess
import sys
from collections.abc import Callable

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from socketlab.figures import style


def _luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.1."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize("colour", [style.INK, style.MUTED, style.RIGHT, style.WRONG])
def test_text_colours_can_be_read_on_white(colour: str) -> None:
    assert 1.05 / (_luminance(colour) + 0.05) >= 4.5


def test_modalities_differ_in_marker_and_colour() -> None:
    assert set(style.MODALITY_COLOURS) == set(style.MODALITY_MARKERS) == set(style.MODALITIES)
    assert len(set(style.MODALITY_COLOURS.values())) == 3
    assert len(set(style.MODALITY_MARKERS.values())) == 3


def test_a_variant_takes_its_parents_colour() -> None:
    assert style.method_colour("socket_no_mixup") == style.METHOD_COLOURS["socket"]
    assert style.method_colour("shot_im") == style.METHOD_COLOURS["shot_im"]
    assert style.method_colour("socket_translated_elr") == style.method_colour("socket_translated")
    assert style.method_colour("oracle_labels") == style.METHOD_COLOURS["oracle"]
    assert style.method_colour("unheard_of") not in style.METHOD_COLOURS.values()


def test_seventeen_classes_have_seventeen_colours() -> None:
    assert len(set(style.class_colours([f"class{i}" for i in range(17)]).values())) == 17


def test_lighten_mixes_with_white() -> None:
    assert style.lighten("#0072B2", 0.0) == "#0072B2"
    assert style.lighten("#0072B2", 1.0) == "#FFFFFF"
    assert style.lighten("#000000", 0.5) == "#808080"


def test_settings_of_the_caller_come_back() -> None:
    before = dict(matplotlib.rcParams)
    with pytest.raises(ZeroDivisionError):
        style.styled(lambda: 1 / 0)()
    assert dict(matplotlib.rcParams) == before


def test_same_figure_same_bytes() -> None:
    figure = style.sheet(2, 1)
    style.write(figure, "two\nlines", 0.1, 0.1)
    assert style.to_png(figure) == style.to_png(figure)
    assert [text.get_text() for text in figure.texts] == ["two", "lines"]


def test_figures_do_not_import_pyplot() -> None:
    code = "import sys, socketlab.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_check_finds_text_that_is_cut_off(find_cut_off: Callable[[Figure], list[str]]) -> None:
    figure = style.sheet(2, 1)
    style.write(figure, "inside", 0.1, 0.1)
    style.write(figure, "far too long for this little figure", 0.1, 0.5)
    style.write(figure, "below", 0.1, 0.95)
    assert find_cut_off(figure) == ["far too long for this little figure", "below"]


def test_folded_text_fits(find_cut_off: Callable[[Figure], list[str]]) -> None:
    figure = style.sheet(2, 1)
    style.write(figure, style.fold("far too long for this figure", 1.8), 0.1, 0.1)
    assert len(figure.texts) > 1
    assert find_cut_off(figure) == []
