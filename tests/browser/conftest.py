"""JupyterLab on loopback, the system's Chromium, and notebooks made small.

Starting the server and loading the page are retried; whatever a test asserts is not.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser, Error, Locator, Page, sync_playwright

from socketlab.runs.experiment import Experiment
from socketlab.runs.parameters import NOTEBOOKS, validate
from socketlab.runs.shared_parameters import Parameters

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
NEEDED = "SOCKETLAB_NEEDS_BROWSER"  # where it is 1, no Chromium is a failure
SCREENSHOTS = "SOCKETLAB_SCREENSHOTS"  # a folder for the pictures, if they are to stay
VALUES = "SOCKETLAB_BROWSER_VALUES"  # YAML: other parameters, for pictures of larger trainings
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--enable-unsafe-swiftshader",  # WebGL without a graphics card
]
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false"},
    # All cells stay in the page, also those that are out of sight.
    "notebook-extension/tracker": {"windowingMode": "none"},
}
SIGHT = {"width": 1280, "height": 720}  # a projector's
AROUND = 200  # pixels of JupyterLab above and below the notebook, and some to spare
PATIENCE = 240  # seconds; the machine may be busy with other things
ATTEMPTS = 3

READY = """() => {
    const panel = window.jupyterapp?.shell?.currentWidget;
    const kernel = panel?.sessionContext?.session?.kernel;
    return kernel?.connectionStatus === 'connected' && kernel.status === 'idle'
        && document.querySelectorAll('.jp-Notebook .jp-CodeCell').length > 0;
}"""
ERRORS = """() => jupyterapp.shell.currentWidget.content.widgets
    .filter(cell => cell.model.type === 'code')
    .flatMap(cell => cell.model.outputs.toJSON())
    .filter(output => output.output_type === 'error')
    .map(output => `${output.ename}: ${output.evalue}`)"""
DONE = """() => {
    const panel = jupyterapp.shell.currentWidget;
    return panel.sessionContext.session.kernel.status === 'idle' && panel.content.widgets
        .filter(cell => cell.model.type === 'code' && cell.model.sharedModel.source)
        .every(cell => cell.model.executionCount);
}"""
CELL = """text => jupyterapp.shell.currentWidget.content.widgets
    .findIndex(cell => cell.model.type === 'code' && cell.model.sharedModel.source.includes(text))
"""
CONTENT = """async image => {
    const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
    const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    return `${bytes.length} ${hash}`;
}"""
# What the kernel says of its widgets, so many times; it says so between two steps.
HEAR = """({times, patience}) => new Promise((done, fail) => {
    const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    setTimeout(() => fail(new Error('the kernel says nothing')), patience);
    const hear = (_, message) => {
        if (message.header.msg_type === 'comm_msg' && --times === 0) {
            kernel.iopubMessage.disconnect(hear);
            done();
        }
    };
    kernel.iopubMessage.connect(hear);
})"""


@dataclass
class Notebook:
    """A notebook that is open in the browser."""

    page: Page
    pictures: Path
    complaints: list[str] = field(default_factory=list)

    def run_all(self) -> None:
        """Begin to run all cells."""
        self.page.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells')")

    def cell(self, code: str) -> Locator:
        """The code cell that holds this text, with what it shows."""
        place = self.page.evaluate(CELL, code)
        assert place >= 0, f"no cell holds {code!r}"
        return self.page.locator(".jp-Notebook .jp-Cell").nth(place)

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Poll until `condition` gives something; the first cell that fails ends it."""
        end = time.monotonic() + PATIENCE
        while True:
            found = condition()
            if found:
                return found
            assert self.page.evaluate(ERRORS) == []
            assert time.monotonic() < end, f"waited {PATIENCE} s for {what}"
            self.page.wait_for_timeout(50)

    def finish(self) -> None:
        """Wait until every cell has run."""
        self.until(lambda: self.page.evaluate(DONE), "the last cell")
        assert self.page.evaluate(ERRORS) == []

    def hear(self, times: int) -> None:
        """Wait until the kernel has told its widgets something so many times."""
        self.page.evaluate(HEAR, {"times": times, "patience": 1000 * PATIENCE})

    def content(self, image: Locator) -> str:
        """What an image holds, so that two can be compared."""
        return str(image.evaluate(CONTENT))

    def screenshot(self, name: str, what: Locator | None = None) -> bytes:
        """A picture of the page, or of a part of it as a whole, kept as a file."""
        file = self.pictures / f"{name}.png"
        if what is None:
            return self.page.screenshot(path=file)
        box = what.bounding_box()
        assert box is not None, f"{name} is not to be seen"
        height = max(SIGHT["height"], int(box["height"]) + AROUND)
        self.page.set_viewport_size({**SIGHT, "height": height})
        what.scroll_into_view_if_needed()
        picture = what.screenshot(path=file)
        self.page.set_viewport_size(SIGHT)
        return picture


@pytest.fixture(scope="session")
def program() -> str:
    """Where Chromium is; without it the tests are skipped, or fail where it was asked for."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        missing = f"None of {', '.join(PROGRAMS)} is on the PATH: install Chromium."
        if os.environ.get(NEEDED) == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@pytest.fixture(scope="module")
def chromium(program: str) -> Iterator[Browser]:
    """The system's Chromium; not for the whole session, for it keeps an event loop running."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@dataclass(frozen=True)
class Server:
    """A JupyterLab that answers."""

    address: str
    token: str
    folder: Path  # of the notebooks


@pytest.fixture(scope="session")
def server(program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """JupyterLab on a free port of the loopback interface, with a random token."""
    home = tmp_path_factory.mktemp("jupyter")
    for name, values in SETTINGS.items():
        plugin = home / "config" / "lab" / "user-settings" / "@jupyterlab" / name
        plugin.parent.mkdir(parents=True)
        plugin.with_suffix(".jupyterlab-settings").write_text(json.dumps(values))
    token, folder = secrets.token_hex(16), home / "notebooks"
    folder.mkdir()
    own = {
        f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")
    }
    environment = os.environ | own | {"JUPYTER_TOKEN": token, "IPYTHONDIR": str(home / "ipython")}
    environment.pop("SOCKETLAB_HEADLESS", None)
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *("--ip=127.0.0.1", "--port=0", f"--ServerApp.root_dir={folder}"),
        *("--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"),
    ]
    for _ in range(ATTEMPTS):
        with (home / "log.txt").open("w") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            port = _port(process, home / "runtime")
            if port is not None:
                yield Server(f"http://127.0.0.1:{port}", token, folder)
                return
        finally:
            process.terminate()
            process.wait(30)
    pytest.fail(f"JupyterLab did not start:\n{(home / 'log.txt').read_text()}")


def _port(process: "subprocess.Popen[bytes]", runtime: Path) -> int | None:
    """The port that the server says it took, or none where it ended or never said."""
    file = runtime / f"jpserver-{process.pid}.json"
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end:
        if file.exists() and file.read_text().endswith("}"):
            return int(json.loads(file.read_text())["port"])
        time.sleep(0.05)
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Keep with the test what became of it, for the fixture that tidies up."""
    report = yield
    item.stash.setdefault(FAILED, False)
    item.stash[FAILED] |= report.failed
    return report


FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go."""
    asked = os.environ.get(SCREENSHOTS)
    folder = Path(asked) if asked else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def open_notebook(
    server: Server, chromium: Browser, pictures: Path, request: pytest.FixtureRequest, root: Path
) -> Iterator[Callable[[Parameters], Notebook]]:
    """Opens the notebook of these parameters in JupyterLab; at the end its kernel is shut down."""
    opened: list[Notebook] = []

    def open_it(parameters: Parameters) -> Notebook:
        name = f"{parameters.run}-{parameters.notebook}"
        text = (root / "notebooks" / f"{parameters.notebook}.ipynb").read_text()
        cells = json.loads(text)
        (cell,) = [c for c in cells["cells"] if "parameters" in c["metadata"].get("tags", [])]
        values = parameters.model_dump(mode="json")
        cell["source"] = "\n".join(f"{key} = {value!r}" for key, value in values.items())
        (server.folder / f"{name}.ipynb").write_text(json.dumps(cells))
        page = _load(chromium, f"{server.address}/lab/workspaces/{name}/tree/{name}.ipynb", server)
        page.evaluate("jupyterapp.shell.collapseLeft()")
        notebook = Notebook(page, pictures)
        page.on("pageerror", lambda error: notebook.complaints.append(str(error)))
        opened.append(notebook)
        return notebook

    yield open_it
    for notebook in opened:
        if request.node.stash.get(FAILED, False):
            notebook.screenshot(f"failed-{request.node.name}")
            print(f"\nSee {pictures}; the page said: {notebook.complaints}")
        notebook.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        notebook.page.close(run_before_unload=False)


def _load(chromium: Browser, address: str, server: Server) -> Page:
    for attempt in range(1, ATTEMPTS + 1):
        page = chromium.new_page(viewport=SIGHT)
        try:
            page.goto(f"{address}?token={server.token}", timeout=1000 * PATIENCE)
            page.wait_for_function(READY, timeout=1000 * PATIENCE)
            return page
        except Error:
            page.close()
            if attempt == ATTEMPTS:
                raise
    raise AssertionError("unreachable")


@dataclass(frozen=True)
class Workplace:
    """Runs on the tiny data set."""

    values: dict[str, Any]
    runs: Path

    def parameters(self, notebook: str, run: str, **more: Any) -> Parameters:
        """The parameters of a notebook in this run."""
        known = {**self.values, "run": run, **more}
        fields = NOTEBOOKS[notebook].model_fields
        found = validate(notebook, {key: known[key] for key in known if key in fields})
        assert isinstance(found, Parameters)
        return found

    def copy(self, run: str, to: str) -> Path:
        """A run that begins with all that another one has; its folder."""
        shutil.copytree(self.runs / run, self.runs / to)
        file = self.runs / to / "run.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"name": to}))
        return self.runs / to


@pytest.fixture(scope="session")
def workplace(
    program: str, tiny_scenes: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workplace:
    """Where the notebooks work, with a run `source` that has a source model and nothing else."""
    runs = tmp_path_factory.mktemp("runs")
    values = {
        "data": str(tiny_scenes),
        "data_dir": str(tiny_data),
        "runs_dir": str(runs),
        "size": 32,
        "device": "cpu",
        "dtype": "float32",
        "source_options": {"epochs": 4, "batch_size": 8},
        "options": {
            "socket": {"epochs": 3, "batch_size": 4},
            "translated": {"epochs": 2, "batch_size": 4},
        },
    }
    asked = os.environ.get(VALUES)
    place = Workplace(values | (yaml.safe_load(asked) if asked else {}), runs)
    for _ in Experiment(place.parameters("02_train_source", "source")).train_source():
        pass
    return place


@pytest.fixture(scope="session")
def adapted(workplace: Workplace) -> str:
    """The name of a run in which a target model has been trained, with its film."""
    workplace.copy("source", "adapted")
    experiment = Experiment(workplace.parameters("05_transfer", "adapted"))
    for _ in experiment.transfer(experiment.trip()):
        pass
    return "adapted"
