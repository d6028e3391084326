"""Dolby Vision of profile 8: the RPU of a picture (ETSI GS CCM 001), and the record by which players know of it.

The record is that of Dolby's "Dolby Vision Streams Within the ISO Base Media File Format".
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from vidsr.frame import Inside
from vidsr.media.boxes import box
from vidsr.media.hdr import HLG, PQ
from vidsr.media.nal import escaped, unescaped

_PREFIX = 0x19  # the first byte of an RPU
_AREA_LEVEL = 5  # of the extension block that says where the picture's bars are
_AREA_BITS = 13
_LEVELS = (  # pictures' samples a second, and their width, at most
    (22_118_400, 1280), (27_648_000, 1280), (49_766_400, 1920), (62_208_000, 2560), (124_416_000, 3840),
    (199_065_600, 3840), (248_832_000, 3840), (398_131_200, 3840), (497_664_000, 3840), (995_328_000, 3840),
    (995_328_000, 7680), (1_990_656_000, 7680), (3_981_312_000, 7680),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DolbyVision:
    """What an output's Dolby Vision is: profile 8, pictures that look right without, and one RPU with each."""

    compatibility: int  # what they are without: 1 HDR10, 2 SDR, 4 HLG
    grown: tuple[Fraction, Fraction] = (Fraction(1), Fraction(1))  # the picture, across and down
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)  # what was cut away before: left, top, right, bottom, in pixels

    @property
    def grown_already(self) -> DolbyVision:
        """Of pictures whose RPUs are as they are to be."""
        return DolbyVision(self.compatibility)

    def rpu(self, inside: Inside) -> bytes:
        """That of a source's picture for the one that has become of it: its bars grow with it, as far as they stay."""
        left, top, right, bottom = self.crop
        across, down = self.grown
        old = inside.active_area
        cut = zip(old, (left, right, top, bottom), (across, across, down, down), strict=True)
        new = tuple(round(max(bar - away, 0) * by) for bar, away, by in cut)
        if new == old:
            return inside.dolby_vision
        data = unescaped(inside.dolby_vision)
        text = f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}"
        if text.count(block := _area_block(old)) != 1:  # it stands in an RPU before, which this one refers to
            return inside.dolby_vision
        changed = bytearray(int(text.replace(block, _area_block(new)), 2).to_bytes(len(data)))
        end = len(changed.rstrip(b"\0"))  # behind the byte of 0x80
        changed[end - 5 : end - 1] = struct.pack(">I", _crc(changed[1 : end - 5]))
        return escaped(bytes(changed))

    def box(self, width: int, height: int, rate: Fraction) -> bytes:
        """The dvvC box of the sample entry, from which FFmpeg makes Matroska's record."""
        level = next(
            (
                number
                for number, (samples, widest) in enumerate(_LEVELS, 1)
                if width * height * rate <= samples and width <= widest
            ),
            len(_LEVELS),
        )
        told = 8 << 9 | level << 3 | 0b101  # profile, level; an RPU, no enhancement layer, a base layer
        body = struct.pack(">2BHB", 1, 0, told, self.compatibility << 4)
        return box(b"dvvC", body.ljust(24, b"\0"))


def compatibility(rpu: bytes, transfer: int) -> int | None:
    """Of profile 8, by its first RPU and the transfer of H.273; None: another profile, or none at all.

    Pictures of profile 5 are no YCbCr, and those of 4 and 7 have a second layer.
    """
    data = unescaped(rpu)
    if not data or data[0] != _PREFIX:
        return None
    bits = _Reader(data[1:40])
    kind, form, profile = bits.take(6), bits.take(11), bits.take(4)
    bits.take(4)
    if kind != 2 or profile != 1 or not bits.take(1):
        return None
    bits.take(1)  # filter of chroma
    if bits.take(2) == 0:
        bits.golomb()  # denominator of coefficients
    bits.take(2)
    full_range = bits.take(1)
    if form & 0x700 or full_range:
        return None
    for _ in range(3):
        bits.golomb()  # bits of the base layer, of the enhancement layer, of the display
    bits.take(4)
    has_layer, no_residual = bits.take(1), bits.take(1)
    if has_layer and not no_residual:
        return None
    return {PQ: 1, HLG: 4}.get(transfer, 2)


def bars(raw: bytes) -> tuple[int, int, int, int]:
    """Left, right, top, bottom offsets in pixels of an AVDOVIMetadata's active area; zeros where it names none."""
    if len(raw) < 44:
        return 0, 0, 0, 0
    first, size, num = struct.unpack_from("<2Qi", raw, 24)
    for start in range(first, first + num * size, size):
        if raw[start] == _AREA_LEVEL:
            left, right, top, bottom = struct.unpack_from("<4H", raw, start + 4)
            return left, right, top, bottom
    return 0, 0, 0, 0


def _area_block(area: Iterable[int]) -> str:
    """As it stands in an RPU: its length in bytes by an Exp-Golomb code, its level, its offsets, and four bits."""
    offsets = "".join(f"{min(bar, (1 << _AREA_BITS) - 1):0{_AREA_BITS}b}" for bar in area)
    return f"0001000{_AREA_LEVEL:08b}{offsets}0000"


def _crc(data: bytes | bytearray) -> int:
    """CRC-32 of MPEG-2: polynomial 0x04C11DB7, from ones, bits in order."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return value


class _Reader:
    """Bits in order. Behind the end come zeros."""

    def __init__(self, data: bytes) -> None:
        self._text = f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}" + "0" * 64
        self._at = 0

    def take(self, bits: int) -> int:
        self._at += bits
        return int(self._text[self._at - bits : self._at] or "0", 2)

    def golomb(self) -> int:
        """An unsigned Exp-Golomb code."""
        zeros = self._text.find("1", self._at) - self._at
        self._at += max(zeros, 0)
        return self.take(max(zeros, 0) + 1) - 1
