"""What PyAV's annotations leave open, said once. A leaf: it computes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias, cast

import av
import numpy as np
from av.container import InputContainer
from av.packet import PacketSideData
from av.sidedata.sidedata import SideData
from av.video.plane import VideoPlane
from av.video.stream import VideoStream

from vidsr.frame import Samples

VideoPacket: TypeAlias = "av.Packet[VideoStream]"

new_side_data = cast("Callable[[int, int], PacketSideData]", PacketSideData)
"""Empty side data of a packet, by FFmpeg's number of its kind and its size in bytes."""


def picture_stream(container: InputContainer, index: int) -> VideoStream:
    """The stream `index`, which is one of pictures."""
    return cast(VideoStream, container.streams[index])


def side_data_of(frame: av.VideoFrame) -> Iterable[SideData]:
    """What came with a picture. Every read leaves a reference cycle behind.

    Raises:
        ValueError: something is of a kind that PyAV does not know, such as MV-HEVC's.
    """
    return cast("Iterable[SideData]", frame.side_data)


def samples_of(plane: VideoPlane, dtype: np.dtype[np.uint8 | np.uint16]) -> Samples:
    """All samples of a plane, padding included, as a view that keeps the picture's memory."""
    return np.frombuffer(cast(bytes, plane), dtype)
