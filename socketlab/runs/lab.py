"""JupyterLab on loopback, which nobody without the token gets past. Loads no torch."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from socketlab.runs import addresses
from socketlab.runs.addresses import LOOPBACK, TOKEN_VARIABLE

EXPOSED: Final = (
    "whoever has the token can run any program on this machine as you, with all your files, and "
    "the connection is not encrypted: everybody on the way can read the token"
)
FIRST: Final = "notebooks/01_prepare_data.ipynb"
GUARDED: Final = "api/contents?content=0"  # of what is open without a token, the start page is one


def check_address(ip: str, expose: bool) -> str:
    """Return `ip` if it is this machine's alone, or if others may reach it.

    Raises:
        AddressError: for one that other machines can reach, saying what that would expose.
    """
    return addresses.check_address(ip, expose, EXPOSED)


def command(root: Path, ip: str, port: int, browser: bool = False) -> list[str]:
    """How JupyterLab is started: in a folder, at one address, and at no other port."""
    first = f"/tree/{FIRST}" if (root / FIRST).is_file() else ""
    return [
        *(sys.executable, "-m", "jupyterlab"),
        *(f"--ServerApp.ip={ip}", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
        *(f"--ServerApp.root_dir={root}", f"--LabApp.default_url=/lab{first}"),
        f"--ServerApp.open_browser={browser}",
        "--ServerApp.answer_yes=True",  # Ctrl+C is meant
        # Root may run it: in containers there is nobody else.
        f"--ServerApp.allow_root={os.name == 'posix' and os.geteuid() == 0}",
        "--ServerApp.log_level=WARN",  # its addresses with the token are said once, by us
    ]


def environment(token: str, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the server is told: the token, and no other way to have one."""
    kept = dict(os.environ if given is None else given)
    kept.pop(f"{TOKEN_VARIABLE}_FILE", None)
    return kept | {TOKEN_VARIABLE: token}


def serve(
    root: Path,
    *,
    ip: str = LOOPBACK,
    port: int = 0,
    browser: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Serve JupyterLab in a folder until it is interrupted.

    Args:
        root: what it shows.
        ip: where it listens; see `check_address`.
        port: 0 for any that is free.
        browser: whether it opens one.
        say: takes the address, with the token.

    Raises:
        AddressError: if `JUPYTER_TOKEN` is too short, or the server does not answer, answers
            somebody who has no token, or has another token.
    """
    addresses.serve(
        lambda free: command(root, ip, free, browser),
        environment(addresses.own_token()),
        name="JupyterLab",
        folder=root,
        ip=ip,
        port=port,
        probe=GUARDED,
        say=say,
    )
