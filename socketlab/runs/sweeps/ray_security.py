"""Ray only for whoever has its token. Loads neither Ray nor torch.

Ray runs what it is sent. By default it listens on all of a machine's addresses, its session's
folder, with the sockets to its workers, can be written by every user of the machine, and a cluster
that `ray start` makes asks nobody for a token. docs/servers.md lists what was found to listen.
"""

import os
import secrets
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from socketlab.runs.addresses import LOOPBACK, AddressError, is_loopback

LOOPBACK_VARIABLE: Final = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Environment variable of Ray: "0" makes it a cluster of this machine alone, on loopback.

Ray has it for macOS and Windows, where it is the default. `_node_ip_address="127.0.0.1"` is not a
way to have it: Ray replaces that by an address that others can reach.
"""
EXPOSED: Final = (
    "Ray runs whatever it is sent by anybody who can reach it and has its token, as you and with "
    "all your files, and the connection is not encrypted: everybody on the way can read the token"
)
LONGEST_FOLDER: Final = 40  # of 107 characters that a socket's path may have; Ray needs the rest
PATIENCE: Final = 10.0  # seconds for a cluster to answer


class RaySecurityError(ValueError):
    """A cluster that would be open to others, or a token that is none."""


def token_file(environment: Mapping[str, str] | None = None) -> Path:
    """Where Ray looks for its token: `RAY_AUTH_TOKEN_PATH`, else `.ray/auth_token` at home."""
    told = (os.environ if environment is None else environment).get("RAY_AUTH_TOKEN_PATH")
    return Path(told) if told else Path.home() / ".ray" / "auth_token"


def secure_environment(
    address: str | None = None, environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What Ray must find in the environment before it is imported.

    With a token everybody is asked for it, usage is not reported, and without `address` all of it
    stays on loopback. A cluster of one's own gets a token where there is none; its file is for
    its owner's eyes only.

    Args:
        address: of a running cluster that is joined; None starts one on this machine.
        environment: where `RAY_AUTH_TOKEN` and `RAY_AUTH_TOKEN_PATH` are looked for.

    Raises:
        RaySecurityError: for a token's file that is empty, is not ours, or that joining needs and
            that is not there.
    """
    given = os.environ if environment is None else environment
    told = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
    told[LOOPBACK_VARIABLE] = "0" if address is None or _is_here(address) else "1"
    if not given.get("RAY_AUTH_TOKEN"):
        told["RAY_AUTH_TOKEN_PATH"] = str(_guarded(token_file(given), make=address is None))
    return told


def start_options(expose: bool = False, dashboard: bool = True) -> dict[str, Any]:
    """What `ray.init` is given when it starts a cluster on this machine.

    Args:
        expose: whether other machines may reach the dashboard; they need the token.
        dashboard: whether there is one.

    Raises:
        RaySecurityError: if its folder belongs to somebody else.
    """
    host = "0.0.0.0" if expose else LOOPBACK
    folder = str(private_folder() / "ray")
    return {"include_dashboard": dashboard, "dashboard_host": host, "_temp_dir": folder}


def private_folder() -> Path:
    """A folder of ours with a short path, which no other user of the machine can enter.

    Ray opens the folders of its sessions, with sockets that take commands, to everybody; inside
    this one nobody reaches them.

    Raises:
        RaySecurityError: if somebody else has made it, or it is no folder.
    """
    place = Path(tempfile.gettempdir())
    place = place if len(str(place)) <= LONGEST_FOLDER - 20 else Path(os.sep, "tmp")
    folder = place / f"socketlab-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        raise RaySecurityError(
            f"{folder} is not a folder of yours, so others could reach Ray through it. Remove it, "
            "or set TMPDIR to a short path of your own."
        )
    folder.chmod(0o700)
    return folder


def check_join(address: str, expose: bool = False) -> str:
    """Whether a running cluster asks for a token; a warning to be said where it does not, else "".

    It is asked without one. A cluster with TLS by Ray's own settings is not: its certificates
    guard it.

    Args:
        address: HOST:PORT of its head, or `auto` for the one that Ray finds on this machine.
        expose: whether a cluster that is open to everybody is joined all the same.

    Raises:
        RaySecurityError: if it does not answer, or answers somebody without a token and `expose`
            is not given.
    """
    if address == "auto":
        address = _running_here()
        if _is_here(address):  # Ray must know that before it is imported
            raise RaySecurityError(
                f"The cluster of this machine is named by its address: {address}"
            )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise RaySecurityError(f"address {address!r} is not HOST:PORT, such as 10.0.0.5:6379.")
    if os.environ.get("RAY_USE_TLS") == "1":
        return ""
    found = _asked_without_token(address)
    if found == "UNAUTHENTICATED":
        return ""
    if found != "OK":
        raise RaySecurityError(
            f"No Ray cluster answers at {address} ({found}). Start one there with "
            "docs/servers/nodes.sh, or leave the address out for one on this machine."
        )
    said = (
        f"The Ray cluster at {address} asks nobody for a token: whoever can reach it runs programs "
        "as the users of its nodes"
    )
    if not expose:
        raise RaySecurityError(
            f"{said}. Start it with RAY_AUTH_MODE=token, as docs/servers/nodes.sh does, or add "
            "--expose if that is what you want."
        )
    return said


def _is_here(address: str) -> bool:
    """Whether a cluster can be reached from its own machine alone."""
    try:
        return is_loopback(address.rpartition(":")[0])
    except AddressError:  # a name, or auto
        return False


def _running_here() -> str:
    from ray._private.services import canonicalize_bootstrap_address_or_die

    try:
        return str(canonicalize_bootstrap_address_or_die("auto"))
    except ConnectionError as error:
        raise RaySecurityError(f"address 'auto': {error}") from error


def _asked_without_token(address: str) -> str:
    import grpc  # type: ignore[import-untyped] # comes with the dashboard of Ray

    # An empty message is a valid request; the name of what it asks is Ray's own.
    method = "/ray.rpc.NodeInfoGcsService/CheckAlive"
    with grpc.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),)) as channel:
        try:
            channel.unary_unary(method)(b"", timeout=PATIENCE, wait_for_ready=True)
        except grpc.RpcError as refused:
            return str(refused.code().name)
    return "OK"


def _guarded(file: Path, make: bool) -> Path:
    if make:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(file.with_name(f"{file.name}.lock")):
            if not file.exists():
                _write(file, secrets.token_hex(32))
    try:
        content, about = file.read_text().strip(), file.stat()
    except FileNotFoundError:
        raise RaySecurityError(
            f"No token to join a Ray cluster with: {file} does not exist. Copy that file of the "
            "cluster's head to this machine, or set RAY_AUTH_TOKEN_PATH to where it is."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RaySecurityError(f"{file} holds no token that can be read ({error}).") from error
    if len(content) < 16:
        raise RaySecurityError(
            f"{file} has {len(content)} characters, which is no token. Remove it for a fresh one."
        )
    if about.st_uid == os.getuid() and stat.S_IMODE(about.st_mode) & 0o077:
        file.chmod(0o600)  # Ray itself leaves it to be read by everybody
    return file


def _write(file: Path, token: str) -> None:
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(token)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)
