"""Encodes one segment: frames in, one mp4 or mov file with a single picture stream out."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
from av.packet import Packet
from av.video.stream import VideoStream

from vidsr.errors import OutputError
from vidsr.frame import Frame
from vidsr.media.encoder import VideoSpec as VideoSpec
from vidsr.media.encoder import configure, make_spec, to_video_frame

__all__ = ["SegmentInfo", "VideoSpec", "Writer", "make_spec", "sync_file", "writing"]

_MAX_GAP = 2**31 - 1  # ticks between two frames, in mp4


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """A finished segment. `first_pts`, `last_pts` and `end_pts` (of the last frame) count in `time_base`."""

    path: Path
    num_frames: int
    num_bytes: int
    first_pts: int
    last_pts: int
    end_pts: int
    time_base: Fraction


class Writer:
    """Encodes frames into the file `path`; `close` finishes it, `abort` removes it.

    Raises:
        OutputError: from any method but `abort`: the file cannot be written, or the encoder fails.
    """

    def __init__(self, path: Path, spec: VideoSpec, *, container: Literal["mp4", "mov"] = "mp4") -> None:
        self._path, self._spec = path, spec
        self._durations: dict[int, int] = {}  # of frames whose packets have not been written
        self._held: deque[Packet[VideoStream]] = deque()
        self._first: int | None = None
        self._last: int | None = None
        self._last_duration = 0
        self._num_frames = self._num_packets = 0
        with writing(path):
            path.open("wb").close()  # PyAV opens it at the first packet, minutes later
            clock = {"movie_timescale": str(spec.time_base.denominator)}  # edit lists count in it
            self._container = av.open(str(path), "w", format=container, container_options=clock)
            self._stream = self._add_stream()

    def write(self, frame: Frame) -> None:
        """Encode `frame`, whose size and layout are the spec's and whose time is later than the one before."""
        self._check(frame)
        pts = self._advance(frame)
        with writing(self._path):
            picture = to_video_frame(frame, self._spec)
            picture.pts, picture.time_base = pts, self._spec.time_base
            self._mux(self._stream.encode(picture))
        self._num_frames += 1

    def close(self) -> SegmentInfo:
        """Flush the encoder, finish the file and put it on the disk."""
        if self._first is None or self._last is None:
            raise OutputError(f"{self._path} would hold no frame: the source gave none.")
        self._durations[self._last] = self._last_frame_duration()
        with writing(self._path):
            self._mux(self._stream.encode(None), last=True)
            self._container.close()
            sync_file(self._path)
        if self._num_packets != self._num_frames:
            raise OutputError(
                f"{self._path}: {self._spec.encoder} returned {self._num_packets} pictures of {self._num_frames}; "
                "choose another --codec."
            )
        end = self._last + self._last_frame_duration()
        size = self._path.stat().st_size
        return SegmentInfo(self._path, self._num_frames, size, self._first, self._last, end, self._spec.time_base)

    def abort(self) -> None:
        """Close without finishing and delete the file. Never raises; does nothing after `close`."""
        self._held.clear()
        with suppress(Exception):
            self._container.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _add_stream(self) -> VideoStream:
        stream = self._container.add_stream(self._spec.encoder)
        if not isinstance(stream, VideoStream):
            raise OutputError(f"{self._spec.encoder} is not a video encoder: choose another --codec.")
        configure(stream.codec_context, self._spec)
        stream.time_base = self._spec.time_base
        return stream

    def _check(self, frame: Frame) -> None:
        spec = self._spec
        if frame.format != spec.format or (frame.width, frame.height) != (spec.width, spec.height):
            expected = f"{spec.width}x{spec.height} {spec.format.name}"
            raise ValueError(f"expected a frame of {expected}, got {frame.width}x{frame.height} {frame.format.name}")
        shapes = [plane.shape for plane in frame.planes]
        if shapes != frame.format.plane_shapes(frame.width, frame.height):
            raise ValueError(f"planes of {frame.format.name} have the wrong shapes: {shapes}")

    def _advance(self, frame: Frame) -> int:
        """The frame's pts on the output's clock; closes the frame before it."""
        scale = frame.time_base / self._spec.time_base
        pts, self._last_duration = round(frame.pts * scale), round(frame.duration * scale)
        if self._last is not None:
            gap = pts - self._last
            if not 0 < gap <= _MAX_GAP:
                why = "not later than" if gap <= 0 else "too long after"
                raise OutputError(f"{self._path}: a frame at tick {pts} is {why} the one at {self._last}.")
            self._durations[self._last] = gap
        self._first = pts if self._first is None else self._first
        self._last = pts
        return pts

    def _last_frame_duration(self) -> int:
        """As the source says, else as the frame before, else as the rate has it."""
        if self._last_duration > 0:
            return self._last_duration
        earlier = [self._durations[pts] for pts in sorted(self._durations) if pts != self._last]
        rate = self._spec.rate or Fraction(25)
        return earlier[-1] if earlier else max(1, round(1 / (rate * self._spec.time_base)))

    def _mux(self, packets: list[Packet[VideoStream]], *, last: bool = False) -> None:
        """Write packets once their duration is known; the very last one carries the last frame's for `join`."""
        self._held.extend(packets)
        while self._held and (last or (len(self._held) > 1 and self._held[0].pts != self._last)):
            packet = self._held.popleft()
            if packet.pts is None or packet.pts not in self._durations:
                raise OutputError(f"{self._path}: {self._spec.encoder} changed the time of a frame.")
            packet.duration = self._durations.pop(packet.pts)
            if not self._held and last:
                packet.duration = self._last_duration
            self._container.mux(packet)
            self._num_packets += 1


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what FFmpeg and the system raise while `path` is written into an OutputError of one sentence."""
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        raise OutputError(_sentence(path, error)) from error


def sync_file(path: Path) -> None:
    """Put the file's bytes on the disk before a name or a manifest says that they are there."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sentence(path: Path, error: Exception) -> str:
    code, folder = getattr(error, "errno", None), path.absolute().parent
    if code in (errno.ENOSPC, errno.EDQUOT):
        return f"{path} cannot be written: no space is left in {folder}; free some, or choose another folder with -o."
    if code == errno.EFBIG:
        return f"{path} cannot be written: {folder} takes no file of this size; choose another folder with -o."
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path} cannot be written: permission is denied in {folder}; choose another folder with -o."
    if code in (errno.ENOENT, errno.ENOTDIR):
        return f"{path} cannot be written: {folder} is no folder; create it, or choose another with -o."
    return f"{path} cannot be written: {getattr(error, 'strerror', None) or error}."
