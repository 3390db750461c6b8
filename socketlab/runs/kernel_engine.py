"""papermill with a kernel of our own: its environment, its folder, and a word on how it died."""

import contextvars
import os
import signal
import uuid
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines

from socketlab.runs.kernels import KernelServer
from socketlab.runs.time_limit import TimeLimit

NAME = "socketlab"


class KernelEnded(RuntimeError):  # noqa: N818 - reads as the thing found
    """The kernel's process ended before the notebook did; how is in it."""


class WatchedProvisioner(LocalProvisioner):
    """Starts a kernel as usual, or has it forked; remembers how it ended.

    Attributes:
        warm: the server to fork it from, if any.
        busy: whether a cell is being executed.
        exit_code: of the kernel's process, minus the signal's number where one killed it.
    """

    warm: KernelServer | None = None
    busy: bool = False
    exit_code: int | None = None

    async def poll(self) -> int | None:
        """As `LocalProvisioner`."""
        code = await super().poll()
        if self.has_process and code is not None:
            self.exit_code = code
        return code

    def tell(self, number: signal.Signals) -> None:
        """Send the kernel a signal, from any thread; SIGKILL also to the processes it has started.

        One that has ended is sent none: its number may be another's by now.
        """
        if self.process is None or self.process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)

    async def send_signal(self, signum: int) -> None:
        """As `LocalProvisioner`; but an interrupt is for a cell, an idle kernel gets none."""
        if self.busy or signum != signal.SIGINT:
            await super().send_signal(signum)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """As `LocalProvisioner`; `cmd` is what `ipykernel_launcher` would be started with."""
        if self.warm is None:
            return await super().launch_kernel(cmd, **kwargs)
        arguments = cmd[cmd.index("-f") :]
        self.cwd = kwargs.get("cwd") or Path.cwd()
        forked = self.warm.fork(arguments, kwargs["env"], str(self.cwd))
        self.process = cast("Any", forked)
        self.pid = self.pgid = forked.pid
        return self.connection_info


class KernelEngine(Engine):  # type: ignore[misc]
    """Executes a notebook as papermill does, and leaves this process's environment alone."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: NotebookExecutionManager,
        kernel_name: str,
        *,
        environment: Mapping[str, str],
        kernel_cwd: str,
        warm: KernelServer | None,
        time_limit: TimeLimit,
        start_timeout: int = 60,
        log_output: bool = False,
        input_path: str = "",
        **options: Any,
    ) -> None:
        """Run all cells in a kernel that has this environment and works in this folder.

        Raises:
            KernelEnded: if its process could not be started, or ended, and how.
        """
        manager = AsyncKernelManager(kernel_name=kernel_name, kernel_id=str(uuid.uuid4()))
        manager.provisioner = provisioner = WatchedProvisioner(
            kernel_id=manager.kernel_id, kernel_spec=manager.kernel_spec, parent=manager
        )
        provisioner.warm = warm

        def note(busy: bool) -> Callable[..., None]:
            return lambda **_: setattr(provisioner, "busy", busy)

        client = PapermillNotebookClient(
            nb_man,
            km=manager,
            kernel_name=kernel_name,
            startup_timeout=start_timeout,
            shell_timeout_interval=1,  # seconds until a kernel that died between cells is noticed
            log_output=log_output,
            on_cell_execute=note(True),
            on_cell_executed=note(False),
            **options,
        )
        before, context = contextvars.copy_context(), contextvars.copy_context()
        try:
            # nbclient cleans up after a manager that it was given only where it is told to.
            with time_limit.watching(provisioner.tell):
                context.run(client.execute, env=dict(environment), cwd=kernel_cwd, cleanup_kc=True)
        except ChildProcessError as error:
            raise KernelEnded(str(error)) from error
        except RuntimeError as error:
            # Before the first cell nbclient has no type of its own for it.
            if str(error).startswith("Kernel didn't respond"):
                raise KernelEnded(f"the kernel never answered ({error})") from error
            if provisioner.exit_code is None or not str(error).startswith("Kernel died"):
                raise
            raise KernelEnded(f"the kernel {in_words(provisioner.exit_code)}") from error
        finally:
            # jupyter_core makes each thread an event loop, keeps it there, and never closes it.
            for variable, value in context.items():
                if isinstance(value, AbstractEventLoop) and before.get(variable) is not value:
                    value.close()


_GUESSES = {
    signal.SIGKILL: ", perhaps because the machine ran out of memory",
    signal.SIGABRT: ", perhaps because a library was given no memory",
}


def in_words(exit_code: int) -> str:
    """`was killed by signal 9 (SIGKILL)`: how a process ended, by its exit code."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    number = -exit_code
    if number not in {one.value for one in signal.Signals}:
        return f"was killed by signal {number}"
    known = signal.Signals(number)
    return f"was killed by signal {number} ({known.name}){_GUESSES.get(known, '')}"


papermill_engines.register(NAME, KernelEngine)
