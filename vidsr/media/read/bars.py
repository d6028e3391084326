"""A part of the picture: one that is named, or what black bars leave of it, measured over the whole film.

A line belongs to a bar if nothing in it is lit in any picture that is looked at, so that dark scenes make no bar wider.
Where a bar ends the picture must begin along most of that edge, in one picture or another: a film that is black at its
edges, and bars with subtitles in them, are left as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray

from vidsr.errors import MediaError, UsageError
from vidsr.frame import Frame, Matrix
from vidsr.media.pyav import picture_stream
from vidsr.media.read.open import decoder_of, demux, limit_pixels, open_input
from vidsr.media.read.pixels import Edges, Unpacker, framed, planes_of
from vidsr.media.read.probe import MediaInfo, Video
from vidsr.media.read.reader import Reader

NUM_PICTURES = 96  # that are looked at, evenly over the film
SHORT_SECONDS = 60  # below, any picture is looked at; else keyframes, which decode alone
LIT = 16  # code values of 8 bits above black, as the mean of `GROUP` neighbours: more than noise and ringing
GROUP = 4
NARROWEST = 2  # pixels of a bar
LEAST = 4  # no less than that part of a side is left
EDGE_LINES = 4  # in which the picture has to begin
EDGE_SHARE = 0.6  # of that edge

_Lit = NDArray[np.bool_]
Crop = Literal["auto"] | Edges
"""What is kept: what black bars leave, or (left, top, right, bottom) of a box in the picture as it is shown."""


def cropped(info: MediaInfo, crop: Crop, frames: Iterable[Frame] | None = None) -> MediaInfo:
    """`info` with its picture cut as `crop` says, in the source's own pixels of the picture as it is shown, upright.

    What the container crops is gone before. Left and top move to where chroma is whole; a black bar takes the line
    with it that it shares with the picture. `frames` are looked at instead of those of the file.

    Raises:
        UsageError: the part lies outside the picture.
    """
    video = info.video
    if crop == "auto":
        edges = _on_grid(black_bars(_sample(info) if frames is None else frames), video)
    else:
        edges = _named(crop, video)
    return replace(info, video=cut(video, edges))


def cut(video: Video, edges: Edges) -> Video:
    """`video` less `edges` (left, top, right, bottom) of its pictures as they are stored."""
    left, top, right, bottom = edges
    width, height = video.width - left - right, video.height - top - bottom
    total = tuple(own + more for own, more in zip(video.crop, edges, strict=True))
    assert len(total) == 4
    matrix = _moved(video.display_matrix, (video.width, video.height), (width, height))
    return replace(video, width=width, height=height, crop=total, display_matrix=matrix)


def cut_frame(frame: Frame, crop: Edges) -> Frame:
    """`frame` less `crop`: of a source that is no file, whose reader knows nothing of it."""
    if not any(crop):
        return frame
    size = frame.width, frame.height
    return replace(frame, planes=framed(frame.planes, frame.format, size, crop, frame.colour))


def black_bars(frames: Iterable[Frame]) -> Edges:
    """What black bars take (left, top, right, bottom) of all `frames`, which have one size; nothing where in doubt."""
    rows: _Lit | None = None
    columns: _Lit | None = None
    for frame in frames:
        luma, black = _luma(frame)
        across, down = _grouped(luma) > black + LIT, _grouped(luma.T) > black + LIT
        rows, columns = (across, down) if rows is None or columns is None else (rows | across, columns | down)
    if rows is None or columns is None:
        return 0, 0, 0, 0
    (top, bottom), (left, right) = _bars(rows), _bars(columns)
    height, width = len(rows), len(columns)
    if height - top - bottom < height / LEAST or width - left - right < width / LEAST:
        return 0, 0, 0, 0
    inside = slice(left // GROUP, (width - right) // GROUP), slice(top // GROUP, (height - bottom) // GROUP)
    top, bottom = (bar if _begins(lines, bar, inside[0]) else 0 for lines, bar in ((rows, top), (rows[::-1], bottom)))
    left, right = (
        bar if _begins(lines, bar, inside[1]) else 0 for lines, bar in ((columns, left), (columns[::-1], right))
    )
    return left, top, right, bottom


def _luma(frame: Frame) -> tuple[NDArray[np.uint16], int]:
    """(H, W) of 8 bits: luma, or the brightest of RGB; and its black."""
    planes = frame.planes[: 3 if frame.format.model == "rgb" else 1]
    luma = np.maximum.reduce([plane.astype(np.uint16) for plane in planes]) >> max(frame.format.bits - 8, 0)
    full = frame.colour.full_range or frame.colour.matrix is Matrix.RGB or frame.format.model == "rgb"
    return luma, 0 if full else 16


def _grouped(luma: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Means of neighbours along each line; what is left over at its end goes with the last group."""
    number = max(luma.shape[1] // GROUP, 1)
    sums = np.add.reduceat(luma, np.arange(number) * GROUP, axis=1, dtype=np.float32)
    counts = np.full(number, GROUP, np.float32)
    counts[-1] = luma.shape[1] - (number - 1) * GROUP
    return np.asarray(sums / counts, np.float32)


def _bars(lit: _Lit) -> tuple[int, int]:
    """How many lines are dark, at the begin and at the end."""
    lines = np.flatnonzero(lit.any(axis=1))
    if not len(lines):
        return 0, 0
    return int(lines[0]), int(len(lit) - 1 - lines[-1])


def _begins(lit: _Lit, bar: int, inside: slice) -> bool:
    """Whether behind a bar of so many lines the picture begins along most of its edge."""
    edge = lit[bar : bar + EDGE_LINES, inside].any(axis=0)
    return bar >= NARROWEST and bool(edge.mean() >= EDGE_SHARE)


def _grid(video: Video) -> tuple[int, int]:
    """Pixels across and down between places where chroma is whole, and with it the fields of interlaced pictures."""
    (sx, sy), interlaced = video.format.chroma_shift, video.interlaced or video.combed
    return 1 << sx, (1 << sy) * (2 if interlaced else 1)


def _on_grid(bars: Edges, video: Video) -> Edges:
    across, down = _grid(video)
    left, top, right, bottom = (-(-bar // step) * step for bar, step in zip(bars, (across, down) * 2, strict=True))
    return left, top, right, bottom


def _named(box: Edges, video: Video) -> Edges:
    turn = _turn(video.display_matrix)
    wide, high = (video.width, video.height) if turn[0] else (video.height, video.width)
    if box[2] > wide or box[3] > high:
        part = f"{box[2] - box[0]}x{box[3] - box[1]}+{box[0]}+{box[1]}"
        raise UsageError(f"crop {part} does not lie within the picture, which is {wide}x{high} as it is shown")
    left, top, right, bottom = _stored(box, turn, (wide, high))
    across, down = _grid(video)
    kept = right - left, bottom - top
    left, top = left // across * across, top // down * down
    return left, top, video.width - left - kept[0], video.height - top - kept[1]


def _turn(matrix: tuple[int, ...] | None) -> tuple[int, int, int, int]:
    """The signs of a display matrix: how shown coordinates come of stored ones; upright for an odd angle."""
    if matrix is None:
        return 1, 0, 0, 1
    a, b, c, d = ((value > 0) - (value < 0) for value in (matrix[0], matrix[1], matrix[3], matrix[4]))
    return (a, b, c, d) if abs(a * d - b * c) == 1 and (a == d == 0 or b == c == 0) else (1, 0, 0, 1)


def _stored(box: Edges, turn: tuple[int, int, int, int], shown: tuple[int, int]) -> Edges:
    """The corners of a box as stored: x' = a x + c y and y' = b x + d y, and then back into the picture."""
    a, b, c, d = turn
    xs, ys = (box[0], box[2]), (box[1], box[3])
    if a + c < 0:  # the shown x axis runs against the stored one that it lies along
        xs = shown[0] - xs[1], shown[0] - xs[0]
    if b + d < 0:
        ys = shown[1] - ys[1], shown[1] - ys[0]
    return (xs[0], ys[0], xs[1], ys[1]) if a else (ys[0], xs[0], ys[1], xs[1])


def _moved(matrix: tuple[int, ...] | None, before: tuple[int, int], after: tuple[int, int]) -> tuple[int, ...] | None:
    """A display matrix that puts the corner of the smaller picture where it put that of the larger one."""
    if matrix is None:
        return None
    a, b, u, c, d, v, x, y, w = matrix

    def least(along: int, down: int, size: tuple[int, int]) -> int:
        return min(0, along * size[0]) + min(0, down * size[1])

    x += least(a, c, before) - least(a, c, after) if x else 0
    y += least(b, d, before) - least(b, d, after) if y else 0
    return a, b, u, c, d, v, x, y, w


def _sample(info: MediaInfo) -> Iterator[Frame]:
    """Pictures evenly over the film; places that do not decode are passed over."""
    duration = info.video.duration
    if duration is not None and duration > SHORT_SECONDS:
        times = [duration * (2 * number + 1) / (2 * NUM_PICTURES) for number in range(NUM_PICTURES)]
        for time in times:
            with suppress(MediaError, av.FFmpegError):
                yield from _picture_near(info, time)
        return
    num_frames = info.video.num_frames or NUM_PICTURES
    with suppress(MediaError, av.FFmpegError), Reader(info, keep_going=True) as reader:
        yield from islice(reader, 0, SHORT_SECONDS * 240, max(num_frames // NUM_PICTURES, 1))


def _picture_near(info: MediaInfo, time: Fraction) -> Iterator[Frame]:
    """The first picture that decodes after a seek to `time`, without what the container crops."""
    video = info.video
    with open_input(info.path) as container:
        stream = picture_stream(container, video.index)
        limit_pixels(stream)
        decoder = decoder_of(stream)
        container.seek((video.start_pts or 0) + round(time / video.time_base), stream=stream)
        with closing(demux(container, stream)) as packets:
            picture = next((shown for packet in packets for shown in decoder.decode(packet)), None)
        if picture is None or (picture.width, picture.height) != video.stored:
            return
        planes = planes_of(Unpacker(video.format)(picture), video.format)
        yield Frame(
            framed(planes, video.format, video.stored, video.crop, video.colour),
            video.format,
            video.colour,
            picture.pts or 0,
            video.time_base,
        )
