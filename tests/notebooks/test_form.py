"""The form of the notebooks: prose first, thin cells, nothing stored, parameters where expected."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from socketlab.runs.parameters import NOTEBOOKS, from_notebook

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
Notebook = dict[str, Any]


@pytest.fixture(params=list(NOTEBOOKS))
def name(request: pytest.FixtureRequest) -> str:
    """Each notebook in turn."""
    return str(request.param)


@pytest.fixture
def notebook(name: str) -> Notebook:
    """Its content."""
    found: Notebook = json.loads((FOLDER / f"{name}.ipynb").read_text())
    return found


def code(notebook: Notebook) -> list[str]:
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return ["".join(cell["source"]) for cell in cells]


def lines(source: str) -> list[str]:
    return [line for line in source.splitlines() if line.strip()]


def test_every_notebook_has_its_parameters_and_none_is_left_over() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(NOTEBOOKS)


def test_nothing_is_stored_that_a_run_made(notebook: Notebook) -> None:
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in cells] == [[]] * len(cells)
    assert {cell["execution_count"] for cell in cells} == {None}
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}


def test_it_begins_with_a_title_then_parameters_then_their_form_and_validation(
    notebook: Notebook, name: str
) -> None:
    cells = notebook["cells"]
    assert cells[0]["cell_type"] == "markdown"
    assert "".join(cells[0]["source"]).startswith(f"# {int(name[:2])} · ")
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    (parameters,) = tagged
    first, form, second, *_ = code(notebook)
    assert "".join(parameters["source"]) == first
    prose = [cell for cell in cells[: cells.index(parameters)] if cell["cell_type"] == "markdown"]
    assert len(prose) == cells.index(parameters) <= 2
    assert form.splitlines()[-1] == f'show_form("{name}", globals())'
    assert f'parameters = from_notebook("{name}", globals())' in second.splitlines()


def test_the_form_adds_no_parameter(
    notebook: Notebook, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`from_notebook` takes every name that a cell above it assigns for a parameter."""
    first, form, *_ = code(notebook)
    assert not [n for n in ast.walk(ast.parse(form)) if isinstance(n, ast.Assign | ast.AnnAssign)]
    space: dict[str, Any] = {"In": ["", first, form, "from_notebook"]}
    monkeypatch.setenv("SOCKETLAB_HEADLESS", "0")
    exec(first, space)
    expected = from_notebook(name, space)
    exec(form, space)
    assert from_notebook(name, space) == expected
    assert {"_form_values"} <= space.keys()


def test_it_ends_by_saying_that_it_is_done(notebook: Notebook) -> None:
    assert notebook["cells"][-1]["cell_type"] == "code"
    assert code(notebook)[-1] == "experiment.finish()"


def test_nothing_is_defined_in_it(notebook: Notebook) -> None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for source in code(notebook):
        assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]


def test_its_cells_are_short(notebook: Notebook) -> None:
    """About 15 lines; the parameters, a list of plain values, may be a few more."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            longest = 18 if "parameters" in cell["metadata"].get("tags", []) else 15
            assert len(lines("".join(cell["source"]))) <= longest, cell["source"]


def test_it_has_more_prose_than_code(notebook: Notebook) -> None:
    prose = [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    words = sum(len("".join(cell["source"]).split()) for cell in prose)
    assert words >= 5 * sum(len(lines(source)) for source in code(notebook))


def test_its_cells_have_identities_and_the_kernel_is_pythons(notebook: Notebook) -> None:
    identities = [cell["id"] for cell in notebook["cells"]]
    assert len(set(identities)) == len(identities)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert (notebook["nbformat"], notebook["nbformat_minor"]) >= (4, 5)
