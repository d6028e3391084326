"""Segments and outputs for tests, from frames that show their number, and what is read back from a file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.stream import Disposition

from tests.clips import draw_number, read_number
from vidsr.frame import Colour, Frame, PixelFormat
from vidsr.media.mux.join import JoinReport, join
from vidsr.media.read.probe import MediaInfo, probe
from vidsr.media.write.writer import SegmentInfo, VideoSpec, Writer

WIDTH, HEIGHT = 96, 64
FAST = {"libx264": "ultrafast", "libx265": "ultrafast", "libsvtav1": "8", "libvpx-vp9": "8", "prores_ks": "auto"}


def spec_of(
    encoder: str = "libx264",
    pix_fmt: str = "yuv420p",
    time_base: Fraction = Fraction(1, 24),
    preset: str | None = None,
    **changes: Any,
) -> VideoSpec:
    """A small spec that encodes quickly."""
    crf = {"ffv1": None, "prores_ks": None}.get(encoder, 20)
    fast = preset or FAST.get(encoder)
    made = VideoSpec(encoder, PixelFormat.parse(pix_fmt), Colour(), WIDTH, HEIGHT, time_base, Fraction(24), crf=crf)
    return replace(made, **{"preset": fast, "threads": 1, **changes})


def frames_of(spec: VideoSpec, pts: Iterable[int], numbers: Iterable[int] | None = None) -> Iterable[Frame]:
    """Frames that show their number."""
    pts = list(pts)
    for number, time in zip(numbers or range(len(pts)), pts, strict=False):
        planes = draw_number(number, spec.format, spec.width, spec.height)
        yield Frame(tuple(planes), spec.format, spec.colour, time, spec.time_base)


def write_segment(path: Path, spec: VideoSpec, pts: Iterable[int], numbers: Iterable[int] | None = None) -> SegmentInfo:
    """A finished segment; the suffix of `path` chooses the container."""
    kinds: dict[str, Literal["mp4", "mov", "mkv"]] = {".mp4": "mp4", ".mov": "mov", ".mkv": "mkv"}
    writer = Writer(path, spec, container=kinds[path.suffix])
    for frame in frames_of(spec, pts, numbers):
        writer.write(frame)
    return writer.close()


def upscaled(
    source: Path, output: Path, *, cuts: Sequence[int] = (), suffix: str = ".mp4", **options: Any
) -> tuple[MediaInfo, JoinReport]:
    """`source` with its pictures made anew at the test's size, in segments that end at `cuts`; options go to `join`."""
    info = probe(source)
    spec = options.pop("spec", None) or spec_of(
        time_base=info.video.time_base,
        sample_aspect=info.video.sample_aspect,
        display_matrix=info.video.display_matrix,
        preset=options.pop("preset", None),
    )
    pts = options.pop("pts", None) or picture_pts(source, info.video.index)
    edges = [0, *cuts, len(pts)]
    segments = []
    for begin, end in pairwise(edges):
        segments.append(output.with_name(f"{output.stem}_{begin}{suffix}"))
        write_segment(segments[-1], spec, pts[begin:end], range(begin, end))
    container = options.pop("container", output.suffix[1:])
    return info, join(segments, info, output, container=container, spec=spec, **options)


def picture_pts(path: Path, index: int) -> list[int]:
    """Of all packets that yield a picture, in order of showing."""
    with av.open(str(path)) as container:
        packets = list(container.demux(container.streams[index]))
        return sorted(p.pts for p in packets if p.pts is not None and not p.is_discard)


def times(path: Path, index: int = 0) -> list[Fraction]:
    """The times in seconds of the packets of a stream, sorted; none of them may be hidden."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(container.streams[index]) if p.pts is not None]
        assert not any(p.is_discard for p in packets)
        return sorted(p.pts * p.time_base for p in packets if p.pts is not None)


def numbers(path: Path) -> list[int]:
    """What the decoded pictures of the first picture stream show."""
    with av.open(str(path)) as container:
        found = []
        for frame in container.decode(video=0):
            fmt = PixelFormat.parse(frame.format.name)
            buffer: Any = frame.planes[0]
            rows = np.frombuffer(buffer, fmt.dtype).reshape(frame.height, -1)
            found.append(read_number(rows[:, : frame.width], fmt.bits))
        return found


@dataclass(frozen=True)
class Facts:
    """What a stream of a file is and holds."""

    kind: str
    codec: str
    language: str | None
    title: str | None
    dispositions: Disposition
    first: Fraction | None  # seconds
    payload: str  # hash of all packets


def facts(path: Path, *, decoded: bool = False) -> list[Facts]:
    """One entry for each stream of `path`."""
    with av.open(str(path)) as container:
        hashes = [hashlib.sha256() for _ in container.streams]
        firsts: dict[int, Fraction] = {}
        for packet in container.demux():
            if packet.size:
                hashes[packet.stream_index].update(bytes(packet))
                if packet.pts is not None and packet.time_base:
                    firsts.setdefault(packet.stream_index, packet.pts * packet.time_base)
        return [
            Facts(
                s.type,
                s.codec_context.codec.canonical_name if s.codec_context else "none",
                s.metadata.get("language"),
                s.metadata.get("title"),
                s.disposition,
                firsts.get(s.index),
                hashes[s.index].hexdigest(),
            )
            for s in container.streams
        ]
