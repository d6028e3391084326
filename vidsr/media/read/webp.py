"""An animated WebP as an animated PNG of the same pictures and times, which FFmpeg reads; of WebP it reads stills."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageSequence

from vidsr.errors import MediaError
from vidsr.media.unchanged import while_unchanged

MAX_TOTAL = 1 << 28  # pixels of all pictures together: they are unpacked at once
_HEAD = 12  # "RIFF", a size, "WEBP"
_SHOWN = 100  # ms: what browsers make of 10 and less
_ANIMATED, _ALPHA = 0x02, 0x10  # flags of the chunk VP8X


@dataclass(frozen=True, slots=True)
class Animation:
    """What the chunks of an animated WebP say (RFC 9649, 2.7): pixels, milliseconds, and 0 loops for without end."""

    size: tuple[int, int]
    alpha: bool
    loops: int
    lengths: tuple[int, ...]


def animation(file: BinaryIO) -> Animation | None:
    """Of a WebP with more than one picture; None for any other file, or where its chunks are damaged."""
    head = file.read(_HEAD)
    if head[:4] != b"RIFF" or head[8:] != b"WEBP":
        return None
    size, alpha, loops, lengths = (0, 0), False, 0, list[int]()
    while len(chunk := file.read(8)) == 8:
        kind, length = chunk[:4], int.from_bytes(chunk[4:], "little")
        body = file.read(min(length, 16))
        if kind == b"VP8X":
            if len(body) < 10 or not body[0] & _ANIMATED:
                return None
            alpha = bool(body[0] & _ALPHA)
            size = int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
        elif kind in (b"VP8 ", b"VP8L"):
            return None
        elif kind == b"ANIM":
            loops = int.from_bytes(body[4:6], "little")
        elif kind == b"ANMF":
            lengths.append(int.from_bytes(body[12:15], "little"))
        file.seek(length + length % 2 - len(body), 1)
    return Animation(size, alpha, loops, tuple(lengths)) if len(lengths) > 1 else None


@while_unchanged
def animation_of(path: Path) -> Animation | None:
    """`animation` of the file `path`, which is read once."""
    with path.open("rb") as file:
        return animation(file)


def is_animated(path: Path) -> bool:
    """Whether `path` is a WebP with more than one picture."""
    try:
        return animation_of(path) is not None
    except OSError:
        return False  # reading it will say why


def as_png(path: Path) -> bytes:
    """The animated PNG of an animated WebP: every picture as it is shown, except that equal neighbours become one.

    Raises:
        MediaError: it is damaged, too large, or all its pictures are equal.
    """
    state = path.stat()
    return _as_png(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=1)  # a job opens its source several times
def _as_png(path: Path, _size: int, _changed: int) -> bytes:
    found = animation_of(path)
    assert found is not None
    (width, height), number = found.size, len(found.lengths)
    if width * height * number > MAX_TOTAL:
        raise MediaError(f"{path} holds {number} pictures of {width}x{height}, too many at once; convert it first.")
    out = io.BytesIO()
    lengths = [length if length > _SHOWN // 10 else _SHOWN for length in found.lengths]
    mode = "RGBA" if found.alpha else "RGB"
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=["WEBP"]) as image:
            first, *others = (picture.convert(mode) for picture in ImageSequence.Iterator(image))
            first.save(
                out,
                "PNG",
                save_all=True,
                append_images=others,
                duration=lengths,
                loop=found.loops,
                icc_profile=image.info.get("icc_profile"),
                compress_level=1,
            )
    except (OSError, ValueError, EOFError, SyntaxError, Image.DecompressionBombError) as error:
        raise MediaError(f"{path} cannot be read: {error}.") from error
    if b"acTL" not in out.getvalue():
        raise MediaError(f"{path} shows one picture all the time; save it as a still.")
    return out.getvalue()
