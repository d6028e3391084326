"""What codes of a frame mean, in numbers: matrices, ranges and the places of chroma, after ITU-T H.273. numpy only."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vidsr.frame import Colour, Matrix, PixelFormat, Siting

# (K_R, K_B) of H.273, table 4.
LUMA = {
    Matrix.BT709: (0.2126, 0.0722),
    Matrix.FCC: (0.30, 0.11),
    Matrix.BT470BG: (0.299, 0.114),
    Matrix.SMPTE170M: (0.299, 0.114),
    Matrix.SMPTE240M: (0.212, 0.087),
    Matrix.BT2020_NCL: (0.2627, 0.0593),
    Matrix.BT2020_CL: (0.2627, 0.0593),
}
GBR = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])  # the plane order of RGB formats
YCGCO = np.array([[0.25, 0.5, 0.25], [-0.25, 0.5, -0.25], [0.5, 0.0, -0.5]])


def chroma_offset(format: PixelFormat, siting: Siting) -> tuple[float, float]:
    """(x, y) of the first chroma sample, in pixels from the centre of the first pixel."""
    last_x, last_y = ((1 << shift) - 1 for shift in format.chroma_shift)
    x = 0.0 if "left" in siting else last_x / 2
    y = 0.0 if "top" in siting else float(last_y) if "bottom" in siting else last_y / 2
    return x, y


def ycc_matrix(matrix: Matrix) -> NDArray[np.float64]:
    """(3, 3) from R'G'B' to luma and colour differences in [-0.5, 0.5], or to the planes G, B, R.

    Unspecified counts as BT.709 (readers resolve it before). Constant luminance is taken as BT.2020 non-constant.
    """
    if matrix is Matrix.RGB:
        return GBR
    if matrix is Matrix.YCGCO:
        return YCGCO
    kr, kb = LUMA.get(matrix, LUMA[Matrix.BT709])
    y = np.array([kr, 1 - kr - kb, kb])
    cb, cr = ((np.eye(3)[i] - y) / (2 * (1 - k)) for i, k in ((2, kb), (0, kr)))
    return np.stack([y, cb, cr])


def rgb_to_codes(format: PixelFormat, colour: Colour) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(A, b) such that codes = A @ rgb + b. H.273, equations 20 to 37."""
    is_rgb = format.model == "rgb" or (format.model == "yuv" and colour.matrix is Matrix.RGB)
    matrix = GBR if is_rgb else ycc_matrix(Matrix.BT709 if colour.matrix is Matrix.RGB else colour.matrix)
    unit, peak = float(format.unit), float(format.peak)
    luma = (peak, 0.0) if colour.full_range else (219 * unit, 16 * unit)
    chroma = luma if is_rgb else (peak if colour.full_range else 224 * unit, 128 * unit)
    gain, offset = np.array([luma, chroma, chroma], dtype=np.float64).T
    return matrix * gain[:, None], offset


def codes_to_rgb(format: PixelFormat, colour: Colour) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(A, b) such that rgb = A @ codes + b; of grey only the first entry of each is meant."""
    matrix, offset = rgb_to_codes(format, colour)
    if format.model == "grey":
        gain = matrix[0].sum()
        return np.array([[1 / gain]]), np.array([-offset[0] / gain])
    inverse = np.asarray(np.linalg.inv(matrix), np.float64)
    return inverse, -inverse @ offset


def triangle(factor: int, offset: float) -> list[tuple[int, float]]:
    """Places and weights of the filter that comes down by `factor`: a triangle of that radius around `offset`."""
    weights = ((place, (1 - abs(place - offset) / factor) / factor) for place in range(1 - factor, 2 * factor))
    return [(place, weight) for place, weight in weights if weight > 0]


def between(phase: int, factor: int, offset: float) -> tuple[int, float]:
    """Which sample stands before a place `phase`, of those at factor*k + offset, and how far on the way to the next."""
    position = (phase - offset) / factor
    start = math.floor(position)
    return start, position - start
