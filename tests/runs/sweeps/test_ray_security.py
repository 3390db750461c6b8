"""Ray answers nobody without the token, and on one machine nobody from elsewhere."""

import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from socketlab.runs.sweeps import ray_security
from socketlab.runs.sweeps.ray_security import RaySecurityError, check_join, secure_environment

ONE_BOX = """
import json, os, sys
from socketlab.runs.sweeps.ray_security import secure_environment, start_options
os.environ.update(secure_environment())
import psutil, ray
small = {"num_cpus": 1, "object_store_memory": 80_000_000, "log_to_driver": False}
ray.init(address="local", **small, **start_options())
assert ray.get(ray.remote(lambda: 6 * 7).remote()) == 42
family = [psutil.Process(), *psutil.Process().children(recursive=True)]
found = [(p.name(), c.laddr.ip, c.laddr.port)
         for p in family for c in p.net_connections() if c.status == "LISTEN"]
words = [word for p in family for word in p.cmdline()]
address = ray.get_runtime_context().gcs_address
print(json.dumps({"found": found, "words": words, "address": address}), flush=True)
input()
"""


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a token."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_USE_TLS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_cluster_of_ones_own_gets_a_token_that_nobody_else_can_read(at_home: Path) -> None:
    told = secure_environment()
    file = at_home / ".ray" / "auth_token"
    assert told == {
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_TOKEN_PATH": str(file),
    }
    token = file.read_text()
    assert len(token) == 64 and token not in " ".join(told.values())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    file.chmod(0o644)
    assert secure_environment() == told
    assert file.read_text() == token
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_two_that_start_at_once_have_one_token(at_home: Path) -> None:
    with futures.ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: secure_environment(), range(8)))
    assert len({str(t) for t in told}) == 1
    assert sorted(f.name for f in (at_home / ".ray").iterdir())[:1] == ["auth_token"]
    assert not list((at_home / ".ray").glob("*.partial"))


def test_a_token_that_is_given_is_taken(at_home: Path) -> None:
    assert "RAY_AUTH_TOKEN_PATH" not in secure_environment(None, {"RAY_AUTH_TOKEN": "t" * 32})
    own = at_home / "own"
    own.write_text("t" * 32 + "\n")
    told = secure_environment("head:6379", {"RAY_AUTH_TOKEN_PATH": str(own)})
    assert told["RAY_AUTH_TOKEN_PATH"] == str(own)
    assert told["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "1"
    assert not (at_home / ".ray").exists()


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 40])
def test_what_is_no_token_is_an_error(at_home: Path, content: bytes) -> None:
    file = at_home / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(RaySecurityError, match=r"auth_token (has|holds no token)"):
        secure_environment()
    assert file.read_bytes() == content


def test_joining_makes_no_token(at_home: Path) -> None:
    with pytest.raises(RaySecurityError, match=r"auth_token does not exist\. Copy that file"):
        secure_environment("head:6379")
    assert not (at_home / ".ray").exists()


def test_the_folder_of_ray_is_closed_to_others(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="s") as place:
        monkeypatch.setattr(tempfile, "tempdir", place)
        options = ray_security.start_options()
        assert options["dashboard_host"] == "127.0.0.1"
        assert ray_security.start_options(expose=True)["dashboard_host"] == "0.0.0.0"
        folder = Path(options["_temp_dir"]).parent
        assert folder.parent == Path(place)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        folder.chmod(0o777)
        assert ray_security.private_folder() == folder
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        folder.rmdir()
        folder.symlink_to(tmp_path_factory.mktemp("of_somebody_else"))
        with pytest.raises(RaySecurityError, match="is not a folder of yours"):
            ray_security.start_options()
    monkeypatch.setattr(tempfile, "tempdir", "/" + "long" * 30)
    assert len(str(ray_security.private_folder())) <= ray_security.LONGEST_FOLDER


@contextmanager
def _cluster(answer: str) -> Iterator[str]:
    """Something that answers as the head of a Ray cluster does."""
    import grpc  # type: ignore[import-untyped]

    def respond(_: bytes, context: Any) -> bytes:
        if answer != "OK":
            context.abort(getattr(grpc.StatusCode, answer), "no")
        return b""

    handlers = {"CheckAlive": grpc.unary_unary_rpc_method_handler(respond)}
    service = grpc.method_handlers_generic_handler("ray.rpc.NodeInfoGcsService", handlers)
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def test_a_cluster_is_asked_whether_it_wants_a_token(
    at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _cluster("UNAUTHENTICATED") as address:
        assert check_join(address) == ""
    with _cluster("OK") as address:
        with pytest.raises(RaySecurityError, match=r"asks nobody for a token.*--expose"):
            check_join(address)
        assert "runs programs" in check_join(address, expose=True)
        monkeypatch.setenv("RAY_USE_TLS", "1")
        assert check_join(address) == ""
        monkeypatch.delenv("RAY_USE_TLS")
    with (
        _cluster("UNIMPLEMENTED") as address,
        pytest.raises(RaySecurityError, match=r"No Ray cluster answers .*UNIMPLEMENTED"),
    ):
        check_join(address, expose=True)
    monkeypatch.setattr(ray_security, "PATIENCE", 0.2)
    with pytest.raises(RaySecurityError, match="No Ray cluster answers"):
        check_join(address)
    for wrong in ("head", ":1", "head:port"):
        with pytest.raises(RaySecurityError, match="is not HOST:PORT"):
            check_join(wrong)


@pytest.mark.faults
def test_on_one_machine_ray_listens_on_loopback_alone(at_home: Path) -> None:
    told = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    program = [sys.executable, "-c", ONE_BOX]
    with subprocess.Popen(program, env=told, text=True, **pipes) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        names = {name for name, *_ in said["found"]}
        assert {"gcs_server", "raylet"} < names and len(said["found"]) >= 8
        assert {ip.removeprefix("::ffff:") for _, ip, _ in said["found"]} == {"127.0.0.1"}
        token = (at_home / ".ray" / "auth_token").read_text()
        assert token not in " ".join(said["words"])
        assert check_join(said["address"]) == ""
        process.communicate("\n")
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        (None, "0"),
        ("127.0.0.1:6379", "0"),
        ("10.0.0.5:6379", "1"),
        ("head:6379", "1"),
        ("auto", "1"),
    ],
)
def test_a_cluster_on_loopback_is_joined_on_loopback(address: str | None, loopback: str) -> None:
    told = secure_environment(address, {"RAY_AUTH_TOKEN": "x" * 32})
    assert told[ray_security.LOOPBACK_VARIABLE] == loopback
