"""Light between primaries and transfer functions, by published numbers."""

from __future__ import annotations

import numpy as np
import torch

from vidsr import light
from vidsr.frame import Colour, Matrix
from vidsr.upscaling.relight import relit

BT709, BT2020, PQ = Colour(), Colour(Matrix.BT2020_NCL, 9, 14), Colour(Matrix.BT2020_NCL, 9, 16)


def test_bt2020_becomes_bt709_as_itu_r_bt_2407_has_it() -> None:
    expected = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    assert np.allclose(light.conversion(9, 1), expected, atol=2e-4)


def test_white_and_grey_stay_and_there_and_back_is_nothing() -> None:
    grey = torch.full((1, 3, 2, 2), 0.5)
    assert torch.allclose(relit(grey, BT2020, BT709), grey, atol=1e-4)
    rgb = torch.rand((1, 3, 8, 8))
    there = relit(rgb, BT709, BT2020)
    assert not torch.allclose(there, rgb, atol=1e-2)
    assert torch.allclose(relit(there, BT2020, BT709), rgb, atol=1e-3)


def test_equal_light_and_hdr_are_left_alone() -> None:
    rgb = torch.rand((1, 3, 2, 2))
    assert relit(rgb, BT709, Colour(Matrix.BT2020_NCL, 1, 14)) is rgb
    assert relit(rgb, PQ, BT709) is rgb
