"""The newest picture beside that of the source, in a file that is replaced while a job runs.

A thread of its own makes it small and writes it, at most every few seconds and for a fiftieth of the time, and what
fails there is said at the end and stops nothing.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from threading import Thread

from PIL import Image, PngImagePlugin

from vidsr import files
from vidsr.errors import OutputError, UsageError
from vidsr.frame import Frame
from vidsr.upscaling.host import to_rgb8, upright

EVERY = 5.0  # seconds
SHARE = 0.02  # of the time
LARGEST = 960, 1080  # of either side, in pixels
GAP = 4
_MARK = "vidsr preview"
_HEAD = 200  # bytes of a file in which the mark is found


class Preview:
    """Looks at some of the pictures that go into a network and at what comes out, and shows them in the PNG `path`.

    Raises:
        UsageError: not the name of a PNG.
        OutputError: something else stands there, or its folder does not exist.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        if path.suffix.lower() != ".png":
            raise UsageError(f"preview must be the name of a .png, not {path}")
        if not path.absolute().parent.is_dir():
            raise OutputError(f"{path}: there is no such folder for the preview; create it, or choose another")
        if path.exists() and not overwrite and not _is_ours(path):
            raise OutputError(f"{path}: exists, and is no preview; choose another name, or --overwrite replaces it")
        self.path = path
        self._due = time.monotonic()  # the first one at once
        self._waiting: tuple[Fraction, Frame] | None = None
        self._writer: Thread | None = None
        self._failure = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """Why there is none."""
        return (self._failure,) if self._failure else ()

    def sources(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """`frames`, of which one is remembered now and then."""
        for frame in frames:
            if self._waiting is None and not self._failure and time.monotonic() >= self._due and not self._busy:
                self._waiting = frame.pts * frame.time_base, frame
            yield frame

    def made(self, frames: Iterable[Frame], matrix: Sequence[int] | None = None) -> Iterator[Frame]:
        """`frames` that came out, shown turned by a display matrix."""
        for frame in frames:
            if self._waiting is not None and frame.pts * frame.time_base >= self._waiting[0]:
                at, source = self._waiting
                if frame.pts * frame.time_base == at:
                    self._start(_small(source), _small(frame), matrix)
                self._waiting = None
            yield frame

    def close(self) -> None:
        """Wait for what is being written."""
        if self._writer is not None:
            self._writer.join()

    @property
    def _busy(self) -> bool:
        return self._writer is not None and self._writer.is_alive()

    def _start(self, source: Frame, made: Frame, matrix: Sequence[int] | None) -> None:
        self._due = time.monotonic() + EVERY
        self._writer = Thread(target=self._write, args=(source, made, matrix), name="vidsr-preview", daemon=True)
        self._writer.start()

    def _write(self, source: Frame, made: Frame, matrix: Sequence[int] | None) -> None:
        began = time.monotonic()
        try:
            files.write(self.path, _png(source, made, matrix), shared=True)
        except Exception as error:
            why = getattr(error, "strerror", None) or error
            self._failure = f"the preview {self.path} cannot be written ({why}); the film is not touched by that"
        self._due = max(self._due, time.monotonic() + (time.monotonic() - began) / SHARE)


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return _MARK.encode() in file.read(_HEAD)


def _small(frame: Frame) -> Frame:
    """A copy of every n-th line and sample, so that it fits `LARGEST`: what is looked at goes on to be encoded."""
    wide, high = LARGEST
    step = max(-(-frame.width // wide), -(-frame.height // high), 1)
    width, height = frame.width // step or 1, frame.height // step or 1
    shapes = frame.format.plane_shapes(width, height)
    planes = tuple(p[::step, ::step][:h, :w].copy() for p, (h, w) in zip(frame.planes, shapes, strict=True))
    return replace(frame, planes=planes)


def _png(source: Frame, made: Frame, matrix: Sequence[int] | None) -> bytes:
    pictures = [Image.fromarray(upright(to_rgb8(frame), matrix)) for frame in (source, made)]
    size = pictures[1].size
    pictures[0] = pictures[0].resize(size, Image.Resampling.NEAREST)
    beside = Image.new("RGB", (2 * size[0] + GAP, size[1]))
    for number, picture in enumerate(pictures):
        beside.paste(picture, (number * (size[0] + GAP), 0))
    told = PngImagePlugin.PngInfo()
    told.add_text("Software", _MARK)
    out = io.BytesIO()
    beside.save(out, "PNG", pnginfo=told, compress_level=1)
    return out.getvalue()
