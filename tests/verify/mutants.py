"""Outputs with one thing wrong: made by a pipeline that is told to err, or copied with one change."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import av
import numpy as np

from vidsr.api import upscale_video
from vidsr.frame import Frame
from vidsr.upscaling.upscaler import Upscaler

OPTIONS: dict[str, Any] = {"scale": 2, "model": "bicubic", "backend": "cpu", "preset": "ultrafast"}
MASTERING = struct.pack("<22i", *(34000, 50000, 16000, 50000, 13250, 50000, 34500, 50000, 7500, 50000), *(
    3000, 50000, 15635, 50000, 16450, 50000, 50, 10000, 10000000, 10000, 1, 1))  # fmt: skip
LIGHT = struct.pack("<2I", 1000, 400)

Frames = Callable[[list[Frame]], Iterable[Frame]]


def upscaled(source: Path, output: Path, **options: Any) -> Path:
    """A real output of `source`."""
    upscale_video(source, output, **{**OPTIONS, **options})
    return output


def erring(source: Path, output: Path, err: Frames, monkeypatch: Any, **options: Any) -> Path:
    """An output whose frames went through `err` between the network and the encoder."""
    right = Upscaler.stream

    def wrong(self: Upscaler, frames: Iterable[Frame], *more: Any) -> Iterator[Frame]:
        yield from err(list(right(self, frames, *more)))

    with monkeypatch.context() as patch:
        patch.setattr(Upscaler, "stream", wrong)
        return upscaled(source, output, **options)


def at_time_of(frame: Frame, other: Frame) -> Frame:
    """The picture of `frame` at the time of `other`."""
    return replace(frame, pts=other.pts, duration=other.duration)


def drawn(frame: Frame, draw: Callable[[int, Any], Any]) -> Frame:
    """`frame` with every plane replaced by ``draw(number of the plane, plane)``."""
    return replace(frame, planes=tuple(draw(k, plane) for k, plane in enumerate(frame.planes)))


def black(frame: Frame) -> Frame:
    """`frame`, black."""
    return drawn(frame, lambda k, plane: np.full_like(plane, 16 if k == 0 else 128))


def moved(frame: Frame, pixels: int, axis: int = 1) -> Frame:
    """`frame` with its luma moved to the right (or down) by `pixels`, the edge repeated."""

    def move(k: int, plane: Any) -> Any:
        if k > 0:
            return plane
        padded = np.pad(plane, [(pixels, 0) if axis == a else (0, 0) for a in (0, 1)], "edge")
        return np.ascontiguousarray(padded[: plane.shape[0], : plane.shape[1]])

    return drawn(frame, move)


@dataclass
class Change:
    """What is other in a copy. Functions get streams and packets by their number in the file; None drops a packet."""

    container: Callable[[Any], None] = lambda _: None
    streams: Callable[[int, Any], None] = lambda _, stream: None
    packets: Callable[[int, Any], Any] = lambda _, packet: packet
    left_out: tuple[int, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    chapters: Callable[[list[Any]], list[Any]] = lambda chapters: chapters


def copied(source: Path, target: Path, change: Change) -> Path:
    """All streams of the mkv `source`, tags and chapters, packet for packet but for `change`."""
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(source)) as old, av.open(str(target), "w", container_options=options) as new:
        new.metadata.update(old.metadata | change.metadata)
        new.set_chapters(change.chapters(old.chapters()))
        change.container(new)
        streams: dict[int, Any] = {}
        for stream in old.streams:
            if stream.index not in change.left_out:
                made = new.add_stream_from_template(stream, opaque=True)
                made.metadata.update(stream.metadata)
                made.disposition = stream.disposition
                change.streams(stream.index, made)
                streams[stream.index] = made
        for packet in old.demux([s for s in old.streams if s.type != "attachment"]):
            if packet.size and packet.stream_index in streams:
                number = packet.stream_index
                packet.stream = streams[number]
                packet = change.packets(number, packet)
                if packet is not None:
                    new.mux(packet)
    return target
