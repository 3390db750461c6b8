"""The benchmark of speed: what it measures on a tiny network, and the page that it writes."""

import importlib
import json
import re
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import pytest

from socketlab.methods import REGISTRY

NETWORK = "resnet_small"


@pytest.fixture
def speed(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, which is in no package and imports what lies beside it."""
    monkeypatch.syspath_prepend(root / "benchmarks")
    return importlib.import_module("speed")


@pytest.fixture
def plan(speed: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two methods of a tiny network, an epoch of two steps, and few of everything else."""
    steps, cases = importlib.import_module("speed_steps"), importlib.import_module("speed_cases")
    plans = importlib.import_module("speed_plan")
    twice = steps.Effort(2, 2, 0)
    monkeypatch.setattr(plans, "methods", lambda: ["shot", "socket"])
    monkeypatch.setitem(cases.VARIANTS, "socket, alone", ("socket", {"pair_weight": 0.0}))
    # In this process, for a new one takes seconds to begin.
    monkeypatch.setattr(speed, "in_a_process", lambda measurement: measurement.found())
    return speed.Plan(
        networks=(plans.Network(NETWORK, 32, twice, more=("socket, alone",)),),
        batches={"cpu": (4,)},
        epoch=(NETWORK, 32, 64, 2),
        growing=(32, 4),
        images=(40, 50),
        classes=(3,),
        sources=(2,),
        growth=twice,
        features=8,
        parts={"matrix products": 1, "gap numbers": 60},
    )


def of_kind(kept: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [row for row in kept["rows"].values() if row["kind"] == kind]


def test_what_is_measured_fits_together(speed: ModuleType, plan: Any, tmp_path: Path) -> None:
    kept = speed.run(plan, tmp_path, devices=["cpu"], date="2026-01-02")
    assert not [row["failed"] for row in kept["rows"].values() if "failed" in row]
    assert json.loads((tmp_path / "speed.json").read_text()) == kept
    steps = {row["case"]["method"]: row for row in of_kind(kept, "step")}
    # SHOT's one batch, SOCKET's two, and one again where the pairs weigh nothing.
    assert {name: row["images"] for name, row in steps.items()} == {
        "shot": 4,
        "socket": 8,
        "socket, alone": 4,
    }
    assert {len(each) for row in steps.values() for each in row["seconds"].values()} == {2}
    # The operations of forward and backward grow with the images, and SOCKET's teacher adds some.
    one, two = (steps[name]["operations"] for name in ("shot", "socket"))
    assert 2 * one < two < 3 * one
    assert steps["socket, alone"]["operations"] == one
    assert [(row["case"]["method"], row["images"]) for row in of_kind(kept, "epoch")] == [
        ("socket", 128)
    ]
    growth = [(row["about"], row["case"]["method"]) for row in of_kind(kept, "growth")]
    images = [("images", name) for name in ("socket", "aad", "nrc")]
    assert growth == [*images, *images, ("classes", "socket"), ("sources", "socket")]
    for row in of_kind(kept, "growth"):
        alone = "pseudo-labels" if row["case"]["method"] == "socket" else "neighbours"
        assert len(row["seconds"][alone]) == 2
    sources = of_kind(kept, "growth")[-1]
    assert sources["operations"] > 1.9 * of_kind(kept, "growth")[0]["operations"]
    assert [row["part"] for row in of_kind(kept, "part")] == ["features", *plan.parts]


def test_rows_that_are_there_are_not_measured_again(
    speed: ModuleType, plan: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def measure(measurement: Any) -> dict[str, Any]:
        asked.append(measurement.key)
        return {"failed": "no memory"} if len(asked) == 2 else {"seconds": {"all": [1.0]}}

    monkeypatch.setattr(speed, "in_a_process", measure)
    given: dict[str, Any] = {"devices": ["cpu"], "date": "2026-01-02"}
    speed.run(plan, tmp_path, **given)
    every = list(asked)
    assert len(set(every)) == len(every) == len([*speed.measurements(plan, ["cpu"])])
    kept = speed.run(plan, tmp_path, **given)
    assert asked == [*every, every[1]]  # what failed is tried again
    assert [*kept["rows"]] == every
    speed.run(plan, tmp_path, again=True, only="socket", **given)
    assert asked[len(every) + 1 :] == [key for key in every if "socket" in key]


def test_a_page_has_every_row_and_its_arithmetic(speed: ModuleType, tmp_path: Path) -> None:
    report = importlib.import_module("speed_report")
    tables = importlib.import_module("speed_tables")
    name = speed.machine("cpu")["name"]
    rows = fake_rows(name)
    found = tables.summary(rows["step shot"])
    assert found["images/s"] == pytest.approx(50 / 1.0)
    turns = [0.6 / 1.0, 0.8 / 1.1, 0.7 / 1.0]
    assert found["share"] == pytest.approx(median(turns)) == pytest.approx(1 / found["times"])
    assert found["low"] == pytest.approx(0.65) and found["high"] == pytest.approx(0.7 + 0.3 / 22)
    kept = {"machines": {name: speed.machine("cpu")}, "rows": rows}
    report.write(kept, tmp_path, tmp_path)
    text = (tmp_path / "speed.md").read_text()
    assert "| shot | 50 | 1,000 (1,000 to 1,050) | 700 | 70% (65% to 71%) |" in text
    assert "| 10% | 1% | 2% | 17% | 2.5 | 1,234 | 1,200 | 30% |" in text  # of the 10 TFLOP/s below
    assert "### resnet_small at 32 px, batches of 4, bfloat16" in text
    assert "| resnet18, 112 px | socket | 512 | 16 | 20.0 | 15.0 | 1.33 | 51 |" in text
    assert "epoch | at most 1.25 x bare | 1.33 x | **not met** |" in text
    assert "| matrix products | 5 products | 0.50 | 10 | 10.00 TFLOP/s |" in text
    assert "| images | 100,000 | aad | 200 (200 to 200) | 150 | 75% | 15.0 |  | 99 |" in text
    assert "| nrc | failed: no memory |" in text
    assert "Measured 2026-01-02 to 2026-01-03" in text
    for stem in ("steps", "growth"):
        slug = re.sub(r"\W+", "_", name.lower())
        assert f"](speed_{stem}_{slug}.png)" in text
        assert (tmp_path / f"speed_{stem}_{slug}.png").stat().st_size > 5000


def fake_rows(machine: str) -> dict[str, dict[str, Any]]:
    """Rows of each kind with numbers that are known, and one that failed; by kind and more."""
    case = {"network": NETWORK, "crop": 32, "method": "shot", "dtype": "auto", "device": "cpu"}
    case |= {"compiler": "off", "batch": 4, "images": 0, "classes": 10, "sources": 1}
    goal = case | {"network": "resnet18", "crop": 112, "method": "socket", "images": 512}
    many = case | {"method": "aad", "images": 100_000}
    parts = {"teacher": [0.1, 0.22, 0.1], "gathering": [0.01, 0.01, 0.01], "optimiser": [0.02] * 3}
    step = {"images": 50, "operations": 3 * 10**12, "first_step": 2.5, "peak_memory": 1234.5}
    step |= {"estimated_memory": 1200.0, "precision": "cpu, bfloat16: fast"}
    times = {"bare": [0.15], "step": [0.2], "neighbours": [0.015]}
    rows: dict[str, dict[str, Any]] = {
        "step shot": {
            "case": case,
            "seconds": {"bare": [0.6, 0.8, 0.7], "step": [1.0, 1.1, 1.0]} | parts,
            **step,
        },
        "step failed": {"case": case | {"method": "nrc"}, "failed": "no memory"},
        "epoch": {
            "case": goal,
            "images": 1024,
            "steps": 16,
            "seconds": {"bare": [15.0], "step": [20.0]},
        },
        "part": {
            "case": case,
            "about": "matrix products",
            "part": "matrix products",
            "amount": 5,
            "unit": "products",
            "operations": 5 * 10**12,
            "seconds": {"all": [0.5]},
        },
        "growth": {
            "case": many,
            "about": "images",
            "images": 4,
            "peak_memory": 99.0,
            "seconds": times,
        },
    }
    dates = ["2026-01-02", "2026-01-03", "2026-01-02", "2026-01-03", "2026-01-02"]
    shared = {"machine": machine, "about": "", "load": 0.1}
    return {
        name: shared | {"kind": name.split()[0], "measured": date} | row
        for (name, row), date in zip(rows.items(), dates, strict=True)
    }


def test_every_method_that_trains_is_measured(
    speed: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = importlib.import_module("speed_cases")
    names = cases.methods()
    trained = {name for name in REGISTRY if name not in ("source_only", "adabn")}
    assert {"source", *trained, *cases.VARIANTS} == {*names} and len({*names}) == len(names)
    wanted = [*speed.measurements(speed.Plan(), ["cpu", "cuda"])]
    assert {m.case.device for m in wanted} == {"cpu", "cuda"}
    assert {m.case.batch for m in wanted if m.case.device == "cuda"} == {32, 128}
    assert {m.case.compiler for m in wanted if m.case.device == "cpu"} == {"off"}


def test_a_row_that_fails_says_why(speed: ModuleType) -> None:
    """In a process of its own, as all rows are measured."""
    case = importlib.import_module("speed_cases").Case("resnet_big", 32, "shot", batch=2)
    found = speed.in_a_process(speed.Measurement("step", case))
    assert "UnknownBackbone" in found["failed"] and "resnet_big" in found["failed"]
