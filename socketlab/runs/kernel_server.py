"""The process that forks kernels: it has imported what notebooks import, and started nothing.

Run by `kernels.py`, on Linux, with the number of a socket and names of modules. A message there is
one byte with two pipes: from the first the new kernel reads what it is asked to be, into the second
go its process id and, at its end, its exit code. When the socket closes, all kernels are killed.

`multiprocessing` has such a server, too, but one for all who use it in a process: it imports their
`__main__`, has their environment, and lives on with its children where its owner was killed.
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from socketlab.runs.kernel_pipes import say

PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
_exit_codes = [1]


def main() -> None:
    """Import, say whether kernels can be forked, and fork them until nobody asks any more."""
    atexit.register(_leave)  # the first registered is the last that is done
    control = socket.socket(fileno=int(sys.argv[1]))
    # Whoever stops the work stops the kernels; they are to have somebody who sees them end.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for module in sys.argv[2:]:
        importlib.import_module(module)
    threads = [Path(task, "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    reason = f"its libraries have started threads: {', '.join(threads)}" if threads[1:] else ""
    with suppress(BrokenPipeError):  # nobody waits for it any more
        control.sendall(f"{reason}\n".encode())
    gc.collect()
    gc.freeze()  # a collection that touches these objects would copy their memory
    server = os.getpid()
    request = _serve(control)
    if request is not None:
        _become_kernel(request, server)
    _exit_codes.append(0)


def _serve(control: socket.socket) -> int | None:
    """Fork when asked; the pipe with the request in a new kernel, None where nobody asks."""
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    ends: dict[int, int] = {}
    while True:
        ready = select.select([control.fileno(), woken], [], [])[0]
        if woken in ready:
            os.read(woken, 4096)
            _reap(ends)
        if control.fileno() not in ready:
            continue
        message, pipes, *_ = socket.recv_fds(control, 1, 2)
        if not message:
            for pid in ends:
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            return None
        request, end = pipes
        try:
            pid = os.fork()
        except OSError as error:  # no memory, or no room for a process
            print(f"No kernel could be forked: {error}", file=sys.stderr)
            pid = -1
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for other in (woken, wake, end, *ends.values()):
                os.close(other)
            control.close()
            return request
        os.close(request)
        if pid < 0:
            os.close(end)
        else:
            ends[pid] = end
            _tell(end, pid)


def _reap(ends: dict[int, int]) -> None:
    while ends:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        end = ends.pop(pid)
        _tell(end, os.waitstatus_to_exitcode(status))
        os.close(end)


def _tell(end: int, number: int) -> None:
    with suppress(BrokenPipeError):  # nobody waits for it any more
        say(end, number)


def _become_kernel(request: int, server: int) -> None:
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)
    with os.fdopen(request) as pipe:
        asked = json.load(pipe)
    os.environ.clear()
    os.environ.update(asked["environment"], JPY_PARENT_PID=str(server))
    os.chdir(asked["cwd"])
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    _like_fresh(asked["environment"])
    sys.argv = ["ipykernel_launcher", *asked["arguments"]]

    from ipykernel.kernelapp import IPKernelApp

    IPKernelApp.launch_instance(argv=asked["arguments"], parent_handle=server)


def _leave() -> None:
    # Python would now take apart, object by object, what the server goes on using.
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    os._exit(_exit_codes[-1])


def _like_fresh(environment: Mapping[str, str]) -> None:
    """What libraries would have done in this process while they were imported."""
    if "numpy" not in sys.modules:
        return
    import numpy as np
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    np.random.seed()  # the fork has seeded that of `random`
    given = environment.get("OPENBLAS_NUM_THREADS") or environment.get("OMP_NUM_THREADS")
    threads = int(given) if given and given.isdigit() else len(os.sched_getaffinity(0))
    threadpool_limits(threads, user_api="blas")


if __name__ == "__main__":
    main()
