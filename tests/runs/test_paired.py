"""Paired differences, held against a loop that draws every image by itself."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from socketlab.runs.paired import Difference, differences, paired_difference

CLASSES = (30, 12, 6)  # images of each class, uneven on purpose
Answers = dict[int, pd.DataFrame]


def answers(right: Sequence[Sequence[bool]]) -> pd.DataFrame:
    """Answers from whether each image of each class is right; ids sort like the images."""
    truth = [k for k, images in enumerate(right) for _ in images]
    flat = [one for images in right for one in images]
    return pd.DataFrame(
        {
            "id": [f"image{i:03d}" for i in range(len(truth))],
            "truth": truth,
            "answer": [k if one else k + 1 for k, one in zip(truth, flat, strict=True)],
        }
    )


def two_methods(seeds: int) -> tuple[Answers, Answers]:
    """Two methods that mostly agree, and differ more on some seeds than on others."""
    generator = np.random.default_rng(5)
    first, second = {}, {}
    for seed in range(seeds):
        base = [generator.random(n) < 0.6 for n in CLASSES]
        gained = [generator.random(n) < 0.4 + 0.2 * seed for n in CLASSES]
        first[seed] = answers([list(one | more) for one, more in zip(base, gained, strict=True)])
        second[seed] = answers([list(one) for one in base])
    return first, second


def balanced(found: pd.DataFrame) -> float:
    recalls = []
    for k in sorted(set(found["truth"])):
        mine = [row for row in found.itertuples() if row.truth == k]
        recalls.append(sum(row.answer == k for row in mine) / len(mine))
    return sum(recalls) / len(recalls)


def naive_draws(first: Answers, second: Answers, draws: int) -> list[float]:
    """The bootstrap as the docstring says it, image by image."""
    generator = np.random.default_rng(17)
    truth = first[0]["truth"].to_numpy()
    members = [np.flatnonzero(truth == k) for k in range(len(CLASSES))]
    right1, right2 = (
        {seed: (one["answer"] == one["truth"]).to_numpy() for seed, one in method.items()}
        for method in (first, second)
    )
    found = []
    for _ in range(draws):
        points = []
        for seed in generator.choice(len(first), len(first)):
            recalls = []
            for mine in members:
                drawn = generator.choice(mine, len(mine))
                recalls.append(right1[seed][drawn].mean() - right2[seed][drawn].mean())
            points.append(100.0 * np.mean(recalls))
        found.append(float(np.mean(points)))
    return found


def test_the_difference_is_that_of_the_mean_balanced_accuracies() -> None:
    first, second = two_methods(3)
    expected = np.mean([balanced(first[s]) - balanced(second[s]) for s in range(3)])
    found = paired_difference(first, second, draws=10)
    assert found.points == pytest.approx(100 * expected)
    assert found.seeds == 3
    assert paired_difference(second, first, draws=10).points == pytest.approx(-100 * expected)


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_interval_is_that_of_drawing_seeds_and_images(seeds: int) -> None:
    first, second = two_methods(seeds)
    found = paired_difference(first, second, draws=20_000)
    low, high = np.quantile(naive_draws(first, second, 4000), [0.025, 0.975])
    assert high - low > 6, "the bounds below are tight against this"
    assert found.low == pytest.approx(low, abs=1.0)
    assert found.high == pytest.approx(high, abs=1.0)


def test_what_both_methods_get_wrong_makes_no_noise() -> None:
    first, _ = two_methods(3)
    same = paired_difference(first, first)
    assert (same.points, same.low, same.high) == (0, 0, 0)
    assert same.inside_noise


def test_the_same_answers_give_the_same_interval() -> None:
    first, second = two_methods(2)
    found = paired_difference(first, second)
    assert found == paired_difference(first, second)
    assert found != paired_difference(first, second, seed=1)
    narrow = paired_difference(first, second, confidence=0.5)
    assert found.low < narrow.low < narrow.high < found.high


def test_the_order_of_images_and_seeds_of_one_side_do_not_matter() -> None:
    first, second = two_methods(2)
    shuffled = {seed: one.sample(frac=1, random_state=0) for seed, one in second.items()}
    assert paired_difference(first, shuffled) == paired_difference(first, second)
    alone = first | {9: first[0]}
    assert paired_difference(alone, second) == paired_difference(first, second)


def test_a_class_that_one_seed_does_not_have() -> None:
    whole, part = answers([[True], [True], [False]]), answers([[True], [True]])
    wrong = part.assign(answer=5)
    found = paired_difference({0: whole, 1: part}, {0: whole, 1: wrong}, draws=10)
    assert found.points == 50.0, "0 points with three classes, 100 points with two"


def test_refuses_what_cannot_be_paired() -> None:
    one = answers([[True, False], [True]])
    with pytest.raises(ValueError, match=r"No common seed: found \[0\] and \[1\]"):
        paired_difference({0: one}, {1: one})
    with pytest.raises(ValueError, match=r"Seed 3: 1 images .* 'image002' \(3 and 2 images\)"):
        paired_difference({3: one}, {3: one.iloc[:2]})
    with pytest.raises(ValueError, match="truth of 1 images differs, such as 'image000'"):
        paired_difference({0: one}, {0: one.assign(truth=[1, 0, 1])})
    with pytest.raises(ValueError, match="1 ids come twice, such as 'image001'"):
        paired_difference({0: one}, {0: one.iloc[[0, 1, 1]]})
    with pytest.raises(ValueError, match="no column 'truth'"):
        paired_difference({0: one.drop(columns="truth")}, {0: one})
    with pytest.raises(ValueError, match="no answers"):
        paired_difference({0: one.iloc[:0]}, {0: one.iloc[:0]})


@pytest.mark.parametrize(
    ("low", "high", "inside"), [(-1, 1, True), (0, 1, True), (0.1, 1, False), (-2, -0.1, False)]
)
def test_inside_the_noise_is_an_interval_that_holds_0(
    low: float, high: float, inside: bool
) -> None:
    assert Difference(0.5, low, high, 3).inside_noise is inside


def test_a_difference_as_text() -> None:
    assert str(Difference(22.31, 18.09, 26.0, 3)) == "+22.3 [+18.1, +26.0]"
    assert str(Difference(-0.5, -2.0, 1.0, 3)) == "-0.5 [-2.0, +1.0]"
    assert str(Difference(-0.04, -0.01, 0.0, 3)) == "+0.0 [+0.0, +0.0]"


def test_methods_are_held_against_the_reference_beside_them() -> None:
    levels = {"source_only": 1, "socket": 3, "tent": 2}
    rows, stages = [], {}
    for target, extra in (("a/depth", 0), ("a/nir", 1)):
        for method, level in levels.items():
            for chosen_by in ("last", "oracle"):
                stage = f"{method}-{target}-{chosen_by}"
                right = level + extra * (method == "socket")
                stages[stage] = answers([[i < right for i in range(10)]])
                rows.append(("held_out", "a/rgb", target, method, 0, chosen_by, stage))
    columns = ["protocol", "source", "target", "method", "seed", "chosen_by", "stage"]
    frame = pd.DataFrame(rows, columns=columns)
    del stages["socket-a/nir-oracle"], stages["socket-a/depth-oracle"]  # only the last is read
    found = differences(frame, stages.__getitem__, "source_only")
    assert {(case[2], case[3]): found[case].points for case in found} == {
        ("a/depth", "socket"): 20.0,
        ("a/depth", "tent"): 10.0,
        ("a/nir", "socket"): 30.0,
        ("a/nir", "tent"): 10.0,
    }
    other = frame.assign(source=frame["method"])  # nothing from the same source to compare with
    assert differences(other, stages.__getitem__, "source_only") == {}
    assert differences(frame, stages.__getitem__, "shot") == {}
    with pytest.raises(ValueError, match="'stage'"):
        differences(frame.drop(columns="stage"), stages.__getitem__, "socket")
