"""A sweep's file: what it may hold, and which runs it asks for."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from socketlab.runs.parameters import ParameterError
from socketlab.runs.shared_parameters import Name
from socketlab.runs.sweeps.grid import (
    SweepFile,
    named_points,
    planned_run,
    points,
    read_sweep_file,
    run_name,
)
from socketlab.runs.sweeps.record import SweepError


def given(**values: Any) -> SweepFile:
    return SweepFile.model_validate({"sweep": "s", **values})


def test_every_combination_in_the_order_of_the_file() -> None:
    found = points(given(grid={"target": ["a/depth", "a/nir"], "seed": [0, 1]}))
    assert [tuple(point.values()) for point in found] == [
        ("a/depth", 0),
        ("a/depth", 1),
        ("a/nir", 0),
        ("a/nir", 1),
    ]


def test_what_is_excluded_goes_and_what_is_included_comes_last() -> None:
    found = points(
        given(
            grid={"method": ["socket", "tent"], "seed": [0, 1]},
            exclude=[{"method": "tent", "seed": 1}],
            include=[{"method": "oracle", "seed": 7}],
        )
    )
    assert [tuple(point.values()) for point in found] == [
        ("socket", 0),
        ("socket", 1),
        ("tent", 0),
        ("oracle", 7),
    ]


def test_only_what_is_included() -> None:
    assert points(given(include=[{"seed": 3}])) == [{"seed": 3}]


def test_an_exclude_that_leaves_nothing_out_is_a_slip() -> None:
    with pytest.raises(SweepError, match=r"exclude \{'method': 'tnet'\} matches no run"):
        points(given(grid={"method": ["tent"]}, exclude=[{"method": "tnet"}]))


def test_the_same_run_twice_is_a_slip() -> None:
    with pytest.raises(SweepError, match="asked for twice"):
        points(given(grid={"seed": [0, 1]}, include=[{"seed": 1}]))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({}, "nothing to run"),
        ({"grid": {"seed": []}}, "grid.seed: List should have at least 1 item"),
        ({"grid": {"seed": [0]}, "girds": {}}, "girds: no such entry; known: sweep, notebooks"),
        ({"grid": {"run": ["a", "b"]}}, "'run' is set by the sweep"),
        ({"grid": {"runs_dir": ["a", "b"]}}, "lie in one runs_dir"),
        ({"grid": {"seed": [0]}, "notebooks": ["09"]}, "Unknown notebook '09'"),
        ({"grid": {"seed": [0]}, "resources": {"gpus": 1.5}}, "a part of one, or a whole number"),
        ({"grid": {"seed": [0]}, "retries": -1}, "retries: Input should be greater than"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(
    tmp_path: Path, values: dict[str, Any], complaint: str
) -> None:
    import yaml

    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump({"sweep": "s", **values}))
    with pytest.raises(SweepError) as raised:
        read_sweep_file(file)
    assert str(file) in str(raised.value)
    assert complaint in str(raised.value)


def test_a_file_that_would_run_code_runs_none(tmp_path: Path) -> None:
    canary = tmp_path / "ran"
    file = tmp_path / "evil.yaml"
    file.write_text(f"sweep: !!python/object/apply:os.mkdir ['{canary}']\ngrid: {{seed: [0]}}\n")
    with pytest.raises(ParameterError, match="not plain YAML"):
        read_sweep_file(file)
    assert not canary.exists()


def test_runs_are_named_by_their_values() -> None:
    point = {
        "method": "socket",
        "target": "a/depth",
        "seed": 3,
        "options.socket.pair_weight": 0.1,
        "compile": False,
    }
    assert run_name(point) == "socket-a.depth-seed3-pair_weight0.1-compileFalse"


@pytest.mark.parametrize("value", [1e30, -0.5, "ä/ß", "_x", "..", "", None, [1], {"a": 1}])
def test_every_value_gives_a_name_that_a_run_may_have(value: Any) -> None:
    name = run_name({"options.tent.learning_rate": value, "seed": 0})
    assert TypeAdapter(Name).validate_python(name) == name


def test_values_that_look_alike_in_a_name_get_names_of_their_own() -> None:
    found = named_points(given(grid={"target": ["a/depth", "a.depth"]}))
    assert len(found) == 2
    assert list(found.values()) == [{"target": "a/depth"}, {"target": "a.depth"}]


def test_long_values_make_no_endless_folder() -> None:
    names = {run_name({"weights": "x" * 200 + end}) for end in "ab"}
    assert len(names) == 2
    assert all(len(name) <= 80 for name in names)


def test_a_list_is_a_digest_in_a_name() -> None:
    one, other = (run_name({"methods": names}) for names in (["tent"], ["socket"]))
    assert one != other
    assert one.startswith("methods")


def test_a_dotted_name_reaches_into_the_options(tiny_scenes: Path) -> None:
    wanted = given(
        parameters={"data": str(tiny_scenes), "options": {"socket": {"epochs": 3}}},
        grid={"options.socket.pair_weight": [0.5]},
    )
    (step,) = planned_run(
        wanted, {"options.socket.pair_weight": 0.5}, name="r", folder="runs/s", shared="runs/s/x"
    )
    found = step.parameters.model_dump()
    assert found["options"]["socket"] == {"epochs": 3, "pair_weight": 0.5}
    assert (found["run"], found["runs_dir"], found["shared"]) == ("r", "runs/s", "runs/s/x")


def test_a_misspelt_parameter_of_the_grid_is_named(tiny_scenes: Path) -> None:
    wanted = given(parameters={"data": str(tiny_scenes)}, grid={"sede": [0]})
    with pytest.raises(ParameterError, match=r"no parameter 'sede'.*Did you mean 'seed'"):
        planned_run(wanted, {"sede": 0}, name="r", folder="runs/s", shared="x")
