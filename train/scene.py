"""One scene of a cache: a window of a photo, and several clips over it that are degraded each on its own."""

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from train.cache import MAX_SHIFT, Header, Pixels
from train.camera import Shot, draw_motion
from train.codec import MIN_SIDE
from train.data import Bank
from train.degrade import degrade, draw_degradation

CONTEXT = 16  # LR pixels that are encoded around a picture, at least, and cut off afterwards: the mean of both sides
REACH = 128  # HR pixels around a clip's frame that its motion may show; beyond, the photo is mirrored
PHOTO, SCENE = 0, 1  # what a random generator is for


def make_scene(bank: Bank, header: Header, number: int) -> tuple[Pixels, Pixels, NDArray[np.int64]]:
    """Scene `number`: HR (window, window, 3), LR (variants, crop, crop, 3), their offsets (variants, 2) in the window.

    It follows from the header's seed and `number` alone. Every photo comes once before any comes again. The kept frame
    of a clip stands on whole photo pixels at a pitch of 1, so its HR is the photo itself.
    """
    scale, window = header.scale, header.window
    random = np.random.default_rng((header.seed, SCENE, number))
    photo = bank.photo(_photo(len(bank), header.seed, number))
    top, left = (int(random.integers(side - window + 1)) for side in photo.shape[:2])
    hr = photo[top : top + window, left : left + window]
    offsets = draw_offsets(random, header.variants, scale)
    pictures = [
        _degraded(random, photo, (top + y, left + x), scale, header.crop, header.frames) for y, x in offsets.tolist()
    ]
    return hr.numpy().copy(), np.stack(pictures), offsets


def _photo(num: int, seed: int, number: int) -> int:
    order = np.random.default_rng((seed, PHOTO, number // num)).permutation(num)
    return int(order[number % num])


def draw_offsets(random: np.random.Generator, variants: int, scale: int) -> NDArray[np.int64]:
    """(variants, 2) from 0 to 7, no two of which differ by multiples of `scale` in both directions."""
    cells = random.permutation(scale**2)[:variants]
    places = np.stack(np.divmod(cells, scale), -1)
    return places + scale * random.integers(0, (MAX_SHIFT - places) // scale + 1)


def _degraded(
    random: np.random.Generator, photo: Tensor, corner: tuple[int, int], scale: int, crop: int, frames: int
) -> Pixels:
    """(crop, crop, 3): the LR picture whose HR begins at `corner`, cut at random out of a larger coded frame."""
    side = max(crop + 2 * CONTEXT, MIN_SIDE)
    down, right = (
        _place(random, start, scale, side, crop, size) for start, size in zip(corner, photo.shape[:2], strict=True)
    )
    frame = (corner[0] - scale * down, corner[1] - scale * right)
    (top, bottom), (left, last) = (
        (max(0, start - REACH), min(size, start + scale * side + REACH))
        for start, size in zip(frame, photo.shape[:2], strict=True)
    )
    region = photo[top:bottom, left:last].permute(2, 0, 1).float()
    anchor = Shot(frame[1] - left, frame[0] - top)
    keep = int(random.integers(frames))
    views = draw_motion(random, frames).views(anchor, keep, frames, (scale * side, scale * side))
    coded = degrade(region, views, keep, (side, side), scale, draw_degradation(random))
    picture = coded[:, down : down + crop, right : right + crop].permute(1, 2, 0)
    return np.ascontiguousarray(picture.numpy())


def _place(random: np.random.Generator, start: int, scale: int, side: int, crop: int, size: int) -> int:
    """Where in the coded frame the picture stands, in LR pixels: so that the frame lies in the photo where it can."""
    low = max(0, math.ceil((start + scale * side - size) / scale))
    high = min(side - crop, start // scale)
    if low > high:
        low, high = 0, side - crop
    return int(random.integers(low, high + 1))
