"""Names and signs of the label-free scores, and that they can be read without torch."""

import subprocess
import sys

import pytest

import socketlab.gap
from socketlab.gap.scores import CHOICES, SCORES, UnknownScore, check_choice, check_score


def test_lower_is_better_for_losses_and_distances_alone() -> None:
    assert SCORES == {
        "entropy": -1,
        "information_maximisation": -1,
        "neighbourhood_density": 1,
        "nuclear_norm": 1,
        "pair_retrieval": 1,
        "pair_distance": -1,
    }


def test_known_names_come_back_and_others_are_told_the_known() -> None:
    assert [check_score(name) for name in SCORES] == list(SCORES)
    assert [check_choice(name) for name in CHOICES] == ["last", *SCORES, "oracle"]
    with pytest.raises(UnknownScore, match=r"'snd'.*Known: entropy, .*, pair_distance\.$"):
        check_score("snd")
    with pytest.raises(UnknownScore, match="'oracle'"):
        check_score("oracle")
    with pytest.raises(UnknownScore, match=r"'best'.*Known: last, entropy, .*, oracle\.$"):
        check_choice("best")


def test_reading_the_names_loads_no_torch_and_no_name_loads_umap() -> None:
    program = (
        "import sys, socketlab.gap.scores as scores, socketlab.gap as gap\n"
        "print([name for name in ('torch', 'pandas', 'numpy') if name in sys.modules])\n"
        "found = [getattr(gap, name) for name in gap.__all__]\n"
        "print([name for name in ('umap', 'sklearn', 'matplotlib') if name in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"


def test_the_package_hands_on_what_it_names_and_nothing_else() -> None:
    listed = [name for names in socketlab.gap._MODULES.values() for name in names]
    assert sorted(listed) == sorted(socketlab.gap.__all__)
    assert socketlab.gap.SCORES is SCORES
    with pytest.raises(AttributeError, match=r"'socketlab\.gap' has no attribute 'gap_tabel'"):
        socketlab.gap.gap_tabel  # noqa: B018
