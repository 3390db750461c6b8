"""The report of a run."""

import base64
import json
import os
import statistics
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from socketlab.runs.report import write_report
from socketlab.runs.report_values import duration, flatten, mebibytes, moment, plain, points

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
VOID = {"meta", "link", "img", "br", "hr", "input"}
HOSTILE = "\"><script>alert(1)</script><img src=http://evil.example/x.png onerror='x'>&"


class Page(HTMLParser):
    """The page as a list of elements and texts; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.texts).split())


def _result(method: str, seed: int, accuracy: float, **changes: Any) -> dict[str, Any]:
    return {
        "method": method,
        "protocol": "demo",
        "source": "scenes/rgb",
        "target": "scenes/depth",
        "seed": seed,
        "accuracy": accuracy,
        "balanced_accuracy": accuracy - 0.0173,
        "chosen_by": "last",
        "n": 1200,
        "scores": {"entropy": 0.4321},
        **changes,
    }


def _run(**changes: Any) -> dict[str, Any]:
    run = {
        "name": "demo",
        "status": "done",
        "reason": "",
        "seconds": 130.4,
        "created": "2026-11-20T10:12:03+00:00",
        "configuration": {"socket": {"weights": {"pairing": 0.5}, "epochs": 15}, "resume": True},
        "seeds": [0, 1],
        "versions": {"torch": "2.15.0"},
        "device": {"name": "2 cores", "kind": "cpu", "dtype": "float32", "reason": "no GPU"},
        "stages": {"prepare": {"status": "done", "seconds": 31.2}},
        "results": [
            _result("source_only", 0, 0.4123456789),
            _result("source_only", 1, 0.43),
            _result("socket", 0, 0.6123456789),
            _result("socket", 1, 0.68),
            _result("oracle_labels", 0, 0.9),
        ],
        "figures": [
            {
                "file": "figures/map.png",
                "title": "The map",
                "caption": "Before and after.",
                "notebook": "02_gap.ipynb",
            }
        ],
        "command": "socketlab run demo --seed 0",
    }
    return {**run, **changes}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "first"
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "map.png").write_bytes(PNG)
    return folder


def _page(folder: Path, run: dict[str, Any]) -> Page:
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    path = write_report(folder)
    assert path == folder / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def _assert_loads_nothing(page: Page) -> None:
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "poster", "data"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert page.all("script") == []
    assert not [key for _, attributes in page.elements for key in attributes if key[:2] == "on"]


def test_stands_alone(folder: Path) -> None:
    page = _page(folder, _run())
    _assert_loads_nothing(page)
    (style,) = [text for text in (folder / "report.html").read_text().split("</style>")[:1]]
    assert "url(" not in style
    assert "@import" not in style
    policy = next(a["content"] for a in page.all("meta") if "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_values_are_those_of_the_run(folder: Path) -> None:
    run = _run()
    page = _page(folder, run)
    values = [float(a["value"] or "nan") for a in page.all("data") if a["value"] != "None"]
    single = values[-2 * len(run["results"]) :]
    expected = [row[key] for row in run["results"] for key in ("accuracy", "balanced_accuracy")]
    assert single == expected
    accuracies = [row["accuracy"] for row in run["results"]]
    means = [statistics.fmean(accuracies[:2]), statistics.fmean(accuracies[2:4])]
    assert values[0] == means[0]
    assert values[3] == means[1]
    gained = 100 * (means[1] - means[0])
    assert values[4] == pytest.approx(gained)
    assert f"64.6 % ± {100 * statistics.stdev(accuracies[2:4]):.1f} +{gained:.1f}" in page.words
    for words in (
        "3 methods (source_only, socket, oracle_labels) on scenes/rgb → scenes/depth",
        "protocol demo, 2 seeds.",
        "2 min 10 s",
        "2026-11-20 10:12:03 UTC",
        "2 cores cpu, float32: no GPU",
        "entropy 0.4321",
        "socket.weights.pairing 0.5",
        "resume yes",
        "torch 2.15.0",
        "prepare ✓ done 31.2 s",
        "socketlab run demo --seed 0",
        "oracle_labels (upper reference) 90.0 % +48.8 41.2 %",  # of its own seed, not the mean
        "Largest gain over source_only socket +22.5 points",
    ):
        assert words in page.words


def test_a_seed_without_source_only_is_held_against_its_mean(folder: Path) -> None:
    rows = [
        _result("source_only", 0, 0.4),
        _result("source_only", 1, 0.5),
        _result("tent", 7, 0.6),
        _result("tent", 7, 0.9, target="scenes/nir"),
    ]
    page = _page(folder, _run(results=rows))
    assert "tent 60.0 % +15.0 45.0 %" in page.words
    assert "tent 90.0 % \N{EN DASH} \N{EN DASH}" in page.words, "another target is no reference"


def test_what_a_method_costs_and_that_it_collapsed(folder: Path) -> None:
    note = "answers fall on 2 of 6 classes"
    costs = {"seconds": 40.0, "peak_memory": 900.0}
    rows = [
        _result("tent", 0, 0.2, note=note, **costs),
        _result("tent", 1, 0.4, note="", seconds=60.0, peak_memory=1100.0),
        _result("tent", 2, 0.3, note=note, seconds=50.0, peak_memory=1000.0),
        _result("shot", 0, 0.2, note=""),
    ]
    page = _page(folder, _run(results=rows))
    assert f"tent Collapsed: {note} (seeds 0, 2) 30.0 % ± 10.0" in page.words
    assert "28.3 % 50.0 s 1000 MiB 3 1200" in page.words
    assert "18.3 % \N{EN DASH} \N{EN DASH} 1 1200" in page.words, "not known"
    assert page.words.count("Collapsed: answers") == 1


def test_chosen_epochs_stand_apart_from_the_last(folder: Path) -> None:
    rows = [
        _result("source_only", 0, 0.4),
        _result("socket", 0, 0.6, epoch=6, mixing=[0.75, 0.25]),
        _result("socket", 0, 0.65, chosen_by="nuclear_norm", epoch=3),
        _result("socket", 0, 0.7, chosen_by="oracle", epoch=4, note="collapsed, they say"),
    ]
    page = _page(folder, _run(results=rows))
    first, second = page.words.partition("Every result")[0].split("If another epoch is chosen")
    assert first.count("socket 60.0 % +20.0") == 1
    assert "65.0 %" not in first
    assert "70.0 %" not in first
    assert "socket nuclear_norm 65.0 % +25.0 63.3 % 1" in second
    assert "socket (upper reference) oracle 70.0 % +30.0 68.3 % 1" in second
    assert "60.0 %" not in second
    assert "Largest gain over source_only socket +20.0 points" in page.words
    assert "nuclear_norm (epoch 3)" in page.words
    assert "mixed 0.75, 0.25" in page.words
    assert "If another epoch" not in _page(folder, _run()).words


def test_what_was_steered_by_hand_stands_apart(folder: Path) -> None:
    rows = [
        _result("source_only", 0, 0.4),
        _result("socket", 0, 0.6, steered=0),
        _result("socket", 1, 0.7, steered=2),
        _result("socket", 2, 0.8, steered=1),
        _result("socket", 1, 0.75, steered=2, chosen_by="oracle"),
    ]
    changes = {"socket-1": [{"step": 30, "name": "weight/pairs", "value": 0.5}], "odd": 3}
    page = _page(folder, _run(results=rows, changes=changes))
    by_hand = "socket (steered) By hand: 2 changes (seed 1), 1 change (seed 2) 75.0 % ± 7.1"
    assert by_hand in page.words
    assert "socket 60.0 % +20.0" in page.words
    assert "socket (steered) (upper reference) oracle 75.0 %" in page.words
    assert "socket (steered) scenes/rgb" in page.words.partition("Every result")[2]
    assert "socket-1 weight/pairs 30 0.5" in page.words
    assert "Steered: somebody changed" in page.words
    plain = _page(folder, _run()).words.replace(str(folder), "")
    assert "teered" not in plain and "Changed while" not in plain


@pytest.mark.parametrize("status", ["running", "failed", "stopped", "", None, "Done"])
def test_what_is_not_done_is_shown_as_not_done(folder: Path, status: str | None) -> None:
    page = _page(folder, _run(status=status, reason="out of memory"))
    assert "This run is not done" in page.words
    assert "out of memory" in page.words
    assert [a for _, a in page.elements if a.get("role") == "alert"]


def test_what_failed_where_and_how_often_it_was_tried(folder: Path) -> None:
    attempt = {"began": "2026-11-20T10:12:03+00:00", "host": "node-1", "pid": 7, "notebook": "05"}
    run = _run(
        status="failed",
        reason="see below",
        notebooks={"05_transfer": {"status": "failed", "reason": "no memory"}},
        stages={"a": {"status": "stopped", "reason": "by hand"}, "b": {"status": "done"}},
        tries=[attempt | {"ended": "DeadKernel"}, attempt | {"ended": ""}, 3],
        packages={"torch": "2.15.0", "odd": None},
    )
    page = _page(folder, run)
    assert "what it had by then. 05_transfer: failed. no memory a: stopped. by hand" in page.words
    where = "2026-11-20 10:12:03 UTC node-1, process 7 05"
    assert f"1 {where} DeadKernel 2 {where} it did not say" in page.words
    assert "Every installed package (2) torch 2.15.0 odd" in page.words
    assert f"socketlab repeat {folder}" in page.words
    plain = _page(folder, _run()).words
    assert "Attempts" not in plain and "Every installed package" not in plain


def test_what_is_done_has_no_banner(folder: Path) -> None:
    page = _page(folder, _run())
    assert "not done" not in page.words
    assert not [a for _, a in page.elements if a.get("role") == "alert"]


def test_pictures_are_inside_with_words_for_who_cannot_see_them(folder: Path) -> None:
    (image,) = _page(folder, _run()).all("img")
    assert image["alt"] == "The map. Before and after."
    assert base64.b64decode((image["src"] or "").removeprefix("data:image/png;base64,")) == PNG


def test_unlisted_missing_and_wrong_pictures_are_named(folder: Path, tmp_path: Path) -> None:
    (folder / "figures" / "extra.png").write_bytes(PNG)
    (folder / "figures" / "text.png").write_text("no picture")
    secret = tmp_path / "secret.png"
    secret.write_bytes(PNG)
    names = ["figures/gone.png", "text.png", "../secret.png", str(secret), "a\0b", "x" * 5000]
    page = _page(folder, _run(figures=[{"file": name, "title": "T"} for name in names]))
    assert [image["alt"] for image in page.all("img")] == ["extra", "map"]
    assert "figures/gone.png is missing" in page.words
    assert "text.png is not a PNG picture" in page.words
    assert page.words.count("is no file of this run's folder") >= 3
    assert "Not listed in run.json" in page.words


def _poison(value: Any) -> Any:
    if isinstance(value, dict):
        return {f"{key}{HOSTILE}": _poison(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_poison(part) for part in value]
    return f"{value}{HOSTILE}" if isinstance(value, str) else value


def test_hostile_text_stays_text(folder: Path) -> None:
    run = _run(reason="r")
    inner = {"configuration", "versions", "stages"}
    poisoned = {key: _poison(value) if key in inner else value for key, value in run.items()}
    for key in ("name", "status", "reason", "created", "command"):
        poisoned[key] = run[key] + HOSTILE
    poisoned["device"] = {key: value + HOSTILE for key, value in run["device"].items()}
    poisoned["figures"] = [{key: value + HOSTILE for key, value in run["figures"][0].items()}]
    poisoned["results"] = [
        {key: value + HOSTILE if isinstance(value, str) else value for key, value in row.items()}
        for row in run["results"]
    ]
    page = _page(folder, poisoned)
    _assert_loads_nothing(page)
    assert [image["alt"] for image in page.all("img")] == ["map"], "the unlisted picture only"
    assert page.words.count("<script>alert(1)</script>") >= 40


def test_a_bare_or_odd_record_still_gives_a_report(folder: Path) -> None:
    assert "This run has no results yet." in _page(folder, {}).words
    odd = _run(results=[{"method": "tent", "accuracy": float("nan")}, 3], stages=None, seeds=None)
    assert "tent \N{EN DASH}" in _page(folder, odd).words
    _page(folder, _run(name="half a pair \ud800"))
    _page(folder, _run(seconds=None, device=[], figures={"a": 1}, configuration=None))


def test_the_old_report_stays_when_writing_fails(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _page(folder, _run())
    before = (folder / "report.html").read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    (folder / "run.json").write_text(json.dumps(_run(name="other")))
    with pytest.raises(OSError, match="disk full"):
        write_report(folder)
    assert (folder / "report.html").read_bytes() == before
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["figures", "report.html", "run.json"]


def test_refuses_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"run\.json"):
        write_report(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        write_report(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(ValueError, match="holds a list"):
        write_report(tmp_path)


def test_values_as_text() -> None:
    assert [duration(s) for s in (8.24, 59.96, 130.4, 3600, 11100, None, "x")] == [
        "8.2 s",
        "60.0 s",
        "2 min 10 s",
        "1 h 00 min",
        "3 h 05 min",
        "\N{EN DASH}",
        "\N{EN DASH}",
    ]
    assert [mebibytes(memory) for memory in (1234.56, 0.0, None)] == [
        "1235 MiB",
        "\N{EN DASH}",
        "\N{EN DASH}",
    ]
    assert points(-0.04) == "+0.0"
    assert points(-1.26) == "\N{MINUS SIGN}1.3"
    assert plain([1, 2.5, True, None, "a"]) == "1, 2.5, yes, \N{EN DASH}, a"
    assert flatten({"a": {"b": {"c": 1}}, "d": {}, "e": []}) == [
        ("a.b.c", "1"),
        ("d", "none"),
        ("e", "none"),
    ]
    assert moment("yesterday") == "yesterday"
