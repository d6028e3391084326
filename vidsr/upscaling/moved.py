"""Blocks of a picture, each from somewhere else in it."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Whole = NDArray[np.intp]
Sample = TypeVar("Sample", bound=np.generic)


class Moved(Generic[Sample]):
    """Of (H, W) samples; beyond them the edges repeat, `reach` samples and a block far.

    `block` is height and width of each.
    """

    def __init__(self, plane: NDArray[Sample], reach: int, block: tuple[int, int]) -> None:
        self._edge, self._block, self._type = reach + max(block), block, plane.dtype
        padded = np.pad(plane, self._edge, mode="edge")
        self._width = padded.shape[1]
        # The rows of a block are copied as one item each, wherever it begins: several times faster than samples are.
        size, item = padded.size - block[1] + 1, f"V{block[1] * padded.itemsize}"
        self._items: NDArray[np.void] = np.ndarray((size,), item, padded, strides=padded.strides[1:])

    def __call__(self, shifts: Whole, top: int = 0, num: int | None = None) -> NDArray[Sample]:
        """Rows of blocks from row `top` on, each block from `shifts` farther, (rows, columns, 2) down and right.

        Returns:
            (rows * block height, columns * block width) samples, or the first `num` rows of them.
        """
        (tall, wide), (rows, columns) = self._block, shifts.shape[:2]
        down = np.arange(rows) * tall + (top + self._edge)
        right = np.arange(columns) * wide + self._edge
        first = (down[:, None] + shifts[..., 0]) * self._width + (right + shifts[..., 1])
        places = first[:, None] + np.arange(tall)[:, None] * self._width
        found: NDArray[Sample] = self._items[places.reshape(-1, columns)[:num]].view(self._type)
        return found
