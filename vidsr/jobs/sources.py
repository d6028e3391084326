"""What a job reads its frames from: a media file, standard input (y4m), or numbered images."""

from __future__ import annotations

import contextlib
import hashlib
import math
import secrets
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Protocol, Self

import av

from vidsr.errors import MediaError, UsageError
from vidsr.frame import Frame
from vidsr.jobs.inputs import Input
from vidsr.jobs.manifest import OF_PIPE
from vidsr.jobs.options import Options, parse_crop
from vidsr.media import sequence, y4m
from vidsr.media.pyav import picture_stream
from vidsr.media.read import bars
from vidsr.media.read.decoder import Decoder
from vidsr.media.read.deinterlace import Deinterlacing
from vidsr.media.read.interlace import judged
from vidsr.media.read.joints import OneClock, joints_of, may_have_joints
from vidsr.media.read.open import demux, open_input
from vidsr.media.read.probe import MediaInfo, probe
from vidsr.media.read.reader import Reader
from vidsr.media.read.report import ReadReport
from vidsr.neighbours import near

COUNTED_BYTES = 256 * 2**20  # reading more than that would be felt
COUNTED_PIXELS = 10**9  # and decoding more than that: 40 s of 625 lines
MANY = 12  # pictures tell their rate
MAX_ERRORS = 10  # damaged places of a source that are listed; the others are counted


class FrameSource(Protocol):
    """The frames of a part of a source, once, in order; `report` is complete once they are exhausted."""

    report: ReadReport

    def __iter__(self) -> Iterator[Frame]:
        """The frames."""

    def close(self) -> None:
        """Release what is held open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def standard_input(options: Options) -> y4m.Y4MReader:
    """The y4m stream on standard input, its header read.

    Raises:
        MediaError: something else comes in, or nothing.
    """
    return y4m.Y4MReader(sys.stdin.buffer, keep_going=options.keep_going, deinterlace=options.deinterlace)


def examine(
    source: Input, options: Options, pipe: y4m.Y4MReader | None = None, on_scan: Callable[[], None] = lambda: None
) -> MediaInfo:
    """What `source` holds, cropped as asked; of a file also whether its pictures are interlaced without saying so.

    `on_scan` is called before all of a large file is read.

    Raises:
        MediaError: it cannot be read.
        UsageError: it cannot be cropped so.
    """
    info = _examined(source, options, pipe, on_scan)
    if options.crop is None:
        return info
    crop = parse_crop(options.crop)
    if crop == "auto" and pipe is not None:
        raise UsageError(
            "crop auto looks over the whole film, and a pipe comes once; say which part, as in 720x400+0+40"
        )
    frames = (
        sequence.SequenceReader(source.path, keep_going=True).sample(bars.NUM_PICTURES)
        if source.kind == "sequence"
        else None
    )
    return bars.cropped(info, crop, frames)


def _examined(source: Input, options: Options, pipe: y4m.Y4MReader | None, on_scan: Callable[[], None]) -> MediaInfo:
    if pipe is not None:
        return pipe.info
    if source.kind == "sequence":
        return sequence.SequenceReader(source.path, options.fps or sequence.DEFAULT_RATE).info
    info = probe(source.path)
    if info.size > COUNTED_BYTES and may_have_joints(info.path, info.container):
        on_scan()
    info = judged(_whole(counted(info)), options.deinterlace)
    return _decoded_once(info) if options.deinterlace == "fields" and info.video.interlaced else info


def deinterlacing(info: MediaInfo, options: Options) -> Deinterlacing:
    """What becomes of the fields of `info`."""
    return Deinterlacing.of(info.video, options.deinterlace)


def counted(info: MediaInfo) -> MediaInfo:
    """`info` with the number of pictures that a file of moderate size really has, and their rate.

    Headers lie about both: the packets are counted, which decodes nothing. What repeats is let be, and interlaced film,
    whose packets may be fields; where some have no time, only their number is believed.
    """
    if info.size > COUNTED_BYTES or info.container in ("gif", "apng", "image2") or info.video.interlaced:
        return info
    times: list[int | None] = []
    try:
        with open_input(info.path) as container:
            clock = OneClock(joints_of(info.path, info.container, info.video.index))
            with contextlib.closing(demux(container, container.streams[info.video.index], clock=clock)) as packets:
                times = [packet.pts for packet in packets if packet.size and not packet.is_discard]
    except (MediaError, av.FFmpegError):
        return info  # for the job to report
    known = sorted(pts for pts in times if pts is not None)
    if None in times and known:
        return replace(info, video=replace(info.video, num_frames=len(times)))
    if not known or len(set(known)) < len(times):
        return info
    return replace(info, video=replace(info.video, num_frames=len(known), rate=_true_rate(info, known)))


def _decoded_once(info: MediaInfo) -> MediaInfo:
    """`info` with the number of its pictures, and of those that are interlaced, where decoding all takes seconds.

    Nothing but decoding tells them: of the packets of H.264 some hold a picture, and some a field.
    """
    video = info.video
    if info.size > COUNTED_BYTES or (video.num_frames or 0) * video.width * video.height > COUNTED_PIXELS:
        return info
    num_frames = num_flagged = 0
    try:
        with open_input(info.path) as container:
            stream = picture_stream(container, video.index)
            decoder = Decoder(stream, threads=1, gpu=None)
            with contextlib.closing(demux(container, stream)) as packets:
                for packet in (*(packet for packet in packets if packet.size), None):
                    for picture in decoder.decode(packet):
                        num_frames, num_flagged = num_frames + 1, num_flagged + bool(picture.interlaced_frame)
    except (MediaError, av.FFmpegError):
        return info  # for the job to report
    return replace(info, video=replace(video, num_frames=num_frames, num_flagged=num_flagged))


def _true_rate(info: MediaInfo, times: list[int]) -> Fraction | None:
    """The header's rate, unless pictures come evenly at quite another one."""
    video = info.video
    if video.rate is None or len(times) < MANY:
        return video.rate
    step = Fraction(times[-1] - times[0], len(times) - 1)
    even = all(abs(later - earlier - step) <= max(step / 20, Fraction(1)) for earlier, later in pairwise(times))
    found = 1 / (step * video.time_base)
    if not even or abs(found / video.rate - 1) < Fraction(1, 50):
        return video.rate
    usual = (Fraction(round(found)), Fraction(round(found * 1001 / 1000) * 1000, 1001))
    near = min(usual, key=lambda rate: abs(rate / found - 1))
    return near if abs(near / found - 1) < Fraction(1, 1000) else found.limit_denominator(1001)


def num_frames(info: MediaInfo, options: Options) -> int | None:
    """How many pictures the part of `info` holds that is asked for, for display: exact at a constant rate."""
    how = deinterlacing(info, options)
    start, end, total = options.start or Fraction(0), options.end, how.num_frames(info.video)
    if total is None or (not start and end is None):
        return total
    if (rate := how.rate(info.video)) is None:
        return None
    last = total if end is None else min(math.ceil(end * rate), total)
    return max(last - math.ceil(start * rate), 0)


def _whole(info: MediaInfo) -> MediaInfo:
    """`info` with the length of all its recordings; FFmpeg takes the last time in a file for its end."""
    found, video = joints_of(info.path, info.container, info.video.index), info.video
    if not found:
        return info
    length = found[-1].end - (video.start_pts or 0) * video.time_base
    num_frames = round(length * video.rate) if video.rate else None
    return replace(info, duration=length, video=replace(video, duration=length, num_frames=num_frames))


def is_file(info: MediaInfo) -> bool:
    """Whether frames come from a media file, which has other streams and can be opened again."""
    return info.container not in (y4m.CONTAINER, sequence.CONTAINER)


def no_picture(info: MediaInfo) -> MediaError:
    """What is said where a whole run brought none."""
    return MediaError(f"{info.path}: no picture could be decoded in the part that was asked for")


def open_source(
    info: MediaInfo, options: Options, start: Fraction | None, pipe: y4m.Y4MReader | None, *, reach: int = 0
) -> FrameSource:
    """The frames from `start` seconds on, to the end that the options set, deinterlaced as they say.

    Up to `reach` more on either side come as ones that are aside.
    """
    if pipe is not None:
        return _Part(pipe, start, options.end, info.video.crop, reach)
    if info.container == sequence.CONTAINER:
        reader = sequence.SequenceReader(
            info.path, info.video.rate or sequence.DEFAULT_RATE, keep_going=options.keep_going
        )
        return _Part(reader, start, options.end, info.video.crop, reach)
    how = deinterlacing(info, options)
    gpu = {"software": None, "nvdec": options.gpu}.get(options.decoder, options.decoder)
    return Reader(
        info, start=start, end=options.end, keep_going=options.keep_going, deinterlace=how, gpu=gpu, reach=reach
    )


def source_notes(report: ReadReport) -> tuple[str, ...]:
    """What to say of a source that was read."""
    notes = [*report.notes, *report.errors[:MAX_ERRORS]]
    if report.num_errors > MAX_ERRORS:
        notes.append(f"{report.num_errors} damaged places in all")
    if report.num_corrupt:
        notes.append(f"{report.num_corrupt} damaged pictures are as the decoder concealed them")
    return tuple(notes)


class _Part(FrameSource):
    """The frames of a reader that can neither seek nor crop, from `start` seconds on up to `end`.

    And up to `reach` more on either side, aside.
    """

    def __init__(
        self,
        reader: y4m.Y4MReader | sequence.SequenceReader,
        start: Fraction | None,
        end: Fraction | None,
        crop: tuple[int, int, int, int],
        reach: int,
    ) -> None:
        self.report, self._crop, self._reach = reader.report, crop, reach
        self._reader, self._start, self._end = reader, start or Fraction(0), end

    def __iter__(self) -> Iterator[Frame]:
        before: deque[Frame] = deque(maxlen=self._reach)
        behind = 0
        for whole in self._reader:
            frame, time = bars.cut_frame(whole, self._crop), whole.pts * whole.time_base
            if self._end is not None and time >= self._end:
                if behind == self._reach:
                    return
                behind += 1
                yield replace(frame, aside=True)
            elif time >= self._start:
                yield from before
                before.clear()
                yield frame
            else:
                before.append(replace(frame, aside=True))

    def close(self) -> None:
        """The reader's own."""
        self._reader.close()


def closing(reader: FrameSource, wanted: Callable[[Frame], bool] = lambda _: True, reach: int = 0) -> Iterator[Frame]:
    """The frames of `reader` that are wanted, and their neighbours; closes it in the end, in the thread that reads."""
    with reader:
        yield from near(reader, wanted, reach)


def identity(info: MediaInfo) -> str:
    """Tells sources apart without reading all of them. What came through a pipe is never the same again."""
    if info.container == y4m.CONTAINER:
        return OF_PIPE + secrets.token_hex(16)
    if info.container == sequence.CONTAINER:
        files = sequence.find(info.path)
        parts = [f"{number} {source_identity(path)}" for number, path in files.items()]
        return hashlib.sha256("\n".join([str(info.video.rate), *parts]).encode()).hexdigest()
    return source_identity(info.path)


def source_identity(path: Path) -> str:
    """A hash of a file's size and of its first, middle and last mebibyte: tells files apart without reading films."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for position in sorted({0, max(size // 2 - 2**19, 0), max(size - 2**20, 0)}):
            file.seek(position)
            digest.update(file.read(2**20))
    return digest.hexdigest()
