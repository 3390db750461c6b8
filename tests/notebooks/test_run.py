"""Notebooks run by the command line: to the end, killed in the middle, misspelt, and failing."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import psutil  # type: ignore[import-untyped]
import pytest
from PIL import Image

from socketlab.runs import signals
from socketlab.runs.planning import plan, read_parameter_file
from socketlab.runs.running import run_all

PARTS = [
    "01_prepare_data",
    "02_train_source",
    "04_train_translator",
    "05_transfer",
    "03_modality_gap-100",
    "06_compare",
]
SOURCE = "source-a.rgb-seed0"
TRANSLATED = "translated-to-a.depth-held_out-seed0"
SOCKET = "socket-to-a.depth-held_out-seed0"
Record = dict[str, Any]
Workplace = Any  # that of conftest.py, which cannot be imported


def record(folder: Path) -> Record:
    found: Record = json.loads((folder / "run.json").read_text())
    return found


def results(found: Record) -> list[Record]:
    """All rows, without what the clock and the rest of the process decide."""
    measured = ("seconds", "peak_memory", "expected_memory")
    return [{key: row[key] for key in row if key not in measured} for row in found["results"]]


class Rows(HTMLParser):
    """The rows of a page's tables: the words of each, and the values behind its numbers."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[list[str]] = []
        self.values: list[list[str]] = []
        self.pictures = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "tr":
            self.words.append([])
            self.values.append([])
        if tag == "data" and self.values:
            self.values[-1].append(found.get("value") or "")
        if tag == "img" and (found.get("src") or "").startswith("data:image/png;base64,"):
            self.pictures += 1

    def handle_data(self, data: str) -> None:
        if self.words and data.strip():
            self.words[-1].append(data.strip())


def kernel_of(folder: Path) -> psutil.Process | None:
    number = signals.kernel_of(folder)
    return None if number is None else psutil.Process(number)


def wait_for(condition: Any, process: "subprocess.Popen[str]") -> Any:
    """Poll until `condition` gives something; fail if the process ends before."""
    until = time.monotonic() + 600  # the machine may be busy with other things
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    raise AssertionError("waited for ten minutes")


# --- (a) to the end -----------------------------------------------------------------------------


def test_all_notebooks_run_to_their_end(undisturbed: Any, workplace: Workplace) -> None:
    assert undisturbed.returncode == 0, undisturbed.stdout + undisturbed.stderr
    found = record(workplace.runs / "whole")
    assert found["status"] == "done"
    assert {name: part["status"] for name, part in found["notebooks"].items()} == dict.fromkeys(
        PARTS, "done"
    )
    assert {part["status"] for part in found["stages"].values()} == {"done"}
    assert found["seconds"] == pytest.approx(
        sum(part["seconds"] for part in found["notebooks"].values())
    )
    assert found["command"].startswith("socketlab run --params ")
    assert found["device"]["dtype"] == "float32"
    assert sorted(found["configuration"]) == sorted(PARTS)


def test_a_line_is_printed_for_each_epoch(undisturbed: Any) -> None:
    epochs = re.findall(rf"^{SOCKET}: epoch (\d)/5  accuracy", undisturbed.stdout, re.MULTILINE)
    assert epochs == ["0", "1", "2", "3", "4", "5"]
    assert "Traceback" not in undisturbed.stderr


def test_the_translator_leaves_sheets_and_a_film(undisturbed: Any, workplace: Workplace) -> None:
    """A contact sheet of each epoch kept, and an animation of as many frames, in the report."""
    folder = workplace.runs / "whole"
    kept = [0, 1, 2]
    sheets = [f"figures/04_train_translator-sheet-{epoch:03d}.png" for epoch in kept]
    listed = {row["file"]: row for row in record(folder)["figures"]}
    assert set(sheets) <= set(listed)
    film = "figures/04_train_translator-film.png"
    with Image.open(folder / film) as animation, Image.open(folder / sheets[0]) as sheet:
        assert animation.n_frames == len(kept)  # type: ignore[attr-defined]
        assert animation.size == sheet.size
    assert "as an animation" in (folder / "report.html").read_text()
    (row,) = (
        row
        for row in record(folder)["results"]
        if row["stage"] == TRANSLATED and row["chosen_by"] == "last"
    )
    assert row["measures"].keys() == {"psnr", "ssim", "discriminator_accuracy"}
    card = json.loads((folder / "models" / f"{TRANSLATED}.json").read_text())
    assert [member["translator"] for member in card["members"]] == ["residual"]
    assert "where L_D looks" in card["configuration"]["inferred"]


def test_every_figure_is_a_png(undisturbed: Any, workplace: Workplace) -> None:
    folder = workplace.runs / "whole"
    listed = [row["file"] for row in record(folder)["figures"]]
    assert sorted(listed) == sorted(f"figures/{p.name}" for p in (folder / "figures").iterdir())
    assert len(listed) == len(set(listed)) >= 3 + 2 + 4 + 4 + 2
    for file in listed:
        assert (folder / file).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert {row["notebook"] for row in record(folder)["figures"]} == set(PARTS)


def test_executed_notebooks_are_whole_and_small(undisturbed: Any, workplace: Workplace) -> None:
    files = sorted((workplace.runs / "whole" / "notebooks").iterdir())
    assert [file.name for file in files] == sorted(f"{part}.ipynb" for part in PARTS)
    for file in files:
        assert file.stat().st_size < 5_000_000
        notebook = json.loads(file.read_text())
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        assert all(cell["execution_count"] for cell in cells)
        kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
        assert "error" not in kinds
        pictures = [o for c in cells for o in c["outputs"] if "image/png" in o.get("data", {})]
        assert pictures
        assert "widgets" not in notebook["metadata"]


def test_printed_numbers_are_those_of_the_record_and_of_the_report(
    undisturbed: Any, workplace: Workplace
) -> None:
    folder = workplace.runs / "whole"
    rows = record(folder)["results"]
    assert [(row["method"], row["chosen_by"]) for row in rows] == [
        ("source", "last"),
        ("source_only", "last"),
        ("translated", "last"),
        ("translated", "information_maximisation"),
        ("translated", "oracle"),
        ("socket", "last"),
        ("socket", "information_maximisation"),
        ("socket", "oracle"),
    ]
    last = [row for row in rows if row["chosen_by"] == "last"]
    noted = any(row["note"] for row in last)
    printed = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in undisturbed.stdout.splitlines()
        if line.startswith("│")
    ]
    assert printed == [
        [
            row["method"],
            row["target"],
            row["protocol"],
            str(row["seed"]),
            f"{100 * row['accuracy']:.1f}%",
            f"{100 * row['balanced_accuracy']:.1f}%",
            str(row["n"]),
            *([row["note"]] if noted else []),
        ]
        for row in last
    ]
    page = Rows((folder / "report.html").read_text())
    shown = {tuple(values) for values in page.values}
    for row in rows:
        assert (str(row["accuracy"]), str(row["balanced_accuracy"])) in shown
        words = {f"{100 * row['accuracy']:.1f} %", f"{row['chosen_by']} (epoch {row['epoch']})"}
        assert any(line[0] == row["method"] and words <= set(line) for line in page.words if line)
    assert page.pictures == len(record(folder)["figures"])


def test_a_row_is_its_epoch_in_the_metrics(undisturbed: Any, workplace: Workplace) -> None:
    folder = workplace.runs / "whole"
    metrics = metrics_of(folder)
    table = metrics[metrics["stage"] == SOCKET].pivot(index="epoch", columns="name", values="value")
    rows = {r["chosen_by"]: r for r in record(folder)["results"] if r["stage"] == SOCKET}
    for row in rows.values():
        values = table.loc[row["epoch"]]
        assert row["accuracy"] == values["accuracy"]
        assert row["balanced_accuracy"] == values["balanced_accuracy"]
        assert row["predicted"] == [values[f"predicted/{k}"] for k in range(6)]
    trained = table.loc[1:]
    score = trained["score/information_maximisation"]  # lower is better
    assert {name: row["epoch"] for name, row in rows.items()} == {
        "last": 5,
        "information_maximisation": score.idxmin(),
        "oracle": trained["balanced_accuracy"].idxmax(),
    }


def test_the_table_of_epochs_in_the_notebook_is_that_of_the_record(
    undisturbed: Any, workplace: Workplace
) -> None:
    folder = workplace.runs / "whole"
    executed = json.loads((folder / "notebooks" / "05_transfer.ipynb").read_text())
    outputs = [output for cell in executed["cells"] for output in cell.get("outputs", [])]
    tables = [o["data"]["text/html"] for o in outputs if "text/html" in o.get("data", {})]
    (table,) = [Rows("".join(table)).words for table in tables if "chosen_by" in "".join(table)]
    rows = [row for row in record(folder)["results"] if row["stage"] == SOCKET]
    assert [line[1:3] for line in table[1:]] == [[r["chosen_by"], str(r["epoch"])] for r in rows]
    assert [float(line[4]) for line in table[1:]] == [
        round(r["balanced_accuracy"], 3) for r in rows
    ]


def test_what_is_done_is_passed_over(
    undisturbed: Any,
    workplace: Workplace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(workplace.root)
    before = record(workplace.runs / "whole")
    folders = run_all(plan([], read_parameter_file(workplace.parameters), {}))
    assert folders == [workplace.runs / "whole"]
    assert capsys.readouterr().out.splitlines() == [f"{part}: done" for part in PARTS]
    assert record(workplace.runs / "whole") == before


# --- (b) killed in the middle -------------------------------------------------------------------


@pytest.mark.faults
def test_a_run_that_was_killed_ends_with_the_same_numbers(
    undisturbed: Any, workplace: Workplace
) -> None:
    whole, killed = workplace.runs / "whole", workplace.runs / "killed"
    with_source_model_alone(whole, killed)
    process = workplace.start("05", "--run", "killed")
    wait_for(lambda: list((killed / "state").glob(f"{SOCKET}-*.pt")), process)
    kernel = kernel_of(killed)
    assert kernel is not None
    os.killpg(process.pid, signal.SIGKILL)
    os.kill(kernel.pid, signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    process.communicate()
    found = record(killed)
    assert found["status"] == "running"
    assert found["stages"][SOCKET]["status"] == "running"
    epochs = metrics_of(killed)["epoch"].max()
    assert 1 <= epochs < 5

    again = workplace.run("05", "--run", "killed")
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{SOCKET}: epoch 0/5" not in again.stdout
    assert f"{SOCKET}: epoch 1/5" not in again.stdout
    assert f"{SOCKET}: epoch 5/5" in again.stdout
    found = record(killed)
    assert found["status"] == "done"
    assert found["device"]["dtype"] == "float32"
    rows = [row for row in results(record(whole)) if row["stage"] != TRANSLATED]
    assert results(found) == rows
    wanted, have = metrics_of(whole), metrics_of(killed)
    wanted = wanted[wanted["stage"] != TRANSLATED].reset_index(drop=True)
    assert len(wanted) > 50
    pd.testing.assert_frame_equal(have, wanted, check_exact=True)
    for name in (f"{SOCKET}.safetensors", f"{SOCKET}.chosen.safetensors"):
        assert (killed / "models" / name).read_bytes() == (whole / "models" / name).read_bytes()
    wanted, have = answers_of(whole), answers_of(killed)
    pd.testing.assert_frame_equal(have, wanted, check_exact=True)


def with_source_model_alone(whole: Path, folder: Path) -> None:
    """A run in which all but the source model is still to be done."""
    (folder / "models").mkdir(parents=True)
    for file in (whole / "models").glob(f"{SOURCE}.*"):
        shutil.copy(file, folder / "models")
    found = record(whole)
    found |= {"name": "killed", "notebooks": {}, "figures": [], "configuration": {}}
    found["stages"] = {SOURCE: found["stages"][SOURCE]}
    found["results"] = [row for row in found["results"] if row["stage"] == SOURCE]
    (folder / "run.json").write_text(json.dumps(found))
    metrics = pd.read_parquet(whole / "metrics.parquet")
    metrics[metrics["stage"] == SOURCE].to_parquet(folder / "metrics.parquet", index=False)


def metrics_of(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "metrics.parquet")


def answers_of(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "answers" / f"{SOCKET}.parquet")


# --- (c) misspelt -------------------------------------------------------------------------------


def test_a_misspelt_parameter_stops_at_once_and_leaves_nothing(workplace: Workplace) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = workplace.run("05", "--run", "misspelt", "-p", "sede", "3")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 1
    assert "05_transfer has no parameter 'sede'. Did you mean 'seed'?" in done.stderr
    assert "options" in done.stderr
    assert "Traceback" not in done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
    assert not (workplace.runs / "misspelt").exists()


# --- (d) failing, (e) killed kernel -------------------------------------------------------------


def test_a_notebook_that_fails_is_a_failed_run_with_a_report(
    undisturbed: Any, workplace: Workplace
) -> None:
    done = workplace.run("05", "--run", "failing", "-p", "options.socket.epoch", "3")
    assert done.returncode == 1
    folder = workplace.runs / "failing"
    found = record(folder)
    part = found["notebooks"]["05_transfer"]
    assert found["status"] == part["status"] == "failed"
    for text in (found["reason"], part["reason"], done.stderr):
        assert "UnknownOption" in text
        assert "epoch = 3" in text
        assert "pair_weight" in text
    assert "Status: failed" in done.stdout
    page = (folder / "report.html").read_text()
    assert "failed" in page
    assert "epoch = 3" in page
    executed = json.loads((folder / "notebooks" / "05_transfer.ipynb").read_text())
    kinds = [o["output_type"] for c in executed["cells"] for o in c.get("outputs", [])]
    assert "error" in kinds


def test_a_kernel_that_is_killed_is_no_finished_notebook(
    undisturbed: Any, workplace: Workplace
) -> None:
    folder = workplace.runs / "no_kernel"
    process = workplace.start("01", "--run", "no_kernel")

    def has_begun() -> bool:
        file = folder / "run.json"
        return file.exists() and bool(record(folder)["configuration"])

    wait_for(has_begun, process)
    kernel = kernel_of(folder)
    assert kernel is not None
    os.kill(kernel.pid, signal.SIGKILL)
    out, error = process.communicate(timeout=600)
    assert process.returncode == 1, out + error
    found = record(folder)
    assert found["status"] == found["notebooks"]["01_prepare_data"]["status"] == "failed"
    assert found["reason"]
    assert found["reason"] in " ".join(error.split())
    assert (folder / "report.html").is_file()
