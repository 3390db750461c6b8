"""Numbers through a pipe, between the server of kernels and whoever asks it for one."""

import os
import struct

_NUMBER = struct.Struct("q")


def say(pipe: int, number: int) -> None:
    """Write one number; a pipe takes so few bytes as a whole."""
    os.write(pipe, _NUMBER.pack(number))


def hear(pipe: int) -> int | None:
    """Wait for one number; None where the other end was closed without one."""
    found = os.read(pipe, _NUMBER.size)
    return int(_NUMBER.unpack(found)[0]) if len(found) == _NUMBER.size else None
