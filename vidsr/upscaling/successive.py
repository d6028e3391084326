"""A network on one picture after another, of which it draws only what has changed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vidsr.backends.base import Backend
from vidsr.models.config import GeneratorConfig
from vidsr.tiling import Tile
from vidsr.upscaling.changes import changed
from vidsr.upscaling.enlarger import Enlarger

MOST = 0.7  # of the work of a picture: where parts would take more, it is drawn whole
CALL = 6e8  # multiply-adds that take as long as a call takes besides, and now and then a shape that is new

Floats = NDArray[np.float32]


class Successive:
    """Enlarges pictures as `enlarger` does, to the bit, and takes from the one before what is the same there.

    Only in FP32 on a CPU, where calls are cheap to begin, and for networks whose halo is known: INT8 by a graph for any
    shape does not round as by one for its own, and the halo of other projects' networks is measured. That a runtime
    sums in the same order for parts is tried on those of the first picture of each size that has some. Without `reuse`
    each is drawn whole.
    """

    def __init__(self, enlarger: Enlarger, *, reuse: bool = True) -> None:
        self.enlarger = enlarger
        self._reuse = reuse
        self._by: Backend | None = None  # what has drawn `_large` of `_small`
        self._small = self._large = np.empty((1, 3, 0, 0), np.float32)
        self._agrees: dict[tuple[object, ...], bool] = {}  # by what draws, and a picture's shape

    def __call__(self, rgb: Floats) -> Floats:
        """(1, 3, H, W) in memory that is left to it -> (1, 3, H*s, W*s), which is not to be changed; see `Enlarger`."""
        if self.enlarger.clamps:
            np.clip(rgb, np.float32(0), np.float32(1), out=rgb)
        tiles = self._tiles(rgb)
        large = self.enlarger(rgb) if tiles is None else self._redrawn(rgb, tiles)
        if tiles is not None and self.enlarger.backend is not self._by:  # out of memory: the rest was another's
            large = self.enlarger(rgb)
        if self._reuse:
            self._by, self._small, self._large = self.enlarger.backend, rgb, large
        return large

    def forget(self) -> None:
        """The picture before: the next one is drawn whole."""
        self._by = None
        self._small = self._large = np.empty((1, 3, 0, 0), np.float32)

    def _tiles(self, rgb: Floats) -> tuple[Tile, ...] | None:
        """What has to be drawn again; None: all of it."""
        model = self.enlarger.model
        if rgb.shape != self._small.shape or not self._may():
            return None
        call = CALL / model.macs_per_pixel
        tiles = changed(self._small, rgb, model.halo, model.multiple, call=call)
        if sum(math.prod(tile.shape) + call for tile in tiles) > MOST * math.prod(rgb.shape[2:]):
            return None
        return tiles if self._are_right(tiles) else None

    def _may(self) -> bool:
        """Whether the one before was drawn by what draws now, and that is known to draw parts as it draws wholes."""
        backend, config = self.enlarger.backend, self.enlarger.model.config
        exact = backend.unit == "CPU" and backend.precision == "fp32" and isinstance(config, GeneratorConfig)
        return exact and self._by is backend

    def _are_right(self, tiles: tuple[Tile, ...]) -> bool:
        """Whether parts of the picture before come out as they did; tried once."""
        case, scale = (self.enlarger.backend.name, *self._small.shape), self.enlarger.model.scale
        if tiles and case not in self._agrees:
            self._agrees[case] = all(
                np.array_equal(self._drawn(self._small, tile), self._large[tile.placed(scale)]) for tile in tiles
            )
        return not tiles or self._agrees[case]

    def _redrawn(self, rgb: Floats, tiles: tuple[Tile, ...]) -> Floats:
        if not tiles:
            return self._large
        large = self._large.copy()
        for tile in tiles:
            large[tile.placed(self.enlarger.model.scale)] = self._drawn(rgb, tile)
        return large

    def _drawn(self, rgb: Floats, tile: Tile) -> Floats:
        part: Floats = self.enlarger(rgb[tile.read()].copy(), once=True)
        return part[tile.kept(self.enlarger.model.scale)]
