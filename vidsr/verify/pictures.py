"""The pictures of both files side by side: how many, when, and what they show. One of each is held at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain
from typing import Generic, TypeVar

import numpy as np

from vidsr.errors import DamagedError
from vidsr.frame import NOTHING_INSIDE, Colour, Frame, Inside, Matrix, PixelFormat
from vidsr.media.dolby_vision import DolbyVision
from vidsr.media.inside import NAMES
from vidsr.media.read.colour_tags import stated
from vidsr.media.read.deinterlace import Deinterlacing
from vidsr.media.read.joints import joints_of, notes
from vidsr.media.read.probe import MediaInfo, Video
from vidsr.media.read.reader import Reader
from vidsr.upscaling.host import from_rgb, relit, to_rgb
from vidsr.verify.content import Likeness, Shrinker, SmallPicture, liken

Item = TypeVar("Item")

_GRID = 128  # colours that are looked at, on the shorter side of a picture
_BEYOND = 0.1  # of the range of RGB; a super-white is at most 0.09 above it


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture of one of the files: its number from 0, when it is due in the output, in seconds, and itself."""

    number: int
    time: Fraction
    picture: SmallPicture
    inside: Inside = NOTHING_INSIDE


@dataclass(slots=True)
class Pictures:
    """What the pictures of both files have shown. Lists name pictures of the source, or of the output, by number."""

    num_source: int = 0
    num_output: int = 0
    begin: Fraction | None = None  # of the first picture of the source that was asked for, in its own seconds
    end: Fraction | None = None  # of the last one
    shift: Fraction = Fraction(0)
    worst_time: Fraction = Fraction(0)  # deviation, seconds
    ends_alike: bool = False  # the last pictures of both belong together, at one time
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    misplaced: list[str] = field(default_factory=list)  # in order
    shifted: list[str] = field(default_factory=list)
    tinted: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    num_inside: dict[str, list[int]] = field(default_factory=dict)  # pictures that have it, source and output
    wrong_inside: dict[str, list[str]] = field(default_factory=dict)
    psnr: list[float] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)  # of the source
    failure: str | None = None  # of the output


def look(
    source: MediaInfo,
    output: MediaInfo,
    *,
    shift: Fraction | None,
    tolerance: Fraction,
    start: Fraction | None = None,
    end: Fraction | None = None,
    begin: Fraction = Fraction(0),
    deinterlace: Deinterlacing = Deinterlacing(),  # noqa: B008  (frozen)
    on_step: Callable[[str, float], None] = lambda _text, _share: None,
) -> Pictures:
    """Decode both files and compare picture by picture.

    `shift` seconds were added to the source's times; None: the output begins at `begin`. Times may deviate by
    `tolerance`. Damaged places of the source count as what its decoder makes of them. `on_step` is told what is done,
    and which share of the source that is.

    Raises:
        MediaError: the source holds nothing that decodes in the part that is asked for.
    """
    found = Pictures()
    with ExitStack() as stack:
        theirs = stack.enter_context(Reader(source, start=start, end=end, keep_going=True, deinterlace=deinterlace))
        ours = stack.enter_context(Reader(output))
        size = (source.video.width, source.video.height)
        grown = Fraction(output.video.width, size[0]), Fraction(output.video.height, size[1])
        vision = DolbyVision(source.video.dolby_vision or 0, grown, source.video.crop)
        old = _Ahead(_wanted(theirs, output.video, size, (shift, begin), found))
        new = _Ahead(_made(ours, size, found))
        before: Seen | None = None
        length = (end if end is not None else source.video.duration or 0) - (start or 0)
        while old.head or new.head:
            verdict = _whose(old, new, tolerance)
            if verdict == "both" and old.head and new.head:
                _note_time(found, old.head, new.head, tolerance)
                found.ends_alike = abs(old.head.time - new.head.time) <= tolerance
                _note_content(found, new.head.number, old.head, new.head.picture, before, old.next)
                _note_inside(found, old.head, new.head, vision)
            elif verdict == "source" and old.head:
                found.missing.append(_name(old.head))
                found.ends_alike = False
            elif new.head:
                found.extra.append(_name(new.head))
                found.ends_alike = False
            if verdict != "output":
                on_step(f"{found.num_source} pictures", _share(old.head, found, length))
                before = old.take()
            if verdict != "source":
                new.take()
        joined = notes(joints_of(source.path, source.container, source.video.index))
        found.damage = theirs.report.errors + [note for note in theirs.report.notes if note not in joined]
    return found


def _share(seen: Seen | None, found: Pictures, length: Fraction | int) -> float:
    """How much of the source lies before a picture of it; 0 where its length is not known."""
    if seen is None or length <= 0:
        return 0.0
    return float(min(max((seen.time - found.shift - (found.begin or 0)) / length, Fraction(0)), Fraction(1)))


class _Ahead(Generic[Item]):
    """An iterator with its next two items in sight."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self.head: Item | None = next(items, None)
        self.next: Item | None = next(items, None)

    def take(self) -> Item | None:
        """Step on; returns the item that was ahead."""
        taken, self.head, self.next = self.head, self.next, next(self._items, None)
        return taken


def _wanted(
    reader: Reader, output: Video, size: tuple[int, int], place: tuple[Fraction | None, Fraction], found: Pictures
) -> Iterator[Seen]:
    """The source's pictures, at the times that the output should have; `place` is `shift` and `begin` of `look`."""
    shrink = Shrinker(*size)
    frames = iter(reader)
    first = next(frames, None)
    if first is None:
        return
    found.begin = first.pts * first.time_base
    shift, begin = place
    found.shift = begin - found.begin if shift is None else shift
    last = gap = None
    own = reader.info.video.colour
    for number, frame in enumerate(chain((first,), frames)):
        found.num_source += 1
        time = frame.pts * frame.time_base
        gap = time - last if last is not None else None
        last = time
        length = frame.duration * frame.time_base or gap or 1 / (reader.info.video.rate or Fraction(25))
        found.end = time + length
        yield Seen(number, time + found.shift, shrink(as_output(frame, output, own)), frame.inside)


def _made(reader: Reader, size: tuple[int, int], found: Pictures) -> Iterator[Seen]:
    shrink = Shrinker(*size)
    try:
        for number, frame in enumerate(reader):
            found.num_output += 1
            picture = shrink(visible(frame, reader.info.video))
            yield Seen(number, frame.pts * frame.time_base, picture, frame.inside)
    except DamagedError as error:
        found.failure = str(error)


def as_output(frame: Frame, output: Video, own: Colour) -> Frame:
    """`frame` in the colour model of the output where that is another, or too coarse to compare; else as it is.

    Also where its colour is not `own`, the source's, but another that came later. What the output shows nothing of is
    black: see `visible`.
    """
    target, colour = output.format, output.colour
    grey = "grey" in (frame.format.model, target.model) and frame.colour.full_range == colour.full_range
    rgb = frame.colour.matrix is Matrix.RGB
    wide = frame.format.chroma_shift[0] > 1  # 4:1:1 and 4:1:0, whose blocks of chroma are one sample wide
    said = stated(own, output.codec, target)
    alike = frame.colour == own and (said.full_range, said.matrix) == (own.full_range, own.matrix)
    if alike and (grey or (frame.format.model == target.model and rgb == (colour.matrix is Matrix.RGB) and not wide)):
        return visible(frame, output)
    fmt = PixelFormat(target.model, target.bits, target.chroma_shift)
    planes = from_rgb(relit(to_rgb(frame.planes, frame.format, frame.colour), frame.colour, colour), fmt, colour)
    if frame.format.alpha and target.alpha:
        scaled = frame.planes[-1].astype(np.float32) * (fmt.peak / frame.format.peak)
        planes, fmt = (*planes, np.rint(scaled).astype(fmt.dtype)), replace(fmt, alpha=True)
    return visible(replace(frame, planes=planes, format=fmt, colour=colour), output)


def visible(frame: Frame, output: Video) -> Frame:
    """`frame` without what no output of a network can show, and without what this one, as a GIF, has no place for.

    Networks know no colours beyond RGB, which YUV has places for; a GIF has no shades of transparency.
    """
    if _is_beyond_rgb(frame):
        frame = _within_rgb(frame)
    if output.codec != "gif" or not frame.format.alpha:
        return frame
    *planes, alpha = frame.planes
    seen = alpha >= 1 << (frame.format.bits - 1)
    return replace(frame, planes=(*(plane * seen for plane in planes), seen * alpha.dtype.type(frame.format.peak)))


def _is_beyond_rgb(frame: Frame) -> bool:
    """Whether some of a coarse grid of its colours are, by far more than super-whites and rounding."""
    if frame.format.model != "yuv" or frame.colour.matrix is Matrix.RGB:
        return False
    step = max(1, min(frame.planes[1].shape) // _GRID)
    across, down = (step << shift for shift in frame.format.chroma_shift)
    luma, chroma = frame.planes[0][::down, ::across], [plane[::step, ::step] for plane in frame.planes[1:3]]
    whole = PixelFormat("yuv", frame.format.bits)
    rgb = to_rgb((luma[: len(chroma[0]), : chroma[0].shape[1]], *chroma), whole, frame.colour)
    return bool(np.abs(rgb - 0.5).max() > 0.5 + _BEYOND)


def _within_rgb(frame: Frame) -> Frame:
    """The same with the nearest colours that RGB has, channel by channel."""
    coloured = replace(frame.format, alpha=False)
    planes = from_rgb(to_rgb(frame.planes, frame.format, frame.colour).clip(0, 1), coloured, frame.colour)
    return replace(frame, planes=(*planes, *frame.planes[3:]))


def _whose(old: _Ahead[Seen], new: _Ahead[Seen], tolerance: Fraction) -> str:
    """Whether the pictures ahead belong together, or one of them has no partner."""
    if old.head is None or new.head is None:
        return "source" if new.head is None else "output"
    apart = abs(old.head.time - new.head.time)
    if apart <= tolerance:
        return "both"
    if old.next and abs(old.next.time - new.head.time) < apart:
        return "source"
    if new.next and abs(new.next.time - old.head.time) < apart:
        return "output"
    return "both"


def _note_time(found: Pictures, old: Seen, new: Seen, tolerance: Fraction) -> None:
    apart = new.time - old.time
    found.worst_time = max(found.worst_time, abs(apart))
    if abs(apart) > tolerance:
        found.moved.append(f"{_name(new)} instead of {float(old.time):.6f} s")


def _note_content(
    found: Pictures, number: int, own: Seen, shown: SmallPicture, before: Seen | None, after: Seen | None
) -> None:
    like = liken(shown, own.picture, before.picture if before else None, after.picture if after else None)
    found.psnr.append(like.psnr)
    name = f"frame {number} at {float(own.time):.3f} s"
    if like.shows:
        found.misplaced.append(f"{name} shows frame {own.number + like.shows} of the source")
    elif like.differs:
        found.different.append(f"{name} {_what(like, shown)}")
    elif like.tinted:
        found.tinted.append(
            f"{name} is off by {like.offset:+.1f} of 255, its contrast is {like.gain:.2f} of the source's"
        )
    elif like.shifted:
        across, down = like.shift
        found.shifted.append(f"{name} is off by {across:+.2f}, {down:+.2f} source pixels")


def _note_inside(found: Pictures, old: Seen, new: Seen, vision: DolbyVision) -> None:
    """What stands in both beside their samples, byte for byte; of an RPU what `vision` makes of it."""
    wanted = replace(old.inside, dolby_vision=vision.rpu(old.inside))
    for kind, name in NAMES.items():
        before, after = getattr(wanted, kind), getattr(new.inside, kind)
        if not before and not after:
            continue
        counts = found.num_inside.setdefault(kind, [0, 0])
        counts[0], counts[1] = counts[0] + bool(before), counts[1] + bool(after)
        if before != after:
            words = f"other {name}" if before and after else name if after else f"no {name}"
            found.wrong_inside.setdefault(kind, []).append(f"{_name(new)} has {words}")


def _what(like: Likeness, shown: SmallPicture) -> str:
    if like.lost_detail > 0.9 and float(shown.luma.std()) < 2:
        return "is black" if float(shown.luma.mean()) < 24 else "is of one colour"
    return f"shows something else ({like.psnr:.1f} dB, a place differs by {like.block_error:.0f} of 255)"


def _name(seen: Seen) -> str:
    return f"frame {seen.number} at {float(seen.time):.6f} s"
