"""Reports of sweeps and of several runs, and two of them compared."""

import itertools
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from socketlab.runs.entries import Listed, Part, Record, Result, Try
from socketlab.runs.many_report import write_many_report
from socketlab.runs.many_report_against import write_comparison
from socketlab.runs.many_report_gaps import gap, reader
from socketlab.runs.many_report_rows import ANY, PARAMETER, epoch_rows, result_rows
from socketlab.runs.many_report_runs import select
from socketlab.runs.many_report_tables import Line, lines
from socketlab.runs.paired import paired_difference
from socketlab.runs.sweeps.record import Job, SweepError, SweepRecord, write_sweep

PNG = b"\x89PNG\r\n\x1a\n"
IMAGES, CLASSES = 60, 6
HOSTILE = "<script>alert(1)</script>"
SHARES = {"source": 0.9, "source_only": 0.3, "tent": 0.35, "socket": 0.6, "oracle_labels": 0.85}
DEVICE = {"name": "One GPU", "kind": "cuda", "dtype": "bfloat16"}


class Page(HTMLParser):
    """The page as words and elements; fails on tags that do not match."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        texts: list[str] = []
        self._texts = texts
        self.feed(file.read_text())
        self.close()
        assert self.open == [], f"left open: {self.open}"
        self.words = " ".join(" ".join(texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self._texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def _answers(folder: Path, stage: str, share: float, draw: Any) -> tuple[float, float]:
    truth = np.arange(IMAGES) % CLASSES
    right = draw.random(IMAGES) < share
    frame = pd.DataFrame(
        {
            "id": [f"image{k}" for k in range(IMAGES)],
            "truth": truth,
            "answer": np.where(right, truth, (truth + 1) % CLASSES),
            "confidence": 0.5,
        }
    )
    (folder / "answers").mkdir(parents=True, exist_ok=True)
    frame.to_parquet(folder / "answers" / f"{stage}.parquet", index=False)
    balanced = pd.Series(right).groupby(truth).mean().mean()
    return float(right.mean()), float(balanced)


def _write(folder: Path, record: Record) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(record.model_dump_json())


def _run(
    folder: Path,
    made: list[tuple[str, str, float, str]],
    *,
    source: str,
    target: str,
    seed: int,
    draw: Any,
    known: dict[str, tuple[Path, Result]],
    **record: Any,
) -> None:
    """A run whose stages are (method, fingerprint, share of right answers, stage's name)."""
    results, stages = [], {}
    for method, fingerprint, share, stage in made:
        if fingerprint in known:
            where, row = known[fingerprint]
            file = f"answers/{stage}.parquet"
            (folder / "answers").mkdir(exist_ok=True)
            (folder / file).write_bytes((where / file).read_bytes())
            stages[stage] = Part(status="done", fingerprint=fingerprint, taken_from=where.name)
            results.append(row)
            continue
        accuracy, balanced = _answers(folder, stage, share, draw)
        row = Result(
            method=method,
            protocol="held_out",
            source=source,
            target=source if method == "source" else target,
            seed=seed,
            accuracy=accuracy,
            balanced_accuracy=balanced,
            chosen_by="last",
            n=IMAGES,
            stage=stage,
            epoch=5,
            scores={"entropy": 0.4},
            seconds=40.0,
            peak_memory=900.0,
            expected_memory=1000.0,
            parameters=1000,
        )
        known[fingerprint] = folder, row
        stages[stage] = Part(status="done", fingerprint=fingerprint)
        results.append(row)
        if method == "socket":
            for by, epoch in (("nuclear_norm", 3), ("oracle", 4)):
                values = {"chosen_by": by, "epoch": epoch, "accuracy": epoch / 10}
                results.append(row.model_copy(update=values))
    _write(
        folder,
        Record(
            name=folder.name,
            created="",
            seconds=50.0,
            device=DEVICE,
            stages=stages,
            results=results,
            **{"status": "done", "versions": {"torch": "2.15.0"}, **record},
        ),
    )


def _make_sweep(
    folder: Path,
    *,
    sources: tuple[str, ...] = ("a/rgb", "b/rgb"),
    weights: tuple[float, ...] = (0.1, 0.5),
    draws: int = 0,
) -> None:
    """2 x 2 sensors, 2 seeds, tent and socket with several weights; sources made before."""
    draw = np.random.default_rng(draws)
    known: dict[str, tuple[Path, Result]] = {}
    jobs = []
    for source, seed in itertools.product(sources, (0, 1)):
        name = f"source-{source.replace('/', '.')}-seed{seed}"
        place: dict[str, Any] = {"source": source, "seed": seed, "draw": draw, "known": known}
        made = [("source", name, SHARES["source"], name)]
        configuration: dict[str, dict[str, Any]] = {
            "02_train_source": {"data": "scenes", "backbone": "resnet_small"}
        }
        _run(folder / name, made, target=source, configuration=configuration, **place)
        jobs.append(Job(name=name, kind="source", steps=[]))
        ways: list[tuple[str, float | None]] = [("tent", None), ("oracle_labels", None)]
        ways += [("socket", weight) for weight in weights]
        for target, (method, weight) in itertools.product(("a/depth", "b/depth"), ways):
            point: dict[str, Any] = {
                "source": source,
                "target": target,
                "method": method,
                "seed": seed,
            }
            options: dict[str, Any] = {"socket": {"epochs": 6}} if method == "socket" else {}
            if weight is not None:
                point |= {"options.socket.pair_weight": weight}
                options["socket"] |= {"pair_weight": weight}
            run = f"{source[0]}-{target[0]}-{method}-{weight}-{seed}"
            jobs.append(Job(name=run, steps=[], after=[name], point=point))
            rest = f"-to-{target.replace('/', '.')}-held_out-seed{seed}"
            made = [
                ("source", name, 0.0, name),
                ("source_only", f"{source}{rest}", SHARES["source_only"], f"source_only{rest}"),
                (method, f"{method}{weight}{source}{rest}", SHARES[method], f"{method}{rest}"),
            ]
            configuration = {
                "05_transfer": {
                    "data": "scenes",
                    "method": method,
                    "backbone": "resnet_small",
                    "options": options,
                }
            }
            figures = [Listed(file="figures/c.png", title="Curve", caption="", notebook="05")]
            (folder / run / "figures").mkdir(parents=True)
            (folder / run / "figures" / "c.png").write_bytes(PNG)
            _run(
                folder / run,
                made,
                target=target,
                configuration=configuration,
                figures=figures,
                **place,
            )
    record = SweepRecord(
        name=folder.name,
        created="",
        command="socketlab sweep night.yaml",
        engine="ray",
        file={"sweep": folder.name, "grid": {"seed": [0, 1]}},
        jobs=jobs,
    )
    write_sweep(folder, record)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only looked at."""
    folder = tmp_path_factory.mktemp("runs") / "night"
    _make_sweep(folder)
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """One source and weight; a test may change it."""
    folder = tmp_path / "small"
    _make_sweep(folder, sources=("a/rgb",), weights=(0.1,))
    return folder


@pytest.fixture(scope="module")
def report(sweep: Path) -> Path:
    """Its report."""
    return write_many_report([sweep])


@pytest.fixture(scope="module")
def found(sweep: Path) -> list[Line]:
    """Its lines."""
    return _lines(sweep)


def _lines(folder: Path) -> list[Line]:
    return lines(result_rows(select([folder]), folder), reader(folder))


def test_a_stage_that_several_runs_share_counts_once(sweep: Path) -> None:
    rows = result_rows(select([sweep]), sweep)
    counted = rows[rows["counted"].astype(bool)]
    floors = counted[counted["method"] == "source_only"]
    assert len(floors) == 8 and not floors.duplicated(["source", "target", "seed"]).any()
    assert len(rows[rows["method"] == "source_only"]) == 32
    assert len(counted[counted["method"] == "source"]) == 4
    assert len(counted[(counted["method"] == "socket") & (counted["chosen_by"] == "last")]) == 16


def test_what_differs_keeps_lines_apart_where_it_matters(found: list[Line]) -> None:
    one = [line for line in found if line.case.source == "a/rgb" and line.case.target == "b/depth"]
    assert [line.variant for line in one if line.method == "socket"] == [
        f"pair_weight {weight}"
        for weight in sorted(
            (0.1, 0.5),
            key=lambda w: next(
                -(line.balanced_accuracy or 0) for line in one if line.variant.endswith(str(w))
            ),
        )
    ]
    assert {line.label for line in one if line.method != "socket"} == {
        "tent",
        "source_only",
        "oracle_labels",
    }
    assert all(line.seeds == (0, 1) for line in one)
    for line in one:
        scores = [row["accuracy"] for row in line.rows]
        assert line.deviation == pytest.approx(np.std(scores, ddof=1))
    assert one[-1].is_reference and one[-2].upper_reference


def test_the_difference_is_that_of_the_paired_bootstrap(sweep: Path, found: list[Line]) -> None:
    line = next(x for x in found if x.method == "tent" and x.case.target == "b/depth")
    assert line.case.source == "a/rgb"
    stage = "{}-to-b.depth-held_out-seed{}.parquet"
    sides = [
        {
            seed: pd.read_parquet(
                sweep / f"a-b-tent-None-{seed}" / "answers" / stage.format(method, seed)
            )
            for seed in (0, 1)
        }
        for method in ("tent", "source_only")
    ]
    assert line.gap is not None
    assert line.gap.interval == paired_difference(*sides)
    assert line.chosen == () and line.best is None
    socket = next(x for x in found if x.method == "socket")
    assert socket.chosen == (("nuclear_norm", 0.3, "3, 3"),) and socket.best == 0.4


def test_other_parameters_are_held_against_their_own_source_only(tmp_path: Path) -> None:
    draw, known = np.random.default_rng(0), dict[str, tuple[Path, Result]]()
    for backbone, share in (("resnet_small", 0.2), ("resnet18", 0.7)):
        rest = "-to-a.depth-held_out-seed0"
        made = [
            (method, method + backbone, value, f"{method}{rest}")
            for method, value in (("source_only", share), ("tent", share + 0.1))
        ]
        _run(
            tmp_path / backbone,
            made,
            source="a/rgb",
            target="a/depth",
            seed=0,
            draw=draw,
            known=known,
            configuration={"05_transfer": {"data": "scenes", "backbone": backbone}},
        )
    selection = select([tmp_path / "resnet_small", tmp_path / "resnet18"])
    assert selection.differing == ("backbone",)
    rows = result_rows(selection, tmp_path)
    found = lines(rows, reader(tmp_path))
    assert sorted(line.label for line in found if line.method == "tent") == [
        "tent (backbone resnet18)",
        "tent (backbone resnet_small)",
    ]
    for line in found:
        if line.method == "tent":
            (floor,) = (x for x in found if x.is_reference and x.varied == line.varied)
            assert line.gap is not None
            expected = 100 * ((line.balanced_accuracy or 0) - (floor.balanced_accuracy or 0))
            assert line.gap.points == pytest.approx(expected)
    any_backbone = {f"{PARAMETER}backbone": ANY, "balanced_accuracy": 0.0}
    vague = rows[rows["method"] == "source_only"].head(1).assign(**any_backbone)
    held = lines(pd.concat([rows, vague], ignore_index=True), reader(tmp_path))
    assert {x.label: x.gap for x in held if x.method == "tent"} == {
        x.label: x.gap for x in found if x.method == "tent"
    }
    page = Page(write_many_report([tmp_path / "resnet_small", tmp_path / "resnet18"]))
    assert "backbone resnet18" in page.words
    assert (tmp_path / "report.parquet").is_file()


def test_what_makes_no_difference_to_a_stage_is_not_said_of_it(small: Path) -> None:
    for number, file in enumerate(sorted(small.glob("a-a-*-0/run.json"))):
        record = Record.model_validate_json(file.read_bytes())
        record.configuration["05_transfer"]["choose_by"] = f"score{number}"
        _write(file.parent, record)
    labels = {line.label for line in _lines(small) if line.case.target == "a/depth"}
    floors = {label for label in labels if label.startswith("source_only")}
    assert floors == {"source_only"}, "made once, whatever chose the epochs of others"
    assert any(label.startswith("tent (choose_by score") for label in labels)


def test_trainings_of_one_run_are_held_against_each_other(sweep: Path) -> None:
    row = {"run": "r", "seed": 0, "balanced_accuracy": 0.5, "answers": ""}
    file = "a-b-{0}-1/answers/{1}-to-b.depth-held_out-seed1.parquet"
    first = row | {"answers": file.format("tent-None", "tent")}
    own = row | {"answers": file.format("tent-None", "source_only")}
    other = row | {"run": "x", "answers": file.format("oracle_labels-None", "oracle_labels")}
    read = reader(sweep)
    expected = gap([first], [own], read)
    assert expected != gap([first], [other], read)
    assert gap([first], [own, other], read) == gap([first], [other, own], read) == expected


def test_a_translator_s_options_matter_to_what_sees_through_it(tmp_path: Path) -> None:
    draw, known = np.random.default_rng(0), dict[str, tuple[Path, Result]]()
    folders = [tmp_path / str(epochs) for epochs in (2, 3)]
    for folder in folders:
        options = {"translated": {"epochs": int(folder.name)}}
        made = [(m, m + folder.name, 0.5, m) for m in ("source_only", "tent", "tgkt")]
        place: dict[str, Any] = {"source": "a/rgb", "target": "a/depth", "seed": 0}
        given = {"05_transfer": {"data": "scenes", "options": options}}
        _run(folder, made, **place, draw=draw, known=known, configuration=given)
    selection = select(folders)
    rows = result_rows(selection, tmp_path)
    values = rows.groupby("method")[f"{PARAMETER}options.translated.epochs"].agg(list)
    assert values["tgkt"] == ["2", "3"]
    assert values["source_only"] == [ANY, ANY]


def test_without_an_accuracy_there_is_no_difference() -> None:
    def trainings(*values: float | None) -> list[dict[str, Any]]:
        about = {"run": "r", "answers": ""}
        return [{"seed": k, "balanced_accuracy": v} | about for k, v in enumerate(values)]

    def never(_file: str) -> pd.DataFrame:
        raise AssertionError("there are none")

    known = gap(trainings(0.5, 0.7), trainings(0.3, 0.3), never)
    assert known is not None and known.points == pytest.approx(30)
    assert gap(trainings(0.5, None), trainings(0.3, 0.3), never) is None
    assert gap(trainings(0.5, 0.7), trainings(None, None), never) is None


def test_without_the_answers_there_is_a_difference_and_no_interval(sweep: Path) -> None:
    row = {"run": "r", "seed": 0, "balanced_accuracy": 0.5, "answers": ""}
    other = row | {"balanced_accuracy": 0.4}
    found = gap([row], [other], reader(sweep))
    assert found is not None and found.interval is None
    assert (round(found.points, 9), found.problem) == (10.0, "answers are not kept")
    found = gap([row], [other | {"seed": 3}], reader(sweep))
    assert found is not None and found.problem == "no common seed"
    assert gap([row | {"balanced_accuracy": float("nan")}], [other], reader(sweep)) is None


def test_the_page_stands_alone_and_says_it_all(report: Path, sweep: Path) -> None:
    page = Page(report)
    assert report == sweep / "report.html"
    assert page.all("script") == []
    policy = next(a["content"] or "" for a in page.all("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    assert all((image["src"] or "").startswith("data:image/png") for image in page.all("img"))
    assert all(len(image["alt"] or "") > 30 for image in page.all("img"))
    addresses = [a["href"] or "" for a in page.all("a")]
    assert {address[0] for address in addresses} == {"#", "."}
    assert all((sweep / a).is_file() for a in addresses if a[0] == ".")
    anchors = {a["id"] for _, a in page.elements if "id" in a}
    assert {a[1:] for a in addresses if a[0] == "#"} <= anchors
    for words in (
        "night ✓ all done",
        "A sweep of 32 runs and 4 that they need",
        "executed by ray",
        "a/rgb → b/depth, protocol held_out 60 images",
        "oracle_labels (upper reference)",
        "epochs 3, 3 best by labels 40.0 %",
        "Sensor by sensor: from RGB to depth, 2 x 2",
        "What an accuracy costs",
        "Adapt on the train split of the target domain",
        "socketlab sweep night.yaml",
        f"socketlab repeat {sweep}/a-a-tent-None-0",
        "sweep: night grid: seed: - 0 - 1",
        "torch 2.15.0",
        "report.epochs.parquet",
    ):
        assert words in page.words, words
    assert "went wrong" not in page.words


def test_what_failed_and_why_and_what_was_continued(small: Path) -> None:
    names = [job.name for job in select([small]).sweep.jobs if job.kind == "run"]  # type: ignore[union-attr]
    reason = f"out of memory {HOSTILE}"
    attempt = Try(began="", host="node-1", pid=1, notebook="05_transfer", ended="DeadKernel")
    for name in names[:2]:
        _write(small / name, Record(name=name, created="", status="failed", reason=reason))
    (small / names[2] / "run.json").unlink()
    (small / names[3] / "run.json").write_text("{")
    file = small / names[4] / "run.json"
    record = Record.model_validate_json(file.read_bytes())
    record.tries = [attempt, attempt.model_copy(update={"ended": "done", "host": "node-2"})]
    record.versions = {"torch": "2.14.0"}
    record.packages = {"torch": "2.14.0", "odd": HOSTILE}
    _write(small / names[4], record)
    page = Page(write_many_report([small]))
    assert page.all("script") == []
    assert f"failed {reason} {names[0]}, {names[1]}" in page.words
    assert "! damaged run.json cannot be read" in page.words
    assert "3 of 14 runs went wrong" in page.words
    assert "1 waiting" in page.words
    assert f"{names[4]} 2 attempts; before: DeadKernel" in page.words
    assert "2.15.0 (9), 2.14.0 (1) differs between runs" in page.words


def test_every_row_and_every_epoch_lies_beside_it(report: Path, sweep: Path) -> None:
    rows = pd.read_parquet(report.with_suffix(".parquet"))
    record = Record.model_validate_json((sweep / "a-b-socket-0.5-1" / "run.json").read_bytes())
    mine = rows[rows["run"] == "a-b-socket-0.5-1"]
    assert list(mine["accuracy"]) == [row.accuracy for row in record.results]
    assert set(mine["parameter/options.socket.pair_weight"]) == {"", "0.5"}
    first = mine.iloc[-1]
    expected = {"device": "One GPU", "run_status": "done", "score/entropy": 0.4, "seconds": 40.0}
    expected |= {"expected_memory": 1000.0, "peak_memory": 900.0, "data": "scenes"}
    assert {name: first[name] for name in expected} == expected
    assert (sweep / first["answers"]).is_file()
    assert not any(name.startswith("/") for name in rows["answers"])
    epochs = pd.read_parquet(report.with_suffix(".epochs.parquet"))
    assert list(epochs.columns) == ["run", "stage", "epoch", "step", "name", "value"]


def test_epochs_of_all_runs_are_put_together(small: Path) -> None:
    numbers = pd.DataFrame(
        {"stage": ["s"], "epoch": [1], "step": [9], "name": ["accuracy"], "value": [0.5]}
    )
    runs = sorted(file.parent for file in small.glob("*/run.json"))[:3]
    for run in runs[:2]:
        numbers.to_parquet(run / "metrics.parquet")
    (runs[2] / "metrics.parquet").write_text("half a file")
    found = epoch_rows(select([small]))
    assert sorted(found["run"]) == [run.name for run in runs[:2]]
    assert list(found["value"]) == [0.5, 0.5]


def test_a_stage_that_is_not_done_is_in_no_table(small: Path) -> None:
    file = small / "a-a-tent-None-0" / "run.json"
    record = Record.model_validate_json(file.read_bytes())
    record.stages["tent-to-a.depth-held_out-seed0"].status = "failed"
    _write(file.parent, record)
    line = next(x for x in _lines(small) if x.method == "tent" and x.case.target == "a/depth")
    assert line.seeds == (1,)


def test_one_run_has_the_report_of_a_run(small: Path, tmp_path: Path) -> None:
    run = small / "a-a-tent-None-0"
    page = Page(write_many_report([run], tmp_path / "one" / "page.html"))
    assert "Every result" in page.words
    assert f"socketlab repeat {run}" in page.words
    assert (tmp_path / "one" / "page.parquet").is_file()
    assert not (run / "report.html").exists()


def test_the_same_sweep_again_is_equal_on_every_image(sweep: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    _make_sweep(again)
    page = Page(write_comparison([sweep], [again], tmp_path / "c.html"))
    assert "Equal on every image 20" in page.words
    assert "Better in night 0 Better in again 0" in page.words
    assert "What only one has" not in page.words
    assert "Nothing: the same parameters" in page.words


def test_two_sweeps_are_compared_pairwise(sweep: Path, found: list[Line], tmp_path: Path) -> None:
    other = tmp_path / "other"
    _make_sweep(other, weights=(0.5,), draws=7)
    for file in other.glob("*/run.json"):
        record = Record.model_validate_json(file.read_bytes())
        record.versions = {"torch": "2.14.0"}
        for given in record.configuration.values():
            given["backbone"] = "resnet18"
        _write(file.parent, record)
    page = Page(write_comparison([sweep], [other], tmp_path / "c.html"))
    assert "Only in night socket (pair_weight 0.1), a/rgb → a/depth" in page.words
    assert "torch 2.15.0 2.14.0" in page.words
    assert "backbone resnet_small resnet18" in page.words
    (mine,), (theirs,) = (
        [
            line
            for line in side
            if line.case.target == "b/depth"
            and line.case.source == "a/rgb"
            and line.method == "socket"
            and line.variant in ("", "pair_weight 0.5")
        ]
        for side in (found, _lines(other))
    )
    points = 100 * ((mine.balanced_accuracy or 0) - (theirs.balanced_accuracy or 0))
    values = [float(a["value"] or "nan") for a in page.all("data") if a["value"] != "None"]
    assert any(value == pytest.approx(points) for value in values)


def test_rows_alone_are_enough_to_compare(report: Path, sweep: Path, tmp_path: Path) -> None:
    rows = report.with_suffix(".parquet")
    assert "Equal on every image 20" in Page(write_comparison([sweep], [rows])).words
    moved = tmp_path / "moved.parquet"
    moved.write_bytes(rows.read_bytes())
    page = Page(write_comparison([moved], [sweep]))
    assert "not paired" in page.words
    assert "says nothing of parameters" in page.words
    (tmp_path / "odd.parquet").write_text("x")
    with pytest.raises(ValueError, match="cannot be read"):
        write_comparison([tmp_path / "odd.parquet"], [sweep])
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "odd.parquet")
    with pytest.raises(ValueError, match="no column 'data'"):
        write_comparison([tmp_path / "odd.parquet"], [sweep])


def test_refuses_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No run is named"):
        write_many_report([])
    with pytest.raises(ValueError, match="nothing_here"):
        write_many_report([tmp_path / "nothing_here"])
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(SweepError, match="no record of a sweep"):
        write_many_report([tmp_path])


def test_a_sweep_that_has_not_begun_has_a_report(tmp_path: Path) -> None:
    write_sweep(tmp_path, SweepRecord(name="n", created="", jobs=[Job(name="x", steps=[])]))
    page = Page(write_many_report([tmp_path]))
    assert "No run has results yet." in page.words
    assert re.search(r"0 of 1 done", page.words)
