"""Metrics against values worked out by hand, and against a second, slow implementation."""

import math

import numpy as np
import pytest
import torch

from vidsr.metrics import crop_border, psnr, rgb_to_y, ssim


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
    [
        ((0, 0, 0), 16.0),
        ((255, 255, 255), 235.0),
        ((255, 0, 0), 81.481),
        ((0, 255, 0), 144.553),
        ((0, 0, 255), 40.966),
    ],
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
