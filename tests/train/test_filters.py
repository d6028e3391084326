"""Blur and sharpening, against values computed by hand."""

import math

import pytest
import torch

from train.filters import Blur, blur, sharpen


def test_blur_keeps_the_mean_and_takes_the_energy_along_its_major_axis() -> None:
    spike = torch.zeros(3, 15, 15)
    spike[:, 7, 7] = 200
    seen = blur(spike, Blur(1.0, 0.5, 0.0))[0]
    assert seen.sum() == pytest.approx(200, rel=1e-4)
    assert seen[7, 8] > seen[8, 7]
    turned = blur(spike, Blur(1.0, 0.5, torch.pi / 2))[0]
    torch.testing.assert_close(turned, seen.T)


def test_sharpening_a_line() -> None:
    image = torch.full((2, 3, 9, 15), 0.5)
    image[..., 7] = 0.6
    weights = [math.exp(-(x**2) / 2) for x in range(-3, 4)]
    middle, beside = weights[3] / sum(weights), weights[2] / sum(weights)
    seen = sharpen(image, 0.8)
    assert seen.shape == image.shape
    assert seen[1, 2, 4, 7] == pytest.approx(0.6 + 0.8 * 0.1 * (1 - middle), abs=1e-6)
    assert seen[1, 2, 0, 8] == pytest.approx(0.5 - 0.8 * 0.1 * beside, abs=1e-6)
    assert seen[0, 0, 8, 0] == pytest.approx(0.5, abs=1e-6)
    assert float(seen.mean()) == pytest.approx(float(image.mean()), abs=1e-6)
    assert sharpen(image.round(), 5.0).unique().tolist() == [0, 1]
