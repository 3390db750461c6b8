"""What a night on a server can do to one run: afterwards the numbers are the undisturbed ones.

Real processes, signals and file systems. `make test-faults` runs it, in some minutes.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import yaml

pytestmark = pytest.mark.faults

STAGE = "source-a.rgb-seed0"
PART = "02_train_source"
PREEMPTED = "SIGTERM: preempted; run again to go on"
SMALL = 64 * 2**20  # bytes of a disk that is soon full
Record = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """A parameter file, and where its runs are."""

    root: Path
    parameters: Path
    runs: Path

    def start(self, run: str, *words: str, **variables: str) -> "subprocess.Popen[str]":
        """`socketlab run 02` in a process group of its own."""
        program = [sys.executable, "-m", "socketlab.cli", "run", PART]
        return subprocess.Popen(
            [*program, "--params", str(self.parameters), "--run", run, *words],
            cwd=self.root,
            env=os.environ | {"COLUMNS": "200"} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, run: str, *words: str, **variables: str) -> str:
        """Run it to its end; what it printed."""
        process = self.start(run, *words, **variables)
        out, error = process.communicate(timeout=600)
        assert process.returncode == 0, out + error
        return out

    def record(self, run: str) -> Record:
        """`run.json`."""
        found: Record = json.loads((self.runs / run / "run.json").read_text())
        return found

    def model(self, run: str) -> bytes:
        """What was learnt."""
        return (self.runs / run / "models" / f"{STAGE}.safetensors").read_bytes()

    def numbers(self, run: str) -> bytes:
        """The numbers of every epoch."""
        return (self.runs / run / "metrics.parquet").read_bytes()

    def same(self, run: str, other: str) -> None:
        """Both have learnt the same, and say so; neither has anything half-written."""
        assert self.model(run) == self.model(other)
        assert self.numbers(run) == self.numbers(other)
        assert self.record(run)["status"] == "done"
        assert not list((self.runs / run).rglob("*partial*"))
        assert not list((self.runs / run / "state").glob("*.pt*"))


@pytest.fixture(scope="module")
def place(
    root: Path, tiny_scenes: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Place:
    folder = tmp_path_factory.mktemp("faults")
    values = {
        "data": str(tiny_scenes),
        "size": 32,
        "data_dir": str(tiny_data),
        "runs_dir": str(folder / "runs"),
        "device": "cpu",
        "dtype": "float32",
        "source_options": {"epochs": 12, "batch_size": 2},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(values))
    return Place(root, folder / "tiny.yaml", folder / "runs")


@pytest.fixture(scope="module")
def undisturbed(place: Place) -> str:
    """The name of a run that nothing has happened to."""
    place.finish("whole")
    place.same("whole", "whole")
    return "whole"


def wait_until(condition: Callable[[], Any], process: "subprocess.Popen[str]") -> Any:
    until = time.monotonic() + 300
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("waited for five minutes")


def training(place: Place, run: str, *words: str, **variables: str) -> "subprocess.Popen[str]":
    """A run that has trained an epoch, and is at work on the next."""
    process = place.start(run, *words, **variables)
    wait_until(lambda: list((place.runs / run / "state").glob("*.pt")), process)
    return process


def kernel_of(process: "subprocess.Popen[str]") -> int:
    children = psutil.Process(process.pid).children(recursive=True)
    (kernel,) = (one for one in children if "ipykernel_launcher" in " ".join(one.cmdline()))
    number: int = kernel.pid
    return number


@pytest.mark.parametrize("whom", ["the command", "the kernel", "both"])
def test_sigterm_saves_and_ends_and_the_next_start_goes_on(
    place: Place, undisturbed: str, whom: str
) -> None:
    run = f"preempted-{whom.split()[-1]}"
    process = training(place, run)
    kernel = kernel_of(process)
    if whom != "the kernel":
        os.kill(process.pid, signal.SIGTERM)
    if whom != "the command":
        os.kill(kernel, signal.SIGTERM)
    out, error = process.communicate(timeout=60)
    assert process.returncode == (1 if whom == "the kernel" else 143), out + error
    assert not psutil.pid_exists(kernel)
    found = place.record(run)
    assert (found["status"], found["reason"]) == ("stopped", PREEMPTED)
    assert found["stages"][STAGE]["status"] == found["notebooks"][PART]["status"] == "stopped"
    assert found["tries"][-1]["ended"] == PREEMPTED
    within = list((place.runs / run / "state").glob("*.within"))
    print("within an epoch" if within else "at the end of an epoch")

    assert "epoch 1/12" not in place.finish(run)
    place.same(run, undisturbed)
    assert len(place.record(run)["tries"]) == 2


def test_a_run_started_twice_is_trained_once(place: Place, undisturbed: str) -> None:
    processes = [place.start("twice"), place.start("twice")]
    said = []
    for process in processes:
        out, error = process.communicate(timeout=600)
        assert process.returncode == 0, out + error
        said.append(out)
    waited = [out for out in said if "Another process is running twice; waiting for it" in out]
    (trained,) = (out for out in said if "epoch 12/12" in out)
    assert len(waited) == 1 and trained not in waited and f"{PART}: done" in waited[0]
    place.same("twice", undisturbed)
    assert len(place.record("twice")["tries"]) == 1


def test_a_damaged_state_costs_an_epoch(place: Place, undisturbed: str) -> None:
    """Of the ways to damage one, tests/training/test_state.py has more."""
    process = place.start("damaged")
    state = place.runs / "damaged" / "state"
    wait_until(lambda: list(state.glob("*.pt.previous")), process)
    os.kill(kernel_of(process), signal.SIGKILL)
    process.communicate(timeout=60)
    found = place.record("damaged")
    assert found["status"] == "failed" and "SIGKILL" in found["reason"]
    (file,) = state.glob("*.pt")
    file.write_bytes(bytes(file.stat().st_size))
    assert "epoch 1/12" not in place.finish("damaged")
    place.same("damaged", undisturbed)


def test_a_damaged_model_is_made_again(place: Place, undisturbed: str) -> None:
    shutil.copytree(place.runs / undisturbed, place.runs / "model")
    file = place.runs / "model" / "models" / f"{STAGE}.safetensors"
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    assert "epoch 12/12" in place.finish("model", "--again")
    place.same("model", undisturbed)


CLOCK = """
import time
_true, _calls = time.time, [0]
def _jumping():
    _calls[0] += 1
    return _true() + (_calls[0] % 3 - 1) * 86400
time.time = _jumping
time.time_ns = lambda: int(_jumping() * 1e9)
"""


def test_a_clock_that_jumps_by_a_day_changes_nothing(
    place: Place, undisturbed: str, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    began = time.monotonic()
    place.finish("clock", PYTHONPATH=str(tmp_path))
    took = time.monotonic() - began
    place.same("clock", undisturbed)
    found = place.record("clock")
    for part in (found, *found["stages"].values(), *found["notebooks"].values()):
        assert 0 < part["seconds"] < took


def on_small_disk(place: Place, run: str, program: str) -> "subprocess.CompletedProcess[str]":
    """Run a shell program with a file system of `SMALL` bytes at the run's folder."""
    (place.runs / run).mkdir(parents=True)
    mounted = f'mount -t tmpfs -o size={SMALL} none "$FOLDER" && {program}'
    variables = os.environ | {"FOLDER": str(place.runs / run), "PYTHON": sys.executable}
    tried = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mounted],
        cwd=place.root,
        env=variables | {"PARAMETERS": str(place.parameters), "RUN": run, "PART": PART},
        capture_output=True,
        text=True,
        timeout=600,
    )
    if "Operation not permitted" in tried.stderr or "unshare" in tried.stderr:
        pytest.skip(f"no file system can be mounted here: {tried.stderr.strip()}")
    return tried


def test_a_full_disk_is_a_failed_run_that_says_so_and_goes_on_when_there_is_space(
    place: Place, undisturbed: str, tmp_path: Path
) -> None:
    command = '"$PYTHON" -m socketlab.cli run $PART --params "$PARAMETERS" --run $RUN'
    filled = 'dd if=/dev/zero of="$FOLDER/filler" bs=1k 2>/dev/null'
    program = (
        f'({command} & echo $! > "$KEPT/pid"; wait $!; echo $? > "$KEPT/code") & '
        'while ! ls "$FOLDER"/state/*.pt >/dev/null 2>&1; do sleep 0.02; done; '
        f'{filled}; wait; mkdir "$KEPT/full"; cp "$FOLDER/run.json" "$KEPT/full"; '
        'rm "$FOLDER/filler"; '
        f'{command} && cp -r "$FOLDER" "$KEPT/whole"'
    )
    os.environ["KEPT"] = str(tmp_path)
    try:
        tried = on_small_disk(place, "full", program)
    finally:
        del os.environ["KEPT"]
    full = tmp_path / "full"
    assert (tmp_path / "code").read_text().strip() == "1", tried.stdout + tried.stderr
    found = json.loads((full / "run.json").read_text())
    assert found["status"] == "failed"
    assert found["reason"].startswith("no space left on device: ")
    assert found["reason"].endswith("free some, then run again")
    assert found["stages"][STAGE]["status"] == "failed"
    assert tried.returncode == 0, tried.stdout + tried.stderr
    again = Place(place.root, place.parameters, tmp_path)
    assert again.model("whole") == place.model(undisturbed)
    assert again.numbers("whole") == place.numbers(undisturbed)
    assert again.record("whole")["status"] == "done"


LIMITED = """
import resource, sys
def limit(*_):
    if "socketlab.runs.experiment" in sys.modules:
        pages = int(open("/proc/self/statm").read().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + 240 * 2**20,) * 2)
get_ipython().events.register("pre_run_cell", limit)
"""


def test_out_of_memory_is_a_failed_run_that_says_what_to_do(place: Place, tmp_path: Path) -> None:
    """There is room for a kernel to speak, but not to prepare a data set of its own."""
    startup = tmp_path / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-limit.py").write_text(LIMITED)
    own = ("-p", "data_dir", str(tmp_path / "data"))
    process = place.start("memory", *own, IPYTHONDIR=str(tmp_path))
    out, error = process.communicate(timeout=300)
    assert process.returncode == 1, out + error
    found = place.record("memory")
    assert found["status"] == "failed"
    # A library of C++ that is given none ends the whole process, and nobody else can say more.
    aborted = "SIGABRT), perhaps because a library was given no memory" in found["reason"]
    assert aborted or found["reason"].startswith("out of memory"), found["reason"]
    assert aborted or "batch_size: auto or a smaller one" in found["reason"]
