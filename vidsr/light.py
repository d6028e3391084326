"""Primaries and transfer functions of ITU-T H.273: what R'G'B' means as light. A leaf: numpy only."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vidsr.frame import Colour

D65, C, DCI = (0.3127, 0.3290), (0.310, 0.316), (0.314, 0.351)
PRIMARIES: dict[int, tuple[tuple[float, float], ...]] = {  # x and y of red, green, blue and white; H.273, table 2
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), D65),
    4: ((0.670, 0.330), (0.210, 0.710), (0.140, 0.080), C),
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060), D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), C),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), DCI),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), D65),
}
# a, b, s, e: s L below b, a L^e - (a - 1) from there; table 3. Television's curves are those of cameras; screens show
# film and web by sRGB's (13), so that a film, its GIF and its PNG look alike.
TRANSFERS: dict[int, tuple[float, float, float, float]] = {
    **dict.fromkeys((1, 6, 11, 12, 13, 14, 15), (1.055, 0.0031308, 12.92, 1 / 2.4)),
    4: (1.0, 0.0, 1.0, 1 / 2.2),
    5: (1.0, 0.0, 1.0, 1 / 2.8),
    7: (1.1115, 0.0228, 4.0, 0.45),
    8: (1.0, 0.0, 1.0, 1.0),
}
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def differs(one: Colour, other: Colour) -> bool:
    """Whether equal R'G'B' is other light in both."""
    alike = PRIMARIES.get(one.primaries, one.primaries) == PRIMARIES.get(other.primaries, other.primaries)
    return not alike or TRANSFERS.get(one.transfer, one.transfer) != TRANSFERS.get(other.transfer, other.transfer)


def is_known(colour: Colour) -> bool:
    """Whether its light can be converted: HDR's cannot, whose curves hold more than others have room for."""
    return colour.primaries in PRIMARIES and colour.transfer in TRANSFERS


@lru_cache(maxsize=64)
def conversion(source: int, target: int) -> NDArray[np.float64]:
    """(3, 3) from linear RGB of one set of primaries to that of another; white stays white (Bradford)."""
    white = [_xyz(PRIMARIES[number][3]) for number in (source, target)]
    there, back = (_BRADFORD @ w for w in white)
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(back / there) @ _BRADFORD
    made: NDArray[np.float64] = np.linalg.inv(_to_xyz(target)) @ adapted @ _to_xyz(source)
    return made


def _to_xyz(primaries: int) -> NDArray[np.float64]:
    *points, white = (_xyz(point) for point in PRIMARIES[primaries])
    columns = np.array(points).T
    made: NDArray[np.float64] = columns * np.linalg.solve(columns, white)
    return made


def _xyz(point: tuple[float, float]) -> NDArray[np.float64]:
    x, y = point
    return np.array([x / y, 1.0, (1 - x - y) / y])
