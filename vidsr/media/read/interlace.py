"""Whether pictures are interlaced although nothing says so: by FFmpeg's ``idet``, confirmed by their combing.

``idet`` compares each picture's lines with those of its neighbours in time. Alone it takes zooms and hand-held cameras
for fields now and then, so a picture counts only if its own two fields also fit together no better than fields of
different pictures do. Film that was telecined (two pictures of five combed) stays below `MIN_SHARE`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeAlias

import av
import av.filter
import numpy as np
from numpy.typing import NDArray

from vidsr.errors import MediaError
from vidsr.frame import Frame
from vidsr.media.pyav import ready
from vidsr.media.read.deinterlace import Deinterlacing
from vidsr.media.read.probe import MediaInfo
from vidsr.media.read.reader import Reader
from vidsr.media.scan import Deinterlace

MAX_LINES = 1088  # there is no interlaced video with more
SAMPLE_FRAMES = 24  # at the start and, of what is longer than `LONG_SECONDS`, in the middle
LONG_SECONDS = 20
MAX_COLUMNS = 512  # of the middle are enough
MIN_FRAMES = 8  # combed pictures, so that one odd cut decides nothing
MIN_SHARE = 0.6  # of the pictures in which something moves
PLAIN_SHARE = 0.1  # of them at most, in a film that is plainly progressive

_ASYMMETRY = 1.3  # idet's `intl_thres`: how much better one field order fits than the other (1.04 by default)
_COMBING = 0.8  # misfit of a picture's own fields over that of fields of different pictures: 1 if interlaced
_MOVED = 8  # of 255: a sample that differs more than noise does
_MIN_MOVING = 0.002  # share of such samples in a picture that can be judged

_Luma: TypeAlias = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Looks:
    """Of a sample of pictures: how many are combed in either order of fields, and in how many something moves."""

    top_first: int = 0
    bottom_first: int = 0
    moving: int = 0

    @property
    def combed(self) -> bool:
        """Interlaced, surely."""
        found = max(self.top_first, self.bottom_first)
        return found >= MIN_FRAMES and found >= MIN_SHARE * self.moving

    @property
    def plain(self) -> bool:
        """Progressive, surely."""
        return self.moving >= MIN_FRAMES and self.top_first + self.bottom_first <= PLAIN_SHARE * self.moving

    def __add__(self, other: Looks) -> Looks:
        return Looks(
            self.top_first + other.top_first, self.bottom_first + other.bottom_first, self.moving + other.moving
        )


def judged(info: MediaInfo, option: Deinterlace) -> MediaInfo:
    """`info` with what its pictures show of their fields, where they do not say it and `option` depends on it.

    ``fields`` is believed of film that says nothing, unless it is plainly progressive.
    """
    video = info.video
    if option == "off" or video.fields_flagged or (video.interlaced and option != "fields"):
        return info
    looks = look_for_fields(info)
    combed = not video.interlaced and (looks.combed or (option == "fields" and not looks.plain))
    shown = looks.top_first + looks.bottom_first >= MIN_FRAMES
    bottom_first = looks.bottom_first > looks.top_first if shown else video.bottom_first
    return replace(info, video=replace(video, combed=combed and option != "bwdif", bottom_first=bottom_first))


def look_for_fields(info: MediaInfo) -> Looks:
    """Decode a sample of `info`'s pictures and judge them. A file that fails there is for the job to report."""
    video, looks = info.video, Looks()
    if video.height > MAX_LINES or min(video.height, video.width) < 8 or video.codec in ("gif", "apng", "png"):
        return Looks(moving=MIN_FRAMES)  # there is no such video
    starts: list[Fraction | None] = [None]
    if video.duration is not None and video.duration > LONG_SECONDS:
        starts.append(video.duration / 2)
    for start in starts:
        try:
            looks += _judge(info, start)
        except (MediaError, av.FFmpegError):
            continue
        if looks.moving >= 2 * MIN_FRAMES:
            break
    return looks


def _judge(info: MediaInfo, start: Fraction | None) -> Looks:
    """A sample from `start` seconds on."""
    orders: list[str] = []
    misfits: list[float | None] = []
    lumas: deque[_Luma] = deque(maxlen=3)
    idet: _Idet | None = None
    with Reader(info, start=start, keep_going=True, deinterlace=Deinterlacing("flagged")) as reader:
        for frame, _ in zip(reader, range(SAMPLE_FRAMES), strict=False):
            lumas.append(_luma(frame))
            idet = idet or _Idet(lumas[0].shape)
            orders += idet(lumas[-1])
            if len(lumas) == 3:
                misfits.append(_misfit(*lumas))
            known = [misfit for misfit in misfits if misfit is not None]
            if len(known) > MIN_FRAMES and max(known) < _COMBING:
                break  # plainly progressive
    orders = orders[1 : len(misfits) + 1]  # idet, too, says something of a picture once it has seen the next
    decided = [(order, misfit) for order, misfit in zip(orders, misfits, strict=False) if misfit is not None]
    combed = [order for order, misfit in decided if misfit >= _COMBING]
    return Looks(combed.count("tff"), combed.count("bff"), len(decided))


class _Idet:
    """FFmpeg's filter as a function from a frame to its verdicts: tff, bff, progressive or undetermined."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        height, width = shape
        self._graph = av.filter.Graph()
        self._number = 0
        format = av.VideoFormat("gray")
        buffer = self._graph.add_buffer(width=width, height=height, format=format, time_base=Fraction(1, 25))
        idet = self._graph.add("idet", f"intl_thres={_ASYMMETRY}")
        self._graph.link_nodes(buffer, idet, self._graph.add("buffersink")).configure()

    def __call__(self, luma: _Luma) -> Iterator[str]:
        """What the filter says of the pictures that it has seen enough of."""
        picture = av.VideoFrame.from_ndarray(luma.astype(np.uint8), format="gray")
        picture.pts, picture.time_base = self._number, Fraction(1, 25)
        self._number += 1
        self._graph.push(picture)
        for out in ready(self._graph):
            yield str(out.metadata.get("lavfi.idet.single.current_frame", ""))


def _luma(frame: Frame) -> _Luma:
    """The middle columns of the first plane (luma, grey or green) with 8 bits, which is all that counts here."""
    first = max((frame.width - MAX_COLUMNS) // 2, 0)
    columns = frame.planes[0][:, first : first + MAX_COLUMNS]
    return (columns >> max(frame.format.bits - 8, 0)).astype(np.int16)


def _misfit(before: _Luma, picture: _Luma, after: _Luma) -> float | None:
    """How badly the two fields of `picture` fit, over how badly they fit those of its neighbours at best.

    About 1 where fields stand apart in time, well below where they are one picture; None where hardly anything moves.
    """
    frame = picture[1:-1]
    moved = (np.abs(before[1:-1] - frame) > _MOVED) | (np.abs(after[1:-1] - frame) > _MOVED)
    if moved.mean() < _MIN_MOVING:
        return None
    around = picture[:-2].astype(np.int32) + picture[2:]
    own, early, late = (
        np.where(moved, np.abs(2 * x[1:-1].astype(np.int32) - around), 0) for x in (picture, before, after)
    )
    first, second = (early[::2].sum() + late[1::2].sum(), late[::2].sum() + early[1::2].sum())
    return float(own.sum() / max(min(first, second), 1))
