"""JupyterLab as it is served: guarded, whatever a configuration file says."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest

from socketlab.cli.lab import lab as lab_command
from socketlab.runs import lab
from socketlab.runs.addresses import AddressError

SERVE = """
import sys
from pathlib import Path
from socketlab.runs.lab import serve
serve(Path(sys.argv[1]), say=lambda address: print(address, flush=True))
"""


def status(address: str, **headers: str) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(address, headers=headers), timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def start(folder: Path, *configuration: str) -> "subprocess.Popen[str]":
    """The server, where a user has that configuration."""
    settings = folder / "settings"
    settings.mkdir()
    (settings / "jupyter_server_config.py").write_text("\n".join(configuration))
    told = {k: v for k, v in os.environ.items() if not k.startswith("JUPYTER_")}
    told |= {"JUPYTER_CONFIG_DIR": str(settings), "JUPYTER_RUNTIME_DIR": str(folder / "runtime")}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    program = [sys.executable, "-c", SERVE, str(folder)]
    return subprocess.Popen(program, env=told, cwd=folder, text=True, **pipes)


def test_whoever_has_the_token_gets_in_and_nobody_else(tmp_path: Path) -> None:
    with start(tmp_path, "c.ServerApp.ip = '0.0.0.0'", "c.ServerApp.port = 1") as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            bare, _, token = address.partition("?token=")
            assert bare.startswith("http://127.0.0.1:") and len(token) == 32
            for path in ("api/contents", "api/kernels", "api/terminals", "lab/api/settings"):
                assert status(bare + path) == 403, path
                assert status(bare + path, Authorization="token guessed") == 403
                assert status(bare + path, Authorization=f"token {token}") == 200, path
            children = psutil.Process(process.pid).children(recursive=True)
            ears = [c for p in children for c in p.net_connections() if c.status == "LISTEN"]
            assert ears and {ear.laddr.ip for ear in ears} == {"127.0.0.1"}
            assert token not in " ".join(word for p in children for word in p.cmdline())
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert not any(child.is_running() for child in children)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("configured", "words"),
    [
        ("c.IdentityProvider.token = ''", "answers 200 to somebody without the token"),
        ("c.IdentityProvider.token = 'of somebody else'", "answers 403 to the token"),
    ],
)
def test_a_configuration_that_takes_the_token_away_is_noticed(
    tmp_path: Path, configured: str, words: str
) -> None:
    with start(tmp_path, configured) as process:
        said, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and "?token=" not in said
    assert f"JupyterLab {words}" in errors
    assert str(tmp_path / "settings") in errors


def test_a_wider_address_needs_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Any] = []
    monkeypatch.setattr(lab.addresses, "serve", lambda *given, **about: served.append(about))
    with pytest.raises(AddressError, match=r"run any program .* as you.*--expose"):
        lab_command(ip="0.0.0.0")
    assert not served
    lab_command(ip="0.0.0.0", expose=True, port=7)
    assert (served[0]["ip"], served[0]["port"], served[0]["probe"]) == ("0.0.0.0", 7, lab.GUARDED)


def test_what_is_exposed_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lab.addresses, "serve", lambda *_, **__: None)
    lab_command(ip="0.0.0.0", expose=True)
    assert "Warning: whoever has the token can run any program" in capsys.readouterr().out
    lab_command(expose=True)
    assert "Warning" not in capsys.readouterr().out


def test_the_token_is_told_in_the_environment_alone(tmp_path: Path) -> None:
    told = lab.environment("t" * 32, {"JUPYTER_TOKEN_FILE": "elsewhere", "PATH": "kept"})
    assert told == {"JUPYTER_TOKEN": "t" * 32, "PATH": "kept"}
    words = lab.command(tmp_path, "127.0.0.1", 1)
    assert "--ServerApp.ip=127.0.0.1" in words and "--LabApp.default_url=/lab" in words
    (tmp_path / "notebooks").mkdir()
    (tmp_path / lab.FIRST).write_text("{}")
    assert f"--LabApp.default_url=/lab/tree/{lab.FIRST}" in lab.command(tmp_path, "::1", 1)
