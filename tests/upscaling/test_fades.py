"""Neighbours in another light: they are made as bright as the picture, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tests.upscaling.test_steady import frame, middle, scene
from vidsr.frame import SRGB, Frame, PixelFormat
from vidsr.neighbours import same_shot
from vidsr.upscaling.drawings import Made
from vidsr.upscaling.fades import evened
from vidsr.upscaling.steady import Steadier


def dimmed(made: Made, share: float, offset: float = 0) -> Made:
    """Both pictures of it in another light."""
    small, large = (frame(one.planes[0] * share + offset) for one in made)
    return small, large


def test_what_flickers_goes_in_a_fade_as_in_steady_light() -> None:
    light, noisy = (1.0, 0.85, 0.7), scene(6)
    fading = [dimmed(made, share) for made, share in zip(noisy, light, strict=True)]
    left = []
    for film, share in ((noisy, 1.0), (fading, light[1])):
        clean = dimmed(scene(0)[1], share)[1].planes[0].astype(float)
        before, after = film[1][1].planes[0] - clean, Steadier(1)(*middle(film)).planes[0] - clean
        left.append(float(after.std() / before.std()))
        assert abs(after.mean()) < 0.1
    assert left[0] < 0.9
    assert left[1] < 1.02 * left[0]


def test_a_neighbour_is_as_bright_as_the_picture_then() -> None:
    own = scene(0, step=0)[1]
    ((small, large),) = evened(own[0], [dimmed(own, 0.8, 12)])
    assert np.abs(small.planes[0].astype(int) - own[0].planes[0]).max() <= 1
    assert np.abs(large.planes[0].astype(int) - own[1].planes[0]).max() <= 1


@pytest.mark.parametrize("what", ["hardly darker", "a lamp in a corner", "another picture", "nearly black"])
def test_what_is_no_change_of_light_stays_as_it_is(what: str) -> None:
    own, other = scene(0, step=0)[:2]
    if what == "hardly darker":
        other = dimmed(other, 0.995)
    elif what == "nearly black":
        other = dimmed(other, 0.3)
    else:
        other = replace(other[0], planes=(other[0].planes[0].copy(),)), other[1]
        plane = other[0].planes[0]
        if what == "another picture":
            plane[:] = np.linspace(0, 180, plane.shape[1])
        else:
            plane[:12, :16] = 255
    assert evened(own[0], [other])[0] is other


@pytest.mark.parametrize("name", ["yuva420p", "yuv444p10le", "gbrap", "gbrp12le"])
def test_every_plane_goes_with_the_light_but_the_matte(name: str) -> None:
    format, random = PixelFormat.parse(name), np.random.default_rng(2)
    one = 1 << (format.bits - 8)

    def shown(share: float) -> Frame:
        planes = []
        for number, shape in enumerate(format.plane_shapes(48, 32)):
            middle = 128 if number in (1, 2) and format.model == "yuv" else 0
            base = random.integers(60, 220, shape) if not number else 90 + 20 * number
            planes.append(np.full(shape, one * (middle + share * (base - middle))).round().astype(format.dtype))
        if format.alpha:
            planes[3] = np.full(shape, 77 * one, format.dtype)
        return Frame(tuple(planes), format, SRGB, 0, Fraction(1))

    random_state = random.bit_generator.state
    own = shown(1)
    random.bit_generator.state = random_state
    dim = shown(0.75)
    ((lit, _),) = evened(own, [(dim, dim)])
    for plane, wanted in zip(lit.planes, own.planes, strict=True):
        assert np.abs(plane.astype(int) - wanted).max() <= one
    assert not format.alpha or np.array_equal(lit.planes[3], dim.planes[3])


def test_codes_beyond_the_depth_are_taken_as_the_last() -> None:
    format = PixelFormat("grey", 10)
    wide = np.tile(np.arange(64, dtype=np.uint16) * 12 + 100, (48, 1))
    wide[0, 0] = 1030
    own, dim = (Frame((plane,), format, SRGB, 0, Fraction(1)) for plane in (wide, wide * 4 // 5))
    dim.planes[0][0, 0] = 1030
    ((lit, _),) = evened(own, [(dim, dim)])
    assert lit is not dim
    assert lit.planes[0].max() == 1023


def test_a_fade_is_no_cut_and_a_cut_is_one() -> None:
    (small, _), _, _ = scene(0)
    dark = dimmed((small, small), 0.4)[0]
    assert same_shot(small, dark)
    assert same_shot(dark, small)
    other = replace(small, planes=(np.ascontiguousarray(small.planes[0][::-1] // 2),))
    assert not same_shot(small, other)
