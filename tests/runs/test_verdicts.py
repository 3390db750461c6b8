"""A comparison in words."""

import numpy as np
import pandas as pd

from socketlab.runs.verdicts import table_notes, verdicts

TRUTH = np.arange(80) % 2
NOTE = "answers fall on 2 of 6 classes"


def make(right: dict[str, int], seeds: int = 3) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Methods with so many of 80 images right; `mixed` is right elsewhere on every seed."""
    rows, answers = [], {}
    for method, count in right.items():
        for seed in range(seeds):
            good = np.arange(80) < count
            if method == "mixed":
                good = np.random.default_rng(seed).permutation(good)
            stage = f"{method}-{seed}"
            answers[stage] = pd.DataFrame(
                {"id": np.arange(80), "truth": TRUTH, "answer": np.where(good, TRUTH, 1 - TRUTH)}
            )
            place = ("held_out", "a/rgb", "a/depth")
            rows.append((*place, method, seed, "last", stage, ""))
    columns = ["protocol", "source", "target", "method", "seed", "chosen_by", "stage", "note"]
    return pd.DataFrame(rows, columns=columns), answers


def test_better_worse_and_inside_the_noise_are_said() -> None:
    rows, answers = make({"source_only": 40, "socket": 60, "mixed": 42, "shot": 56, "adabn": 20})
    found = verdicts(rows, answers.__getitem__)
    assert found[0].endswith(
        "over seeds and images, holds 0. With 3 seeds that differ much, the interval is rather too "
        "narrow."
    )
    assert found[2:] == [
        "a/depth, held_out, against source_only: better are socket (+25.0) and shot (+20.0); "
        "inside the noise is mixed (+2.5); worse is adabn (-25.0).",
        "a/depth, held_out, against socket: worse are shot (-5.0), mixed (-22.5), "
        "source_only (-25.0) and adabn (-50.0).",
        "No run collapsed: each uses at least half of the classes.",
    ]


def test_one_seed_is_said_to_be_one() -> None:
    rows, answers = make({"source_only": 40, "socket": 60}, seeds=1)
    found = verdicts(rows, answers.__getitem__)[0]
    assert "over images, holds 0. Where there is one seed, the interval does not say" in found
    rows, answers = make({"source_only": 40, "socket": 60}, seeds=5)
    assert verdicts(rows, answers.__getitem__)[0].endswith("holds 0.")


def test_collapsed_runs_are_named_with_their_seeds() -> None:
    rows, answers = make({"source_only": 40, "tent": 10})
    tent = rows["method"] == "tent"
    rows.loc[tent & (rows["seed"] != 1), "note"] = NOTE
    chosen = rows[tent].assign(chosen_by="oracle", note="only of the best epoch")
    found = verdicts(pd.concat([rows, chosen]), answers.__getitem__)
    assert found[-1] == f"Collapsed: tent on a/depth, held_out: {NOTE} (seeds 0, 2)."
    assert not any("No run collapsed" in sentence for sentence in found)


def test_notes_that_differ_are_listed_apart() -> None:
    rows = pd.DataFrame({"seed": [2, 1, 0], "note": ["b", "", "a"]})
    assert table_notes(rows) == "a (seed 0); b (seed 2)"
    assert table_notes(rows[rows["note"] == ""]) == ""


def test_without_a_reference_only_collapse_is_said() -> None:
    rows, answers = make({"shot": 40, "tent": 10})
    assert verdicts(rows, answers.__getitem__) == [
        "No run collapsed: each uses at least half of the classes."
    ]
