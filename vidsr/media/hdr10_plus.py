"""HDR10+ (SMPTE ST 2094-40): from FFmpeg's struct to the message of ITU-T T.35 in which codecs hold it."""

from __future__ import annotations

import ctypes
from fractions import Fraction

_WINDOWS, _POINTS, _SIDE = 3, 15, 25  # at most, in FFmpeg's structs
_COUNTRY, _PROVIDER, _MESSAGE, _APPLICATION = 0xB5, 0x3C, 1, 4  # United States; Samsung; ST 2094-40


class _Rational(ctypes.Structure):
    _fields_ = (("num", ctypes.c_int), ("den", ctypes.c_int))

    def at(self, den: int) -> int:
        """As the bitstream has it: in units of one `den`-th."""
        return round(Fraction(self.num, self.den or 1) * den)


class _Percentile(ctypes.Structure):
    _fields_ = (("percentage", ctypes.c_uint8), ("percentile", _Rational))


class _Window(ctypes.Structure):
    """AVHDRPlusColorTransformParams."""

    _fields_ = (
        ("corners", _Rational * 4),
        ("center", ctypes.c_uint16 * 2),
        ("rotation", ctypes.c_uint8),
        ("axes", ctypes.c_uint16 * 3),
        ("overlap", ctypes.c_int),
        ("maxscl", _Rational * 3),
        ("average_maxrgb", _Rational),
        ("num_percentiles", ctypes.c_uint8),
        ("percentiles", _Percentile * _POINTS),
        ("fraction_bright", _Rational),
        ("tone_mapping", ctypes.c_uint8),
        ("knee", _Rational * 2),
        ("num_anchors", ctypes.c_uint8),
        ("anchors", _Rational * _POINTS),
        ("saturation_mapping", ctypes.c_uint8),
        ("saturation", _Rational),
    )


class _Peaks(ctypes.Structure):
    """The actual peak luminance of a display, by rows and columns."""

    _fields_ = (
        ("there", ctypes.c_uint8),
        ("rows", ctypes.c_uint8),
        ("columns", ctypes.c_uint8),
        ("values", _Rational * _SIDE * _SIDE),
    )


class _Hdr10Plus(ctypes.Structure):
    """AVDynamicHDRPlus."""

    _fields_ = (
        ("country", ctypes.c_uint8),
        ("version", ctypes.c_uint8),
        ("num_windows", ctypes.c_uint8),
        ("windows", _Window * _WINDOWS),
        ("target", _Rational),
        ("target_peaks", _Peaks),
        ("mastering_peaks", _Peaks),
    )


class _Bits:
    """Numbers in as many bits as each is given."""

    def __init__(self) -> None:
        self._text: list[str] = []

    def put(self, bits: int, *values: int) -> None:
        self._text += [f"{min(max(value, 0), (1 << bits) - 1):0{bits}b}" for value in values]

    def done(self) -> bytes:
        """All of them, filled up with zeros to a whole byte."""
        text = "".join(self._text)
        return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")


def message(raw: bytes) -> bytes:
    """The message for an AVDynamicHDRPlus; empty where it names parts of the picture, as no profile of HDR10+ does."""
    if len(raw) < ctypes.sizeof(_Hdr10Plus):
        return b""
    told = _Hdr10Plus.from_buffer_copy(raw)
    if told.num_windows != 1:
        return b""
    window: _Window = told.windows[0]
    bits = _Bits()
    bits.put(8, _COUNTRY)
    bits.put(16, _PROVIDER, _MESSAGE)
    bits.put(8, _APPLICATION, told.version)
    bits.put(2, told.num_windows)
    bits.put(27, told.target.at(1))
    _put_peaks(bits, told.target_peaks)
    bits.put(17, *(value.at(100_000) for value in (*window.maxscl, window.average_maxrgb)))
    bits.put(4, window.num_percentiles)
    for point in window.percentiles[: window.num_percentiles]:
        bits.put(7, point.percentage)
        bits.put(17, point.percentile.at(100_000))
    bits.put(10, window.fraction_bright.at(1000))
    _put_peaks(bits, told.mastering_peaks)
    bits.put(1, window.tone_mapping)
    if window.tone_mapping:
        bits.put(12, *(value.at(4095) for value in window.knee))
        bits.put(4, window.num_anchors)
        bits.put(10, *(value.at(1023) for value in window.anchors[: window.num_anchors]))
    bits.put(1, window.saturation_mapping)
    if window.saturation_mapping:
        bits.put(6, window.saturation.at(8))
    return bits.done()


def _put_peaks(bits: _Bits, peaks: _Peaks) -> None:
    bits.put(1, peaks.there)
    if peaks.there:
        bits.put(5, peaks.rows, peaks.columns)
        for row in peaks.values[: peaks.rows]:
            bits.put(4, *(value.at(15) for value in row[: peaks.columns]))
