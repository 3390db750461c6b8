"""The project as a whole: what it asks for, what it says of itself, and what its files hold."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from socketlab.data import known_manifests, load_manifest
from socketlab.runs.planning import plan, read_parameter_file
from socketlab.runs.sweeps.grid import read_sweep_file
from socketlab.runs.sweeps.jobs import jobs_of

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONDA_NAMES = {"torch": "pytorch"}
ONLY_PIP = ("lightning-fabric",)  # conda-forge has it as a part of another package
PARTS_OF_BENCHMARKS = ("speed_tables",)  # what only another benchmark imports
PARAMETER_FILES = sorted((ROOT / "notebooks" / "params").glob("*.yaml"))


def bound(requirement: str) -> tuple[str, str]:
    """`numpy>=2.0` as ("numpy", ">=2.0")."""
    found = re.fullmatch(r"([A-Za-z0-9_.-]+)(.*)", requirement)
    assert found is not None, requirement
    return found[1], found[2]


def test_conda_gets_what_pip_gets() -> None:
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = dict(bound(line) for line in listed if isinstance(line, str))
    python = conda.pop("python")
    assert conda.pop("pip") == ""
    asked = dict(map(bound, PROJECT["project"]["dependencies"]))
    for name in ONLY_PIP:
        asked.pop(name)
    assert conda == {CONDA_NAMES.get(name, name): version for name, version in asked.items()}
    assert all(version.startswith(">=") for version in asked.values())
    assert python.split(",")[0] == PROJECT["project"]["requires-python"]
    (pip,) = [line["pip"] for line in listed if isinstance(line, dict)]
    assert pip == ["--editable .[test]"]


def test_every_dependency_says_why() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    lists = [*PROJECT["project"]["optional-dependencies"].values()]
    asked = [*PROJECT["project"]["dependencies"], *(name for names in lists for name in names)]
    assert len(asked) > 20
    for requirement in asked:
        (line,) = [line for line in text.splitlines() if f'"{requirement}"' in line]
        reason = line.partition("#")[2].strip()
        assert reason, f"{requirement} has no reason"


def test_what_is_imported_is_asked_for() -> None:
    names = {"PIL": "pillow", "umap": "umap-learn", "yaml": "pyyaml", "sklearn": "scikit-learn"}
    names |= {"segmentation_models_pytorch": "segmentation-models-pytorch"}
    names |= {
        "grpc": "grpcio",
        "jscatter": "jupyter-scatter",
        "lightning_fabric": "lightning-fabric",
    }
    imported = set()
    for file in (ROOT / "socketlab").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    extras = PROJECT["project"]["optional-dependencies"]
    listed = [*PROJECT["project"]["dependencies"], *extras["cluster"], *extras["tensorboard"]]
    asked = {bound(line)[0] for line in listed}
    ours = imported - set(sys.stdlib_module_names) - {"socketlab", "IPython"}
    assert {names.get(name, name) for name in ours} <= asked


@pytest.mark.parametrize("file", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda f: f.stem)
def test_what_a_benchmark_imports_is_there(file: Path) -> None:
    asked = [
        (node.module, alias.name)
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("socketlab")
        for alias in node.names
    ]
    assert asked or file.stem in PARTS_OF_BENCHMARKS
    for module, name in asked:
        found = importlib.import_module(str(module))
        if not hasattr(found, name):
            importlib.import_module(f"{module}.{name}")


def test_the_command_line_starts_without_torch() -> None:
    program = (
        "import sys, socketlab.cli\n"
        "print(sorted({'torch', 'matplotlib', 'papermill', 'umap', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def tracked_texts() -> dict[str, str]:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    texts = {}
    for name in filter(None, done.stdout.split("\0")):
        content = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b"\0"
        if b"\0" not in content:
            texts[name] = content.decode()
    return texts


def test_no_file_names_a_machine_or_a_package_registry() -> None:
    # Written in two parts, so that this file does not hold what it looks for.
    folders = "|".join("/" + name + "/" for name in ("work", "root", "home", "Users", "tmp"))
    hosts = "|".join(
        first + rest
        for first, rest in (
            ("py", r"pi\.(org|python)"),
            ("python", "hosted"),
            ("conda.ana", "conda"),
            ("download.py", "torch"),
            ("index", "-url"),
            ("arti", "factory"),
        )
    )
    absolute = re.compile(rf"(?<![\w.~}}])({folders})|{hosts}")
    texts = tracked_texts()
    assert {"README.md", "pyproject.toml", "socketlab/cli/__init__.py"} <= texts.keys()
    found = {name: hit[0] for name, text in texts.items() if (hit := absolute.search(text))}
    assert found == {}


def test_the_readme_names_every_make_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (line,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    readme = (ROOT / "README.md").read_text()
    assert len(line.split()) >= 5
    for target in line.split():
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
        assert f"make {target}" in readme, f"README.md does not say what `make {target}` does"


def test_every_manifest_loads() -> None:
    files = sorted((ROOT / "data_manifests").iterdir())
    assert [path.stem for path in files] == known_manifests()
    for path in files:
        assert load_manifest(path).name == path.stem


@pytest.mark.parametrize("file", PARAMETER_FILES, ids=lambda path: path.stem)
def test_every_parameter_file_can_be_planned(file: Path) -> None:
    steps = plan([], read_parameter_file(file), {})
    assert len(steps) == len(yaml.safe_load(file.read_text())["steps"])
    assert {step.parameters.run for step in steps} == {file.stem}


@pytest.mark.parametrize(
    ("name", "runs", "before"), [("scenes_60", 60, 6), ("sunrgbd_sensors", 192, 13)]
)
def test_every_sweep_can_be_planned(name: str, runs: int, before: int) -> None:
    file = ROOT / "notebooks" / "sweeps" / f"{name}.yaml"
    given = read_sweep_file(file)
    jobs = jobs_of(given)
    assert given.sweep == name
    assert [job.kind == "run" for job in jobs].count(True) == runs
    assert len(jobs) == runs + before


def test_there_are_parameter_files() -> None:
    assert {"scenes_60", "sunrgbd_sensors"} == {
        path.stem for path in (ROOT / "notebooks" / "sweeps").glob("*.yaml")
    }
    assert {"demo", "nyuv2"} <= {path.stem for path in PARAMETER_FILES}
