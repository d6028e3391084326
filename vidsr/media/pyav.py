"""What PyAV's annotations leave open, said once. A leaf: it computes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias, TypeVar, cast

import av
import av.filter
import numpy as np
from av.container import InputContainer
from av.packet import PacketSideData
from av.sidedata.sidedata import SideData, Type
from av.stream import Stream
from av.video.plane import VideoPlane
from av.video.stream import VideoStream

from vidsr.frame import Samples

_LATER_KINDS: dict[object, str] = {28: "LCEVC", 29: "VIEW_ID", 30: "REFERENCE_DISPLAYS", 31: "EXIF"}
"""By their numbers, AVFrameSideDataType."""

AnyStream = TypeVar("AnyStream", bound=Stream)
VideoPacket: TypeAlias = "av.Packet[VideoStream]"

new_side_data = cast("Callable[[int, int], PacketSideData]", PacketSideData)
"""Empty side data of a packet, by FFmpeg's number of its kind and its size in bytes."""


def picture_stream(container: InputContainer, index: int) -> VideoStream:
    """The stream `index`, which is one of pictures."""
    return cast(VideoStream, container.streams[index])


def with_data(packet: av.Packet[AnyStream], data: bytes) -> av.Packet[AnyStream]:
    """A packet of other `data` at the same times, without side data, of no stream."""
    made = cast("av.Packet[AnyStream]", av.Packet(data))
    made.pts, made.dts, made.duration = packet.pts, packet.dts, packet.duration
    made.time_base, made.is_keyframe = packet.time_base, packet.is_keyframe
    return made


def ready(end: av.filter.Graph | av.filter.context.FilterContext) -> Iterator[av.VideoFrame]:
    """The pictures that filters have finished so far."""
    while True:
        try:
            out = end.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        assert isinstance(out, av.VideoFrame)
        yield out


def side_data_of(frame: av.VideoFrame) -> Iterable[SideData]:
    """What came with a picture, with names for the kinds that PyAV does not know, too.

    Every read leaves a reference cycle behind. Never of PNG: PyAV and FFmpeg both free the name of its colour profile.
    """
    Type._missing_ = classmethod(_later_kind)  # type: ignore[method-assign, assignment]
    return cast("Iterable[SideData]", frame.side_data)


def _later_kind(kinds: type[Type], number: object) -> Type:
    """A kind of side data that FFmpeg has and PyAV 18's list has not, for which it gives none of a picture's."""
    kind: Any = object.__new__(kinds)
    kind._name_, kind._value_ = _LATER_KINDS.get(number, f"KIND_{number}"), number
    return cast(Type, kind)


def samples_of(plane: VideoPlane, dtype: np.dtype[np.uint8 | np.uint16]) -> Samples:
    """All samples of a plane, padding included, as a view that keeps the picture's memory."""
    return np.frombuffer(cast(bytes, plane), dtype)
