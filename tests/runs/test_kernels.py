"""Kernels forked from a warm process: each its own, each seen to end, none left behind."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import psutil  # type: ignore[import-untyped]
import pytest
from papermill.iorw import papermill_io

from socketlab.runs import kernels, time_limit
from socketlab.runs.kernel_engine import in_words
from socketlab.runs.notebooks import KernelDied, NotebookFailed, run_notebook
from socketlab.runs.parameters import validate
from socketlab.runs.planning import Planned, plan

Plan = Callable[..., Planned]


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Servers of this test alone, which import little."""
    monkeypatch.setattr(kernels, "PRELOADED", ("ipykernel.kernelapp", "numpy.random"))
    kernels.close_servers()
    yield
    kernels.close_servers()


@pytest.fixture
def planned(tmp_path: Path, tiny_scenes: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Makes a notebook of such cells in a project of its own."""
    for folder in ("notebooks", "data_manifests"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    # Notebooks executed at the same time leave papermill with the folder of an earlier one.
    papermill_io.get_handler("local").cwd(None)

    def make(*cells: str, part: str = "05_transfer") -> Planned:
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}},
        )
        nbformat.write(notebook, tmp_path / "notebooks" / "05_transfer.ipynb")
        values = {"data": str(tiny_scenes), "runs_dir": str(tmp_path / "runs")}
        return Planned("05_transfer", validate("05_transfer", values), part)

    return make


BEGINS = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
with open("kernel", "w") as file:
    file.write(f"{os.getpid()} {os.getppid()} {child.pid}")
os.replace("kernel", "begun")
"""
HANGS = """
import ctypes, signal
signal.alarm(100)  # should nobody end it
lock, mutex = ctypes.PyDLL(None).pthread_mutex_lock, ctypes.create_string_buffer(64)
lock(mutex), lock(mutex)  # waits for itself and holds the interpreter: no signal is heard
"""


def run(planned: Planned, **options: Any) -> str:
    """What the cells print."""
    out = io.StringIO()
    run_notebook(planned, out, **options)
    return out.getvalue()


def wait_for(condition: Callable[[], Any]) -> Any:
    until = time.monotonic() + 300  # the machine may be busy with other things
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError("waited for five minutes")


# --- each its own -------------------------------------------------------------------------------


@pytest.mark.parametrize("warm", [False, True])
def test_kernels_at_the_same_time_have_their_own_environment(
    planned: Plan, light: None, warm: bool, tmp_path: Path
) -> None:
    cells = """
import os, time, pathlib
pathlib.Path("here-" + os.environ["MINE"]).touch()
while len(list(pathlib.Path().glob("here-*"))) < 2:
    time.sleep(0.01)
names = ("MINE", "SOCKETLAB_HEADLESS", "SOCKETLAB_PART", "OMP_WAIT_POLICY")
print(*[os.environ.get(name) for name in names], os.getcwd())
"""
    jobs = [(planned(cells, part=f"part{n}"), {"MINE": str(n)}) for n in range(2)]
    before, cwd = dict(os.environ), os.getcwd()
    said: dict[str, str] = {}

    def one(job: Planned, environment: dict[str, str]) -> None:
        said[job.part] = run(job, environment=environment, warm=warm)

    threads = [threading.Thread(target=one, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {f"part{n}": f"{n} 1 part{n} PASSIVE {tmp_path}\n" for n in range(2)}
    assert (dict(os.environ), os.getcwd()) == (before, cwd)


def test_a_kernel_inherits_nothing_of_the_one_before(
    planned: Plan, light: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_ONE_BEFORE", "1")
    look = "import os, builtins, json, random, numpy\n"
    leave = "print(os.getpid(), os.getppid(), hasattr(builtins, 'left'), json.__dict__.get('left'))"
    draws = "print(random.random(), numpy.random.random())\n"
    variable = "print(os.environ.get('OF_THE_ONE_BEFORE'))"
    job = planned(
        look, leave, draws, variable, "builtins.left = json.left = left = 1", "assert left == 1"
    )
    first = run(job, warm=True).split()
    monkeypatch.delenv("OF_THE_ONE_BEFORE")
    second = run(job, warm=True).split()
    assert first[0] != second[0]
    assert first[1] == second[1] != str(os.getpid())
    assert first[2:4] == second[2:4] == ["False", "None"]
    assert first[4] != second[4] and first[5] != second[5]
    assert (first[6], second[6]) == ("1", "None")
    assert not psutil.pid_exists(int(first[0]))


def test_a_kernel_works_in_its_own_folder(
    planned: Plan, light: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, other = planned("import os; print(os.getcwd())"), tmp_path / "other"
    (other / "data_manifests").mkdir(parents=True)
    shutil.copytree(tmp_path / "notebooks", other / "notebooks")
    assert run(job, warm=True).strip() == str(tmp_path)
    monkeypatch.chdir(other)
    assert run(job, warm=True).strip() == str(other)


def test_a_library_that_was_imported_before_has_the_threads_asked_for(
    planned: Plan, light: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "PRELOADED", ("ipykernel.kernelapp", "torch", "numpy"))
    job = planned(
        "import sys; print('torch' in sys.modules)",
        "import torch, threadpoolctl; print(torch.get_num_threads(), torch.cuda.is_initialized())",
        "blas = [m for m in threadpoolctl.threadpool_info() if m['user_api'] == 'blas']\n"
        "print({m['num_threads'] for m in blas})",
    )
    threads = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "3"}
    assert run(job, environment=threads, warm=True).split() == ["True", "2", "False", "{3}"]


# --- each seen to end ---------------------------------------------------------------------------


def test_a_cell_that_raises_is_no_dead_kernel(planned: Plan, light: None) -> None:
    job = planned("print('begun')", "raise ValueError('no such thing')", "print('after')")
    out = io.StringIO()
    with pytest.raises(NotebookFailed, match=r"^ValueError: no such thing$") as failed:
        run_notebook(job, out, warm=True)
    assert not isinstance(failed.value, KernelDied)
    assert out.getvalue() == "begun\n"
    (kept,) = (job.parameters.folder / "notebooks").iterdir()
    cells = json.loads(kept.read_text())["cells"]
    assert "error" in [o["output_type"] for c in cells for o in c.get("outputs", [])]


@pytest.mark.parametrize(
    ("warm", "cell", "reason"),
    [
        (True, "os.kill(os.getpid(), 9)", r"was killed by signal 9 \(SIGKILL\), .*memory$"),
        (False, "os._exit(3)", "ended with exit code 3$"),
    ],
)
def test_a_kernel_that_dies_is_named_with_its_death(
    planned: Plan, light: None, warm: bool, cell: str, reason: str
) -> None:
    with pytest.raises(KernelDied, match=f"^the kernel {reason}"):
        run(planned("import os", cell), warm=warm)
    assert run(planned("print('again')"), warm=warm) == "again\n"


def test_an_exit_code_in_words() -> None:
    assert in_words(0) == "ended with exit code 0"
    assert in_words(-15) == "was killed by signal 15 (SIGTERM)"
    assert in_words(-63) == "was killed by signal 63"


# --- the server ---------------------------------------------------------------------------------


def test_a_server_that_has_died_takes_its_kernel_along_and_is_replaced(
    planned: Plan, light: None, tmp_path: Path
) -> None:
    with pytest.raises(KernelDied, match="signal 9"):
        run(planned(BEGINS, f"os.kill(os.getppid(), 9){HANGS}"), warm=True)
    pid, _, child = (int(word) for word in (tmp_path / "begun").read_text().split())
    until_gone(pid)
    os.kill(child, signal.SIGKILL)  # which nobody has known of
    assert run(planned("print('again')"), warm=True) == "again\n"


def test_whoever_asks_all_to_end_asks_the_kernels_not_their_server(
    planned: Plan, light: None
) -> None:
    job = planned(
        "import os, signal, time",
        "print(os.getsid(0) == os.getpid(), signal.getsignal(signal.SIGTERM).name)",
        "os.killpg(os.getppid(), signal.SIGTERM)\nos.killpg(os.getppid(), signal.SIGINT)",
        "time.sleep(0.1); print('at work')",
    )
    assert run(job, warm=True).splitlines() == ["True SIG_DFL", "at work"]


def test_where_threads_run_no_kernel_is_forked(
    planned: Plan, light: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "restless.py").write_text(
        "import pathlib, threading\n"
        "with pathlib.Path('imported').open('a') as file: file.write('once ')\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    monkeypatch.setattr(kernels, "PRELOADED", ("restless",))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    job = planned("import os; print(os.getppid())")
    for _ in range(2):
        reason, parent = run(job, warm=True).splitlines()
        assert reason.startswith("No warm kernels, so each is started afresh: its libraries have ")
        assert int(parent) == os.getpid()
    assert (tmp_path / "imported").read_text() == "once "


def test_a_server_whose_imports_fail_says_so(light: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "PRELOADED", ("no_such_module",))
    with pytest.raises(kernels.NoWarmKernels, match="it ended while it imported"):
        kernels.warm_server(os.environ)


def test_elsewhere_than_on_linux_nothing_is_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(kernels.NoWarmKernels, match="cannot be forked on darwin"):
        kernels.warm_server(os.environ)


def test_a_library_that_starts_threads_leaves_no_warm_kernels(
    light: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n"
    (tmp_path / "starts_a_thread.py").write_text(module)
    monkeypatch.setattr(kernels, "PRELOADED", ("starts_a_thread",))
    with pytest.raises(kernels.NoWarmKernels, match="its libraries have started threads"):
        kernels.warm_server({**os.environ, "PYTHONPATH": str(tmp_path)})


def test_what_libraries_read_at_their_start_asks_for_another_server(light: None) -> None:
    variables = dict(os.environ)
    server = kernels.warm_server(variables)
    assert kernels.warm_server(variables | {"CUDA_VISIBLE_DEVICES": "1"}) is server
    assert kernels.warm_server(variables | {"OMP_NUM_THREADS": "7"}) is not server


# --- none left behind ---------------------------------------------------------------------------

DRIVER = """
import os
import papermill
from socketlab.runs import kernel_engine, kernels
from socketlab.runs.time_limit import TimeLimit

kernels.PRELOADED = ("ipykernel.kernelapp",)
papermill.execute_notebook(
    "notebooks/05_transfer.ipynb",
    "executed.ipynb",
    engine_name=kernel_engine.NAME,
    progress_bar=False,
    environment=dict(os.environ),
    kernel_cwd=os.getcwd(),
    warm=kernels.warm_server(os.environ),
    time_limit=TimeLimit(None),
)
"""
WRITES = f"""{BEGINS}
try:
    while True:
        with open("log", "a") as file:
            file.write("x")
        time.sleep(0.001)
finally:
    child.kill()
    child.wait()
    open("tidied", "w").close()
"""


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.faults)]
)
def test_a_kernel_ends_with_whoever_drives_it(
    planned: Plan, tmp_path: Path, number: signal.Signals
) -> None:
    """Killed, it takes kernel, server and their children along; interrupted, cells tidy up."""
    # A kernel that hangs cannot see for itself that nobody is left.
    planned(WRITES if number == signal.SIGINT else BEGINS + HANGS)
    with subprocess.Popen([sys.executable, "-c", DRIVER], stderr=subprocess.DEVNULL) as driver:
        wait_for(lambda: (tmp_path / "begun").exists() or driver.poll() is not None)
        pids = [int(word) for word in (tmp_path / "begun").read_text().split()]
        assert all(psutil.pid_exists(pid) for pid in pids)
        driver.send_signal(number)
        driver.wait(timeout=300)
    until_gone(*pids)
    assert (tmp_path / "tidied").exists() == (number == signal.SIGINT)
    if number == signal.SIGINT:
        written = (tmp_path / "log").stat().st_size
        assert written > 0
        time.sleep(0.1)
        assert (tmp_path / "log").stat().st_size == written


def until_gone(*pids: int) -> None:
    until = time.monotonic() + 60  # less than any of them lives by itself
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


# --- all that notebooks import ------------------------------------------------------------------


@pytest.mark.faults
def test_a_warm_kernel_gives_the_numbers_of_an_ordinary_one(
    root: Path,
    tiny_scenes: Path,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Weights and rows of every epoch bit by bit, pictures, and outputs in kind and order."""

    def outputs(cell: Any) -> Iterator[tuple[str, ...]]:
        # What a cell prints comes in as many pieces as the machine has time for.
        for each in cell.get("outputs", []):
            yield (each["output_type"], *sorted(each.get("data", {})))

    monkeypatch.chdir(root)
    found = {}
    for warm in (False, True):
        values = {
            "run": f"warm-{warm}",
            "data": str(tiny_scenes),
            "size": 32,
            "data_dir": str(tiny_data),
            "runs_dir": str(tmp_path),
            "device": "cpu",
            "dtype": "float32",
            "source_options": {"epochs": 2, "batch_size": 8},
            "options": {"socket": {"epochs": 2, "batch_size": 8}},
        }
        for job in plan(["02", "05"], values, {}):
            assert "No warm kernels" not in run(job, warm=warm)
        folder = tmp_path / f"warm-{warm}"
        notebook = json.loads((folder / "notebooks" / "05_transfer.ipynb").read_text())
        found[warm] = (
            {file.name: file.read_bytes() for file in folder.glob("models/*.safetensors")},
            pd.read_parquet(folder / "metrics.parquet").to_dict("records"),
            {file.name: file.read_bytes() for file in folder.glob("figures/*.png")},
            [list(dict.fromkeys(outputs(cell))) for cell in notebook["cells"]],
        )
    assert len(found[True][0]) >= 3
    assert found[True] == found[False]


# --- a time limit -------------------------------------------------------------------------------

SLEEPS = "import time; open('began', 'w').close(); time.sleep(300)"


@pytest.mark.parametrize("warm", [False, True])
def test_what_takes_too_long_is_ended(
    planned: Plan, light: None, tmp_path: Path, warm: bool
) -> None:
    began = time.monotonic()
    with pytest.raises(KernelDied, match=r"longer than the 5.0 s that it was given, and was ended"):
        run(planned(SLEEPS), warm=warm, seconds=5.0)
    assert time.monotonic() - began < 60
    assert (tmp_path / "began").exists()


@pytest.mark.parametrize("warm", [False, True])
def test_what_hangs_and_hears_nothing_is_killed(
    planned: Plan, light: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm: bool
) -> None:
    monkeypatch.setattr(time_limit, "PATIENCE", 1.0)
    hears_it = "import signal; signal.signal(signal.SIGTERM, lambda *_: None)"
    began = time.monotonic()
    with pytest.raises(KernelDied, match=r"longer than the 5.0 s"):
        run(planned(hears_it, BEGINS, HANGS), warm=warm, seconds=5.0)
    assert time.monotonic() - began < 60
    pids = [int(word) for word in (tmp_path / "begun").read_text().split()]
    until_gone(pids[0], pids[2])


def test_after_its_end_nobody_is_told() -> None:
    told: list[signal.Signals] = []
    limit = time_limit.TimeLimit(0.2)
    with limit.watching(told.append):
        pass
    time.sleep(0.6)
    assert not limit.passed and not told


def test_what_ends_in_time_is_left_alone(planned: Plan, light: None) -> None:
    out = run(planned("print('one')", "import time; time.sleep(.2); print('two')"), seconds=120.0)
    assert out.split() == ["one", "two"]


def test_an_error_in_time_is_the_notebook_s_own(planned: Plan, light: None) -> None:
    with pytest.raises(NotebookFailed, match="ValueError: no") as caught:
        run(planned("raise ValueError('no')"), warm=True, seconds=120.0)
    assert not isinstance(caught.value, KernelDied)
