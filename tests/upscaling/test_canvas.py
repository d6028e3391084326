"""Sizes, layouts and transparency of what the upscaler makes; and images."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tests.upscaling.test_upscaler import constant_frame, make_frame
from vidsr.errors import UsageError
from vidsr.frame import SRGB, Colour, Frame, Matrix, PixelFormat, output_colour
from vidsr.upscaling.colour import from_rgb, to_rgb
from vidsr.upscaling.upscaler import Upscaler

YUV420 = PixelFormat.parse("yuv420p")


@pytest.mark.parametrize(
    ("scale", "name", "expected"),
    [
        (4, "yuv420p", (404, 268)),
        (1, "yuv420p", (102, 68)),
        (1, "yuv422p", (102, 67)),
        (1.5, "yuv420p", (152, 100)),
        (1.5, "yuv444p", (152, 101)),
        (1.333, "gray", (135, 89)),
        (2.5, "yuv440p", (253, 168)),
    ],
)
def test_output_size(scale: float, name: str, expected: tuple[int, int]) -> None:
    upscaler = Upscaler("bicubic", scale=scale, backend="nearest")
    assert upscaler.output_size(101, 67, PixelFormat.parse(name)) == expected
    (frame,) = upscaler.stream([make_frame(101, 67, PixelFormat.parse(name))])
    assert (frame.width, frame.height) == expected
    assert [plane.shape for plane in frame.planes] == PixelFormat.parse(name).plane_shapes(*expected)


def upscaled(frame: Frame, **wanted: Any) -> Frame:
    upscaler = Upscaler("bicubic", scale=2)
    return upscaler.upscale(frame, upscaler.canvas(frame, **wanted))


def test_another_size_and_layout_on_request() -> None:
    rgb = constant_frame(PixelFormat("rgb"), SRGB, (60, 90, 200), (12, 10))
    target = PixelFormat.parse("yuv444p10le")
    result = upscaled(rgb, size=(31, 17), format=target)
    assert (result.width, result.height, result.format) == (31, 17, target)
    assert (result.colour.matrix, result.colour.full_range) == (Matrix.BT709, False)
    expected = from_rgb(to_rgb(rgb.planes, rgb.format, rgb.colour), target, result.colour)
    for plane, other in zip(result.planes, expected, strict=True):
        assert np.abs(plane.astype(int) - int(other[0, 0])).max() <= 1
    asked = Colour(Matrix.BT2020_NCL, 9, 16, full_range=True, siting="topleft")
    assert upscaled(rgb, format=target, colour=asked).colour == asked


def test_meaning_after_a_conversion() -> None:
    yuv, grey, rgb = PixelFormat("yuv"), PixelFormat("grey"), PixelFormat("rgb")
    bt709 = Colour(Matrix.BT709)
    assert output_colour(bt709, yuv, replace(yuv, bits=10)) == bt709
    assert output_colour(bt709, yuv, rgb) == Colour(Matrix.RGB, full_range=True)
    assert output_colour(SRGB, rgb, yuv).matrix is Matrix.BT709
    assert output_colour(SRGB, grey, yuv).matrix is Matrix.BT709
    assert output_colour(Colour(Matrix.RGB), yuv, yuv).matrix is Matrix.RGB
    assert output_colour(Colour(Matrix.RGB), yuv, YUV420).matrix is Matrix.BT709


def test_a_change_in_mid_stream_is_converted() -> None:
    ten = PixelFormat.parse("yuv422p10le")
    frames = [make_frame(20, 12), make_frame(14, 10, pts=1), make_frame(20, 12, ten, pts=2)]
    results = list(Upscaler("bicubic", scale=2).stream(frames))
    assert [(frame.width, frame.height, frame.format, frame.pts) for frame in results] == [
        (40, 24, YUV420, pts) for pts in (0, 1, 2)
    ]


def test_alpha_is_resized_or_made_opaque() -> None:
    yuva = PixelFormat("yuv", alpha=True)
    frame = constant_frame(yuva, Colour(), (100, 128, 128, 0), (8, 8))
    frame.planes[3][:, 4:] = 255
    upscaler = Upscaler("bicubic", scale=4)
    alpha = upscaler.upscale(frame).planes[3]
    assert alpha.shape == (32, 32)
    assert alpha[:, :8].max() <= 1
    assert alpha[:, 24:].min() >= 254
    assert len(set(alpha[0, 12:20].tolist())) >= 5  # a slope, no step
    opaque = upscaled(make_frame(8, 8), format=PixelFormat("yuv", 10, alpha=True))
    assert (opaque.planes[3] == 1023).all()
    assert len(upscaled(frame, format=PixelFormat("yuv")).planes) == 3


def test_alpha_goes_through_the_network() -> None:
    """As the grey picture that it is; one that is the same everywhere costs no call."""
    rng = np.random.default_rng(1)
    planes = tuple(rng.integers(0, 256, (12, 16), np.uint8) for _ in range(4))
    frame = Frame(planes, PixelFormat("rgb", alpha=True), SRGB, 0, Fraction(1))
    with Upscaler("fast", scale=2, backend="cpu") as upscaler:
        alpha = upscaler.upscale(frame).planes[3]
        grey = upscaler.upscale(Frame((planes[3],), PixelFormat("grey"), SRGB, 0, Fraction(1))).planes[0]
        resized = Upscaler("bicubic", scale=2, backend="cpu").upscale(frame).planes[3]
        far, near = (float(np.abs(alpha.astype(int) - other).mean()) for other in (resized, grey))
        assert near < 2  # grey is the luma of the three channels, alpha their mean
        assert far > 4 * near
        steady = replace(frame, planes=(*planes[:3], np.full((12, 16), 77, np.uint8)))
        assert (upscaler.upscale(steady).planes[3] == 77).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 3), (9, 7, 4), (1, 1, 3), (1, 6)])
def test_images(shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)  # type: ignore[type-var]
    result = Upscaler("bicubic", scale=2, backend="nearest")(image)
    assert result.dtype == image.dtype
    assert result.shape == (2 * shape[0], 2 * shape[1], *shape[2:])
    assert np.array_equal(result[::2, ::2], image)  # alpha, too
    assert Upscaler("bicubic", scale=1.3)(image).shape[:2] == (round(1.3 * shape[0]), round(1.3 * shape[1]))


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8)])
def test_what_is_no_image(image: np.ndarray) -> None:
    with pytest.raises(UsageError, match="An image is"):
        Upscaler("bicubic", scale=2)(image)
