"""The grid that a network lays on its pictures, as a loss and taken off."""

import pytest
import torch
from torch import Tensor

from train.grid import grid_loss, without_grid

SCALE, SIDE = 4, 48


@pytest.fixture
def hr() -> Tensor:
    return torch.rand(3, 3, SIDE * SCALE, SIDE * SCALE, generator=torch.Generator().manual_seed(0))


def tiled(places: Tensor) -> Tensor:
    """(1, 3, side, side) of which each pixel of the source has the same `places` (3, SCALE, SCALE)."""
    return places.repeat(1, SIDE, SIDE)[None]


def test_a_dot_at_each_pixel_of_the_source_counts_as_deep_as_it_is(hr: Tensor) -> None:
    places = torch.zeros(3, SCALE, SCALE)
    places[1, 2, 3] = 16 / 255
    mean_square = (15**2 + 15 * 1**2) / 16 / 3  # of the dot and what is around it, in one colour of three
    assert float(grid_loss(hr + tiled(places), hr, SCALE)) == pytest.approx(mean_square / 255, rel=1e-4)


def test_a_tint_and_texture_of_any_place_are_no_grid(hr: Tensor) -> None:
    grain = torch.randn(hr.shape, generator=torch.Generator().manual_seed(1)) * 4 / 255
    assert float(grid_loss(hr + 0.1, hr, SCALE)) == pytest.approx(0, abs=1e-7)
    assert float(grid_loss(hr + grain, hr, SCALE)) * 255 == pytest.approx(4**2 / SIDE**2 * 15 / 16, rel=0.2)


def test_it_is_taken_off_where_it_lies_and_a_tint_stays(hr: Tensor) -> None:
    dots = tiled(torch.rand(3, SCALE, SCALE, generator=torch.Generator().manual_seed(2)) * 0.1)
    dots[..., : SIDE * SCALE // 2] = 0.05  # the left half has none
    mended = without_grid(hr + dots, hr, SCALE)
    bare = dots.unflatten(2, (SIDE, SCALE)).unflatten(4, (SIDE, SCALE)).mean((3, 5))
    bare = bare.repeat_interleave(SCALE, 2).repeat_interleave(SCALE, 3)
    far = (torch.arange(SIDE * SCALE) - SIDE * SCALE // 2).abs() >= 5 * SCALE  # from the edge between the halves
    assert (mended - hr - bare)[..., far].abs().max() < 1e-5
    assert (dots - bare)[..., far].abs().max() > 0.02
