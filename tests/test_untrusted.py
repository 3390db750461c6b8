"""What comes from elsewhere is read, never run; states and reports have such tests elsewhere."""

import ast
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from socketlab.data.manifest import ManifestError, load_manifest
from socketlab.models.checkpoint import CheckpointError, load_card
from socketlab.models.own_model_spec import OwnModelError, read_own_model
from socketlab.models.own_weights import read_weights
from socketlab.runs.epoch_files import EpochFiles
from socketlab.runs.parameters import ParameterError
from socketlab.runs.sweeps.grid import read_sweep_file

TAGS = (
    "!!python/object/apply:os.mkdir ['{made}']",
    "!!python/object/new:os.mkdir ['{made}']",
    "!!python/name:os.mkdir",
    "!!python/module:os",
)


class Trap:
    """Unpickling this makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("tag", TAGS)
def test_no_file_in_yaml_runs_code(tag: str, tmp_path: Path) -> None:
    made = tmp_path / "made"
    file = tmp_path / "hostile.yaml"
    file.write_text(f"name: {tag.format(made=made)}\n")
    with pytest.raises(ManifestError, match=r"hostile\.yaml.*python"):
        load_manifest(file)
    with pytest.raises(OwnModelError, match=r"hostile\.yaml.*python"):
        read_own_model(file)
    with pytest.raises(ParameterError, match="python"):
        read_sweep_file(file)
    assert not made.exists()
    if "apply" in tag:
        yaml.unsafe_load(file.read_text())
        assert made.exists()  # so it was there to be run


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin"])
@pytest.mark.parametrize("form", ["pickle", "torch", "old torch"])
def test_weights_that_are_a_pickle_in_disguise_run_nothing(
    suffix: str, form: str, tmp_path: Path
) -> None:
    made, file = tmp_path / "made", tmp_path / f"weights{suffix}"
    held = {"layer.weight": torch.zeros(2), "trap": Trap(made)}
    if form == "pickle":
        file.write_bytes(pickle.dumps(held, protocol=2))
    else:
        torch.save(held, file, _use_new_zipfile_serialization=form == "torch")
    with pytest.raises(OwnModelError, match=r"weights\..* cannot be read as tensors"):
        read_weights(file)
    assert not made.exists()
    content = file.read_bytes()  # only now is it shown that the file would have done it
    pickle.loads(content) if form == "pickle" else torch.load(
        io.BytesIO(content), weights_only=False
    )
    assert made.exists()


def test_a_card_that_is_a_pickle_is_no_card(tmp_path: Path) -> None:
    made = tmp_path / "made"
    (tmp_path / "model.json").write_bytes(pickle.dumps(Trap(made)))
    with pytest.raises(CheckpointError, match=r"model\.json"):
        load_card(tmp_path / "model.safetensors")
    assert not made.exists()


def test_a_film_with_a_pickle_is_not_shown(tmp_path: Path) -> None:
    made = tmp_path / "made"
    np.savez(tmp_path / "fixed.npz", points=np.array([Trap(made)], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        EpochFiles(tmp_path).fixed()
    assert not made.exists()


def test_a_table_cannot_hold_what_would_run(tmp_path: Path) -> None:
    """Parquet knows no Python objects, and what pandas writes beside it is plain JSON."""
    made = tmp_path / "made"
    with pytest.raises(Exception, match="Trap"):
        pd.DataFrame({"answer": [Trap(made)]}).to_parquet(tmp_path / "t.parquet")
    pd.DataFrame({"answer": [pickle.dumps(Trap(made))]}).to_parquet(tmp_path / "t.parquet")
    assert isinstance(pd.read_parquet(tmp_path / "t.parquet").answer[0], bytes)
    assert not made.exists()


FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.loads", "cloudpickle.load"),
    *("marshal.loads", "shelve.open", "joblib.load", "dill.loads", "pd.read_pickle"),
    *("yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "torch.hub.load"),
}


def _problems(tree: ast.AST) -> list[str]:
    """Calls that run what they read."""
    found = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        if (
            name in FORBIDDEN
            or (name == "yaml.load" and given.get("Loader") not in ("_Loader", "yaml.SafeLoader"))
            or (name == "torch.load" and given.get("weights_only") != "True")
            or (name == "np.load" and given.get("allow_pickle", "False") != "False")
            or given.get("shell", "False") != "False"
        ):
            found.append(f"line {call.lineno}: {name}")
    return found


def test_nothing_in_the_project_runs_what_it_reads(root: Path) -> None:
    files = sorted((root / "socketlab").rglob("*.py"))
    assert len(files) > 200
    found = {
        str(file.relative_to(root)): problems
        for file in files
        if (problems := _problems(ast.parse(file.read_text("utf-8"))))
    }
    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        "eval(text)",
        "exec(text)",
        "pickle.load(file)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "np.load(file, allow_pickle=True)",
        "subprocess.run(words, shell=True)",
    ],
)
def test_each_of_them_would_be_found(line: str) -> None:
    assert _problems(ast.parse(line))


def test_what_is_safe_is_not_found() -> None:
    safe = "model.eval(); yaml.safe_load(t); torch.load(f, weights_only=True); re.compile(t)"
    assert _problems(ast.parse(safe)) == []
