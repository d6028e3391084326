"""Frame numbers drawn into pictures, and read back after any codec and at any scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from vidsr.frame import PixelFormat

CELLS = 4  # the number stands in 4 x 4 cells: 16 bits, the highest in the top left corner
DARK, BRIGHT = 40, 210  # of 255: inside the limited range

Planes = list[NDArray[Any]]


def draw_number(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
    """Planes of `fmt` that show `number` (0 to 65535) as dark and bright cells over steady, coloured chroma."""
    bits = np.array([(number >> k) & 1 for k in range(CELLS * CELLS - 1, -1, -1)]).reshape(CELLS, CELLS)
    rows, columns = (np.arange(n) * CELLS // n for n in (height, width))
    luma = np.where(bits[rows][:, columns] == 1, BRIGHT, DARK)
    values: list[Any] = [luma, 110, 150] if fmt.model == "yuv" else [luma] * (3 if fmt.model == "rgb" else 1)
    values += [255] if fmt.alpha else []
    shift = fmt.bits - 8
    return [np.full(s, v << shift, fmt.dtype) for s, v in zip(fmt.plane_shapes(width, height), values, strict=True)]


def read_number(plane: NDArray[Any], bits: int | None = None) -> int:
    """The number drawn into `plane` (luma, grey or green; (h, w) of any size and scale).

    `bits` is the depth; by default 8 for uint8 and 10 for uint16.

    Raises:
        ValueError: a cell is neither dark nor bright.
    """
    scale = 1 << ((bits or (8 if plane.dtype == np.uint8 else 10)) - 8)
    number = 0
    for rows in np.array_split(np.arange(plane.shape[0]), CELLS):
        for columns in np.array_split(np.arange(plane.shape[1]), CELLS):
            value = float(plane[_middle(rows)][:, _middle(columns)].mean()) / scale
            if DARK + 40 < value < BRIGHT - 40:
                raise ValueError(f"no number in this picture: a cell has the mean value {value:.0f}")
            number = number * 2 + (value > (DARK + BRIGHT) / 2)
    return number


def _middle(indices: NDArray[Any]) -> slice:
    n = len(indices)
    return slice(int(indices[0]) + n // 4, int(indices[0]) + max(n - n // 4, n // 4 + 1))


def numbered_frame(
    number: int,
    pix_fmt: str,
    width: int,
    height: int,
    draw: Callable[[int, PixelFormat, int, int], Planes] | None = None,
) -> av.VideoFrame:
    """One PyAV frame of any pixel format that shows `number`; packed formats are converted from planar ones."""
    planar = pix_fmt.replace("yuvj", "yuv")
    try:
        fmt = PixelFormat.parse(planar)
    except ValueError:
        rgb = av.VideoFormat(pix_fmt).is_rgb
        fmt, planar = (PixelFormat("rgb"), "gbrp") if rgb else (PixelFormat(chroma_shift=(1, 1)), "yuv420p")
    frame = av.VideoFrame(width, height, pix_fmt if planar == pix_fmt.replace("yuvj", "yuv") else planar)
    for plane, values in zip(frame.planes, (draw or draw_number)(number, fmt, width, height), strict=True):
        buffer: Any = plane
        rows = np.frombuffer(buffer, values.dtype).reshape(values.shape[0], -1)
        rows[:, : values.shape[1]] = values
    return frame if frame.format.name == pix_fmt else frame.reformat(format=pix_fmt)
