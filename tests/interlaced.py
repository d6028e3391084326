"""Interlaced clips for tests: field n of a film has an edge at column `edge(n)`, and is known by it after any codec.

`make_interlaced` encodes with FFmpeg's encoders; `paff` writes H.264 in pictures of one field, which none of them does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from tests.bits import Bits
from tests.clips import Audio, _add_audio, _encode_audio
from vidsr.frame import Frame
from vidsr.media.nal import START, escaped

STEPS = 40  # fields until the edge stands again where it began


def edge(field: int) -> int:
    """The column at which field `field` becomes bright."""
    return 6 + 2 * (field % STEPS)


def field_of(frame: Frame, lines: int, scale: int = 1) -> int:
    """Which field, modulo `STEPS`, the even (0) or odd (1) lines of `frame` show."""
    rows = frame.planes[0][lines::2] if scale == 1 else frame.planes[0]
    dark = float((rows < 120 << (frame.format.bits - 8)).sum(axis=1).mean())
    return round((dark / scale - 6) / 2)


@dataclass(frozen=True)
class Film:
    """`order` is tff or bff; `said`: what pictures say of themselves, their order unless it is given."""

    frames: int = 20
    codec: str = "mpeg2video"
    order: str = "tff"
    said: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    rate: Fraction = Fraction(25)
    time_base: Fraction | None = None
    pts: Sequence[int] | None = None
    width: int = 96
    height: int = 64
    pix_fmt: str = "yuv420p"
    progressive: frozenset[int] = frozenset()  # pictures whose fields are of one moment
    bottom_from: int | None = None  # from this picture on the order is the other one


def order_of(film: Film, number: int) -> str:
    turned = film.bottom_from is not None and number >= film.bottom_from
    return film.order if not turned else {"tff": "bff", "bff": "tff"}[film.order]


def luma(film: Film, number: int) -> NDArray[np.uint8]:
    """Picture `number`, both fields of it."""
    picture = np.empty((film.height, film.width), np.uint8)
    first = 0 if order_of(film, number) == "tff" else 1
    for lines in (0, 1):
        field = 2 * number + (lines != first and number not in film.progressive)
        picture[lines::2] = np.where(np.arange(film.width) < edge(field), 40, 200)
    return picture


_FLAGS = {
    "mpeg2video": {"flags": "+ilme+ildct", "qscale": "2"},
    "libx264": {"flags": "+ildct+ilme", "preset": "ultrafast", "crf": "10"},
    "prores_ks": {"flags": "+ildct"},
    "dvvideo": {},
    "ffv1": {},
}
Patch = Callable[[bytes, int], bytes]  # of a packet and the number of its picture


def make_interlaced(
    path: Path, film: Film, *, audio: Audio | None = None, patch: Patch | None = None, **options: Any
) -> Path:
    with av.open(str(path), "w", **options) as out:
        stream: Any = out.add_stream(film.codec, rate=film.rate)
        stream.width, stream.height, stream.pix_fmt = film.width, film.height, film.pix_fmt
        chosen = _FLAGS[film.codec] | dict(film.options)
        if film.codec == "libx264" and "ildct" in chosen.get("flags", ""):
            chosen.setdefault("x264-params", f"{film.order}=1")
        stream.codec_context.options = chosen
        stream.codec_context.gop_size = 6
        base = 1 / film.rate
        stream.codec_context.time_base = stream.time_base = base
        sound = _add_audio(out, audio) if audio else None
        pictures = list(_pictures(film, base))
        numbers = {picture.pts: number for number, picture in enumerate(pictures)}
        for picture in (*pictures, None):
            for packet in stream.encode(picture):
                number = numbers[packet.pts]
                if patch is not None:
                    packet = _patched(packet, patch, number)
                if film.pts is not None and film.time_base is not None:
                    packet.pts = packet.dts = film.pts[number]
                    packet.time_base, packet.duration = film.time_base, round(base / film.time_base)
                out.mux(packet)
        if audio:
            _encode_audio(out, sound, audio)
    return path


def _patched(packet: Any, patch: Patch, number: int) -> Any:
    made: Any = av.Packet(patch(bytes(packet), number))
    made.pts, made.dts, made.duration, made.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    made.stream, made.is_keyframe = packet.stream, packet.is_keyframe
    return made


def _pictures(film: Film, base: Fraction) -> Iterator[av.VideoFrame]:
    graphs: dict[str, av.filter.Graph] = {}
    for number in range(film.frames):
        picture = av.VideoFrame(film.width, film.height, film.pix_fmt)
        depth = picture.format.components[0].bits
        dtype: Any = np.uint8 if depth == 8 else np.uint16
        for index, plane in enumerate(picture.planes):
            rows = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, -1)
            rows[:] = 128 << (depth - 8)
            if index == 0:
                rows[:, : film.width] = luma(film, number).astype(dtype) << (depth - 8)
        picture.pts, picture.time_base = number, base
        said = film.said or order_of(film, number)
        if said not in graphs:
            graphs[said] = av.filter.Graph()
            source = graphs[said].add_buffer(
                width=film.width, height=film.height, format=av.VideoFormat(film.pix_fmt), time_base=base
            )
            marking = graphs[said].add("setfield", f"mode={said}")
            graphs[said].link_nodes(source, marking, graphs[said].add("buffersink")).configure()
        graphs[said].push(picture)
        made = graphs[said].pull()
        assert isinstance(made, av.VideoFrame)
        yield made


def mpeg2_says(
    data: bytes, *, progressive: bool | None = None, top_first: bool | None = None, repeat: bool = False
) -> bytes:
    """A coded MPEG-2 picture that says something else of its fields (picture coding extension, 6.2.3.1)."""
    at = next(k for k in range(len(data)) if data[k : k + 4] == b"\0\0\1\xb5" and data[k + 4] >> 4 == 8)
    said = bytearray(data)
    if progressive is not None:
        said[at + 8] = said[at + 8] & 0x7F | progressive << 7
    if top_first is not None:
        said[at + 7] = said[at + 7] & 0x7F | top_first << 7
    said[at + 7] = said[at + 7] & 0xFD | repeat << 1
    return bytes(said)


def _nal(header: int, body: bytes) -> bytes:
    return START + bytes([header]) + escaped(body)


def paff_fields(film: Film) -> Iterator[tuple[bytes, bytes]]:
    """The two fields of each picture as H.264 (Main profile, all samples as they are: I_PCM)."""
    wide, high = film.width // 16, film.height // 32
    sps = Bits().u(8, 77).u(8, 0).u(8, 30).ue(0, 0, 0, 4, 1).u(1, 0).ue(wide - 1, high - 1).u(5, 0b0_0_1_0_1)
    sps.u(5, 0b0_0_0_0_1).u(32, film.rate.denominator).u(32, 2 * film.rate.numerator).u(6, 0b1_0_0_0_1_1)
    head = _nal(0x67, sps.ue(0, 0, 10, 10, 0, 1).u(1, 1).aligned())
    pps = Bits().ue(0, 0).u(2, 0).ue(0, 0, 0).u(3, 0).ue(0, 0, 0).u(3, 0b100)
    head += _nal(0x68, pps.u(1, 1).aligned())
    for number in range(film.frames):
        picture, first = luma(film, number), 0 if order_of(film, number) == "tff" else 1
        pair = []
        for lines in (first, 1 - first):
            idr = lines == first
            slice_ = Bits().ue(0, 7, 0).u(4, 0).u(1, 1).u(1, lines)
            if idr:
                slice_.ue(number % 2)
            slice_.u(8, int(not idr)).u(2 if idr else 1, 0).ue(0, 1)
            body = b""
            field = picture[lines::2]
            for y, x in ((y, x) for y in range(high) for x in range(wide)):
                bits = slice_ if not body else Bits()
                body += bits.ue(25).aligned() + field[16 * y : 16 * y + 16, 16 * x : 16 * x + 16].tobytes()
                body += bytes([128]) * 128
            delimiter = _nal(0x09, b"\x10")
            pair.append(delimiter + (head if idr else b"") + _nal(0x65 if idr else 0x61, body + b"\x80"))
        yield pair[0], pair[1]


def paff(path: Path, film: Film) -> Path:
    """A transport stream, or a Matroska file, whose packets hold one field each."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_mux_stream("h264", rate=film.rate, width=film.width, height=film.height)
        stream.time_base = Fraction(1, 90000)
        for number, pair in enumerate(paff_fields(film)):
            for second, data in enumerate(pair):
                packet: Any = av.Packet(data)
                packet.stream, packet.time_base = stream, Fraction(1, 90000)
                packet.pts = packet.dts = round((2 * number + second) * 45000 / film.rate)
                packet.duration, packet.is_keyframe = round(45000 / film.rate), not second
                out.mux(packet)
    return path
