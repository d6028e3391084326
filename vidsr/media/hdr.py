"""HDR10 static metadata (SMPTE ST 2086, CTA-861.3): from FFmpeg's raw structs to encoder options and mp4 boxes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction

from vidsr.media.boxes import box
from vidsr.media.encoders import HdrKeys

PQ, HLG = 16, 18

_STEPS_XY = 50000  # chromaticity steps a unit, in HEVC's SEI message and in the mdcv box
_STEPS_NITS = 10000  # luminance steps a candela per square metre


@dataclass(frozen=True, slots=True)
class Mastering:
    """The display that the video was graded on. Chromaticities in CIE xy, luminance in cd/m2."""

    red: tuple[Fraction, Fraction]
    green: tuple[Fraction, Fraction]
    blue: tuple[Fraction, Fraction]
    white: tuple[Fraction, Fraction]
    darkest: Fraction
    brightest: Fraction

    @classmethod
    def parse(cls, raw: bytes | None) -> Mastering | None:
        """From an AVMasteringDisplayMetadata; None where it is absent or incomplete."""
        if raw is None or len(raw) < 88:
            return None
        *numbers, has_primaries, has_luminance = struct.unpack("<22i", raw[:88])
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
        if not (has_primaries and has_luminance) or any(den == 0 for _, den in pairs):
            return None
        rx, ry, gx, gy, bx, by, wx, wy, darkest, brightest = (Fraction(num, den) for num, den in pairs)
        return cls((rx, ry), (gx, gy), (bx, by), (wx, wy), darkest, brightest)

    def in_steps(self) -> str:
        """As x265 (`master-display`) and x264 (`mastering-display`) take it: whole steps."""
        points = zip("GBRW", (self.green, self.blue, self.red, self.white), strict=True)
        text = "".join(f"{name if name != 'W' else 'WP'}({_xy(x)},{_xy(y)})" for name, (x, y) in points)
        return f"{text}L({_nits(self.brightest)},{_nits(self.darkest)})"

    def in_units(self) -> str:
        """As SVT-AV1 (`mastering-display`) takes it: decimal fractions."""
        points = zip("GBRW", (self.green, self.blue, self.red, self.white), strict=True)
        text = "".join(f"{name if name != 'W' else 'WP'}({float(x):.5f},{float(y):.5f})" for name, (x, y) in points)
        return f"{text}L({float(self.brightest):.4f},{float(self.darkest):.4f})"

    def box(self) -> bytes:
        """The mdcv box of mp4 (ISO/IEC 14496-12)."""
        points = (self.green, self.blue, self.red, self.white)
        body = struct.pack(">8H", *(min(_xy(v), 0xFFFF) for point in points for v in point))
        return box(b"mdcv", body + struct.pack(">2I", _nits(self.brightest), _nits(self.darkest)))


def light_level(raw: bytes | None) -> tuple[int, int] | None:
    """MaxCLL and MaxFALL in cd/m2 from an AVContentLightMetadata."""
    if raw is None or len(raw) < 8:
        return None
    brightest, average = struct.unpack("<2I", raw[:8])
    return brightest, average


def bitstream_params(keys: HdrKeys | None, mastering: bytes | None, light: bytes | None) -> list[str]:
    """``key=value`` parameters that make an encoder of those `keys` write the metadata into its bitstream."""
    if keys is None:
        return []
    display, level = Mastering.parse(mastering), light_level(light)
    params = []
    if display:
        params.append(f"{keys.display}={display.in_units() if keys.decimal else display.in_steps()}")
    if level:
        params.append(f"{keys.light}={level[0]},{level[1]}")
    return params


def container_boxes(mastering: bytes | None, light: bytes | None) -> bytes:
    """The mdcv and clli boxes of the sample entry, which also become Matroska's colour elements; may be empty."""
    display, level = Mastering.parse(mastering), light_level(light)
    boxes = display.box() if display else b""
    if level:
        boxes += box(b"clli", struct.pack(">2H", *(min(v, 0xFFFF) for v in level)))
    return boxes


def ambient(raw: bytes) -> bytes:
    """The body of H.265's message of the viewing environment for an AVAmbientViewingEnvironment; may be empty."""
    if len(raw) < 24:
        return b""
    light, x, y = (Fraction(num, den or 1) for num, den in struct.iter_unpack("<2i", raw[:24]))
    return struct.pack(">I2H", _nits(light), _xy(x), _xy(y))


def _xy(value: Fraction) -> int:
    return round(value * _STEPS_XY)


def _nits(value: Fraction) -> int:
    return round(value * _STEPS_NITS)
