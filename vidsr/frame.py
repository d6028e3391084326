"""A decoded picture with its time, its layout and the meaning of its samples. A leaf: numpy only."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import IntEnum
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.uint8 | np.uint16]  # of any shape: uint8 up to 8 bits, else uint16 in native byte order
Plane = Samples  # (height, width)


class Matrix(IntEnum):
    """Matrix coefficients, as numbered by ITU-T H.273 (and FFmpeg's AVColorSpace)."""

    RGB = 0
    BT709 = 1
    UNSPECIFIED = 2
    FCC = 4
    BT470BG = 5  # BT.601, 625 lines
    SMPTE170M = 6  # BT.601, 525 lines: the same coefficients
    SMPTE240M = 7
    YCGCO = 8
    BT2020_NCL = 9
    BT2020_CL = 10


Siting = Literal["left", "center", "topleft", "top", "bottomleft", "bottom"]  # FFmpeg's names


@dataclass(frozen=True, slots=True)
class Colour:
    """What sample values mean. Primaries and transfer are H.273 code points (2: unspecified)."""

    matrix: Matrix = Matrix.BT709
    primaries: int = 1
    transfer: int = 1
    full_range: bool = False
    siting: Siting = "left"


SRGB = Colour(Matrix.RGB, primaries=1, transfer=13, full_range=True)
"""Of pictures that say nothing of it: images, and what browsers show."""

_CHROMA_SHIFTS = {"444": (0, 0), "422": (1, 0), "420": (1, 1), "440": (0, 1), "411": (2, 0), "410": (2, 2)}
_NAME = re.compile(r"(?:(yuv|yuva)(4\d\d)p|(gbrp|gbrap)|(gray))(9|10|12|14|16)?(?:le)?")


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """Planar layout: which components, how many bits, and by which power of two chroma is reduced.

    Planes stand in FFmpeg's order: Y, U, V; or G, B, R; or grey alone; alpha last where there is one.
    """

    model: Literal["yuv", "rgb", "grey"] = "yuv"
    bits: int = 8
    chroma_shift: tuple[int, int] = (0, 0)  # log2 of the horizontal and vertical reduction
    alpha: bool = False

    @property
    def name(self) -> str:
        """FFmpeg's name of this layout, such as ``yuv420p10le``."""
        depth = f"{self.bits}le" if self.bits > 8 else ""
        if self.model == "grey":
            return f"gray{depth}"
        if self.model == "rgb":
            return f"gbr{'a' if self.alpha else ''}p{depth}"
        sampling = next(name for name, shift in _CHROMA_SHIFTS.items() if shift == self.chroma_shift)
        return f"yuv{'a' if self.alpha else ''}{sampling}p{depth}"

    @classmethod
    def parse(cls, name: str) -> PixelFormat:
        """The layout of FFmpeg's planar format ``name``; ValueError for any other (packed, palette, ...)."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"not a planar pixel format: {name}")
        yuv, sampling, rgb, _grey, bits = match.groups()
        alpha = (yuv or rgb or "") in ("yuva", "gbrap")
        model: Literal["yuv", "rgb", "grey"] = "yuv" if yuv else "rgb" if rgb else "grey"
        return cls(model, int(bits or 8), _CHROMA_SHIFTS.get(sampling or "444", (0, 0)), alpha)

    @property
    def dtype(self) -> np.dtype[np.uint8 | np.uint16]:
        """Of a plane: uint8 up to 8 bits, else uint16."""
        return np.dtype(np.uint8 if self.bits <= 8 else np.uint16)

    @property
    def unit(self) -> int:
        """How many codes one of 8 bits is."""
        return 1 << (self.bits - 8)

    @property
    def peak(self) -> int:
        """The last code."""
        return (1 << self.bits) - 1

    def plane_shapes(self, width: int, height: int) -> list[tuple[int, int]]:
        """(height, width) of each plane of a picture; chroma sides are rounded up."""
        full = (height, width)
        if self.model == "grey":
            return [full]
        sx, sy = self.chroma_shift
        chroma = (-(-height >> sy), -(-width >> sx))
        return [full, chroma, chroma] + ([full] if self.alpha else [])


@dataclass(frozen=True, slots=True)
class Canvas:
    """What pictures are made to be: their (width, height), their layout, and what their samples mean."""

    size: tuple[int, int]
    format: PixelFormat
    colour: Colour


@dataclass(frozen=True, slots=True)
class Inside:
    """What stands beside the samples in a coded picture, as the bytes that codecs wrap; empty where absent."""

    captions: bytes = b""  # CEA-608/708: three bytes each, ATSC A/53's cc_data
    hdr10_plus: bytes = b""  # the message of SMPTE ST 2094-40, from its country code on
    dolby_vision: bytes = b""  # the RPU, as it stands behind the header of its NAL unit
    active_area: tuple[int, int, int, int] = (0, 0, 0, 0)  # of the RPU: bars on the left, right, top, bottom, in pixels
    ambient: bytes = b""  # light around the viewer: the body of H.265's SEI message

    def __bool__(self) -> bool:
        return self != NOTHING_INSIDE


NOTHING_INSIDE = Inside()


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture. ``pts`` and ``duration`` count in ``time_base`` seconds; a duration of 0 is unknown."""

    planes: tuple[Plane, ...]
    format: PixelFormat
    colour: Colour
    pts: int
    time_base: Fraction
    duration: int = 0
    inside: Inside = NOTHING_INSIDE
    aside: bool = False  # read for its neighbours' sake: nothing is made of it

    @property
    def width(self) -> int:
        """In pixels of the first (full-size) plane."""
        return int(self.planes[0].shape[1])

    @property
    def height(self) -> int:
        """In pixels of the first (full-size) plane."""
        return int(self.planes[0].shape[0])

    @property
    def nbytes(self) -> int:
        """Memory of all planes, in bytes."""
        return sum(int(plane.nbytes) for plane in self.planes)


def output_colour(colour: Colour, source: PixelFormat, target: PixelFormat) -> Colour:
    """What samples mean after a conversion between layouts: RGB is full range, and YUV made from it limited BT.709."""
    if target.model == "rgb" and source.model != "rgb":
        return replace(colour, matrix=Matrix.RGB, full_range=True)
    if target.model == "yuv" and colour.matrix is Matrix.RGB and (source.model != "yuv" or any(target.chroma_shift)):
        return replace(colour, matrix=Matrix.BT709, full_range=False)
    return colour
