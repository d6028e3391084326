"""What a job reads its frames from: a media file, standard input (y4m), or numbered images."""

from __future__ import annotations

import hashlib
import secrets
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol

from vidsr.frame import Frame
from vidsr.jobs.inputs import Input
from vidsr.jobs.manifest import ONCE
from vidsr.jobs.options import Options
from vidsr.media import sequence, y4m
from vidsr.media.read.interlace import looks_interlaced
from vidsr.media.read.joints import joints_of
from vidsr.media.read.probe import MediaInfo, probe
from vidsr.media.read.reader import Reader, ReadReport

MAX_ERRORS = 10  # damaged places of a source that are listed; the others are counted


class FrameSource(Protocol):
    """The frames of a part of a source, once, in order; `report` is complete once they are exhausted."""

    report: ReadReport

    def __iter__(self) -> Iterator[Frame]:
        """The frames."""

    def close(self) -> None:
        """Release what is held open."""

    def __enter__(self) -> FrameSource:
        """Itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""


def standard_input(options: Options) -> y4m.Y4MReader:
    """The y4m stream on standard input, its header read.

    Raises:
        MediaError: something else comes in, or nothing.
    """
    return y4m.Y4MReader(sys.stdin.buffer, keep_going=options.keep_going, deinterlace=options.deinterlace)


def examine(source: Input, options: Options, pipe: y4m.Y4MReader | None = None) -> MediaInfo:
    """What `source` holds; of a file also whether its pictures are interlaced without saying so.

    Raises:
        MediaError: it cannot be read.
    """
    if pipe is not None:
        return pipe.info
    if source.kind == "sequence":
        return sequence.SequenceReader(source.path, options.fps or sequence.DEFAULT_RATE).info
    info = _whole(probe(source.path))
    if options.deinterlace == "auto" and not info.video.interlaced and looks_interlaced(info):
        return replace(info, video=replace(info.video, combed=True))
    return info


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


def open_source(info: MediaInfo, options: Options, start: Fraction | None, pipe: y4m.Y4MReader | None) -> FrameSource:
    """The frames from `start` seconds on, to the end that the options set, deinterlaced as they say."""
    if pipe is not None:
        return _Part(pipe, start, options.end)
    if info.container == sequence.CONTAINER:
        reader = sequence.SequenceReader(
            info.path, info.video.rate or sequence.DEFAULT_RATE, keep_going=options.keep_going
        )
        return _Part(reader, start, options.end)
    video = info.video
    wanted = options.deinterlace == "bwdif" or (options.deinterlace == "auto" and (video.interlaced or video.combed))
    gpu = options.device if options.decoder == "nvdec" else None
    return Reader(info, start=start, end=options.end, keep_going=options.keep_going, deinterlace=wanted, gpu=gpu)


def source_notes(report: ReadReport) -> tuple[str, ...]:
    """What to say of a source that was read."""
    notes = [*report.notes, *report.errors[:MAX_ERRORS]]
    if report.num_errors > MAX_ERRORS:
        notes.append(f"{report.num_errors} damaged places in all")
    if report.num_corrupt:
        notes.append(f"{report.num_corrupt} damaged pictures are as the decoder concealed them")
    return tuple(notes)


class _Part:
    """The frames of a reader that cannot seek, from `start` seconds on up to `end`."""

    def __init__(
        self, reader: y4m.Y4MReader | sequence.SequenceReader, start: Fraction | None, end: Fraction | None
    ) -> None:
        self.report = reader.report
        self._reader, self._start, self._end = reader, start or Fraction(0), end

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._reader:
            time = frame.pts * frame.time_base
            if self._end is not None and time >= self._end:
                return
            if time >= self._start:
                yield frame

    def close(self) -> None:
        """The reader's own."""
        self._reader.close()

    def __enter__(self) -> _Part:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def identity(info: MediaInfo) -> str:
    """Tells sources apart without reading all of them. What came through a pipe is never the same again."""
    if info.container == y4m.CONTAINER:
        return ONCE + secrets.token_hex(16)
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
