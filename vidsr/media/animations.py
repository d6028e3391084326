"""What FFmpeg reads over in animations, and does not write: how often they are shown, what is taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from vidsr.media.png_chunks import chunks_of
from vidsr.media.read import webp

_CONTROL, _TO_BACKGROUND = b"\xf9", 2  # an extension of GIF, and what it says of a picture
_LOOPING = (b"NETSCAPE2.0", b"ANIMEXTS1.0")  # extensions of GIF that mean the same


def plays_of(path: Path, demuxer: str) -> int:
    """How often the animation in `path` is shown, 0 for without end; so is a film that becomes one."""
    read = _READERS.get(demuxer)
    if read is None:
        return 0
    with path.open("rb") as file:
        return read(file)


def clears(path: Path) -> bool:
    """Whether a picture of a GIF is taken away before the next one comes, which may uncover what lies behind all."""
    with path.open("rb") as file:
        return any(
            label == _CONTROL and blocks and (blocks[0][0] >> 2) & 7 == _TO_BACKGROUND
            for label, blocks in _extensions(file, beyond_pictures=True)
        )


def take_away(path: Path) -> None:
    """Let every picture of a GIF go before the next one: each must be whole, and have a clear colour as its last.

    FFmpeg leaves an opaque picture behind one that is clear. What is taken away becomes clear where a picture has a
    clear colour itself.
    """
    with path.open("r+b") as file:
        for label, blocks in _extensions(file, beyond_pictures=True):
            if label == _CONTROL:
                here = file.tell()
                file.seek(here - len(blocks[0]) - 1)
                flags, *delay, clear = blocks[0]
                clear = clear if flags & 1 else 255
                file.write(bytes([flags & ~(7 << 2) | _TO_BACKGROUND << 2 | 1, *delay, clear]))
                file.seek(here)


def _of_gif(file: BinaryIO) -> int:
    """By its extension before the first picture (GIF89a, 17 to 26); it counts how often it comes again."""
    for label, blocks in _extensions(file):
        if label == b"\xff" and len(blocks) > 1 and blocks[0] in _LOOPING and blocks[1][:1] == b"\1":
            again = int.from_bytes(blocks[1][1:3], "little")
            return again + 1 if again else 0
    return 1


def _extensions(file: BinaryIO, *, beyond_pictures: bool = False) -> Iterator[tuple[bytes, list[bytes]]]:
    """The labels and data of a GIF's extensions, up to the first picture or to the end."""
    head = file.read(13)
    file.seek(palette_bytes(head[10:11]), 1)
    while (kind := file.read(1)) == b"!" or (kind == b"," and beyond_pictures):
        if kind == b"!":
            yield file.read(1), list(_blocks(file))
        else:
            file.seek(palette_bytes(file.read(9)[8:9]) + 1, 1)
            for _ in _blocks(file):
                pass


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while (size := file.read(1)) not in (b"", b"\0"):
        yield file.read(size[0])


def palette_bytes(flags: bytes) -> int:
    """How many a palette takes, by the flags of its picture or file; 0 where there is none."""
    return 3 << (1 + (flags[0] & 7)) if flags and flags[0] & 0x80 else 0


def _of_png(file: BinaryIO) -> int:
    """By its animation control chunk (PNG 3rd edition, 11.3.6.1), or that of the WebP that is read as one."""
    if (found := webp.animation(file)) is not None:
        return found.loops
    file.seek(8)
    return next((int.from_bytes(file.read(8)[4:], "big") for kind, _ in chunks_of(file) if kind == b"acTL"), 0)


_READERS: Mapping[str, Callable[[BinaryIO], int]] = {"gif": _of_gif, "apng": _of_png}
