"""Download one file, and go on where an earlier try broke off. Imports no torch.

What has arrived is kept in ``<file>.part`` beside ``<file>.part.json``, which says of which
published file it is a part. The rest is asked for with a HTTP range; a server that has no ranges,
or another file by now, makes it begin anew.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from socketlab.data.acquiring.archives import AcquireError, require_space
from socketlab.data.domain_schema import Frozen
from socketlab.data.schema import Progress

if TYPE_CHECKING:
    from requests import Response

BLOCK = 1 << 16
"""Bytes written at once; what is less than one when a connection breaks is lost."""
TIMEOUT_SECONDS = (30, 60)
"""To connect, and without a byte."""
TRIES = 4
"""In a row without a byte more."""
WAIT_SECONDS = 1.0
"""Before the second try; doubled for each further one."""
PARTIAL = 206
PAST_THE_END = 416


class Published(Frozen):
    """What a server says of a file; two that are equal are taken for the same content."""

    url: str
    bytes: int | None
    etag: str | None
    modified: str | None


def remote_size(url: str) -> int | None:
    """Bytes that the server says `url` has; None where it does not say or does not answer."""
    import requests

    try:
        answer = requests.head(
            url, headers=_headers(), allow_redirects=True, timeout=TIMEOUT_SECONDS
        )
    except requests.RequestException:
        return None
    return _published(url, answer).bytes if answer.ok else None


def part_of(path: Path) -> Path:
    """Where what has arrived of `path` is kept."""
    return path.with_name(path.name + ".part")


def download(
    url: str,
    path: Path,
    *,
    size: int | None = None,
    checksum: str | None = None,
    advice: str = "Start again; if it stays so, the published file has changed.",
    progress: Progress | None = None,
) -> None:
    """Download `url` to `path`, which is there only once it is whole and verified.

    `size` in bytes and `checksum` (``kind:digest``) are those that it must have, None where they
    are unknown; `advice` is what to do where it has others. `progress` hears (bytes done, bytes in
    all) where the size is known. A broken connection is tried again; after an error what has
    arrived stays, and the next call goes on.

    Raises `AcquireError` where the address does not answer, the disk is full, or the file has
    another size or checksum (such a file is deleted).
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    incoming = path.with_name(f".{path.name}.incoming")
    shutil.rmtree(incoming, ignore_errors=True)  # of a process that was killed
    downloader = Resuming(part_of(path), size, advice, progress)
    try:
        pooch.retrieve(url, checksum, path.name, incoming, downloader=downloader)
        os.replace(incoming / path.name, path)
        downloader.forget()
    except AcquireError:
        raise
    except OSError as error:
        by_hand = f", or get {url} by hand and put it at {path}"
        if isinstance(error, requests.RequestException):
            raise AcquireError(
                f"{url} cannot be downloaded: {error}. Start again to go on{by_hand}."
            ) from error
        raise AcquireError(f"{path} cannot be written: {error}.") from error
    except ValueError as error:  # pooch's word for a wrong checksum
        downloader.forget()
        raise AcquireError(f"{url}: {error} {advice}") from error
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


@dataclass
class Resuming:
    """A downloader for `pooch.retrieve`: pooch's own begins anew each time."""

    part: Path
    size: int | None
    advice: str
    progress: Progress | None

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Download `url` into `part`, which is then also `output_file`."""
        from requests.exceptions import ChunkedEncodingError, ConnectionError, Timeout

        failed = 0
        while True:
            before = self._arrived()
            try:
                self._go_on(url)
                break
            except (ConnectionError, Timeout, ChunkedEncodingError):
                failed = 1 if self._arrived() > before else failed + 1
                if failed >= TRIES:
                    raise
                time.sleep(WAIT_SECONDS * 2 ** (failed - 1))
        os.unlink(output_file)
        try:
            os.link(self.part, output_file)  # whoever stops during the check has it still
        except OSError:  # a file system without hard links
            os.replace(self.part, output_file)

    def forget(self) -> None:
        """Delete what has arrived."""
        self.part.unlink(missing_ok=True)
        self._about.unlink(missing_ok=True)

    @property
    def _about(self) -> Path:
        return self.part.with_name(self.part.name + ".json")

    def _arrived(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _go_on(self, url: str) -> None:
        import requests

        known = self._known(url)
        start = self._arrived() if known else 0
        if known and start and start == known.bytes and self.size in (None, start):
            return
        range_ = {"Range": f"bytes={start}-"} if start else {}
        with requests.get(
            url, headers=_headers() | range_, stream=True, timeout=TIMEOUT_SECONDS
        ) as answer:
            found = _published(url, answer)
            if not start or not _is_other_file(answer, start, found, known):
                answer.raise_for_status()
                self._receive(answer, found, start if answer.status_code == PARTIAL else 0)
                return
        self._about.unlink()
        self._go_on(url)

    def _receive(self, answer: Response, found: Published, start: int) -> None:
        import requests

        if None not in (self.size, found.bytes) and self.size != found.bytes:
            raise AcquireError(
                f"{found.url}: the server has {found.bytes} bytes, expected {self.size}; nothing "
                f"was downloaded. {self.advice}"
            )
        if found.bytes is not None:
            require_space(self.part.parent, found.bytes - start, f"downloading {found.url}")
        if not start:
            self.part.unlink(missing_ok=True)  # before it is said to be of this file
        self._about.write_text(found.model_dump_json())
        done = start
        # a server that calls a .tar.gz a compressed .tar would have it unpacked on the way
        answer.raw.headers.pop("Content-Encoding", None)
        with self.part.open("ab" if start else "wb") as file:
            for block in answer.iter_content(BLOCK):
                file.write(block)
                done += len(block)
                if self.progress is not None and found.bytes is not None:
                    self.progress(done, found.bytes)
        if found.bytes is not None and done != found.bytes:
            raise requests.ConnectionError(f"{done} of {found.bytes} bytes arrived")

    def _known(self, url: str) -> Published | None:
        try:
            known = Published.model_validate_json(self._about.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        return known if known.url == url else None


def _headers() -> dict[str, str]:
    return {"Accept-Encoding": "identity"}


def _published(url: str, answer: Response) -> Published:
    length: str | None = answer.headers.get("Content-Length")
    if answer.status_code == PARTIAL:
        _, length = _range(answer)
    return Published(
        url=url,
        bytes=int(length) if length and length.isdigit() else None,
        etag=answer.headers.get("ETag"),
        modified=answer.headers.get("Last-Modified"),
    )


def _range(answer: Response) -> tuple[int | None, str | None]:
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    return (int(found[1]), found[2]) if found else (None, None)


def _is_other_file(answer: Response, start: int, found: Published, known: Published | None) -> bool:
    if answer.status_code == PARTIAL:
        return found != known or _range(answer)[0] != start
    return answer.status_code == PAST_THE_END
