"""What a user asks of a job, checked once."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Self, TypedDict

from vidsr.arguments import checked
from vidsr.backends import Unit
from vidsr.errors import UsageError
from vidsr.media.encoders import HARDWARE_DECODERS, WORST_QUALITY
from vidsr.media.scan import DEINTERLACE, Deinterlace

MAX_SCALE = 4.0
USUAL_LONG, USUAL_SHORT = 3840, 2160  # a film becomes no larger than this unless a scale or a size is named
_NAMED_SIZE = re.compile(r"(\d{3,4})p")
_SIZE_NAMES = {"hd": "720p", "fullhd": "1080p", "fhd": "1080p", "2k": "1440p", "qhd": "1440p"} | dict.fromkeys(
    ("4k", "uhd", "4kuhd"), "2160p"
)
_EXACT_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")

# A fingerprint holds every option that is not named here, so that none can be forgotten in it.
SEEN_ELSEWHERE = {  # in the size, the encoder's specification, the source or the network of a job
    *("scale", "size", "square_pixels", "codec", "crf", "preset", "pix_fmt", "container", "threads", "fps"),
    *("model", "backend", "precision", "device", "tile", "steady"),
}
WITHOUT_EFFECT = {"keep_going", "decoder", "reuse", "segment_seconds"}  # on the pictures of a source that is whole
_SECONDS = ("start", "end", "segment_seconds")
OF_FILM = {"start", "end", "deinterlace", "steady", "target_size"}  # and not of an image


class OptionKeywords(TypedDict, total=False):
    """The fields of `Options`, as keywords of the Python API."""

    scale: float | None
    size: str | None
    model: str | Path
    backend: str
    precision: str
    device: int | str
    tile: int | Literal["auto", "off"]
    codec: str
    crf: int | None
    preset: str | None
    pix_fmt: str | None
    container: str | None
    start: float | Fraction | None
    end: float | Fraction | None
    deinterlace: Deinterlace
    square_pixels: bool
    crop: str | None
    target_size: int | str | None
    keep_going: bool
    threads: int | None
    decoder: str
    reuse: bool
    steady: float | None
    grain: float
    fps: float | Fraction | None
    segment_seconds: float | Fraction


@dataclass(frozen=True, slots=True)
class Options:
    """Options of `vidsr upscale` that decide what the output is. Times are in seconds from the first picture.

    Raises:
        UsageError: a value that no source could satisfy.
    """

    scale: float | None = None  # 4, or the largest that keeps a film within 3840x2160
    size: str | None = None  # "1080p": as large as fits 1920x1080; "1920x800": exactly that. Replaces `scale`
    model: str = "auto"
    backend: str = "auto"
    precision: str = "auto"
    device: int | str = "auto"  # a kind of `backends.UNITS`, or the number of a GPU
    tile: int | Literal["auto", "off"] = "auto"
    codec: str = "auto"
    crf: int | None = None
    preset: str | None = None
    pix_fmt: str | None = None
    container: str | None = None
    start: Fraction | None = None
    end: Fraction | None = None
    deinterlace: Deinterlace = "auto"  # auto: where the source is marked interlaced; fields: two pictures of each
    square_pixels: bool = False
    crop: str | None = None  # "auto": less black bars; "1920x800+0+140": that part, as it is shown
    keep_going: bool = False
    target_size: int | None = None  # bytes of the output, or "4GB"
    threads: int | None = None
    decoder: str = "software"  # or one of `HARDWARE_DECODERS`: on the GPU, where it can
    reuse: bool = True  # a frame that repeats the one before it is not computed again
    steady: float | None = None  # from 0 to 1: how far each large frame is blended with its neighbours; by the model
    grain: float = 0.0  # from 0 to 1: how much of the source's grain, where it is gone, is put back
    fps: Fraction | None = None  # of numbered images
    segment_seconds: Fraction = Fraction(10)  # at most: a part also ends after a counted amount of work

    def __post_init__(self) -> None:
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in checked(given, OptionKeywords, seconds=_SECONDS).items():
            object.__setattr__(self, name, str(value) if name == "model" else value)
        for name in (*_SECONDS, "fps"):  # 1.5, as Python's callers write it, is the same as 3/2
            if isinstance(value := getattr(self, name), int | float):
                object.__setattr__(self, name, Fraction(value).limit_denominator(10**6))
        check_deinterlace(self.deinterlace)
        if self.decoder not in ("software", *HARDWARE_DECODERS):
            raise UsageError(f"decoder must be software, {', '.join(HARDWARE_DECODERS)}, not {self.decoder!r}")
        if self.scale is not None:
            _check_scale(self.scale)
        if self.size is not None:
            name = self.size.strip().lower()
            object.__setattr__(self, "size", _SIZE_NAMES.get(name, name))
            _check_size(self.size)
        if self.crop is not None:
            parse_crop(self.crop)
        if self.fps is not None and not Fraction(1, 100) <= self.fps <= 1000:
            raise UsageError(f"fps must be from 0.01 to 1000, got {float(self.fps):g}")
        if self.start is not None and self.start < 0:
            raise UsageError(f"start must not be negative, got {float(self.start):g}")
        if self.end is not None and self.end <= (self.start or 0):
            raise UsageError(f"end must come after the start, got {float(self.end):g}")
        if isinstance(self.tile, int) and self.tile < 32:
            raise UsageError(f"tile must be auto, off, or at least 32 pixels, not {self.tile}")
        if self.crf is not None and not 0 <= self.crf <= WORST_QUALITY:
            raise UsageError(f"crf must be from 0 to {WORST_QUALITY}, not {self.crf}")
        for name in ("steady", "grain"):
            if not 0 <= (getattr(self, name) or 0) <= 1:
                raise UsageError(f"{name} must be from 0 to 1, not {getattr(self, name):g}")
        if isinstance(self.target_size, str):
            object.__setattr__(self, "target_size", parse_bytes(self.target_size))
        if self.target_size is not None and self.target_size < 1000:
            raise UsageError(f"target size must be at least 1000 bytes, not {self.target_size}")
        if self.target_size is not None and self.crf is not None:
            raise UsageError("target size finds the quality that crf would set; leave one of them out")
        if self.segment_seconds <= 0:
            raise UsageError(f"segment seconds must be positive, got {float(self.segment_seconds):g}")
        Unit.of(self.device)
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"threads must be at least 1, got {self.threads}")

    @classmethod
    def of(cls, keywords: OptionKeywords) -> Self:
        """The options that keywords mean, which may give times and rates as plain numbers."""
        values: dict[str, Any] = dict(keywords)
        return cls(**values)

    def deciding(self, *, film: bool = True) -> dict[str, str]:
        """The options that decide an output, of a film or of an image, and are seen nowhere else; in words.

        Of an image those that are not the defaults: its fingerprint is that of before there was such an option.
        """
        left_out = SEEN_ELSEWHERE | WITHOUT_EFFECT | (set() if film else OF_FILM)
        names = [
            field.name
            for field in fields(self)
            if field.name not in left_out and (film or getattr(self, field.name) != field.default)
        ]
        return {name.replace("_", " "): str(getattr(self, name)) for name in names}

    def beside(self) -> dict[str, str]:
        """The options that decide nothing, where they are not the defaults; in words."""
        given = {field.name: getattr(self, field.name) for field in fields(self) if field.name in WITHOUT_EFFECT}
        usual = {field.name: field.default for field in fields(self)}
        return {name: str(value) for name, value in sorted(given.items()) if value != usual[name]}

    @property
    def gpu(self) -> int:
        """The number of the GPU that is named, or the first."""
        return Unit.of(self.device).index

    @property
    def label(self) -> str:
        """Of the output's name: ``x4``, ``x2.5``, ``2160p`` or ``1920x800``."""
        return self.size or f"x{self.scale or MAX_SCALE:g}"

    def within_usual(self, width: Fraction, height: Fraction) -> tuple[Self, tuple[str, ...]]:
        """With the scale of a film of `width` x `height` pixels that nobody named, and what is said of it.

        Raises:
            UsageError: the film is as large as that already.
        """
        if self.scale is not None or self.size is not None:
            return self, ()
        wide, high = (USUAL_LONG, USUAL_SHORT) if width >= height else (USUAL_SHORT, USUAL_LONG)
        largest = min(wide / width, high / height)
        scale = min(math.floor(largest * 100) / 100, MAX_SCALE)
        if scale <= 1:
            raise UsageError(
                f"the film is {float(width):g}x{float(height):g} already; "
                f"more than {wide}x{high} needs a --scale or --size (scale, size)"
            )
        words = f"x{scale:g}, to stay within {wide}x{high}; --scale 4 (scale=4) makes it x4 all the same"
        return replace(self, scale=scale), (words,) if scale < MAX_SCALE else ()

    def target(self, width: Fraction, height: Fraction) -> tuple[Fraction, Fraction]:
        """The exact size, before rounding, that a picture of `width` x `height` pixels is asked to become.

        Raises:
            UsageError: `size` asks for less than the source has, or for more than four times of it.
        """
        if self.size is None:
            scale = Fraction(self.scale or MAX_SCALE).limit_denominator(1000)
            return width * scale, height * scale
        if named := _NAMED_SIZE.fullmatch(self.size):
            short = int(named[1])
            box = (Fraction(short * 16, 9), Fraction(short))
            scale = min(box[0] / max(width, height), box[1] / min(width, height))
            target = (width * scale, height * scale)
        else:
            wide, high = self.size.split("x")
            target = (Fraction(int(wide)), Fraction(int(high)))
        least, most = sorted((target[0] / width, target[1] / height))
        if least < 1 or most > Fraction(MAX_SCALE):
            raise UsageError(
                f"size {self.size} is {float(least if least < 1 else most):.2f} times the source's "
                f"{float(width):g}x{float(height):g}; it must be from 1 to {MAX_SCALE:g} times"
            )
        return target


def check_deinterlace(option: str) -> None:
    """Raises UsageError for what is no way to deinterlace."""
    if option not in DEINTERLACE:
        raise UsageError(f"deinterlace must be {', '.join(DEINTERLACE[:-1])} or {DEINTERLACE[-1]}, not {option!r}")


def _check_scale(scale: float) -> None:
    if math.isfinite(scale) and 1.0 <= scale <= MAX_SCALE:
        return
    steps = ""
    if MAX_SCALE < scale <= MAX_SCALE**2:
        steps = f"; in two steps: scale {MAX_SCALE:g}, and then what that made with scale {scale / MAX_SCALE:g}"
    raise UsageError(f"scale must be from 1 to {MAX_SCALE:g}, not {scale:g}{steps}")


def _check_size(size: str) -> None:
    exact = _EXACT_SIZE.fullmatch(size)
    if not _NAMED_SIZE.fullmatch(size) and not exact:
        raise UsageError(f"size must look like 1080p, 4k or 1920x800, not {size!r}")
    if exact and min(int(exact[1]), int(exact[2])) < 2:
        raise UsageError(f"size must be at least 2x2, not {size}")


_CROP = re.compile(r"(\d{1,5})x(\d{1,5})\+(\d{1,5})\+(\d{1,5})")


def parse_crop(text: str) -> Literal["auto"] | tuple[int, int, int, int]:
    """``auto``, or (left, top, right, bottom) of ``WxH+X+Y``: the corners of what is kept.

    Raises:
        UsageError: neither.
    """
    if text == "auto":
        return "auto"
    match = _CROP.fullmatch(text)
    wide, high, left, top = map(int, match.groups()) if match else (0, 0, 0, 0)
    if not wide or not high:
        raise UsageError(f"crop must be auto, or look like 1920x800+0+140 (width, height, left, top), not {text!r}")
    return left, top, left + wide, top + high


_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)


def parse_bytes(text: str) -> int:
    """Bytes of ``4GB`` (4 000 000 000), ``700 MiB`` or ``1500k``.

    Raises:
        UsageError: not a size.
    """
    match = _BYTES.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"target size must look like 4GB, 700MB or 650MiB, not {text!r}")
    number, unit, binary = match.groups()
    return int(Fraction(number) * (1024 if binary else 1000) ** " kmgt".index(unit.lower() or " "))


_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d+)?)")


def parse_time(text: str) -> Fraction:
    """Seconds of ``90``, ``1:30``, ``0:01:30.5``.

    Raises:
        UsageError: not a time, or a negative one.
    """
    match = _CLOCK.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"a time looks like 90, 1:30 or 0:01:30.5, not {text!r}")
    hours, minutes, seconds = match.groups()
    return Fraction(seconds) + 60 * int(minutes or 0) + 3600 * int(hours or 0)
