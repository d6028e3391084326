"""Planes filtered block by block: moved by parts of a sample without blur, sharpened, never beyond their codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.upscaling.test_steady import texture
from vidsr.upscaling.blocks import Between, Blocks, means
from vidsr.upscaling.taps import filtered, taps


def steps(down: float, right: float, shape: tuple[int, int] = (6, 8)) -> np.ndarray:
    return np.full((*shape, 2), (down, right), np.float32)


@pytest.mark.parametrize(("down", "right"), [(0.5, 0), (-0.3, 0.4), (0, -1), (1, 0)])
@pytest.mark.parametrize("kind", [np.int16, np.int32])
def test_blocks_are_taken_from_parts_of_a_sample_beside(down: float, right: float, kind: type) -> None:
    """A texture of 9 samples a wave and longer."""
    plane, wanted = (texture(48, 64, *place)[1:-1, 1:-1] for place in ((0, 0), (-down, -right)))
    made = filtered(
        np.rint(texture(48, 64)).astype(kind), taps(steps(down, right), np.zeros((6, 8), np.float32)), (8, 8), 255
    )
    assert made.dtype == kind
    off, before = (np.abs(one - wanted).mean() for one in (made[1:-1, 1:-1], plane))
    assert off < (0.51 if 1 in (abs(down), abs(right)) else 1.2)
    assert before > 4 * off


def test_sharpening_keeps_flats_and_the_ends_of_the_codes() -> None:
    crisp = np.full((2, 2), 0.36, np.float32)
    plane = np.full((16, 16), 90, np.int16)
    assert (filtered(plane, taps(steps(0, 0, (2, 2)), crisp), (8, 8), 255) == 90).all()
    plane[4:8, 4:8], plane[8:, 8:] = 255, 0
    made = filtered(plane, taps(steps(0, 0, (2, 2)), crisp), (8, 8), 255)
    assert (made.min(), made.max()) == (0, 255)
    assert made[3, 5] == round(90 + 0.36 / 4 * (90 - 255))
    assert made[0, 0] == 90


def test_each_block_has_its_own_taps_and_the_last_ones_may_be_short() -> None:
    plane = np.arange(30, dtype=np.int16)[None] * 4 + np.zeros((11, 1), np.int16)
    step = steps(0, 0, (2, 4))
    step[1, 2, 1] = 0.5
    made = filtered(plane, taps(step, np.zeros((2, 4), np.float32)), (8, 8), 255)
    assert (made[8:, 16:24] - plane[8:, 16:24] == 2).all()
    made[8:, 16:24] -= 2
    assert np.array_equal(made, plane)


def test_small_blocks_lie_behind_large_ones() -> None:
    grid = Blocks.over((100, 250), (40, 100))
    assert (grid.block, tuple(grid.ratio)) == ((20, 20), (2.5, 2.5))
    small = means(np.arange(4000, dtype=np.float32).reshape(40, 100))
    assert small[0, 0] == np.arange(4000).reshape(40, 100)[:8, :8].mean()
    assert np.array_equal(grid.of(small), small)
    assert Blocks.over((20, 50), (40, 100)).of(small).shape == (5, 13)


def test_between_samples_lie_straight_lines() -> None:
    values = np.random.default_rng(0).integers(0, 256, (9, 14)).astype(np.int16)
    wanted = F.interpolate(torch.from_numpy(values)[None, None].float(), (33, 35), mode="bilinear")[0, 0].numpy()
    assert np.abs(Between.of(33, 9)(Between.of(35, 14).across(values)) - wanted).max() < 2.5  # of 255, rounded twice
