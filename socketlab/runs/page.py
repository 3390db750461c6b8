"""The demo page's server: voila on loopback, which nobody without the token gets past.

What loads torch is imported where it is needed: a wrong address is refused at once.
"""

import ipaddress
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from socketlab.runs.places import home
from socketlab.runs.planning import Planned, parameter_file, plan

PAGE_VARIABLE: Final = "SOCKETLAB_PAGE"
"""Environment variable: the parameters of the transfer that the page shows, as JSON."""
LOOPBACK: Final = "127.0.0.1"
PATIENCE: Final = 60.0  # seconds until a server that does not answer is given up
EXPOSED: Final = (
    "whoever has the address can see this run's images and results and start trainings on this "
    "machine, and the connection is not encrypted: everybody on the way can read the token"
)


class PageError(ValueError):
    """A page that cannot be served, or only in a way that nobody asked for."""


def check_address(ip: str, expose: bool) -> str:
    """Return `ip` if it is this machine's alone, or if others may reach it.

    Raises:
        PageError: for one that other machines can reach, saying what that would expose.
    """
    try:
        own = ip == "localhost" or ipaddress.ip_address(ip).is_loopback
    except ValueError:
        raise PageError(f"ip {ip!r} is no address. Leave it out for {LOOPBACK}.") from None
    if not own and not expose:
        raise PageError(
            f"ip {ip!r} can be reached from other machines: {EXPOSED}. Leave it out for "
            f"{LOOPBACK}, or add --expose if that is what you want."
        )
    return ip


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
    told |= {"JUPYTER_TOKEN": token, "OMP_WAIT_POLICY": "PASSIVE"}
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
        PageError: if it does not answer, or answers somebody who has no token.
    """
    port = port or _free_port(ip)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that voila ends with this process
    server = subprocess.Popen(command(page, ip, port), env=dict(told), cwd=home())
    try:
        seen = LOOPBACK if ip == "0.0.0.0" else ip
        address = f"http://[{seen}]:{port}/" if ":" in seen else f"http://{seen}:{port}/"
        _wait_until_guarded(address, server)
        say(f"{address}?token={told['JUPYTER_TOKEN']}")
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.terminate()
        server.wait()


def new_token() -> str:
    """A token that nobody guesses: 192 random bits."""
    return secrets.token_urlsafe(24)


def _free_port(ip: str) -> int:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((ip, 0))
        return int(probe.getsockname()[1])


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Do not go to the login form, which answers everybody."""


def _wait_until_guarded(address: str, server: "subprocess.Popen[bytes]") -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if server.poll() is not None:
            raise PageError(
                f"voila ended with status {server.returncode}; the lines above say why. If its "
                "port is taken, choose another with --port."
            )
        try:
            with opener.open(address, timeout=10) as answer:
                status = answer.status
        except urllib.error.HTTPError as error:
            status = error.code
        except OSError:  # it does not listen yet
            time.sleep(0.2)
            continue
        if status in (302, 401, 403):
            return
        raise PageError(
            f"The page answers {status} to somebody without the token, so it was stopped. Look for "
            "a voila configuration file that switches the token off."
        )
    raise PageError(f"voila does not answer after {PATIENCE:.0f} s.")
