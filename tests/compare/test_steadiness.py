"""How unsteady large pictures are: nothing where they follow their source, and what was put in where they do not."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.clips import make_clip
from tests.numbered import Planes
from vidsr.compare.measure import UNSTEADY
from vidsr.compare.moments import around, at
from vidsr.compare.picture import Picture, Pixels, View, resized
from vidsr.compare.preview import preview
from vidsr.compare.steadiness import Ruler, unsteadiness
from vidsr.errors import UsageError
from vidsr.frame import PixelFormat
from vidsr.media.read.probe import probe
from vidsr.upscaling.drawings import REACH
from vidsr.upscaling.host import to_rgb8
from vidsr.upscaling.upscaler import Upscaler

SMALL = 96, 64  # width, height
STEP = 6, 2  # large pixels right and down, from one frame to the next
CUT, TWIN = 6, 3  # the first frame of another shot, and one that repeats the one before


def texture(seed: int = 0) -> Pixels:
    """Soft blobs, large enough for a camera that moves over them."""
    coarse = np.random.default_rng(seed).integers(40, 216, (30, 40, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((480, 360), Image.Resampling.BICUBIC))


def seen(frame: int) -> Pixels:
    """What a camera that moves sees, 4 times as large as `SMALL`."""
    x, y = (20 + step * frame for step in STEP)
    return np.ascontiguousarray(texture()[y : y + 4 * SMALL[1], x : x + 4 * SMALL[0]])


def noisy(pixels: Pixels, seed: int, spread: float) -> Pixels:
    grain = np.random.default_rng(seed).normal(0, spread, (*pixels.shape[:2], 1))
    return (pixels + grain).round().clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def small() -> tuple[Pixels, Pixels]:
    return resized(seen(0), SMALL), resized(seen(1), SMALL)


def test_what_moves_with_its_source_is_steady_and_what_is_new_in_each_frame_is_not(
    small: tuple[Pixels, Pixels],
) -> None:
    ruler = Ruler(small)
    enlarged = [resized(one, (4 * SMALL[0], 4 * SMALL[1])) for one in small]
    assert ruler((enlarged[0], enlarged[1])) == 0  # that is how much the source changes
    true = ruler((seen(0), seen(1)))
    assert true is not None
    assert -1 < true < 0.5  # codes: the motion is found, also between pixels
    found = [ruler((noisy(seen(0), 1, spread), noisy(seen(1), 2, spread))) for spread in (2.0, 6.0)]
    expected = 6 * 2 / np.pi**0.5  # the mean difference of two normal values
    assert all(one is not None for one in found)
    assert true + 1 < (found[0] or 0) < (found[1] or 0) < expected
    assert (found[1] or 0) > 0.6 * expected  # it is not all there: some hides behind what the source changes
    other = ruler((seen(0), seen(0)))  # drawn on the screen instead of on what moves
    assert (other or 0) > true + 1


def test_what_stands_still_is_perfectly_steady_and_what_the_source_flickers_is_not_the_models() -> None:
    still = resized(seen(0), SMALL)
    assert Ruler((still, still))((seen(0), seen(0))) == 0
    assert Ruler((still, still))((noisy(seen(0), 1, 4.0), noisy(seen(0), 2, 4.0))) == pytest.approx(4.5, abs=0.3)
    grainy = noisy(still, 1, 3.0), noisy(still, 2, 3.0)
    assert (Ruler(grainy)((seen(0), seen(0))) or 0) < -1  # steadier than its source


def test_where_no_motion_can_be_believed_nothing_is_measured() -> None:
    dark, light = (np.full((64, 96, 3), value, np.uint8) for value in (20, 200))
    assert Ruler((dark, light))((seen(0), seen(1))) is None


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (16, 9), (33, 130)])
@pytest.mark.parametrize("scale", [1.0, 1.5, 4.0])
def test_any_size_is_measured(size: tuple[int, int], scale: float) -> None:
    small = resized(seen(0), size)
    large = resized(seen(0), (max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)))
    assert Ruler((small, small))((large, large)) == 0


def test_the_mean_is_that_of_the_moments_that_were_measured() -> None:
    picture = (Picture("a", seen(0)),)
    figures: list[dict[str, dict[str, float]]] = [{"a": {UNSTEADY: 1.0}}, {}, {"a": {UNSTEADY: 2.0}, "b": {"psnr": 30}}]
    assert unsteadiness([View("", 0.0, picture, one) for one in figures]) == {"a": 1.5}


def draw(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
    """A moving texture; one frame twice, and a cut."""
    x = 3 * (number - (number >= TWIN))
    luma = texture(number >= CUT)[40 : 40 + height, x : x + width, 0]
    flat = [np.full(shape, 128, fmt.dtype) for shape in fmt.plane_shapes(width, height)[1:]]
    return [(luma // 2 + 60 * (number < CUT)).astype(fmt.dtype), *flat]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("steady") / "clip.mkv"
    return make_clip(path, codec="ffv1", frames=9, width=64, height=48, rate=Fraction(8), draw=draw)


@pytest.mark.parametrize(
    ("number", "reach", "frames", "beside"),
    [
        (0, 0, [0, 1], 1),
        (0, 1, [0, 1, 2], 1),
        (1, 1, [0, 1, 2, 3], 2),
        (TWIN - 1, 0, [1, 2], 1),  # the next one shows the same
        (TWIN, 1, [2, 3, 4, 5], 4),
        (CUT - 1, 0, [4, 5], 4),  # the next one is of another shot
        (CUT, 1, [6, 7, 8], 7),
        (8, 0, [7, 8], 7),
    ],
)
def test_the_frame_beside_is_of_the_same_shot_and_shows_something_else(
    clip: Path, number: int, reach: int, frames: list[int], beside: int
) -> None:
    info = probe(clip)
    (moment,) = at(info, [Fraction(number, 8)])
    shot = around(info, moment, reach)
    times = [round(frame.pts * frame.time_base * 8) for frame in shot.frames]
    assert times == frames
    assert shot.beside is not None
    assert [k for k, frame in enumerate(shot.frames) if not frame.aside] == sorted((shot.own, shot.beside))
    assert (times[shot.own], times[shot.beside]) == (number, beside)


def test_each_model_is_measured_with_and_without_blending(clip: Path) -> None:
    (view,) = preview(clip, ["bicubic"], 2, [Fraction(1, 8)], steady=1)
    assert [picture.label for picture in view.pictures] == ["bicubic x2", "bicubic x2 steady 1", "source"]
    assert all(picture.beside is not None for picture in view.pictures)
    assert abs(view.figures["bicubic x2"][UNSTEADY]) < 0.5
    assert set(view.figures) == {"bicubic x2", "bicubic x2 steady 1"}


def test_each_model_is_shown_as_a_job_makes_it(clip: Path) -> None:
    (view,) = preview(clip, ["fast-video", "fast"], 2, [Fraction(1, 8)])
    labels = ["bicubic x2", "fast-video x2 steady 0.5", "fast x2", "source"]
    assert [picture.label for picture in view.pictures] == labels
    (plain,) = preview(clip, ["fast-video"], 2, [Fraction(1, 8)], steady=0)
    assert [picture.label for picture in plain.pictures] == ["bicubic x2", "fast-video x2", "source"]

    (moment,) = at(info := probe(clip), [Fraction(1, 8)])
    (grainy,) = preview(clip, ["fast-video@grain=1"], 2, [Fraction(1, 8)])
    for name, steady, shown in (
        ("fast-video", None, view),
        ("fast-video", 0, plain),
        ("fast-video@grain=1", None, grainy),
    ):
        with Upscaler(name, scale=2, steady=steady) as upscaler:
            own, _ = upscaler.stream(around(info, moment, REACH).frames)
        assert np.array_equal(shown.pictures[1].pixels, to_rgb8(own))
    pictures = [shown.pictures[1].pixels for shown in (view, plain, grainy)]
    assert not any(np.array_equal(one, other) for one, other in combinations(pictures, 2))


def test_a_moment_that_stands_alone_has_no_figure_and_no_frame_beside(tmp_path: Path) -> None:
    (view,) = preview(make_clip(tmp_path / "one.mp4", frames=1), ["bicubic"], 2)
    assert view.figures == {}
    assert all(picture.beside is None for picture in view.pictures)


def test_an_image_has_no_neighbours_to_be_blended_with(tmp_path: Path) -> None:
    Image.fromarray(seen(0)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="leave --steady out"):
        preview(tmp_path / "a.png", ["bicubic"], 2, steady=0.5)
