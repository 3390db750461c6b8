"""Versions against each other: the working tree against itself, in tiny cases; no timing."""

import importlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

TINY = {"backbone": "resnet_small", "size": 36, "crop": 32, "batch": 4, "images": 16}
BANK = {"samples": 50, "width": 8, "batch": 4, "classes": 3}


@pytest.fixture(scope="module")
def tool(root: Path) -> Iterator[ModuleType]:
    """The script, which is in no package and imports what lies beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root / "benchmarks")
        yield importlib.import_module("before_after")


def part(tool: ModuleType, name: str) -> ModuleType:
    """What lies beside the script."""
    assert tool.__file__ is not None
    return importlib.import_module(f"before_after_{name}")


@pytest.fixture(scope="module")
def twins(root: Path, tool: ModuleType, tmp_path_factory: Any) -> Iterator[list[Any]]:
    """The working tree twice, each in a process of its own."""
    place = tmp_path_factory.mktemp("versions")
    with part(tool, "versions").working([".", "."], root, place / "trees") as workers:
        yield workers


class Recorder:
    """A version that only says what it was asked, and takes as long as it is told to."""

    def __init__(self, name: str, log: list[str], seconds: list[float], known: bool = True) -> None:
        self.name, self.log, self.seconds, self.known = name, log, iter(seconds), known

    def ask(self, command: str, **about: Any) -> dict[str, Any]:
        self.log.append(f"{self.name} {command}")
        if command == "repeat":
            seconds = next(self.seconds)
            return {"seconds": seconds, "processor": 2 * seconds}
        return {"known": self.known, "terms": []}


def test_the_same_version_has_the_same_terms_and_its_times_are_compared_in_pairs(
    tool: ModuleType, twins: list[Any], tmp_path: Path
) -> None:
    tables = part(tool, "tables")
    settings = TINY | {"method": "socket", "dtype": "float32", "folder": str(tmp_path)}
    case = tables.Case("socket", "training", settings)
    first, second = tool.measure(case, twins, rounds=3, seconds=0.0)
    assert [first.version, second.version] == ["working tree", "working tree (2)"]
    for found in (first, second):
        assert found.error == "" and len(found.seconds) == len(found.processor) == 3
        assert min(found.seconds) > 0
    assert len(first.terms) == 3 and set(first.terms[0]) >= {"statistics", "pairs", "total"}
    assert first.terms == second.terms
    assert first.terms[0] != first.terms[1]
    (line,) = tables.sameness("socket", [first, second])
    assert line["first three steps"] == "0.0e+00"
    pairs = sorted(a / b for a, b in zip(first.seconds, second.seconds, strict=True))
    assert tables.ratio(first.seconds, second.seconds)[0] == pytest.approx(pairs[1])
    cells = tables.row("socket", [first, second])
    assert cells["times as fast"].startswith(f"{pairs[1]:.2f} [")


def test_a_busy_machine_slows_both_of_a_pair_and_changes_no_ratio(tool: ModuleType) -> None:
    ratio = part(tool, "tables").ratio
    assert ratio([1.0, 100.0, 1.0], [2.0, 200.0, 2.0]) == (0.5, 0.5, 0.5)
    assert ratio([1.0, 2.0, 3.0], [1.0, 1.0, 1.0]) == (2.0, 1.0, 3.0)


def test_versions_take_turns_after_a_round_that_is_not_counted(tool: ModuleType) -> None:
    log: list[str] = []
    workers = [Recorder("a", log, [9.0, 1.0, 2.0]), Recorder("b", log, [9.0, 4.0, 8.0])]
    case = part(tool, "tables").Case("any", "training", {})
    first, second = tool.measure(case, workers, rounds=2, seconds=0.0)
    turns = [line[0] for line in log if line.endswith("repeat")]
    assert "".join(turns) == "abbaab"
    assert (first.seconds, second.seconds) == ([1.0, 2.0], [4.0, 8.0])
    assert second.processor == [8.0, 16.0]


def test_what_no_version_knows_is_not_prepared_and_an_error_is_told(tool: ModuleType) -> None:
    log: list[str] = []
    tables = part(tool, "tables")
    strangers = [Recorder(name, log, [], known=False) for name in "ab"]
    case = tables.Case("news", "training", {}, {"options": {"x": 1}})
    unknown = tool.measure(case, strangers, rounds=1, seconds=0.0)
    assert log == ["a asked", "b asked"]

    class Failing(Recorder):
        def ask(self, command: str, **about: Any) -> dict[str, Any]:
            if command == "repeat" and len(self.log) > 8:
                raise part(tool, "versions").VersionError(f"{self.name}: out of memory")
            return super().ask(command, **about)

    broken = [Recorder("a", log, [1.0] * 9), Failing("b", log, [1.0] * 9, known=False)]
    old = tables.Case("old", "training", {})
    found = tool.measure(old, broken, rounds=3, seconds=0.0)
    assert found[1].error == "b: out of memory" and found[1].seconds == []
    assert len(found[0].seconds) == 3
    about = {"rounds": 3, "seconds": 0.0, "device": "cpu", "dtype": "float32", "torch": "2"}
    about |= {"threads": 1, "load": 0.0, "versions": {"a": "1", "b": "2"}}
    text = tables.page([(case, unknown), (old, found)], about)
    assert "| old | 1,000 [1,000, 1,000] | cannot |  |  |" in text
    assert "- old: b: out of memory" in text
    assert "No version knows what is new in: news." in text


def test_loss_terms_are_compared_relatively(tool: ModuleType) -> None:
    difference = part(tool, "tables").difference
    assert difference([{"a": 2.0, "b": 4.0}], [{"a": 2.0, "b": 5.0}]) == pytest.approx(0.2)
    assert difference([{"a": 0.0}], [{"a": 1e-6}]) == pytest.approx(1e-3)
    assert difference([{"a": 1.0}], [{"b": 1.0}]) == float("inf")


def test_with_three_versions_the_effect_of_each_is_seen(tool: ModuleType) -> None:
    tables = part(tool, "tables")
    seconds = {"v1": [4.0, 8.0], "v2": [2.0, 4.0], "v3": [1.0, 2.0]}
    found = [tables.Found(name, each, each) for name, each in seconds.items()]
    cells = tables.row("step", found)
    assert cells["v3: times as fast"] == "4.00 [4.00, 4.00]"
    assert cells["v3: as the one before"] == "2.00 [2.00, 2.00]"
    assert cells["v2: times as fast"] == "2.00 [2.00, 2.00]"


def test_every_kind_of_case_can_be_done(tool: ModuleType, twins: list[Any], tmp_path: Path) -> None:
    tables, kinds = part(tool, "tables"), part(tool, "cases").KINDS
    listed = tool.cases()
    assert {case.kind for case in listed} == set(kinds)
    assert len({case.name for case in listed}) == len(listed)
    for case in listed:
        small = {**case.settings, **(TINY if "backbone" in case.settings else BANK)}
        new = {"options": {"pair_crops": "cached"}} if case.new else {}
        tiny = tables.Case(case.name, case.kind, small | {"folder": str(tmp_path)}, new)
        (found,) = tool.measure(tiny, twins[:1], rounds=1, seconds=0.0)
        assert found.error == "" and found.known and len(found.seconds) == 1, case.name


def test_a_version_says_what_it_does_not_know_and_what_went_wrong(
    tool: ModuleType, twins: list[Any], tmp_path: Path
) -> None:
    worker, error = twins[0], part(tool, "versions").VersionError
    settings = {"method": "socket"}
    for new in ({"options": {"pear_crops": 1}}, {"precision": {"compailer": "off"}}):
        assert worker.ask("asked", settings=settings, new=new) == {"known": False}
    assert worker.ask("asked", settings=settings, new={"options": {"elr": True}})["known"]
    with pytest.raises(error, match=r"working tree: .*tresnet"):
        wrong = TINY | {"method": "shot", "backbone": "tresnet", "folder": str(tmp_path)}
        worker.ask("prepare", kind="training", settings=wrong, new={})
    assert worker.ask("describe", device="cpu")["device"] == "cpu"


def test_a_version_is_taken_from_its_revision(tool: ModuleType, tmp_path: Path) -> None:
    versions, repository = part(tool, "versions"), tmp_path / "repository"
    file = repository / "socketlab" / "__init__.py"
    file.parent.mkdir(parents=True)
    file.write_text("old = 1\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *command], cwd=repository, check=True)
    file.write_text("new = 1\n")
    old = versions.take_tree("HEAD", repository, tmp_path / "old")
    new = versions.take_tree(".", repository, tmp_path / "new")
    assert (old / "socketlab" / "__init__.py").read_text() == "old = 1\n"
    assert (new / "socketlab" / "__init__.py").read_text() == "new = 1\n"
    assert versions.content_of(old) != versions.content_of(new)
    with pytest.raises(versions.VersionError, match=r"'nowhere' cannot be taken.*git log"):
        versions.take_tree("nowhere", repository, tmp_path / "none")
    # A package that cannot be loaded: its last words are told.
    file.write_text("raise SystemExit('no way')\n")
    broken = versions.take_tree(".", repository, tmp_path / "broken")
    with pytest.raises(versions.VersionError, match=r"(?s)ended at 'hello'.*no way"):
        versions.Worker("broken", broken)


def test_both_versions_adapt_the_same_source_models_and_what_is_done_is_kept(
    tool: ModuleType, twins: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quality, made = part(tool, "quality"), part(tool, "cases")
    from socketlab.data.views import Evaluation, ImagePairs, SourceImages, TargetImages, Views

    rgb, depth = made.made_up("rgb", TINY, 1), made.made_up("depth", TINY, 2)
    labels = made.labels_of(rgb)
    views = Views(
        source=SourceImages(rgb, labels, made.CLASSES, "a/rgb"),
        source_evaluation=Evaluation(rgb, labels, made.CLASSES, "a/rgb"),
        target=TargetImages(depth, "a/depth"),
        pairs=ImagePairs(rgb, depth, rgb.ids),
        evaluation=Evaluation(depth, labels, made.CLASSES, "a/depth"),
    )
    part(tool, "transfers").write_views(views, tmp_path / "views.pt")
    place = ({"data": "scenes", "size": 36, "crop": 32, "source_options": {"epochs": 1}}, {})
    place[1]["socket"] = {"epochs": 1, "batch_size": 4}
    monkeypatch.setattr(quality, "PLACES", {"tiny": place})
    monkeypatch.setattr(quality, "KEPT", tmp_path)
    monkeypatch.setattr(quality, "SEEDS", (0, 1))
    methods = {"source_only": ("source_only", {}), "socket": ("socket", {})}
    methods["cached"] = ("socket", {"pair_crops": "cached"})
    methods["unheard of"] = ("socket", {"pear_crops": "cached"})
    monkeypatch.setattr(quality, "METHODS", methods)
    monkeypatch.setattr(quality, "prepared", lambda *_: tmp_path / "views.pt")
    monkeypatch.setattr(twins[1], "content", "another")
    text = quality.compare_quality(twins)
    assert "| socket | working tree (2) | 2 |" in text and "| cached |" in text
    assert "unheard of" not in text
    same = [line for line in text.splitlines() if "(2)" in line and line.startswith("| so")]
    assert len(same) == 2 and all("| +0.0, +0.0 | +0.0 | yes |" in line for line in same)
    kept = json.loads((tmp_path / "quality.json").read_text())
    assert len(kept) == 2 * 2 * len(methods)
    assert len(list(tmp_path.glob("*seed*.pt"))) == 2
    for worker in twins:
        monkeypatch.setattr(worker, "ask", lambda command, **_: twin_answer(command))
    assert quality.compare_quality(twins).splitlines()[:-4] == text.splitlines()[:-4]


def twin_answer(command: str) -> dict[str, Any]:
    """Only what a page says of the machine may be asked for a second time."""
    assert command == "describe"
    return {"device": "cpu", "dtype": "bfloat16", "torch": "2"}


def test_differences_are_by_seed_to_the_first_version(tool: ModuleType) -> None:
    quality = part(tool, "quality")
    rows = []
    for version, values in {"old": (0.50, 0.60), "new": (0.52, 0.58), "worse": (0.3, 0.4)}.items():
        for seed, value in enumerate(values):
            scores = {"accuracy": value, "balanced_accuracy": value, "seconds": 2.0}
            rows.append({"method": "socket", "of": "socket", "seed": seed, "version": version})
            rows[-1] |= scores
    rows.append(rows[2] | {"method": "socket, fixed crops", "balanced_accuracy": 0.51})
    found = quality.table(pd.DataFrame(rows), "old").set_index(["method", "version"])
    assert found.loc[("socket", "old"), "difference by seed"] == ""
    assert found.loc[("socket", "new"), "difference by seed"] == "+2.0, -2.0"
    assert found.loc[("socket", "new"), "within the spread"] == "yes"
    assert found.loc[("socket", "worse"), "mean"] == "-20.0"
    assert found.loc[("socket", "worse"), "within the spread"] == "no"
    assert found.loc[("socket, fixed crops", "new"), "difference by seed"] == "+1.0"
