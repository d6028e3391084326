from __future__ import annotations

import itertools
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from torch.utils._python_dispatch import TorchDispatchMode

from vidsr.frame import Colour, Matrix, PixelFormat, Siting
from vidsr.media.pyav import samples_of
from vidsr.upscaling.codes import chroma_offset, ycc_matrix
from vidsr.upscaling.colour import _mixed, decode, decode_alpha, encode, encode_alpha, from_rgb, to_rgb
from vidsr.upscaling.staging import as_plane, as_tensor

SITINGS: tuple[Siting, ...] = ("left", "center", "topleft", "top", "bottomleft", "bottom")
MATRICES = (Matrix.BT709, Matrix.FCC, Matrix.BT470BG, Matrix.SMPTE170M, Matrix.SMPTE240M, Matrix.BT2020_NCL)
ALL = (*MATRICES, Matrix.RGB, Matrix.YCGCO, Matrix.BT2020_CL)


def codes(planes: tuple[np.ndarray, ...] | list[np.ndarray]) -> list[np.ndarray]:
    return [plane.astype(np.int64) for plane in planes]


def worst(a: tuple[np.ndarray, ...] | list[np.ndarray], b: tuple[np.ndarray, ...] | list[np.ndarray]) -> int:
    assert [plane.shape for plane in a] == [plane.shape for plane in b]
    return max(int(np.abs(x - y).max()) for x, y in zip(codes(a), codes(b), strict=True))


def random_rgb(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("matrix", ALL)
def test_444_comes_back_within_one_code(matrix: Matrix, bits: int, full_range: bool) -> None:
    format, colour = PixelFormat("yuv", bits), Colour(matrix, full_range=full_range)
    planes = from_rgb(random_rgb(37, 41), format, colour)
    assert planes[0].dtype == format.dtype
    assert worst(planes, from_rgb(to_rgb(planes, format, colour), format, colour)) <= 1


@pytest.mark.parametrize("matrix", ALL)
def test_a_gpus_way_to_rgb_is_that_of_the_cpu(matrix: Matrix) -> None:
    format, colour = PixelFormat("yuv", 10), Colour(matrix)
    planes = [as_tensor(plane) for plane in from_rgb(random_rgb(20, 30), format, colour)]
    there = _mixed(torch.stack([plane.float() for plane in planes]), format, colour)
    assert float((there[None] - decode(planes, format, colour)).abs().max()) < 1e-6


class _Noting(TorchDispatchMode):
    """Notes what is called on a device."""

    def __init__(self) -> None:
        super().__init__()
        self.called: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.called.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_no_matrix_product_that_could_be_rounded_to_tf32_makes_colours() -> None:
    planes = [torch.empty(shape, dtype=torch.uint8, device="meta") for shape in ((12, 16), (6, 8), (6, 8))]
    with _Noting() as noting:
        rgb = decode(planes, PixelFormat.parse("yuv420p"), Colour())
        encode(rgb, PixelFormat.parse("yuv420p"), Colour())
    assert rgb.shape == (1, 3, 12, 16)
    assert not noting.called & {"mm", "addmm", "bmm", "baddbmm", "convolution"}


@pytest.mark.parametrize("bits", [8, 10, 16])
def test_known_codes(bits: int) -> None:
    unit, peak = 1 << (bits - 8), (1 << bits) - 1
    pixels = torch.tensor([[1, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1]]).T.reshape(1, 3, 1, 4).float()
    limited = from_rgb(pixels, PixelFormat("yuv", bits), Colour(Matrix.BT470BG))
    red = round((16 + 219 * 0.299) * unit)
    assert limited[0][0].tolist() == [235 * unit, 16 * unit, red, round((16 + 219 * 0.114) * unit)]
    assert limited[2][0, :3].tolist() == [128 * unit, 128 * unit, 240 * unit]
    full = from_rgb(pixels, PixelFormat("yuv", bits), Colour(Matrix.BT470BG, full_range=True))
    assert full[0][0].tolist() == [peak, 0, round(peak * 0.299), round(peak * 0.114)]
    assert full[1][0, 3] == peak  # 2**(bits-1) + (2**bits - 1) / 2 is clamped, not wrapped


def test_ycgco_by_hand() -> None:
    green = torch.tensor([0.0, 1.0, 0.0]).reshape(1, 3, 1, 1)
    planes = from_rgb(green, PixelFormat(), Colour(Matrix.YCGCO, full_range=True))
    assert [int(plane[0, 0]) for plane in planes] == [128, 255, 128]  # Y 0.5, Cg +0.5, Co 0


@pytest.mark.parametrize("matrix", MATRICES)
def test_white_has_no_colour(matrix: Matrix) -> None:
    assert np.allclose(ycc_matrix(matrix) @ np.ones(3), [1, 0, 0], atol=1e-12)


def test_rounds_to_nearest() -> None:
    values = torch.tensor([0.4, 0.6, 100.49, 100.51, 254.6, -3.0, 300.0]) / 255
    planes = from_rgb(values.repeat(3, 1).reshape(1, 3, 1, 7), PixelFormat("rgb"), Colour(Matrix.RGB, full_range=True))
    assert planes[0][0].tolist() == [0, 1, 100, 101, 255, 0, 255]


def test_super_whites_survive() -> None:
    planes = tuple(np.full((2, 2), code, np.uint8) for code in (250, 128, 128))
    rgb = to_rgb(planes, PixelFormat(), Colour())
    assert float(rgb.min()) > 1.05
    assert worst(planes, from_rgb(rgb, PixelFormat(), Colour())) == 0


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "yuv440p", "yuv411p", "yuv410p", "yuv420p10", "yuv422p12"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 7), (16, 24), (3, 2)])
def test_constant_areas_are_exact(name: str, height: int, width: int) -> None:
    format, unit = PixelFormat.parse(name), 1 << (PixelFormat.parse(name).bits - 8)
    for siting in SITINGS:
        colour = Colour(Matrix.BT470BG, siting=siting)
        planes = tuple(
            np.full(shape, code * unit, format.dtype)
            for shape, code in zip(format.plane_shapes(width, height), (90, 140, 110), strict=True)
        )
        assert worst(planes, from_rgb(to_rgb(planes, format, colour), format, colour)) == 0


@pytest.mark.parametrize("name", ["yuv420p16", "yuv422p16", "yuv440p16", "yuv410p16"])
@pytest.mark.parametrize("siting", SITINGS)
def test_chroma_stands_where_it_should(name: str, siting: str) -> None:
    """A ramp in the picture gives a ramp in chroma, shifted by the siting, and comes back as it was."""
    format = PixelFormat("yuv", 16, (2, 2)) if name == "yuv410p16" else PixelFormat.parse(name)
    height, width, slope = 32, 48, 0.006
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    ramp = 0.2 + slope * x + 0.01 * y
    rgb = torch.stack([ramp, torch.full_like(ramp, 0.4), torch.full_like(ramp, 0.3)])[None]
    colour = Colour(Matrix.RGB, full_range=True, siting=siting)  # type: ignore[arg-type]
    planes = from_rgb(rgb, format, colour)  # the third plane is red
    (fx, fy), (ox, oy) = (1 << shift for shift in format.chroma_shift), chroma_offset(format, colour.siting)
    rows, columns = (np.arange(size) for size in planes[2].shape)
    expected = 0.2 + slope * (fx * columns + ox)[None, :] + 0.01 * (fy * rows + oy)[:, None]
    inside = (slice(1, -1), slice(1, -1))
    assert np.abs(planes[2] / 65535 - expected)[inside].max() < 1e-4
    back = to_rgb(planes, format, colour)
    edge = 2 * max(fx, fy)
    assert float((back - rgb)[..., edge:-edge, edge:-edge].abs().max()) < 1e-4


def test_left_siting_filters_one_two_one() -> None:
    row = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    rgb = row.repeat(3, 1).reshape(1, 3, 1, 8)
    planes = from_rgb(rgb, PixelFormat("yuv", 16, (1, 0)), Colour(Matrix.RGB, full_range=True, siting="left"))
    assert np.allclose(planes[2][0] / 65535, [0, 0.5, 0.25, 0.25], atol=1e-4)


@pytest.mark.parametrize("bits", [8, 10, 16])
@pytest.mark.parametrize("full_range", [False, True])
def test_grey_stays_grey(bits: int, full_range: bool) -> None:
    format, colour = PixelFormat("grey", bits), Colour(Matrix.BT709, full_range=full_range)
    ramp = np.linspace(0, (1 << bits) - 1, 512).astype(format.dtype).reshape(2, 256)
    rgb = to_rgb((ramp,), format, colour)
    assert torch.equal(rgb[:, 0], rgb[:, 1])
    assert worst((ramp,), from_rgb(rgb, format, colour)) == 0


def test_rgb_planes_are_exact_in_their_order() -> None:
    rng = np.random.default_rng(0)
    planes = tuple(rng.integers(0, 1024, (9, 5)).astype(np.uint16) for _ in range(3))
    format, colour = PixelFormat("rgb", 10), Colour(Matrix.RGB, full_range=True)
    rgb = to_rgb(planes, format, colour)
    assert worst(planes, from_rgb(rgb, format, colour)) == 0
    assert np.allclose(rgb[0, 0].numpy() * 1023, planes[2], atol=1e-3)  # G, B, R


def test_alpha_comes_back_exactly() -> None:
    for bits in (8, 10, 16):
        codes = np.arange(1 << bits).reshape(16, -1)
        plane = codes.astype(np.uint8) if bits == 8 else codes.astype(np.uint16)
        assert np.array_equal(as_plane(encode_alpha(decode_alpha(as_tensor(plane), bits), bits)), plane)


def test_views_and_read_only_planes_are_taken() -> None:
    store = np.random.default_rng(0).integers(16, 235, (8, 20)).astype(np.uint8)
    padded, frozen, flipped = store[:, :13], store[:, :13].copy(), store[:, 12::-1][:, ::-1]
    frozen.flags.writeable = False
    grey = PixelFormat("grey")
    results = [to_rgb((plane,), grey, Colour()) for plane in (padded, frozen, flipped)]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


SWS = {
    Matrix.BT709: Colorspace.ITU709,
    Matrix.FCC: Colorspace.FCC,
    Matrix.BT470BG: Colorspace.ITU601,
    Matrix.SMPTE170M: Colorspace.SMPTE170M,
    Matrix.SMPTE240M: Colorspace.SMPTE240M,
    Matrix.BT2020_NCL: Colorspace.BT2020,
}
EXACT = (
    Interpolation.BILINEAR
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)
RGB8, FULL_RGB = PixelFormat("rgb"), Colour(Matrix.RGB, full_range=True)


def swscale(planes: list[np.ndarray], source: str, target: str, matrix: Matrix, full_range: bool) -> list[np.ndarray]:
    """Planes of one layout to another by swscale; of the two, the RGB layout is full range."""
    frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], source)
    for plane, samples in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        packed = np.ascontiguousarray(samples).view(np.uint8)
        rows[:, : packed.shape[1]] = packed
        plane.update(rows.tobytes())
    yuv_range = ColorRange.JPEG if full_range else ColorRange.MPEG
    to_yuv = source.startswith("gbr")
    made = VideoReformatter().reformat(
        frame,
        format=target,
        **{"dst_colorspace" if to_yuv else "src_colorspace": SWS[matrix]},
        src_color_range=ColorRange.JPEG if to_yuv else yuv_range,
        dst_color_range=yuv_range if to_yuv else ColorRange.JPEG,
        interpolation=EXACT,
    )
    dtype = PixelFormat.parse(target).dtype
    return [
        samples_of(plane, np.dtype(np.uint8)).reshape(plane.height, plane.line_size).view(dtype)[:, : plane.width]
        for plane in made.planes
    ]


def pictures() -> list[list[np.ndarray]]:
    """Constant and ramp pictures as 8-bit planes G, B, R."""
    ramp, rows = np.linspace(0, 255, 64)[None, :], np.linspace(0, 255, 32)[:, None]
    constant = [[np.full((1, 1), value) for value in c] for c in itertools.product((0, 153, 255), repeat=3)]
    return [
        [np.ascontiguousarray(np.broadcast_to(plane.round().astype(np.uint8), (32, 64))) for plane in picture]
        for picture in ([ramp] * 3, [ramp, ramp[:, ::-1], rows], [rows, ramp, np.full((1, 1), 90.0)], *constant)
    ]


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("name", ["yuv444p", "yuv444p10le", "yuv444p12le"])
@pytest.mark.parametrize("matrix", SWS)
def test_agrees_with_swscale(matrix: Matrix, name: str, full_range: bool) -> None:
    """Both ways. Towards 12 bits, swscale's own 15-bit coefficients cost it a code more; beyond, several."""
    format, colour = PixelFormat.parse(name), Colour(matrix, full_range=full_range)
    for picture in pictures():
        planes = from_rgb(to_rgb(picture, RGB8, FULL_RGB), format, colour)
        assert worst(planes, swscale(picture, "gbrp", name, matrix, full_range)) <= (1 if format.bits < 12 else 2)
        back = from_rgb(to_rgb(planes, format, colour), RGB8, FULL_RGB)
        assert worst(back, swscale(list(planes), name, "gbrp", matrix, full_range)) <= 1


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "yuv420p10le"])
def test_subsampled_ramps_agree_with_swscale(name: str) -> None:
    """Away from the borders; without further words it takes chroma to stand in the centre."""
    format, inside = PixelFormat.parse(name), (slice(4, -4), slice(4, -4))
    for matrix, picture in itertools.product((Matrix.BT709, Matrix.BT470BG), pictures()):
        colour = Colour(matrix, siting="center")
        planes = from_rgb(to_rgb(picture, RGB8, FULL_RGB), format, colour)
        other = swscale(list(planes), name, "gbrp", matrix, False)
        mine = from_rgb(to_rgb(planes, format, colour), RGB8, FULL_RGB)
        assert worst([plane[inside] for plane in mine], [plane[inside] for plane in other]) <= 2
