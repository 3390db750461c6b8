"""Where a server may listen, its token, and whether it is guarded. Loads no torch.

For whatever is served over HTTP: the demo page (voila) and JupyterLab. Whether a server is guarded
is found by asking it without the token: its settings may come from a file that nobody here has
seen.
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

LOOPBACK: Final = "127.0.0.1"
PATIENCE: Final = 60.0  # seconds until a server that does not answer is given up
SHORTEST_TOKEN: Final = 16  # characters; fewer can be guessed
TOKEN_VARIABLE: Final = "JUPYTER_TOKEN"
"""Environment variable: what JupyterLab and voila take as their token."""
_ANYWHERE: Final = {"0.0.0.0": LOOPBACK, "::": "::1"}


class AddressError(ValueError):
    """A server that cannot be reached, or that more people could reach than anybody asked for."""


def is_loopback(ip: str) -> bool:
    """Whether an address is this machine's alone.

    Raises:
        AddressError: for what is no address.
    """
    try:
        return ip == "localhost" or ipaddress.ip_address(ip).is_loopback
    except ValueError:
        raise AddressError(f"ip {ip!r} is no address. Leave it out for {LOOPBACK}.") from None


def check_address(ip: str, expose: bool, exposed: str) -> str:
    """Return `ip` if it is this machine's alone, or if others may reach it.

    Args:
        ip: where a server is to listen.
        expose: whether others may reach it.
        exposed: what they could do then; ends the sentence "... can be reached from elsewhere".

    Raises:
        AddressError: for one that other machines can reach, saying what that would expose.
    """
    if not is_loopback(ip) and not expose:
        raise AddressError(
            f"ip {ip!r} can be reached from other machines: {exposed}. Leave it out for "
            f"{LOOPBACK}, or add --expose if that is what you want."
        )
    return ip


def new_token() -> str:
    """A token that nobody guesses: 192 random bits."""
    return secrets.token_urlsafe(24)


def own_token(environment: Mapping[str, str] | None = None) -> str:
    """The token in `JUPYTER_TOKEN`, or a fresh one where there is none.

    Raises:
        AddressError: for one that is too short to keep anybody out; it is not repeated.
    """
    token = (os.environ if environment is None else environment).get(TOKEN_VARIABLE, "")
    if token and len(token) < SHORTEST_TOKEN:
        raise AddressError(
            f"{TOKEN_VARIABLE} has {len(token)} characters, and fewer than {SHORTEST_TOKEN} can be "
            "guessed. Unset it for a fresh token."
        )
    return token or new_token()


def free_port(ip: str) -> int:
    """A port on which nobody listens at this moment.

    Raises:
        AddressError: for an address that this machine does not have.
    """
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((ip, 0))
        except OSError as error:
            raise AddressError(
                f"Nothing can listen on {ip}: {error.strerror or error}. Give an address of this "
                f"machine, or leave it out for {LOOPBACK}."
            ) from None
        return int(probe.getsockname()[1])


def address_of(ip: str, port: int) -> str:
    """Where a browser on this machine finds what listens there."""
    seen = _ANYWHERE.get(ip, ip)
    return f"http://[{seen}]:{port}/" if ":" in seen else f"http://{seen}:{port}/"


def serve(
    command: Callable[[int], list[str]],
    told: Mapping[str, str],
    *,
    name: str,
    folder: Path,
    ip: str = LOOPBACK,
    port: int = 0,
    probe: str = "",
    say: Callable[[str], None] = print,
) -> None:
    """Run a server until it is interrupted, and say its address once it is guarded.

    Args:
        command: how it is started at a port.
        told: its environment, with the token as `JUPYTER_TOKEN`: a command line can be read by
            every user of the machine.
        name: of the program, for errors.
        folder: where it works.
        ip: where it listens.
        port: 0 for any that is free.
        probe: the path that must be refused without the token; if there is one, it must also be
            given with it.
        say: takes the address, with the token.

    Raises:
        AddressError: if it does not answer, answers somebody who has no token, or has another one.
    """
    port = port or free_port(ip)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the server ends with us
    server = subprocess.Popen(command(port), env=dict(told), cwd=folder)
    try:
        address = address_of(ip, port)
        wait_until_guarded(address + probe, server, name)
        if probe and (found := _status(address + probe, told[TOKEN_VARIABLE])) != 200:
            raise AddressError(
                f"{name} answers {found} to the token that it was given, so it was stopped. Look "
                f"for a configuration file that sets another: {configuration_folders()}."
            )
        say(f"{address}?token={told[TOKEN_VARIABLE]}")
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.terminate()
        server.wait()


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Do not go to the login form, which answers everybody."""


def _status(address: str, token: str = "", timeout: float = 10) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay)
    headers = {"Authorization": f"token {token}"} if token else {}
    try:
        with opener.open(
            urllib.request.Request(address, headers=headers), timeout=timeout
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def wait_until_guarded(address: str, server: "subprocess.Popen[bytes]", name: str) -> None:
    """Wait until a server answers, and see that it refuses whoever has no token.

    Raises:
        AddressError: if it ends, does not answer, or answers somebody without the token.
    """
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if server.poll() is not None:
            raise AddressError(
                f"{name} ended with status {server.returncode}; the lines above say why. If its "
                "port is taken, choose another with --port."
            )
        try:
            found = _status(address)
        except OSError:  # it does not listen yet
            time.sleep(0.2)
            continue
        if found in (302, 401, 403):
            return
        raise AddressError(
            f"{name} answers {found} to somebody without the token, so it was stopped. Look for a "
            f"configuration file that switches the token off: {configuration_folders()}."
        )
    raise AddressError(f"{name} does not answer after {PATIENCE:.0f} s.")


def configuration_folders() -> str:
    """Where Jupyter looks for configuration files, as a list in words."""
    from jupyter_core.paths import jupyter_config_path

    return ", ".join(jupyter_config_path())
