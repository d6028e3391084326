"""Metrics against values worked out by hand, and against a second, slow implementation."""

import math

import numpy as np
import pytest
import torch

from train.metrics import checkerboard, colour_drift, crop_border, psnr, rgb_to_y, shift_flicker, ssim, warp_error


def test_psnr_of_a_known_error() -> None:
    reference = torch.full((3, 4, 4), 100.0)
    assert psnr(reference + 1, reference) == pytest.approx(20 * math.log10(255))  # 48.13 dB
    assert psnr(reference - 25.5, reference) == pytest.approx(20)
    assert psnr(reference, reference) == math.inf


def test_psnr_averages_errors_not_decibels() -> None:
    reference = torch.zeros(1, 2, 2)
    image = torch.tensor([[[2.0, 0.0], [0.0, 0.0]]])
    assert psnr(image, reference) == pytest.approx(20 * math.log10(255))  # mean of 4, 0, 0, 0 is 1


@pytest.mark.parametrize(
    ("rgb", "y"),
    [((0, 0, 0), 16.0), ((255, 255, 255), 235.0), ((255, 0, 0), 81.481), ((0, 255, 0), 144.553), ((0, 0, 255), 40.966)],
)
def test_luma_of_the_primaries_is_that_of_bt601(rgb: tuple[int, int, int], y: float) -> None:
    pixel = torch.tensor(rgb, dtype=torch.float64).view(3, 1, 1)
    assert rgb_to_y(pixel).item() == pytest.approx(y, abs=1e-9)


def test_luma_keeps_leading_dimensions() -> None:
    assert rgb_to_y(torch.rand(5, 3, 2, 7)).shape == (5, 2, 7)


def test_border_is_cut_on_all_four_sides() -> None:
    image = torch.zeros(1, 10, 12)
    image[:, 4:-4, 4:-4] = 1
    cropped = crop_border(image, 4)
    assert cropped.shape == (1, 2, 4)
    assert cropped.min() == 1
    assert crop_border(image, 0).shape == image.shape


@pytest.mark.parametrize("border", [-1, 5, 6])
def test_a_border_that_leaves_nothing_is_refused(border: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        crop_border(torch.zeros(1, 10, 12), border)


def slow_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. 2004, equations 13 to 16, window by window."""
    offsets = np.arange(11) - 5
    line = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(line, line) / np.outer(line, line).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for y in range(a.shape[0] - 10):
        for x in range(a.shape[1] - 10):
            p, q = a[y : y + 11, x : x + 11], b[y : y + 11, x : x + 11]
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            cov = (window * (p - mp) * (q - mq)).sum()
            values.append((2 * mp * mq + c1) * (2 * cov + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return float(np.mean(values))


def test_ssim_against_the_slow_one() -> None:
    random = np.random.default_rng(3)
    a = random.uniform(0, 255, (2, 16, 19))
    b = np.clip(a + random.normal(0, 20, a.shape), 0, 255)
    expected = np.mean([slow_ssim(p, q) for p, q in zip(a, b, strict=True)])
    assert ssim(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(expected, abs=1e-9)


def test_ssim_of_flat_pictures_is_the_luminance_term() -> None:
    a, b = torch.full((1, 11, 11), 100.0), torch.full((1, 11, 11), 50.0)
    c1 = (0.01 * 255) ** 2
    assert ssim(a, b) == pytest.approx((2 * 100 * 50 + c1) / (100**2 + 50**2 + c1), rel=1e-6)
    assert ssim(a, a) == pytest.approx(1)


def test_pictures_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        psnr(torch.zeros(1, 3, 3), torch.zeros(1, 3, 4))
    with pytest.raises(ValueError, match="11x11"):
        ssim(torch.zeros(1, 10, 30), torch.zeros(1, 10, 30))


def test_colour_drift_is_the_worst_channels_mean() -> None:
    reference = torch.rand(3, 6, 6) * 200
    tinted = reference + torch.tensor([0.5, -2.0, 1.0]).view(3, 1, 1)
    assert colour_drift(tinted, reference) == pytest.approx(2, abs=1e-5)
    noise = torch.tensor([9.0, -9.0]).repeat(18).view(6, 6)
    assert colour_drift(reference + noise, reference) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("down", "right"), [(1, 3), (-2, 0), (0, -5), (-3, 2)])
def test_shift_flicker_lays_the_pictures_on_each_other(down: int, right: int) -> None:
    scene = torch.rand(3, 40, 40) * 255
    first, second = scene[:, 10:30, 10:30], scene[:, 10 - down : 30 - down, 10 - right : 30 - right]
    assert shift_flicker(first, second, down, right) == 0
    assert shift_flicker(first, second + 4, down, right) == pytest.approx(4, abs=1e-4)
    assert shift_flicker(first, second, down, right + 1) > 20


def test_shift_flicker_by_hand() -> None:
    first = torch.tensor([[[0.0, 10.0, 20.0]]])
    second = torch.tensor([[[99.0, 3.0, 10.0]]])  # one to the right: 0 against 3, 10 against 10
    assert shift_flicker(first, second, 0, 1) == pytest.approx(1.5)


def test_shift_flicker_leaves_out_the_border() -> None:
    first, second = torch.zeros(1, 9, 9), torch.full((1, 9, 9), 7.0)
    second[:, 2:-2, 2:-2] = 1
    assert shift_flicker(first, second, 1, 0, border=2) == pytest.approx(1)
    with pytest.raises(ValueError, match="leaves nothing"):
        shift_flicker(first, second, 5, 0, border=2)


def test_warp_error_of_a_shift_is_its_flicker() -> None:
    scene = torch.rand(3, 40, 44) * 255
    first, second = scene[:, 10:30, 10:34], scene[:, 9:29, 7:31] + torch.rand(3, 20, 24)
    shift = torch.tensor([[1.0, 0, 3], [0, 1, 1]])
    assert warp_error(first, second, shift) == pytest.approx(shift_flicker(first, second, 1, 3), abs=1e-4)
    assert 0.3 < warp_error(first, second, shift) < 0.7
    assert warp_error(first, second, shift, border=2) != warp_error(first, second, shift)


def test_warp_error_follows_an_exact_zoom() -> None:
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(24.0), indexing="ij")
    first = (2 * x + 3 * y + 20)[None]  # a plane: bilinear sampling is exact
    second = (2 * (x - 1) / 1.5 + 3 * (y - 2) / 1.5 + 20)[None]
    zoom = torch.tensor([[1.5, 0, 1], [0, 1.5, 2]])
    assert warp_error(first, second, zoom) == pytest.approx(0, abs=1e-4)
    assert warp_error(first, second + 5, zoom) == pytest.approx(5, abs=1e-4)
    assert warp_error(first, second, torch.tensor([[1.0, 0, 0], [0, 1, 0]])) > 5
    with pytest.raises(ValueError, match="leaves nothing"):
        warp_error(first, second, torch.tensor([[1.0, 0, 99], [0, 1, 0]]))


def test_checkerboard_of_known_patterns() -> None:
    flat = torch.full((3, 12, 12), 90.0)
    assert checkerboard(flat, 2) == 0
    board = flat + torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(6, 6)
    assert checkerboard(board, 2) == pytest.approx(1)
    assert checkerboard(board, 4) == pytest.approx(1)  # a period of 2 repeats every 4 pixels too
    assert checkerboard(board, 3) == pytest.approx(0, abs=1e-9)
    lines = flat + torch.tensor([3.0, -1.0, -1.0, -1.0]).repeat(3)
    assert checkerboard(lines, 4) == pytest.approx(math.sqrt(3))
    assert checkerboard(lines[..., 1:], 4) == pytest.approx(math.sqrt(3))  # what is left over is cut off
    with pytest.raises(ValueError, match="does not hold"):
        checkerboard(flat, 13)


def test_checkerboard_averages_the_scene_away() -> None:
    scene = torch.rand(1, 400, 400, generator=torch.Generator().manual_seed(2)) * 20 + 100
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(200, 200)
    assert checkerboard(scene, 2) < 0.1
    assert checkerboard(scene + board, 2) == pytest.approx(1, abs=0.1)


def test_warp_error_leaves_out_the_border_of_either_picture() -> None:
    still = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    scene = torch.rand(1, 12, 14) * 255
    for sides in ((..., slice(2), slice(None)), (..., slice(None), slice(-2, None))):
        spoilt = scene.clone()
        spoilt[sides] += 50
        assert warp_error(scene, spoilt, still, border=2) == pytest.approx(0, abs=1e-4)
        assert warp_error(spoilt, scene, still, border=2) == pytest.approx(0, abs=1e-4)
        assert warp_error(scene, spoilt, still, border=1) > 1
    moved = torch.tensor([[1.0, 0, 4], [0, 1, 0]])  # the first two columns of `first` stand well inside `second`
    spoilt = scene.roll(4, -1)
    spoilt[..., 4:6] += 50
    assert warp_error(scene, spoilt, moved, border=2) == pytest.approx(0, abs=1e-4)
