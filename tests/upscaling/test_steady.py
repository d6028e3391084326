"""Large pictures blended with their neighbours: what moved is found, what flickers goes, what disagrees stays."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vidsr.errors import UsageError
from vidsr.frame import Colour, Frame, Matrix, PixelFormat
from vidsr.upscaling.agreement import AGREE, agreement, tolerance
from vidsr.upscaling.drawings import REACH, Made
from vidsr.upscaling.motion import BLOCK, find
from vidsr.upscaling.steady import LIMIT, SHARE, Steadier, step
from vidsr.upscaling.upscaler import Upscaler

GREY = PixelFormat("grey")


def texture(height: int, width: int, down: float = 0, right: float = 0, seed: int = 0) -> np.ndarray:
    """(height, width) float32 of smooth noise that stands `down` and `right` pixels farther, to any fraction."""
    random = np.random.default_rng(seed)
    y, x = np.meshgrid(np.arange(height) - down, np.arange(width) - right, indexing="ij")
    total = np.zeros((height, width))
    for _ in range(40):
        fy, fx, phase = random.uniform(-0.7, 0.7), random.uniform(-0.7, 0.7), random.uniform(0, 6.3)
        total += np.sin(fy * y + fx * x + phase)
    return (120 + 12 * total).clip(16, 235).astype(np.float32)


def frame(plane: np.ndarray, format: PixelFormat = GREY, planes: tuple[np.ndarray, ...] = ()) -> Frame:
    codes = (np.rint(plane * (1 << (format.bits - 8)))).astype(format.dtype)
    return Frame((codes, *planes), format, Colour(Matrix.BT709), 0, Fraction(1))


def scene(
    flicker: float, *, scale: int = 4, step: float = 0.75, format: PixelFormat = GREY
) -> list[tuple[Frame, Frame]]:
    """Three pictures of a texture that moves, and large ones that each have noise of their own."""
    found = []
    for k in range(3):
        large = texture(48 * scale, 64 * scale, 0, k * step * scale) * 0.8 + 20
        small = F.avg_pool2d(torch.from_numpy(large)[None], scale)[0].numpy()
        noise = np.random.default_rng(k).normal(0, flicker, large.shape) if flicker else 0
        found.append((frame(small, format), frame((large + noise).clip(0, 255), format)))
    return found


def middle(clip: list[Made]) -> tuple[Made, list[Made]]:
    """The second of three pictures, and the two around it."""
    before, own, behind = clip
    return own, [before, behind]


@pytest.mark.parametrize(("down", "right"), [(0, 0), (0.5, -0.25), (-3, 5), (2.4, 7.7), (0.1, 12)])
def test_motion_is_found_to_fractions(down: float, right: float) -> None:
    field = find(texture(96, 128), texture(96, 128, down, right))
    assert field.shift.shape == (96 // BLOCK, 128 // BLOCK, 2)
    inner = field.shift[2:-2, 2:-2]
    error = np.abs(inner - (down, right)).max(-1)
    assert np.median(error) < 0.05
    assert (error < 0.25).mean() > 0.9  # a block that is not found does not agree, and is left alone


def test_two_motions_are_told_apart() -> None:
    first, second = texture(96, 128), texture(96, 128)
    first[32:64, 40:88] = texture(96, 128, seed=1)[32:64, 40:88]
    second[32:64, 44:92] = texture(96, 128, 0, 4, seed=1)[32:64, 44:92]
    shift = find(first, second).shift
    assert np.abs(shift[5:7, 6:10] - (0, 4)).max() < 0.3
    assert np.abs(shift[:3]).max() < 0.3


def test_a_block_that_shows_something_else_goes_where_those_around_it_go() -> None:
    """And does not agree there: its large pixels are left alone."""
    first, second = texture(96, 128), texture(96, 128, 1.5, -2)
    second[40:48, 64:72] = texture(96, 128, seed=1)[40:48, 64:72]
    field = find(first, second)
    assert np.abs(field.shift[4:6, 7:10] - (1.5, -2)).max() < 0.3
    agreed = agreement(np.abs(field.residual), tolerance([first], AGREE))
    assert agreed[40:46, 66:72].mean() < 0.3 < 0.8 < agreed[16:32, 16:48].min()


def test_what_stands_still_or_has_no_texture_does_not_move() -> None:
    flat = np.full((40, 56), 100, np.float32)
    noise = np.random.default_rng(0).normal(0, 1, (2, *flat.shape)).astype(np.float32)
    assert np.abs(find(flat + noise[0], flat + noise[1]).shift).max() < 1
    assert np.abs(find(flat, flat).shift).max() == 0


def test_flicker_goes_and_more_of_it_with_more_strength() -> None:
    window, clean = scene(8), scene(0)
    left = [
        float(np.std(Steadier(strength)(*middle(window)).planes[0].astype(float) - clean[1][1].planes[0]))
        for strength in (0.01, 0.25, 0.5, 0.75, 1)
    ]
    assert left == sorted(left, reverse=True)
    assert left[0] > 7.5
    assert left[-1] < 6.8
    kept = Steadier(1)(*middle(clean)).planes[0].astype(float) - clean[1][1].planes[0]
    assert np.abs(kept).mean() < 2.5  # what does not flicker stays sharp


def test_what_neighbours_show_alike_stays_as_it_is() -> None:
    window = scene(0, step=0)
    assert np.array_equal(Steadier(1)(*middle(window)).planes[0], window[1][1].planes[0])


@pytest.mark.parametrize(("jerk", "left"), [(0.2, 0.7), (-0.2, 0.7), (1.5, 1.01)])
def test_a_picture_off_its_place_goes_to_the_mean_of_the_three(jerk: float, left: float) -> None:
    """By less than half a small pixel, as in compressed film; what is farther off has moved."""
    clip = []
    for k in range(3):
        large = texture(192, 256, 0, 4 * (0.75 * k + (jerk if k == 1 else 0)))
        clip.append((frame(F.avg_pool2d(torch.from_numpy(large)[None], 4)[0].numpy()), frame(large)))
    inner = np.s_[16:-16, 32:-32]
    off = [
        find(texture(192, 256, 0, 3)[inner], plane[inner].astype(np.float32)).shift[..., 1]
        for plane in (clip[1][1].planes[0], Steadier(1)(*middle(clip)).planes[0])
    ]
    assert np.median(off[0]) == pytest.approx(4 * jerk, abs=0.05)
    assert abs(np.median(off[1])) < left * abs(np.median(off[0]))


@pytest.mark.parametrize(("scale", "most"), [(2, 5.4), (4, 6.8)])
def test_a_small_pixel_of_fewer_samples_is_sharpened_less(scale: int, most: float) -> None:
    """Averaging blurs by parts of it; sharpened as at x4, 5.8 codes of noise would be left at x2."""
    window, clean = scene(8, scale=scale), scene(0, scale=scale)
    left = Steadier(1)(*middle(window)).planes[0].astype(float) - clean[1][1].planes[0]
    assert float(np.std(left)) < most


@pytest.mark.parametrize("strength", [0.1, 0.5, 1])
@pytest.mark.parametrize("agreed", [0.3, 1])
def test_what_was_found_elsewhere_is_no_jerk_however_little_of_it_counts(strength: float, agreed: float) -> None:
    """As letters are in other words: a block that is torn out of its place, where the share of that made it small."""
    ratio, share = np.array([4, 4], np.float32), np.full((1, 2), strength * SHARE * agreed, np.float32)
    shifts = [np.zeros((1, 2, 2), np.intp) for _ in range(2)]
    shifts[0][0, 0], shifts[1][0, 0] = (16, 0), (3, 3)  # small pixels: 4 and a fraction
    shifts[0][0, 1], shifts[1][0, 1] = (0, 13), (0, -11)  # the mean of the three is less than a sample away
    stepped = step(shifts, [share, share], ratio)
    assert not stepped[0, 0].any()
    assert stepped[0, 1] == pytest.approx((0, -2 * share[0, 1]))


def test_what_the_small_pictures_do_not_agree_on_is_left_alone() -> None:
    before, now, behind = scene(0, step=0)
    other = texture(48, 64, seed=9)
    covered = [frame(one.planes[0].astype(np.float32)) for one in (before[0], behind[0])]
    large = [frame(one.planes[0].astype(np.float32)) for one in (before[1], behind[1])]
    for small, big in zip(covered, large, strict=True):
        small.planes[0][16:32, 16:48] = other[16:32, 16:48]
        big.planes[0][64:128, 64:192] = 255
    made = Steadier(1)(now, [(covered[0], large[0]), (covered[1], large[1])]).planes[0]
    ghost = np.abs(made.astype(int) - now[1].planes[0])[72:120, 72:184]
    assert ghost.mean() < 4
    assert np.array_equal(made[:40], now[1].planes[0][:40])


def test_what_large_pictures_differ_by_far_in_counts_little() -> None:
    """As where words move on and the small pictures are too coarse to tell."""
    flat = np.full((48, 64), 100, np.float32)
    large, other = np.full((192, 256), 100, np.float32), np.full((192, 256), 100, np.float32)
    other[90, 60:180] = 255
    window = [(frame(flat), frame(one)) for one in (other, large, other)]
    taken = Steadier(1)(*middle(window)).planes[0][90, 64:176].astype(int) - 100
    assert 0 < taken.min() <= taken.max() <= 2 * LIMIT * SHARE + 1


@pytest.mark.parametrize("name", ["gbrp", "gbrp10le"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_colour_that_changes_is_seen_in_every_plane_of_rgb(name: str, place: int) -> None:
    """As of a lamp that blinks in white and yellow, which have the same green."""
    format = PixelFormat.parse(name)

    def lit(code: int, height: int, width: int) -> Frame:
        planes = [np.full((height, width), 200 << (format.bits - 8), format.dtype) for _ in range(3)]
        planes[place][height // 4 : -height // 4, width // 4 : -width // 4] = code << (format.bits - 8)
        return Frame(tuple(planes), format, Colour(Matrix.RGB, full_range=True), 0, Fraction(1))

    window = [(lit(code, 32, 48), lit(code, 128, 192)) for code in (0, 250, 0)]
    made = Steadier(1)(*middle(window))
    inner = np.s_[48:-48, 64:-64]
    assert all(np.array_equal(a[inner], b[inner]) for a, b in zip(made.planes, window[1][1].planes, strict=True))


def test_red_that_becomes_blue_is_seen() -> None:
    """Each counts by another share, or they would cancel out."""

    def lamp(place: int, height: int, width: int) -> Frame:
        planes = [np.full((height, width), 20, np.uint8) for _ in range(3)]
        planes[place][height // 4 : -height // 4, width // 4 : -width // 4] = 220
        return Frame(tuple(planes), PixelFormat("rgb"), Colour(Matrix.RGB, full_range=True), 0, Fraction(1))

    window = [(lamp(place, 32, 48), lamp(place, 128, 192)) for place in (1, 2, 1)]
    made = Steadier(1)(*middle(window))
    inner = np.s_[48:-48, 64:-64]
    assert all(np.array_equal(a[inner], b[inner]) for a, b in zip(made.planes, window[1][1].planes, strict=True))


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_deep_pictures_are_blended_as_shallow_ones(scale: int) -> None:
    deep, shallow = (
        Steadier(1)(*middle(scene(6, scale=scale, format=PixelFormat("grey", bits)))).planes[0].astype(float)
        for bits in (10, 8)
    )
    assert np.abs(deep / 4 - shallow).mean() < 0.5


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "gbrp", "gbrap", "gray", "yuva420p"])
@pytest.mark.parametrize(("size", "scale"), [((66, 50), 2.5), ((2, 2), 4), ((9, 17), 1.37), ((64, 8), 3)])
def test_any_layout_size_and_scale(name: str, size: tuple[int, int], scale: float) -> None:
    format, random = PixelFormat.parse(name), np.random.default_rng(0)
    top = 1 << format.bits
    frames = [
        Frame(
            tuple(random.integers(0, top, shape).astype(format.dtype) for shape in format.plane_shapes(*size)),
            format,
            Colour(Matrix.RGB if format.model == "rgb" else Matrix.BT709, full_range=format.model == "rgb"),
            k,
            Fraction(1, 25),
        )
        for k in range(4)
    ]
    results = []
    for steady in (0.0, 1.0):
        with Upscaler("bicubic", scale=scale, backend="cpu", steady=steady) as upscaler:
            results.append(list(upscaler.stream(frames)))
            assert upscaler.reach == (REACH if steady else 0)
    assert [frame.pts for frame in results[1]] == [0, 1, 2, 3]
    for plain, one in zip(*results, strict=True):
        assert [plane.shape for plane in one.planes] == [plane.shape for plane in plain.planes]
        assert all(int(plane.max()) < top for plane in one.planes)
        if format.alpha:
            assert np.array_equal(plain.planes[-1], one.planes[-1])


def test_nothing_is_blended_at_0_and_impossible_strengths_are_refused() -> None:
    window = scene(6)
    frames = [small for small, _ in window]
    with (
        Upscaler("bicubic", scale=4, backend="cpu") as one,
        Upscaler("bicubic", scale=4, backend="cpu", steady=0) as two,
    ):
        pairs = list(zip(one.stream(frames), two.stream(frames), strict=True))
    assert all(np.array_equal(a.planes[0], b.planes[0]) for a, b in pairs)
    for steady in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="steady must be from 0 to 1"):
            Upscaler("bicubic", steady=steady)


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "yuv444p", "yuva420p"])
@pytest.mark.parametrize("place", [1, 2])
def test_a_colour_that_changes_at_equal_brightness_is_seen(name: str, place: int) -> None:
    """As of a lamp that turns from red to green; what has not changed is still blended."""
    format = PixelFormat.parse(name)

    def lit(code: int, height: int, width: int) -> Frame:
        planes = [
            np.full(shape, 120 << (format.bits - 8), format.dtype) for shape in format.plane_shapes(width, height)
        ]
        tall, wide = (side // 4 for side in planes[place].shape)
        planes[place][tall:-tall, wide:-wide] = code << (format.bits - 8)
        random = np.random.default_rng(code)
        for plane in planes[:3]:  # the noise of a codec
            plane += random.integers(0, 4 << (format.bits - 8), plane.shape).astype(format.dtype)
        return Frame(tuple(planes), format, Colour(Matrix.BT709), 0, Fraction(1))

    window = [(lit(code, 32, 48), lit(code, 128, 192)) for code in (120, 145, 121)]
    made, own = Steadier(1)(*middle(window)), window[1][1]
    for plane, other in zip(made.planes[:3], own.planes, strict=False):
        tall, wide = (side // 3 for side in plane.shape)
        assert np.array_equal(plane[tall:-tall, wide:-wide], other[tall:-tall, wide:-wide])
    assert (made.planes[0][:16] != own.planes[0][:16]).mean() > 0.3
