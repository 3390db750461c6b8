"""The demo page's server: voila on loopback, which nobody without the token gets past.

What loads torch is imported where it is needed: a wrong address is refused at once.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from socketlab.runs import addresses
from socketlab.runs.addresses import LOOPBACK, TOKEN_VARIABLE, new_token
from socketlab.runs.places import home
from socketlab.runs.planning import Planned, parameter_file, plan

__all__ = [
    "EXPOSED",
    "PAGE_VARIABLE",
    "PageError",
    "check_address",
    "command",
    "environment",
    "needed",
    "new_token",
    "prepare",
    "serve",
]

PAGE_VARIABLE: Final = "SOCKETLAB_PAGE"
"""Environment variable: the parameters of the transfer that the page shows, as JSON."""
EXPOSED: Final = (
    "whoever has the address can see this run's images and results and start trainings on this "
    "machine, and the connection is not encrypted: everybody on the way can read the token"
)


class PageError(ValueError):
    """A page that cannot be made."""


def check_address(ip: str, expose: bool) -> str:
    """Return `ip` if it is this machine's alone, or if others may reach it.

    Raises:
        AddressError: for one that other machines can reach, saying what that would expose.
    """
    return addresses.check_address(ip, expose, EXPOSED)


def needed(params: str, given: Mapping[str, Any]) -> list[Planned]:
    """The steps of a parameter file that the page shows: a source model and the first transfer."""
    planned = plan(["02_train_source", "05_transfer"], parameter_file(params), given)
    first = {step.notebook: step for step in reversed(planned)}
    return [first["02_train_source"], first["05_transfer"]]


def prepare(steps: list[Planned], say: Callable[[str], None], command: str = "") -> None:
    """Make what the page shows, where it is not there yet: models, and the joint map.

    Raises:
        NotebookFailed: if a training does not reach its end.
        PageError: if the map cannot be made.
    """
    from socketlab.runs.record import Run
    from socketlab.runs.running import run_all

    parts = Run(steps[0].parameters.folder).read().notebooks
    missing = [step.part for step in steps if step.part not in parts or _unlike(parts, step)]
    if missing:
        say(
            f"Making {' and '.join(missing)} of run {steps[0].parameters.run!r} first: about 4 "
            "minutes on 2 quiet cores for what is not there yet."
        )
    run_all(steps, command=command)
    say("Laying out the map: up to a minute the first time, seconds after that.")
    made = subprocess.run(
        [sys.executable, "-m", "socketlab.runs.demo_page"], env=environment(steps[-1]), cwd=home()
    )
    if made.returncode != 0:
        raise PageError("The map could not be made; the lines above say why.")


def _unlike(parts: Mapping[str, Any], step: Planned) -> bool:
    part = parts[step.part]
    return bool(part.status != "done" or part.fingerprint != step.fingerprint)


def environment(step: Planned, token: str = "") -> dict[str, str]:
    """What the server and its kernels are told: which transfer, and the token.

    The token goes this way and not on the command line, which every user of the machine can read.
    """
    from socketlab.runs.record import PART_VARIABLE
    from socketlab.widgets.live import HEADLESS_VARIABLE

    told = {PAGE_VARIABLE: step.parameters.model_dump_json(), PART_VARIABLE: "demo_page"}
    told |= {TOKEN_VARIABLE: token, "OMP_WAIT_POLICY": "PASSIVE"}
    return {k: v for k, v in os.environ.items() if k != HEADLESS_VARIABLE} | told


def command(page: Path, ip: str, port: int) -> list[str]:
    """How voila is started: one notebook, no other port, no file beside it, no browser."""
    return [
        *(sys.executable, "-m", "voila", str(page)),
        *("--no-browser", f"--Voila.ip={ip}", f"--Voila.port={port}", "--Voila.port_retries=0"),
        "--Voila.auto_token=True",
        # It hands out pictures beside the notebook to everybody, token or not.
        "--VoilaConfiguration.file_denylist=.*",
        "--Voila.log_level=WARN",
    ]


def serve(
    page: Path,
    told: Mapping[str, str],
    *,
    ip: str = LOOPBACK,
    port: int = 0,
    say: Callable[[str], None] = print,
) -> None:
    """Serve a page until it is interrupted, and say its address once it is guarded.

    Args:
        page: a notebook.
        told: the environment of the server, with the token as `JUPYTER_TOKEN`.
        ip: where it listens.
        port: 0 for any that is free.
        say: takes the address, with the token.

    Raises:
        AddressError: if it does not answer, or answers somebody who has no token.
    """
    addresses.serve(
        lambda free: command(page, ip, free),
        told,
        name="voila",
        folder=home(),
        ip=ip,
        port=port,
        say=say,
    )
