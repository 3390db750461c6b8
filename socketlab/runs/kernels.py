"""Warm kernels: forked from a process that has imported what notebooks import, one per notebook.

A kernel's namespace is never used twice. What is saved is the start of Python and the imports.
"""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping

from socketlab.runs.kernel_pipes import hear

PATIENCE = 300  # seconds that the imports may take, from a slow disk
PRELOADED = (
    "ipykernel.ipkernel",
    "ipykernel.kernelapp",
    "ipykernel.zmqshell",
    "matplotlib.backends.backend_agg",
    "matplotlib.pyplot",
    "pandas",
    "pyarrow.parquet",
    "torch",
    "torchvision",
    "socketlab.figures",
    "socketlab.runs.board_views",
    "socketlab.runs.comparison",
    "socketlab.runs.encoding_views",
    "socketlab.runs.experiment",
    "socketlab.runs.forms",
    "socketlab.runs.gap_views",
    "socketlab.runs.pictures",
    "socketlab.runs.translation_views",
    "socketlab.runs.two_encoders",
    "socketlab.widgets",
)
"""What notebooks import. None of it may start a thread or touch a device while it is imported."""
READ_AT_START = (
    "ARROW_", "BLIS_", "GOMP_", "HF_", "JUPYTER_", "KMP_", "LD_", "MALLOC_", "MKL_", "MPL", "NPY_",
    "NUMEXPR_", "OMP_", "OPENBLAS_", "PYTHON", "PYTORCH_", "TORCH",
)  # fmt: skip
"""Beginnings of variables that a process or a library reads once; kernels that differ in one of
them are not forked from the same server."""


class NoWarmKernels(RuntimeError):  # noqa: N818 - reads as the thing found
    """Kernels cannot be forked here; the reason is in it."""


class KernelServer:
    """A process that forks kernels, for those whose environment begins like `environment`.

    Raises:
        NoWarmKernels: if it cannot, and why.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        own = {
            # A pool of threads does not survive a fork; kernels get theirs afterwards.
            "OPENBLAS_NUM_THREADS": "1",
            "JE_ARROW_MALLOC_CONF": "background_thread:false",
            "MPLBACKEND": environment.get("MPLBACKEND")
            or "module://matplotlib_inline.backend_inline",
        }
        program = [sys.executable, "-P", "-m", f"{__package__}.kernel_server"]
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [*program, str(theirs.fileno()), *PRELOADED],
                env={**environment, **own},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._control.settimeout(PATIENCE)
        try:
            with self._control.makefile(encoding="utf-8") as lines:
                said = lines.readline()
        except TimeoutError:
            said = f"it was not ready after {PATIENCE} seconds\n"
        if said != "\n":
            self._process.kill()
            self.close()
            raise NoWarmKernels(said.strip() or "it ended while it imported; see its error above")

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked for a kernel."""
        return self._process.poll() is None

    def fork(
        self, arguments: list[str], environment: Mapping[str, str], cwd: str
    ) -> "ForkedKernel":
        """A kernel as `ipykernel_launcher` with these arguments would be.

        Raises:
            ChildProcessError: if it could not be forked; another time it may be.
        """
        asked = {"arguments": arguments, "environment": dict(environment), "cwd": cwd}
        request, write = os.pipe()
        end, tell = os.pipe()
        try:
            with os.fdopen(write, "w") as pipe:
                # Sent and closed here before anything is written, or nobody would notice its end.
                try:
                    socket.send_fds(self._control, [b"k"], [request, tell])
                finally:
                    os.close(request)
                    os.close(tell)
                json.dump(asked, pipe)
            pid = hear(end)
        except OSError as error:
            os.close(end)
            raise ChildProcessError(f"the server of kernels is gone: {error}") from error
        if pid is None:
            os.close(end)
            raise ChildProcessError("the server of kernels could not fork one")
        return ForkedKernel(pid, end)

    def close(self) -> None:
        """End it, and with it the kernels that are left."""
        self._control.close()
        self._process.wait()


class ForkedKernel:
    """A forked kernel; to its provisioner what `subprocess.Popen` is for a started one."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, end: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._end = end
        self._ended = select.poll()
        self._ended.register(end, select.POLLIN)
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Its exit code, minus the signal's number where one killed it; None while it runs."""
        with self._lock:
            if self.returncode is None and self._ended.poll(0):
                self._hear()
            return self.returncode

    def wait(self) -> int:
        """The exit code, when there is one."""
        with self._lock:
            return self._hear() if self.returncode is None else self.returncode

    def _hear(self) -> int:
        code = hear(self._end)
        os.close(self._end)
        # The server says how a kernel ended; where it says nothing it took the kernel with it.
        self.returncode = -signal.SIGKILL if code is None else code
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended: its id may be another's by now."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


_servers: dict[frozenset[tuple[str, str]], KernelServer | NoWarmKernels] = {}
_lock = threading.Lock()


def warm_server(environment: Mapping[str, str]) -> KernelServer:
    """The process to fork a kernel with this environment from; the first time starts it.

    That takes as long as the imports do. It ends with this process, however this one ends.

    Raises:
        NoWarmKernels: if kernels cannot be forked here, and why.
    """
    if sys.platform != "linux":
        raise NoWarmKernels(f"a process that has loaded torch cannot be forked on {sys.platform}")
    key = frozenset(item for item in environment.items() if item[0].startswith(READ_AT_START))
    with _lock:
        found = _servers.get(key)
        if isinstance(found, NoWarmKernels):
            raise found
        if found is None or not found.is_alive:
            if found is not None:
                found.close()
            try:
                found = KernelServer(environment)
            except NoWarmKernels as reason:
                _servers[key] = reason
                raise
            _servers[key] = found
        return found


def close_servers() -> None:
    """End all servers of this process."""
    with _lock:
        for server in _servers.values():
            if isinstance(server, KernelServer):
                server.close()
        _servers.clear()


atexit.register(close_servers)
# A forked copy of this process would keep a server alive, and ask it for kernels of its own.
os.register_at_fork(after_in_child=_servers.clear)
