"""Video that holds still: each large picture with what its neighbours show of the same place.

Where things went is found on the small pictures, and so is how well they agree there; what the network has invented
differently in each large one is averaged out where they do, and so is the place: compressed film moves in jerks, and a
block goes to the mean of where it is and where its neighbours see it. In numpy on the host; `steady_device` does it on
a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from vidsr.frame import Frame, Plane
from vidsr.upscaling.agreement import Small
from vidsr.upscaling.blocks import Between, Blocks, means
from vidsr.upscaling.drawings import Made
from vidsr.upscaling.fades import evened
from vidsr.upscaling.motion import Array, Field, Floats
from vidsr.upscaling.moved import Moved, Whole
from vidsr.upscaling.taps import Wide, filtered, taps

SHARE = 0.3  # at the full strength, of each neighbour; a little more is left to the frame itself
LIMIT = 40  # codes of 8 bit that a neighbour may differ by and count whole: more is what it has uncovered
JERK = 0.25  # small pixels: what is twice as far from its mean place has moved, and stays where it is
CRISP = 0.6  # of what is taken of neighbours: how much that is sharpened, which averaging has softened
WIDE = 4  # samples of a small pixel, from which on it is sharpened by all of that
FAINT = 0.5  # codes that small pictures differ by where it is sharpened by half of that


class Steadier:
    """Blends by `strength` from above 0 to 1. Where it is `on_host` several threads may call it at a time."""

    on_host = True

    def __init__(self, strength: float) -> None:
        self._share = strength * SHARE

    def __call__(self, own: Made, others: Sequence[Made]) -> Frame:
        """The large picture of `own`, blended with `others`: none, one or two of its size, as `drawings` finds them."""
        small, large = own
        if not others:
            return large
        return replace(large, planes=self.blend(small, large, evened(small, others)))

    def blend(self, small: Frame, large: Frame, others: Sequence[Made]) -> tuple[Plane, ...]:
        """The planes of `large` blended with those of `others`, one or two."""
        num = len(large.planes) - large.format.alpha  # a matte has no texture that could crawl
        neighbours = [Small.of(source) for source, _ in others]
        seen, blended = [self._shown(*one) for one in Small.of(small).along(neighbours)], list[Plane]()
        each = zip(large.planes[:num], *(made.planes[:num] for _, made in others), strict=True)
        for size, planes in groupby(each, lambda planes: planes[0].shape):
            how = Blending.over(size, seen, large.format.bits)
            blended += [_blended(own, beside, how) for own, *beside in planes]
        return (*blended, *large.planes[num:])

    def _shown(self, field: Field, agreed: Floats) -> Neighbour:
        share, soft = trusted(means(agreed), means(agreed * np.abs(field.residual)), self._share)
        return Neighbour(field.shift, np.rint(agreed * (256 * self._share)).astype(np.int16), share, soft)


@dataclass(frozen=True)
class Neighbour:
    """A small picture as its neighbour shows it.

    `shift` is `motion.Field`'s. `weights`, (H, W) of 256, say how much to take of the neighbour at each pixel; `share`,
    (rows, columns) of 1, the same of blocks that agree for the most part, and `soft` how much of that softens them.
    """

    shift: Floats
    weights: NDArray[np.int16]
    share: Floats
    soft: Floats


@dataclass(frozen=True)
class Blending:
    """How planes of one size and depth are blended with those of their neighbours, then filtered.

    `block` is the height and width of each of (rows, columns) blocks. `shifts`, (rows, columns, 2) samples, lead from
    each to what stands there in a neighbour; `weights`, (h, width) of 256, are how much of that to take in each row of
    small pixels, and `down` leads to them; `taps`, (2, 2, rows, columns), are those of `taps.taps`.
    """

    block: tuple[int, int]
    shifts: Sequence[Whole]
    weights: Sequence[NDArray[np.int16]]
    down: Between
    taps: Floats
    bits: int

    @classmethod
    def over(cls, size: Sequence[int], seen: Sequence[Neighbour], bits: int) -> Blending:
        """Of planes of that height and width."""
        small = seen[0].weights.shape
        grid, (down, right) = Blocks.over(size, small), map(Between.of, size, small)
        shifts = [grid.samples(one.shift) for one in seen]
        stepped = step(shifts, [grid.of(one.share) for one in seen], grid.ratio)
        crisp = crisped(np.sum([grid.of(one.soft) for one in seen], 0), grid.ratio)
        weights = [right.across(one.weights) for one in seen]
        return cls(grid.block, shifts, weights, down, taps(stepped, crisp), bits)


def _blended(own: Plane, others: Sequence[Plane], how: Blending) -> Plane:
    codes: Wide = own.astype(np.int16) if how.bits <= 8 else own.astype(np.int32)
    _mix(codes, others, how)
    found: Plane = filtered(codes, how.taps, how.block, (1 << how.bits) - 1).astype(own.dtype)
    return found


def step(shifts: Sequence[Whole], shares: Sequence[Floats], ratio: Floats) -> Floats:
    """Where to take each block from, (rows, columns, 2) in samples, to have it at the mean of the places it is seen at.

    That of one neighbour tells nothing of a jerk, which is found between two. What has been rounded of their shifts is
    taken back by it, too. How far off that mean place is decides whether it is a jerk, however much of it is gone: a
    block that was found somewhere far in one neighbour has a small share, and must not pass for one.

    Args:
        shifts: to each neighbour, (rows, columns, 2), whole samples.
        shares: of each neighbour in the mean, (rows, columns).
        ratio: samples of the plane for a small pixel, down and right.
    """
    if len(shifts) < 2:
        return np.zeros(shifts[0].shape, np.float32)
    apart = -(shifts[0] + shifts[1]).astype(np.float32)
    far = apart * np.float32(SHARE) / np.minimum(JERK * ratio, 1)
    return eased(np.minimum(*shares)[..., None] * apart, np.hypot(far[..., 0], far[..., 1])[..., None])


def eased(found: Array, far: Array) -> Array:
    """`found` where it is `far`, in parts of `JERK`, by up to 1; nothing of it from 2 on."""
    there: Array = found * (2 / far.clip(1) - 1).clip(0)
    return there


def trusted(agreed: Array, apart: Array, most: float) -> tuple[Array, Array]:
    """`Neighbour.share`, up to `most`, and `soft`: by means over blocks, of agreement and of it times the residual."""
    share: Array = agreed * (4 * agreed - 1).clip(0, 1) * most
    codes: Array = apart / agreed.clip(0.25)
    return share, share * codes / (codes + FAINT)


def crisped(soft: Array, ratio: Array) -> Array:
    """How much blocks are sharpened that averaging has softened by `soft`.

    It blurs by parts of a small pixel: by fewer samples, and less in the square of them, where a small pixel is fewer.
    """
    made: Array = soft * CRISP * (ratio.clip(max=WIDE) / WIDE).prod()
    return made


def _mix(codes: Wide, planes: Sequence[Plane], how: Blending) -> None:
    """Add to `codes` what others differ by at each sample's place there, a row of blocks at a time."""
    (tall, _), (height, width) = how.block, codes.shape
    far = [int(np.abs(one).max(initial=0)) for one in how.shifts]
    others = [Moved(plane, most, how.block) for plane, most in zip(planes, far, strict=True)]
    low, high = (codes.dtype.type(limit << (how.bits - 8)) for limit in (-LIMIT, LIMIT))
    for number, first in enumerate(range(0, height, tall)):
        band = codes[first : first + tall]
        change, total = np.empty_like(band), np.full_like(band, 128)
        here = how.down.part(first, first + tall)
        for other, shift, weight in zip(others, how.shifts, how.weights, strict=True):
            np.subtract(other(shift[number : number + 1], first, len(band))[:, :width], band, out=change)
            np.clip(change, low, high, out=change)
            np.multiply(change, here(weight), out=change)
            np.add(total, change, out=total)
        total >>= 8
        band += total
