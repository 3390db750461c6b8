"""Where servers listen, and what becomes of one that answers everybody."""

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from socketlab.runs import addresses
from socketlab.runs.addresses import AddressError, check_address


@pytest.mark.parametrize("ip", ["127.0.0.1", "localhost", "::1", "127.0.0.5"])
def test_loopback_needs_no_flag(ip: str) -> None:
    assert check_address(ip, expose=False, exposed="all") == ip


@pytest.mark.parametrize("ip", ["0.0.0.0", "192.168.1.5", "::", "::ffff:192.168.1.5"])
def test_a_wider_address_needs_the_flag_and_says_what_it_exposes(ip: str) -> None:
    with pytest.raises(AddressError, match=r"from other machines: all my files\. .*--expose"):
        check_address(ip, expose=False, exposed="all my files")
    assert check_address(ip, expose=True, exposed="all") == ip


@pytest.mark.parametrize("expose", [True, False])
@pytest.mark.parametrize("ip", ["", "localhost.example.org", "127.0.0.1:80", "127.1"])
def test_what_is_no_address_is_named(ip: str, expose: bool) -> None:
    with pytest.raises(AddressError, match="is no address"):
        check_address(ip, expose, "all")


def test_a_token_is_that_of_the_environment_or_a_fresh_one() -> None:
    assert addresses.own_token({"JUPYTER_TOKEN": "t" * 16}) == "t" * 16
    fresh = {addresses.own_token({}), addresses.own_token({"JUPYTER_TOKEN": ""})}
    assert len(fresh) == 2 and all(len(token) == 32 for token in fresh)
    with pytest.raises(AddressError, match="has 6 characters") as error:
        addresses.own_token({"JUPYTER_TOKEN": "abc123"})
    assert "abc123" not in str(error.value)


def test_addresses_are_those_that_a_browser_here_can_open() -> None:
    assert addresses.address_of("0.0.0.0", 8) == "http://127.0.0.1:8/"
    assert addresses.address_of("::", 8) == "http://[::1]:8/"
    assert addresses.address_of("192.168.1.5", 8) == "http://192.168.1.5:8/"
    assert 1024 <= addresses.free_port("127.0.0.1") < 65536
    with pytest.raises(AddressError, match=r"listen on 203\.0\.113\.9"):
        addresses.free_port("203.0.113.9")


@contextmanager
def _answering(status: int) -> Iterator[str]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Location", "/login")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("status", [200, 204, 302, 401, 403, 404, 500])
def test_only_a_refusal_counts_as_guarded(status: int) -> None:
    with (
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process,
        _answering(status) as address,
    ):
        if status in (302, 401, 403):
            addresses.wait_until_guarded(address, process, "it")
        else:
            with pytest.raises(AddressError, match=f"it answers {status} to somebody without"):
                addresses.wait_until_guarded(address, process, "it")
        process.kill()


def test_a_server_that_ends_or_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = f"http://127.0.0.1:{addresses.free_port('127.0.0.1')}/"
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]) as process:
        process.wait()
        with pytest.raises(AddressError, match="it ended with status 3"):
            addresses.wait_until_guarded(nowhere, process, "it")
    monkeypatch.setattr(addresses, "PATIENCE", 0.3)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        with pytest.raises(AddressError, match="it does not answer"):
            addresses.wait_until_guarded(nowhere, process, "it")
        process.kill()
