"""The one way to write a file: beside its name, onto the disk, then renamed. A name never holds half a file.

A full disk or a kill leaves what was there before; after a kill, the file beside is left, too.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import sys
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

PART = ".part"  # ends the name of a file that is being written
MAX_BYTES = 255  # of a name, in nearly all file systems
WINDOWS = sys.platform == "win32"  # which neither removes nor replaces a file that somebody has open
PATIENCE = 1.0  # seconds that a virus scanner or a viewer may hold one
FOLDS_CASE = sys.platform in ("win32", "darwin")  # whose names differ in more than case
DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\..*)?", re.IGNORECASE)
NO_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)  # of file systems that do not put folders on the disk


@contextmanager
def replacing(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """A name beside `path` to write to; what stands there at the end is put on the disk and takes `path`'s place.

    With `shared`, several processes may do so at a time: the name beside is nobody else's, and one of them wins. An
    exception removes what was written and leaves `path` as it was.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    name = f".{path.name}" if shared else path.name
    own = f".{os.getpid()}-{secrets.token_hex(4)}" if shared else ""
    part = path.with_name(fitting(name, own + PART))
    try:
        yield part
        sync_file(part)
        rename(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def fitting(stem: str, end: str) -> str:
    """`stem` and `end` as one name; where it is longer than a name may be, `stem` is cut and gets a mark of its own."""
    name = stem + end
    if len(os.fsencode(name)) <= MAX_BYTES:
        return name
    mark = "~" + hashlib.sha256(os.fsencode(stem)).hexdigest()[:8] + end
    return os.fsencode(stem)[: MAX_BYTES - len(os.fsencode(mark))].decode(errors="ignore") + mark


def write(path: Path, data: bytes | str, *, shared: bool = False) -> None:
    """Write a whole file, text as UTF-8; see `replacing`."""
    with replacing(path, shared=shared) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)


def rename(part: Path, path: Path) -> None:
    """Give a file whose bytes are on the disk its name, in the same folder tree, for good."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            part.replace(path)
            break
        except PermissionError:
            if not WINDOWS or time.monotonic() > until:
                raise
            time.sleep(PATIENCE / 20)
    sync_folder(path.parent)


def key(path: Path) -> str:
    """Equal for names of one file, where case and the form of accents make no other name, too."""
    place = str(path.resolve())
    return unicodedata.normalize("NFC", place).casefold() if FOLDS_CASE else place


def why_no_name(path: PurePath) -> str | None:
    """Why Windows would not write a file of that name, in a few words; None where it would."""
    for part in path.parts:
        if part == path.anchor or part in (".", ".."):
            continue
        if DEVICES.fullmatch(part):
            return f"{part} is the name of a device"
        if found := re.search(r'[<>:"|?*\x00-\x1f]', part):
            return f"no name holds {found[0]!r}"
        if part != part.rstrip(" ."):
            return f"{part!r} ends in a dot or a space"
    return None


def sync_file(path: Path) -> None:
    """Put the file's bytes on the disk before a name or a manifest says that they are there."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Put the names in `folder` on the disk, where the system can do that and the folder may be read."""
    if WINDOWS:
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDERS:
            raise
    finally:
        os.close(descriptor)
