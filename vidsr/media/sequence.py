"""Numbered images as one clip: ``shot_%04d.png`` read in order as frames, and frames written under such names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from vidsr.errors import DamagedError, MediaError, OutputError
from vidsr.frame import SRGB, Frame, PixelFormat, Plane
from vidsr.media.image_meta import ImageMeta
from vidsr.media.read.probe import MediaInfo, Stream, Video
from vidsr.media.read.report import ReadReport
from vidsr.media.stills import IMAGE_SUFFIXES, read_image, write_image

CONTAINER = "sequence"
DEFAULT_RATE = Fraction(24)  # frames per second, where the user names none

_NUMBER = re.compile(r"%(?:0(\d{1,2}))?d")


def is_pattern(name: str) -> bool:
    """Whether the file name of `name` holds one number placeholder, ``%d`` or ``%04d``, and an image's suffix."""
    path = Path(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and len(_NUMBER.findall(path.name)) == 1


def numbered(pattern: Path, number: int) -> Path:
    """The file of `number`: the placeholder alone is filled in, whatever else the name holds."""
    return pattern.with_name(_NUMBER.sub(lambda m: f"{number:0{int(m[1] or 1)}d}", pattern.name))


def find(pattern: Path) -> dict[int, Path]:
    """The images that `pattern` names, by their numbers, in order.

    Raises:
        MediaError: there is none, or two names of one number.
    """
    match = _NUMBER.search(pattern.name)
    assert match is not None, "is_pattern was asked before"
    before, after = pattern.name[: match.start()], pattern.name[match.end() :]
    wanted = re.compile(re.escape(before) + r"(\d+)" + re.escape(after), re.ASCII)
    try:
        names = [path.name for path in pattern.parent.iterdir()]
    except OSError as error:
        raise MediaError(f"{pattern}: {pattern.parent} cannot be read: {error.strerror or error}.") from error
    found = {int(number[1]): pattern.with_name(name) for name in names if (number := wanted.fullmatch(name))}
    exact = {number: path for number, path in sorted(found.items()) if numbered(pattern, number) == path}
    if not exact:
        raise MediaError(f"{pattern}: no file matches this pattern.")
    return exact


class SequenceReader:
    """Iterates over the images of `pattern` in the order of their numbers; the first one stands at 0.

    A number that is missing, or an image that is damaged or of another size, ends the iteration with `DamagedError`;
    with `keep_going` it is noted, and the others keep their times.

    Raises:
        MediaError: there is no such image, or the first one cannot be read.
    """

    def __init__(self, pattern: Path, rate: Fraction = DEFAULT_RATE, *, keep_going: bool = False) -> None:
        self._files, self._keep_going = find(pattern), keep_going
        self._first = next(iter(self._files))
        self._rate = rate
        pixels, self._meta = read_image(self._files[self._first])
        self._format, self._shape = layout(pixels), pixels.shape
        self.info = _info(pattern, self._format, pixels.shape[:2], rate, self._span)
        self.report = ReadReport()

    @property
    def _span(self) -> int:
        return max(self._files) - self._first + 1

    def __iter__(self) -> Iterator[Frame]:
        """Every image once."""
        lost = [
            name for name, value in (("EXIF", self._meta.exif), ("colour profile", self._meta.icc_profile)) if value
        ]
        if lost:
            self.report.notes.append(f"the images' {' and '.join(lost)}: a video has no place for it")
        before = self._first - 1
        for number, path in self._files.items():
            if number != before + 1:
                missing = (
                    f"number {number - 1} is" if number == before + 2 else f"numbers {before + 1} to {number - 1} are"
                )
                self._damaged(f"{path} comes after a gap: {missing} missing")
            before = number
            frame = self._frame(number, path)
            if frame is not None:
                yield frame
                self.report.num_frames += 1

    def sample(self, number: int) -> Iterator[Frame]:
        """About so many of the images, evenly; those that are damaged are passed over."""
        step = max(len(self._files) // number, 1)
        frames = (self._frame(key, self._files[key]) for key in list(self._files)[::step])
        yield from (frame for frame in frames if frame is not None)

    def close(self) -> None:
        """Nothing is held open."""

    def _frame(self, number: int, path: Path) -> Frame | None:
        try:
            pixels, _ = read_image(path)
        except MediaError as error:
            self._damaged(str(error).rstrip("."))
            return None
        if (pixels.shape, pixels.dtype) != (self._shape, self._format.dtype):
            self._damaged(f"{path} is {_described(pixels.shape, layout(pixels))}, unlike the first image")
            return None
        return Frame(planes_of(pixels), self._format, SRGB, number - self._first, 1 / self._rate, 1)

    def _damaged(self, what: str) -> None:
        self.report.num_errors += 1
        self.report.errors.append(what)
        if not self._keep_going:
            raise DamagedError(f"{what}; --keep-going (keep_going=True) upscales the others.")


class SequenceWriter:
    """Writes each frame, of RGB or grey with 8 or 16 bits, under the next number of `pattern`, from 1 on.

    Raises:
        OutputError: a file exists, and may not be overwritten: the first one, or when its turn comes.
    """

    def __init__(self, pattern: Path, *, overwrite: bool = False) -> None:
        self._pattern, self._overwrite, self._lost = pattern, overwrite, set[str]()
        self.num_frames = self.num_bytes = 0
        self._check(numbered(pattern, 1))

    def write(self, frame: Frame) -> None:
        """Write the next image.

        Raises:
            OutputError: it cannot be written.
        """
        self.num_frames += 1
        path = numbered(self._pattern, self.num_frames)
        self._check(path)
        self._lost.update(write_image(path, pixels_of(frame), ImageMeta()))
        self.num_bytes += path.stat().st_size

    def _check(self, path: Path) -> None:
        if path.exists() and not self._overwrite:
            raise OutputError(f"{path}: exists; --overwrite (overwrite=True) replaces it, or choose another name.")

    @property
    def notes(self) -> list[str]:
        """What the images could not hold."""
        return [f"{what}: {self._pattern.suffix} cannot hold it" for what in sorted(self._lost)]

    def close(self) -> None:
        """Every image is whole already."""

    def abort(self) -> None:
        """Nothing is held open."""


def _described(shape: tuple[int, ...], format: PixelFormat) -> str:
    return f"{shape[1]}x{shape[0]} {format.name}"


def layout(pixels: Plane) -> PixelFormat:
    """Of an image as `read_image` returns it."""
    bits = 8 * pixels.dtype.itemsize
    return PixelFormat("grey", bits) if pixels.ndim == 2 else PixelFormat("rgb", bits, alpha=pixels.shape[2] == 4)


def image_layout(format: PixelFormat) -> PixelFormat:
    """The layout of the images that frames of `format` become: deeper than 8 bits is 16."""
    bits = 8 if format.bits <= 8 else 16
    return PixelFormat("grey", bits) if format.model == "grey" else PixelFormat("rgb", bits, alpha=format.alpha)


def planes_of(pixels: Plane) -> tuple[Plane, ...]:
    """(H, W) grey or (H, W, 3 or 4) RGB with alpha -> planes in the order of `PixelFormat`."""
    if pixels.ndim == 2:
        return (pixels,)
    return tuple(pixels[..., channel] for channel in (1, 2, 0, 3)[: pixels.shape[2]])


def pixels_of(frame: Frame) -> Plane:
    """The other way round."""
    if len(frame.planes) == 1:
        return frame.planes[0]
    green, blue, red, *alpha = frame.planes
    return np.stack((red, green, blue, *alpha), axis=-1)


def _info(pattern: Path, format: PixelFormat, shape: tuple[int, ...], rate: Fraction, span: int) -> MediaInfo:
    video = Video(
        index=0,
        codec="image",
        width=shape[1],
        height=shape[0],
        pix_fmt=format.name,
        format=format,
        colour=SRGB,
        colour_tagged=True,
        time_base=1 / rate,
        rate=rate,
        start_pts=0,
        duration=span / rate,
        num_frames=span,
    )
    streams = (Stream(0, "video", "image", None, None, (), Fraction(0), None),)
    return MediaInfo(pattern, CONTAINER, 0, Fraction(0), span / rate, video, streams, 0)
