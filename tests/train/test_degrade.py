"""Degraded clips: exactly aligned with their photos, the same for the same seed, and as mild as stated."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.train.conftest import photo
from train.camera import KERNELS, Motion, Shot, draw_motion, render
from train.codec import DECODERS, SUBSAMPLED, Codec, round_trip
from train.degrade import Degradation, Noise, add_noise, degrade, draw_degradation
from train.resample import downscale
from vidsr.frame import Matrix

FINEST = {"libx264": 1, "libx265": 1, "libvpx-vp9": 1, "mpeg4": 2, "mpeg2video": 2}
PRESETS = {"libx264": "veryfast", "libx265": "ultrafast", "libvpx-vp9": "5"}


def planes(seed: int = 0, side: int = 192) -> Tensor:
    """(3, side, side) code values."""
    return torch.from_numpy(photo(seed, side, side)).permute(2, 0, 1).float()


def smooth_frames(num: int) -> list[Tensor]:
    """Panning (3, 96, 96) code values that 4:2:0 can hold: no detail below 8 pixels, little colour."""
    y, x = torch.meshgrid(torch.arange(160.0), torch.arange(160.0), indexing="ij")
    wave = torch.sin(x / 3.1 + y / 7) + torch.sin(y / 2.9 - x / 11) + torch.sin((x + y) / 5)
    picture = torch.stack([128 + 30 * wave, 120 + 28 * wave, 110 + 25 * wave + 10 * torch.sin(x / 9)])
    return [render(picture, Shot(32 + 0.7 * k, 32 + 0.3 * k), (96, 96), 1, "lanczos") for k in range(num)]


def shift_between(a: Tensor, b: Tensor) -> tuple[float, float]:
    """(down, right) by which `b` lies beside `a`: least squares of the difference over the slopes, for small shifts."""
    down, right = (((a + b) / 2).roll(-1, dim) - ((a + b) / 2).roll(1, dim) for dim in (-2, -1))
    slopes = torch.stack([one[:, 2:-2, 2:-2].flatten() / 2 for one in (down, right)], 1).double()
    found = torch.linalg.lstsq(slopes, (a - b)[:, 2:-2, 2:-2].flatten()[:, None].double()).solution
    return float(found[0]), float(found[1])


@pytest.mark.parametrize("scale", [2, 4])
def test_the_clean_degradation_is_the_bicubic_of_the_benchmarks(scale: int) -> None:
    whole = planes()
    size = (64 // scale * 2, 48 // scale * 2)
    seen = degrade(whole, [Shot(32, 24)], 0, size, scale, Degradation())
    hr = whole[:, 24 : 24 + size[0] * scale, 32 : 32 + size[1] * scale]
    expected = downscale(hr / 255, scale) * 255
    torch.testing.assert_close(seen.float()[:, 2:-2, 2:-2], expected[:, 2:-2, 2:-2], rtol=0, atol=0)


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_no_kernel_shifts_the_picture(kernel: str) -> None:
    ramp = torch.arange(128.0).expand(3, 128, 128)
    reduced = render(ramp, Shot(32, 32), (16, 16), 4, kernel)
    expected = torch.arange(16.0) * 4 + 33.5  # the mean of the 4 pixels that an LR pixel covers
    assert (reduced - expected).abs().max() <= 0.5
    assert (reduced.mT - render(ramp.mT, Shot(32, 32), (16, 16), 4, kernel)).abs().max() == 0


@pytest.mark.parametrize("kernel", ["bicubic", "lanczos", "bilinear"])
def test_a_view_on_whole_pixels_is_a_crop(kernel: str) -> None:
    whole = planes()
    assert torch.equal(render(whole, Shot(17, 5), (40, 60), 1, kernel), whole[:, 5:45, 17:77])


def test_the_area_kernel_is_a_mean() -> None:
    whole = planes(1, 64)
    means = torch.nn.functional.avg_pool2d(whole, 4)[:, 2:-2, 2:-2]
    assert (render(whole, Shot(8, 8), (12, 12), 4, "area") - means).abs().max() <= 1


def test_the_kept_frame_stands_where_the_anchor_looks() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        keep = int(random.integers(6))
        views = draw_motion(random, 6).views(Shot(100, 80), keep, 6, (96, 96))
        assert len(views) == 6
        assert views[keep] == Shot(100, 80)


def test_a_zoom_holds_the_centre_and_a_pan_moves_evenly() -> None:
    zoomed = Motion(zoom=0.1).views(Shot(10, 20), 1, 4, (40, 60))
    centres = {(round(view.left + view.pitch * 30, 9), round(view.top + view.pitch * 20, 9)) for view in zoomed}
    assert centres == {(40.0, 40.0)}
    panned = Motion((1.5, -2.0)).views(Shot(10, 20), 0, 3, (40, 60))
    assert [(view.left, view.top) for view in panned] == [(10, 20), (11.5, 18), (13, 16)]


def test_the_affine_of_a_view_counts_from_pixel_centres() -> None:
    assert Shot(17, 5).affine() == [[1, 0, 17], [0, 1, 5]]
    assert Shot(17, 5, 2).affine() == [[2, 0, 17.5], [0, 2, 5.5]]  # the first pixel shows photo pixels 17 and 18
    ramp = torch.arange(128.0).expand(3, 128, 128)
    seen = render(ramp, Shot(20.25, 20.25, 1.5), (8, 8), 1, "lanczos")
    (pitch, _, left), _ = Shot(20.25, 20.25, 1.5).affine()
    assert (seen[0, 0] - (pitch * torch.arange(8.0) + left)).abs().max() <= 0.55


@pytest.mark.parametrize("encoder", [SUBSAMPLED, *DECODERS])
def test_a_fine_round_trip_keeps_the_picture_and_its_place(encoder: str) -> None:
    frames = smooth_frames(4)
    for keep in (0, 2):
        for matrix in (Matrix.BT709, Matrix.SMPTE170M):
            codec = Codec(encoder, FINEST.get(encoder, 0), PRESETS.get(encoder, ""), matrix)
            back = round_trip(frames, codec, keep)
            error = (back - frames[keep]).abs()
            assert error.mean() < 1.5, error.mean()
            down, right = shift_between(frames[keep], back)
            assert max(abs(down), abs(right)) < 0.06, (down, right)


def test_the_shift_that_these_tests_look_for_would_be_found() -> None:
    first, second = smooth_frames(2)
    assert shift_between(first, second) == pytest.approx((-0.3, -0.7), abs=0.05)


def test_a_lower_quality_is_a_worse_picture() -> None:
    frames = [render(planes(3, 224), Shot(2.0 * k, 0), (96, 96), 2, "bicubic") for k in range(4)]
    errors = [
        (round_trip(frames, Codec("libx264", crf, "veryfast"), 3) - frames[3]).abs().mean() for crf in (10, 25, 40)
    ]
    assert errors[0] < errors[1] < errors[2]


def test_the_same_seed_degrades_alike() -> None:
    whole = planes()

    def run(seed: int) -> list[bytes]:
        random = np.random.default_rng(seed)
        found = []
        for _ in range(8):
            views = draw_motion(random, 3).views(Shot(32, 32), 1, 3, (128, 128))
            found.append(degrade(whole, views, 1, (96, 96), 4, draw_degradation(random)).numpy().tobytes())
        return found

    assert run(5) == run(5)
    assert run(5) != run(6)


def test_pictures_too_small_for_the_encoders_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 96 pixels, not 64x96"):
        round_trip([torch.zeros(3, 96, 64)], Codec("libx265", 28, "ultrafast"), 0)


@pytest.mark.parametrize("encoder", sorted(DECODERS))
def test_every_codec_gives_the_same_pixels_again(encoder: str) -> None:
    frames = [render(planes(4, 256), Shot(2.0 * k, k), (96, 96), 2, "bicubic") for k in range(4)]
    codec = Codec(encoder, 12, PRESETS.get(encoder, ""))
    assert len({round_trip(frames, codec, 3).numpy().tobytes() for _ in range(4)}) == 1


def test_the_distribution_is_mild() -> None:
    random = np.random.default_rng(0)
    drawn = [draw_degradation(random) for _ in range(4000)]
    clean = sum(one == Degradation() for one in drawn) / len(drawn)
    assert clean == pytest.approx(0.15, abs=0.02)
    codecs = Counter(one.codec.encoder for one in drawn if one.codec)
    assert set(codecs) == {*DECODERS, SUBSAMPLED}
    assert codecs["libx264"] > sum(codecs.values()) / 2
    assert {one.codec.quality for one in drawn if one.codec and one.codec.encoder == "libx264"} == set(range(18, 33))
    assert {one.kernel for one in drawn} == set(KERNELS)


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
@pytest.mark.parametrize("grey", [True, False])
def test_noise_has_the_stated_strength(kind: str, grey: bool) -> None:
    flat = torch.full((3, 96, 96), 128.0)
    how = Noise("gaussian" if kind == "gaussian" else "poisson", 3.0, grey, 7)
    noise = add_noise(flat, how, 0) - flat
    assert noise.std() == pytest.approx(3.0, rel=0.05)
    assert abs(noise.mean()) < 0.1
    assert (noise[0] - noise[1]).abs().max() < 1e-3 if grey else (noise[0] - noise[1]).std() > 3
    assert not torch.equal(add_noise(flat, how, 1), add_noise(flat, how, 0))
    assert torch.equal(add_noise(flat, how, 0), add_noise(flat, how, 0))


def test_shot_noise_is_stronger_where_there_is_light() -> None:
    dark, bright = (
        (add_noise(torch.full((3, 64, 64), level), Noise("poisson", 3.0, False, 1), 0) - level).std()
        for level in (32.0, 200.0)
    )
    assert bright / dark == pytest.approx((200 / 32) ** 0.5, rel=0.1)
