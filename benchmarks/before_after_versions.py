"""Versions of the package side by side: the tree of each, and a process that runs it when asked."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from socketlab.data.whole_files import replace_file

PACKAGE = "socketlab"
WORKING_TREE = "."
WORKER = Path(__file__).with_name("before_after_worker.py")
TAIL = 15  # lines of what a process said before it ended


class VersionError(RuntimeError):
    """A version that is not there, or that cannot do what it was asked for."""


def take_tree(revision: str, repository: Path, place: Path) -> Path:
    """Copy the package of a git revision, or of the working tree (`.`), into the folder `place`.

    Raises:
        VersionError: for a revision that the repository does not have.
    """
    place.mkdir(parents=True)
    if revision == WORKING_TREE:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(repository / PACKAGE, place / PACKAGE, ignore=ignored)
        return place
    command = ["git", "-C", str(repository), "archive", "--format=tar", revision, PACKAGE]
    done = subprocess.run(command, capture_output=True)
    if done.returncode:
        said = done.stderr.decode().strip()
        raise VersionError(
            f"Revision {revision!r} cannot be taken: {said}. Give one that `git log` shows, or "
            f"{WORKING_TREE!r} for the working tree; a shallow clone lacks old ones."
        )
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(place, filter="data")
    return place


def content_of(tree: Path) -> str:
    """Twelve digits that change whenever a source file of the package does."""
    digest = sha256()
    for file in sorted((tree / PACKAGE).rglob("*.py")):
        digest.update(f"{file.relative_to(tree).as_posix()}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


class Worker:
    """A process that has loaded one version, and answers a command with a JSON line.

    Attributes:
        name: in tables.
        content: `content_of` its tree.
    """

    def __init__(self, name: str, tree: Path) -> None:
        self.name, self.content = name, content_of(tree)
        self._said = tree / "said.txt"
        # A process that waits for its turn must not burn the cores of the one that is measured.
        environment = {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ | {"PYTHONPATH": str(tree)}
        with self._said.open("w") as said:
            self._process = subprocess.Popen(
                [sys.executable, str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=environment,
                text=True,
            )
        try:
            self._check(tree.resolve())
        except VersionError:
            self.end()
            raise

    def _check(self, tree: Path) -> None:
        found = Path(self.ask("hello")["package"])
        if not found.is_relative_to(tree):
            raise VersionError(
                f"{self.name}: the package was loaded from {found.parent}, not from its own tree. "
                "Take that folder out of what Python is told to look through first."
            )

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        with suppress(BrokenPipeError):
            self._process.communicate()

    def ask(self, command: str, **about: Any) -> dict[str, Any]:
        """Send a command and wait for its answer.

        Raises:
            VersionError: with what the worker raised, or with its last words if it ended.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        line = ""
        try:
            self._process.stdin.write(json.dumps({"command": command} | about) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:  # it has ended, and says why below
            pass
        if not line:
            last = "\n".join(self._said.read_text().splitlines()[-TAIL:])
            raise VersionError(f"{self.name}: the process ended at {command!r}. It said:\n{last}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise VersionError(f"{self.name}: {answer['error']}")
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()


@contextmanager
def working(revisions: Sequence[str], repository: Path, place: Path) -> Iterator[list[Worker]]:
    """A worker for each revision, in that order, ended together.

    Raises:
        VersionError: for a revision that the repository does not have.
    """
    trees = [
        take_tree(revision, repository, place / f"version {number}")
        for number, revision in enumerate(revisions)
    ]
    with ExitStack() as stack:
        yield [
            stack.enter_context(Worker(name, tree))
            for name, tree in zip(names(revisions), trees, strict=True)
        ]


def names(revisions: Sequence[str]) -> list[str]:
    """What the versions are called in a table, each another way.

    >>> names(["6cd44cb", ".", "."])
    ['6cd44cb', 'working tree', 'working tree (2)']
    """
    found: list[str] = []
    for revision in revisions:
        name = "working tree" if revision == WORKING_TREE else revision
        again = found.count(name) + sum(other.startswith(f"{name} (") for other in found)
        found.append(f"{name} ({again + 1})" if again else name)
    return found


def write_json(file: Path, content: object) -> None:
    """Write a file whole, with its folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, (json.dumps(content, indent=1) + "\n").encode())
