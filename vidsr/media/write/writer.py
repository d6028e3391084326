"""Encodes one segment: frames in, one file with a single picture stream out."""

from __future__ import annotations

import errno
from array import array
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.packet import Packet
from av.video.stream import VideoStream

from vidsr.errors import OutputError
from vidsr.files import sync_file
from vidsr.frame import Frame
from vidsr.media import side_data
from vidsr.media.containers import CONTAINERS
from vidsr.media.hdr import container_boxes
from vidsr.media.mux.mp4 import extend_sample_entry
from vidsr.media.read.open import local_name
from vidsr.media.write.encoder import VideoSpec, configure, encoder_clock, open_politely, to_video_frame
from vidsr.media.write.messages import Messages
from vidsr.media.write.times import append_times

__all__ = ["SegmentInfo", "VideoSpec", "Writer", "whole", "writing"]

_REORDER = 16  # frames that an encoder may hold back at most, in H.264 and HEVC
_MAX_GAP = (2**31 - 1) // (_REORDER + 1)  # ticks between two frames, so that mp4 can hold that many


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
    """Encodes frames into the segment `path`; `close` finishes it, `abort` removes it.

    The segment starts at 0 on its own clock; `join` knows the frames' own times.

    Raises:
        OutputError: from any method but `abort`: the file cannot be written, or the encoder fails.
    """

    def __init__(self, path: Path, spec: VideoSpec, *, container: str = "mp4") -> None:
        self._path, self._spec, self._kind = path, spec, CONTAINERS[container]
        self._clock = encoder_clock(spec.time_base)
        self._tick = -1  # of the newest frame, on that clock
        self._shown: deque[int] = deque(range(-_REORDER, 0))  # ticks of frames, for packets to be decoded at
        self._pts: dict[int, int] = {}  # tick -> the frame's own pts
        self._ticks: dict[int, int] = {}  # tick -> duration in ticks, once the next frame is known
        self._order = array("q")  # own pts of the frames whose packets are written
        self._messages = Messages(spec)
        self._held: deque[Packet[VideoStream]] = deque()
        self._first: int | None = None
        self._last = self._last_gap = self._last_duration = 0
        self._num_frames = 0
        options = {"movie_timescale": str(self._clock.denominator)} if self._kind.boxes else {}
        with writing(path):
            path.open("wb").close()  # PyAV opens it at the first packet, minutes later
            self._container = av.open(local_name(path), "w", format=self._kind.muxer, container_options=options)
            self._stream = self._add_stream()

    def write(self, frame: Frame) -> None:
        """Encode `frame`, whose size and layout are the spec's and whose time is later than the one before."""
        self._check(frame)
        tick = self._advance(frame)
        with writing(self._path):
            picture = to_video_frame(frame, self._spec)
            picture.pts, picture.time_base = tick, self._clock
            self._messages.keep(tick, frame.inside)
            self._mux(self._stream.encode(picture))
        self._num_frames += 1

    def close(self) -> SegmentInfo:
        """Flush the encoder, finish the file and put it on the disk."""
        if self._first is None:
            raise OutputError(f"{self._path} would hold no frame: the source gave none.")
        duration = self._final_duration()
        self._ticks[self._tick] = max(1, round(duration * self._spec.time_base / self._clock))
        with writing(self._path):
            self._mux(self._stream.encode(None), last=True)
            self._container.close()
            self._check_count()
            if self._kind.boxes:
                spec = self._spec
                boxes = container_boxes(spec.mastering_display, spec.light_level)
                boxes += spec.dolby_vision_box
                boxes += side_data.container_boxes(spec.spherical, spec.stereo)
                extend_sample_entry(self._path, boxes)
            append_times(self._path, self._kind.name, self._order, self._last + duration)
            sync_file(self._path)
            size = self._path.stat().st_size
        end = self._last + duration
        return SegmentInfo(self._path, self._num_frames, size, self._first, self._last, end, self._spec.time_base)

    def abort(self) -> None:
        """Close without finishing and delete the file. Never raises."""
        self._held.clear()
        with suppress(Exception):
            self._container.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _add_stream(self) -> VideoStream:
        stream = self._container.add_stream(self._spec.encoder)
        if not isinstance(stream, VideoStream):
            raise OutputError(f"{self._spec.encoder} is not a video encoder: choose another codec.")
        configure(stream.codec_context, self._spec)
        open_politely(stream.codec_context)
        stream.time_base = self._clock
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
        """The tick of `frame` on the segment's clock, where the first frame stands at 0; ends the frame before it."""
        scale = frame.time_base / self._spec.time_base
        pts, self._last_duration = round(frame.pts * scale), round(frame.duration * scale)
        if self._first is None:
            self._first = pts
        elif pts <= self._last:
            raise OutputError(f"{self._path}: the frame at tick {pts} comes after the one at {self._last}.")
        else:
            self._last_gap = pts - self._last
        exact = (pts - self._first) * self._spec.time_base / self._clock
        tick = max(round(exact), self._tick + 1)
        if tick - self._tick > _MAX_GAP:
            raise OutputError(f"{self._path}: two frames are {float((tick - self._tick) * self._clock):.0f} s apart.")
        self._ticks[self._tick] = tick - self._tick
        self._pts[tick] = self._last = pts
        self._tick = tick
        self._shown.append(tick)
        return tick

    def _final_duration(self) -> int:
        """Of the last frame: as the source says, else as the frame before, else as the rate has it."""
        rate = self._spec.rate or Fraction(25)
        return self._last_duration or self._last_gap or max(1, round(1 / (rate * self._spec.time_base)))

    def _mux(self, packets: list[Packet[VideoStream]], *, last: bool = False) -> None:
        """Write packets, each once the duration of its frame is known."""
        self._held.extend(self._messages.put(packet) for packet in packets)
        while self._held and (last or self._held[0].pts != self._tick):
            packet = self._held.popleft()
            if packet.pts is None or packet.pts not in self._pts:
                raise OutputError(f"{self._path}: {self._spec.encoder} changed the time of a frame.")
            self._order.append(self._pts.pop(packet.pts))
            packet.duration = self._ticks.pop(packet.pts)
            packet.dts = self._shown.popleft()  # x265's own are garbage in a segment of very few frames
            self._container.mux(packet)

    def _check_count(self) -> None:
        if len(self._order) != self._num_frames:
            raise OutputError(
                f"{self._path}: {self._spec.encoder} returned {len(self._order)} pictures of {self._num_frames}; "
                "choose another codec."
            )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what FFmpeg and the system raise while `path` is written into an OutputError of one sentence."""
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        raise OutputError(_sentence(path, error)) from error


@contextmanager
def whole(path: Path) -> Iterator[None]:
    """`writing` of a file that is put on the disk in the end, and removed where that fails."""
    try:
        with writing(path):
            path.open("wb").close()
            yield
            sync_file(path)
    except BaseException:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise


def _sentence(path: Path, error: Exception) -> str:
    code, folder = getattr(error, "errno", None), path.absolute().parent
    if code in (errno.ENOSPC, errno.EDQUOT):
        return f"{path} cannot be written: no space is left in {folder}; free some, or choose another folder with -o."
    if code == errno.EFBIG:
        return f"{path} cannot be written: {folder} takes no file of this size; choose another folder with -o."
    denied = not isinstance(error, av.FFmpegError)  # FFmpeg also says so of data that it will not take
    if code in (errno.EACCES, errno.EROFS) or (code == errno.EPERM and denied):
        return f"{path} cannot be written: permission is denied in {folder}; choose another folder with -o."
    if code in (errno.ENOENT, errno.ENOTDIR):
        return f"{path} cannot be written: {folder} is no folder; create it, or choose another with -o."
    return f"{path} cannot be written: {getattr(error, 'strerror', None) or error}."
