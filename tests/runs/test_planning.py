"""What is to be run: parameter files, the command line and the notebooks' own cells together."""

import json
from pathlib import Path
from typing import Any

import pytest

from socketlab.runs.parameters import NOTEBOOKS, ParameterError, TransferParameters, validate
from socketlab.runs.planning import (
    cell_defaults,
    parameter_file,
    parse_given,
    plan,
    read_parameter_file,
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> Path:
    """A folder with one notebook, whose cell of parameters a person has changed."""
    for name in ("notebooks", "data_manifests"):
        (tmp_path / name).mkdir()
    write_notebook(tmp_path, 'seed = 7\nmethod = "shot"\nbackbone = "resnet18"')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_notebook(project: Path, source: str, name: str = "05_transfer") -> None:
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": [source]}
    other = {"cell_type": "code", "metadata": {}, "source": ["seed = 99"]}
    file = project / "notebooks" / f"{name}.ipynb"
    file.write_text(json.dumps({"cells": [other, cell, other]}))


def test_steps_as_text_and_as_mappings() -> None:
    shared: dict[str, Any] = {
        "seed": 4,
        "steps": ["01", {"notebook": "05", "target": "a/nir", "options": {"socket": {}}}],
    }
    first, second = plan([], shared, {})
    assert (first.notebook, first.part) == ("01_prepare_data", "01_prepare_data")
    assert (second.notebook, second.part) == ("05_transfer", "05_transfer-a.nir")
    assert (first.parameters.target, second.parameters.target) == ("a/depth", "a/nir")
    assert first.parameters.seed == second.parameters.seed == 4


def test_without_names_and_steps_all_notebooks_are_run() -> None:
    assert [step.notebook for step in plan([], {}, {})] == list(NOTEBOOKS)


def test_the_command_line_wins_over_the_file_and_the_file_over_the_cell(project: Path) -> None:
    def found(shared: dict[str, Any], given: dict[str, Any]) -> tuple[int, str, str]:
        parameters = plan(["05"], shared, given)[0].parameters
        assert isinstance(parameters, TransferParameters)
        return parameters.seed, parameters.method, parameters.backbone

    step = {"notebook": "05", "method": "socket"}
    assert found({}, {}) == (7, "shot", "resnet18")
    assert found({"seed": 8}, {}) == (8, "shot", "resnet18")
    assert found({"seed": 8, "method": "distillation"}, {"seed": 9}) == (
        9,
        "distillation",
        "resnet18",
    )
    assert found({"method": "distillation", "steps": [step]}, {}) == (7, "socket", "resnet18")
    assert found({"steps": [step]}, {"method": "shot_im"}) == (7, "shot_im", "resnet18")


def test_dotted_names_reach_into_mappings_and_keep_the_rest() -> None:
    shared: dict[str, Any] = {
        "options": {"socket": {"epochs": 6, "pair_weight": 0.1}, "shot": {"epochs": 2}}
    }
    given = {"options.socket.epochs": 1, "source_options.epochs": 3}
    found = plan(["05"], shared, given)[0].parameters
    assert isinstance(found, TransferParameters)
    assert found.options == {"socket": {"epochs": 1, "pair_weight": 0.1}, "shot": {"epochs": 2}}
    assert found.source_options == {"epochs": 3}
    assert shared["options"]["socket"]["epochs"] == 6


def test_chosen_notebooks_take_the_files_steps_and_else_its_values() -> None:
    shared = {"seed": 2, "steps": ["01", {"notebook": "05", "target": "a/nir"}]}
    found = plan(["05_transfer", "06"], shared, {})
    assert [step.part for step in found] == ["05_transfer-a.nir", "06_compare"]
    assert [step.parameters.seed for step in found] == [2, 2]


def test_a_parameter_of_one_notebook_goes_to_that_one_alone() -> None:
    first, second = plan([], {"examples": 3, "steps": ["01", "05"]}, {"method": "shot"})
    assert first.parameters.model_dump()["examples"] == 3
    assert "examples" not in second.parameters.model_dump()
    assert second.parameters.model_dump()["method"] == "shot"


def test_one_step_of_a_file_can_be_run_alone(root: Path) -> None:
    shared = read_parameter_file(root / "notebooks" / "params" / "demo.yaml")
    (found,) = plan(["01"], shared, {})
    assert found.parameters.run == "demo"
    with pytest.raises(ParameterError, match="01_prepare_data has no parameter 'optons'"):
        plan(["01"], {**shared, "optons": {}}, {})
    with pytest.raises(ParameterError, match="01_prepare_data has no parameter 'options'"):
        plan(["01"], shared, {"options.socket.epochs": 3})


@pytest.mark.parametrize(
    ("notebooks", "shared", "given", "words"),
    [
        (["08"], {}, {}, "Unknown notebook '08'"),
        ([], {"steps": ["09"]}, {}, "Unknown notebook '09'"),
        ([], {"steps": [5]}, {}, "found 5"),
        ([], {"steps": [{"target": "a/nir"}]}, {}, "mapping with `notebook`"),
        ([], {"steps": None}, {}, "steps"),
        ([], {"steps": "01_prepare_data"}, {}, "steps"),
        ([], {"epoch": 3}, {}, "no parameter 'epoch'"),
        ([], {"steps": [{"notebook": "05", "metod": "shot"}]}, {}, "Did you mean 'method'"),
        (["05"], {}, {"sede": 3}, "Did you mean 'seed'"),
        (["05"], {}, {"optons.socket.epochs": 3}, "Did you mean 'options'"),
        (["01"], {}, {"method": "shot"}, "01_prepare_data has no parameter 'method'"),
        (["05"], {}, {"seed.x": 3}, "seed"),
        ([], {"steps": ["05", "05"]}, {}, "Two steps are both '05_transfer'"),
        (
            [],
            {"steps": [{"notebook": "05", "target": "a/nir"}] * 2},
            {},
            "Two steps are both '05_transfer-a.nir'",
        ),
    ],
)
def test_what_cannot_be_run_is_told_before_anything_is(
    notebooks: list[str], shared: dict[str, Any], given: dict[str, Any], words: str
) -> None:
    with pytest.raises(ParameterError) as found:
        plan(notebooks, shared, given)
    assert words in str(found.value)


def test_values_on_the_command_line_are_plain_yaml() -> None:
    words = ["a=3", "b=true", "c=[x, 1.5]", "d={e: f}", "g=text = more", "h="]
    assert parse_given(words) == {
        "a": 3,
        "b": True,
        "c": ["x", 1.5],
        "d": {"e": "f"},
        "g": "text = more",
        "h": None,
    }


@pytest.mark.parametrize(
    "value", ["!!python/object/apply:os.system ['touch RAN']", "!!python/name:os.system"]
)
def test_yaml_cannot_run_code(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "hostile.yaml"
    file.write_text(f"seed: {value}\n")
    with pytest.raises(ParameterError, match="python"):
        read_parameter_file(file)
    with pytest.raises(ParameterError, match="python"):
        parse_given([f"seed={value}"])
    assert not (tmp_path / "RAN").exists()


def test_files_that_are_no_parameter_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"missing\.yaml' does not exist"):
        read_parameter_file(tmp_path / "missing.yaml")
    (tmp_path / "list.yaml").write_text("[1, 2]")
    with pytest.raises(ParameterError, match=r"list\.yaml' must hold a mapping"):
        read_parameter_file(tmp_path / "list.yaml")
    (tmp_path / "broken.yaml").write_text("seed: [1, 2\nrun: }")
    with pytest.raises(ParameterError, match=r"broken\.yaml"):
        read_parameter_file(tmp_path / "broken.yaml")
    assert parameter_file(None) == {}


@pytest.mark.parametrize("notebook", list(NOTEBOOKS))
def test_the_cells_of_the_real_notebooks_hold_valid_parameters(notebook: str) -> None:
    defaults = cell_defaults(notebook)
    assert {"run", "data"} <= defaults.keys()
    assert {"source", "target"} <= defaults.keys() or {"first", "second"} <= defaults.keys()
    assert {"seed", "seeds"} & defaults.keys()
    kept = validate(notebook, defaults).model_dump()
    assert {name: kept[name] for name in defaults} == defaults


def test_only_the_tagged_cell_is_read_and_only_plain_values(project: Path) -> None:
    assert cell_defaults("05_transfer") == {"seed": 7, "method": "shot", "backbone": "resnet18"}
    write_notebook(project, "seed = open('x').read()")
    with pytest.raises(ParameterError, match=r"05_transfer\.ipynb: parameter 'seed'.*plain value"):
        cell_defaults("05_transfer")
    with pytest.raises(ParameterError, match=r"01_prepare_data\.ipynb' does not exist"):
        cell_defaults("01_prepare_data")


def test_the_fingerprint_follows_parameters_and_notebook(project: Path) -> None:
    first = plan(["05"], {}, {})[0].fingerprint
    assert plan(["05"], {}, {})[0].fingerprint == first
    assert plan(["05"], {}, {"size": 32})[0].fingerprint != first
    write_notebook(project, 'seed = 7\nmethod = "shot"\nbackbone = "resnet18"  # changed')
    assert plan(["05"], {}, {})[0].fingerprint != first


def test_the_fingerprint_follows_the_manifest(project: Path, root: Path) -> None:
    file = project / "data_manifests" / "mine.yaml"
    text = (
        (root / "data_manifests" / "scenes.yaml").read_text().replace("name: scenes", "name: mine")
    )
    prints = []
    for size in (64, 64, 32):
        file.write_text(text.replace("size: 64", f"size: {size}"))
        prints.append(plan(["05"], {}, {"data": "mine"})[0].fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_a_path_in_a_step_gives_a_name_that_a_file_can_have() -> None:
    pairs = "/" + "a_long_folder/" * 30 + "my pairs: 2"
    step = {"notebook": "07", "pairs": pairs, "first": "{id}_a.png", "second": "{id}_b.png"}
    (found,) = plan([], {"steps": [step]}, {})
    assert found.part.startswith("07_two_encoders-") and "my.pairs.2" in found.part
    assert len(found.part) < 150 and not set(found.part) & set("/:{} ")
    assert found.parameters.model_dump()["pairs"] == pairs
