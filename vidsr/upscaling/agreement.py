"""How well small pictures agree along the motion: what of a neighbour may be taken at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vidsr.frame import Frame, PixelFormat
from vidsr.upscaling.blocks import Blocks
from vidsr.upscaling.motion import Field, Floats, box, find
from vidsr.upscaling.moved import Moved

AGREE, TEXTURE = 6.0, 0.75  # codes that pictures may differ by where they are flat, and for each code of slope
COLOUR = 8.0  # the same where they are flat, of both planes of chroma together


@dataclass(frozen=True)
class Small:
    """A small frame as it is compared, in codes of 8 bit.

    Motion is found by `picture`, (H, W): the first plane, or of RGB a sum of all three. The two planes of `chroma`,
    (h, w), or none, have to agree along it, too: a colour may change and leave that as it is. Each of their samples is
    `reduced` pixels high and wide.
    """

    picture: Floats
    chroma: Sequence[Floats]
    reduced: tuple[int, int]

    @classmethod
    def of(cls, frame: Frame) -> Small:
        """As floats."""
        right, down = frame.format.chroma_shift
        chroma = [plane * _scale(frame.format) for plane in frame.planes[coloured(frame.format)]]
        return cls(brightness(frame), chroma, (1 << down, 1 << right))

    def along(self, others: Sequence[Small]) -> list[tuple[Field, Floats]]:
        """The motion to each of `others`, and how well it agrees along it: (H, W), from 0 to 1."""
        least, found = tolerance([self.picture], AGREE), []
        of_chroma = tolerance(self.chroma, COLOUR) if self.chroma else least
        for other in others:
            field = find(self.picture, other.picture)
            agreed = agreement(np.abs(field.residual), least)
            if self.chroma:
                agreed = np.minimum(agreed, self._wide(agreement(self._apart(other, field), of_chroma)))
            found.append((field, agreed))
        return found

    def _apart(self, other: Small, field: Field) -> Floats:
        """(h, w): by how much both planes of chroma differ along the motion, to whole samples."""
        height, width = self.chroma[0].shape
        grid = Blocks.over((height, width), self.picture.shape)
        shift = grid.samples(field.shift)
        far = int(np.abs(shift).max(initial=0))
        moved = (Moved(plane, far, grid.block)(shift, 0, height)[:, :width] for plane in other.chroma)
        found: Floats = sum(np.abs(theirs - own) for theirs, own in zip(moved, self.chroma, strict=True))
        return found

    def _wide(self, values: Floats) -> Floats:
        """(h, w) -> (H, W)."""
        (height, width), (down, right) = self.picture.shape, self.reduced
        return values.repeat(down, 0).repeat(right, 1)[:height, :width]


def brightness(frame: Frame) -> Floats:
    """(H, W): what motion is found by, in codes of 8 bit."""
    scale, shares = _scale(frame.format), compared(frame.format)
    first, *others = (plane * (share * scale) for share, plane in zip(shares, frame.planes, strict=False))
    found: Floats = sum(others, first)
    return found


def _scale(format: PixelFormat) -> np.float32:
    return np.float32(1 / format.unit)


def compared(format: PixelFormat) -> tuple[float, ...]:
    """What motion is found by: the first plane, or these shares of green, blue and red, in one sum."""
    return (0.5, 0.2, 0.3) if format.model == "rgb" else (1.0,)


def coloured(format: PixelFormat) -> slice:
    """Which planes are chroma."""
    return slice(1, 3 if format.model == "yuv" else 1)


def tolerance(planes: Sequence[Floats], flat: float) -> Floats:
    """How far a picture may be from `planes`, in sum, before nothing of it agrees: `flat`, and more on slopes."""
    found: Floats = flat + TEXTURE * box(np.sum([_steepness(plane) for plane in planes], 0))
    return found


def _steepness(plane: Floats) -> Floats:
    if min(plane.shape) < 2:
        return np.zeros_like(plane)
    found: Floats = np.hypot(*np.gradient(plane))
    return found


def agreement(apart: Floats, least: Floats) -> Floats:
    """From 0 to 1: how well pictures agree that are so far `apart`, with that `tolerance`."""
    found: Floats = (1 - (box(apart) / least) ** 2).clip(0, 1)
    return found
