"""What was read of a file, kept as long as the file stays as it is. A leaf."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import TypeVar, TypeVarTuple

Rest = TypeVarTuple("Rest")
Found = TypeVar("Found")


def while_unchanged(read: Callable[[Path, *Rest], Found]) -> Callable[[Path, *Rest], Found]:
    """`read`, whose last 16 results hold for files of the same size and time: what it returns must not be changed.

    Raises:
        OSError: there is no such file.
    """

    @lru_cache(maxsize=16)
    def kept(path: Path, _: tuple[int, int], *args: *Rest) -> Found:
        return read(path, *args)

    @wraps(read)
    def asked(path: Path, /, *args: *Rest) -> Found:
        found = path.stat()
        return kept(path, (found.st_size, found.st_mtime_ns), *args)

    return asked
