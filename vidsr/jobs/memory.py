"""Running out of main memory, said in one sentence: Python, torch and FFmpeg each have an error of their own for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vidsr.errors import OutOfMemoryError, VidsrError


@contextmanager
def memory_for(source: Path) -> Iterator[None]:
    """Turn what is raised for want of memory into an error that is meant for users.

    Raises:
        OutOfMemoryError: `source` needs more memory than there is.
    """
    try:
        yield
    except VidsrError:
        raise
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"{source}: the memory does not suffice for it; close other programs, or use a smaller scale or "
            "size, or tiles of 256"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory could not be had; torch's is a RuntimeError like any other."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "can't allocate memory" in text or "cannot allocate memory" in text
