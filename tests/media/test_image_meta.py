"""What images say beside their pixels comes back, in every format that has a place for it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo

from tests.conftest import Result
from vidsr.errors import MediaError
from vidsr.media.stills import read_image, write_image

Cli = Callable[..., Result]
QUICK = ("--model", "bicubic", "--backend", "cpu", "--scale", "2")
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:Description tiff:Orientation="6"/></x:xmpmeta>'
UPRIGHT = XMP.replace(b'"6"', b'"1"')
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
TITLE = b"\x1c\x02\x05\x00\x05Title"  # IPTC: record 2, data set 5


def noise(*shape: int, dtype: type[np.uint8 | np.uint16] = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(1).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def described() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x0132], exif[0x8298] = "Maker", "2020:01:02 03:04:05", "(c) me"
    exif.get_ifd(0x8769)[0x829A] = 0.5  # exposure time
    exif.get_ifd(0x8825)[0x0001] = "N"
    return exif


def photo(path: Path) -> Path:
    """A JPEG that says everything that a JPEG can say."""
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(TITLE)) + TITLE
    segment = b"Photoshop 3.0\0" + resource
    extra = b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment
    options: dict[str, Any] = {
        "exif": described(),
        "icc_profile": PROFILE,
        "xmp": XMP,
        "dpi": (300, 300),
        "comment": b"hello",
    }
    Image.fromarray(noise(6, 9, 3)).save(path, extra=extra, **options)
    return path


@pytest.mark.parametrize(
    ("suffix", "deep", "lost"),
    [
        (".jpg", False, ()),
        (".png", False, ("its comment", "IPTC")),
        (".png", True, ("its comment", "IPTC")),
        (".tif", False, ("its comment",)),
        (".tif", True, ("its comment",)),
        (".webp", False, ("its comment", "IPTC")),
        (".avif", False, ("its comment", "IPTC")),
        (".bmp", False, ("metadata and colour profile",)),
    ],
)
def test_what_a_photo_says_is_kept_or_named(tmp_path: Path, suffix: str, deep: bool, lost: tuple[str, ...]) -> None:
    _, meta = read_image(photo(tmp_path / "a.jpg"))
    large = noise(36, 24, 3, dtype=np.uint16 if deep else np.uint8)
    assert write_image(tmp_path / f"b{suffix}", large, meta) == lost
    if suffix == ".bmp":
        return
    array, again = read_image(tmp_path / f"b{suffix}")
    assert array.dtype == large.dtype
    assert not deep or np.array_equal(array, large)
    assert again.icc_profile == PROFILE
    assert again.xmp == UPRIGHT
    assert suffix in (".webp", ".avif") or again.dpi == pytest.approx((300, 300), abs=0.01)
    assert (again.iptc, again.comment) == (
        TITLE if suffix in (".jpg", ".tif") else None,
        meta.comment if not lost else None,
    )
    with Image.open(tmp_path / f"b{suffix}") as written:
        kept = written.getexif()
        assert (kept[0x010F], kept[0x0132], kept[0x8298]) == ("Maker", "2020:01:02 03:04:05", "(c) me")
        assert kept.get_ifd(0x8769)[0x829A] == pytest.approx(0.5)
        assert kept.get_ifd(0x8825)[0x0001] == "N"


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_tiff_comes_back_as_one_with_what_it_says(tmp_path: Path, orientation: int) -> None:
    exif = described()
    exif[0x0112] = orientation
    Image.fromarray(noise(6, 9, 3)).save(tmp_path / "a.tif", exif=exif, icc_profile=PROFILE)
    array, meta = read_image(tmp_path / "a.tif")
    assert array.shape == ((6, 9, 3) if orientation == 1 else (9, 6, 3))
    assert write_image(tmp_path / "b.tif", array, meta) == ()
    again, _ = read_image(tmp_path / "b.tif")
    assert np.array_equal(again, array)
    with Image.open(tmp_path / "b.tif") as written:
        assert (written.getexif()[0x010F], written.info["icc_profile"]) == ("Maker", PROFILE)


@pytest.mark.parametrize("deep", [False, True])
def test_a_pngs_texts_and_colours_are_kept(tmp_path: Path, deep: bool) -> None:
    texts = PngInfo()
    texts.add_text("parameters", "a prompt")
    texts.add_itxt("Title", "Hällo")
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
    texts.add_text("Raw profile type exif", "read as EXIF, if at all")
    texts.add(b"gAMA", struct.pack(">I", 100000))
    Image.fromarray(noise(9, 6, 3)).save(tmp_path / "a.png", pnginfo=texts)
    _, meta = read_image(tmp_path / "a.png")
    large = noise(12, 18, 3, dtype=np.uint16 if deep else np.uint8)
    assert write_image(tmp_path / "b.png", large, meta) == ()
    with Image.open(tmp_path / "b.png") as written:
        assert written.text == {"parameters": "a prompt", "Title": "Hällo", "XML:com.adobe.xmp": UPRIGHT.decode()}  # type: ignore[attr-defined]
        assert written.info["gamma"] == 1.0
    lost = ("its text", "what it says of its colours")
    assert write_image(tmp_path / "b.jpg", noise(12, 18, 3), meta) == lost


@pytest.mark.parametrize(
    ("kind", "data", "lost"),
    [
        (b"sRGB", b"\0", ()),
        (b"gAMA", struct.pack(">I", 45454), ()),
        (b"gAMA", struct.pack(">I", 100000), ("what it says of its colours",)),
        (b"cICP", bytes([1, 13, 0, 1]), ()),
        (b"cICP", bytes([9, 16, 0, 1]), ("what it says of its colours",)),
        (
            b"cHRM",
            struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000),
            ("what it says of its colours",),
        ),
    ],
)
def test_colours_of_a_png_are_named_where_they_go(
    tmp_path: Path, kind: bytes, data: bytes, lost: tuple[str, ...]
) -> None:
    chunk = PngInfo()
    chunk.add(kind, data)
    Image.fromarray(noise(9, 6, 3)).save(tmp_path / "a.png", pnginfo=chunk)
    array, meta = read_image(tmp_path / "a.png")
    assert write_image(tmp_path / "b.webp", array, meta) == lost
    assert write_image(tmp_path / "b.bmp", array, meta) == (("metadata and colour profile",) if lost else ())
    assert write_image(tmp_path / "b.png", array, meta) == ()


def test_an_orientation_of_xmp_alone_turns_a_picture_once(tmp_path: Path) -> None:
    Image.fromarray(noise(6, 9, 3)).save(tmp_path / "a.jpg", xmp=XMP)
    array, meta = read_image(tmp_path / "a.jpg")
    assert array.shape == (9, 6, 3)
    write_image(tmp_path / "b.jpg", array, meta)
    assert read_image(tmp_path / "b.jpg")[0].shape == (9, 6, 3)
    with Image.open(tmp_path / "b.jpg") as written:
        assert ImageOps.exif_transpose(written).size == (6, 9)


def test_what_is_too_long_for_a_jpeg_is_named(tmp_path: Path) -> None:
    Image.fromarray(noise(6, 9, 3)).save(tmp_path / "a.webp", xmp=UPRIGHT + b" " * 70_000)
    array, meta = read_image(tmp_path / "a.webp")
    assert write_image(tmp_path / "b.jpg", array, meta) == ("XMP of that length",)
    Image.fromarray(noise(6, 9, 3)).save(tmp_path / "a.tif", tiffinfo={0x83BB: TITLE + bytes(70_000)})
    array, meta = read_image(tmp_path / "a.tif")
    assert write_image(tmp_path / "b.jpg", array, meta) == ("IPTC of that length",)


def test_damaged_exif_is_left_out_and_said(vidsr: Cli, tmp_path: Path) -> None:
    """A tag of another kind than its number has, as cameras and programs write them, cannot be written again."""
    raw = bytearray(described().tobytes())
    raw[raw.index(b"\x01\x0f\0\2") + 3] = 5  # the camera's maker, a text: now a fraction, of six where one is expected
    Image.fromarray(noise(6, 9, 3)).save(tmp_path / "a.jpg", exif=bytes(raw))
    result = vidsr("upscale", tmp_path / "a.jpg", "-o", tmp_path / "b.jpg", *QUICK)
    assert result.code == 0, result.err
    assert "1 damaged entry of its EXIF is left out" in result.err
    with Image.open(tmp_path / "b.jpg") as written:
        assert 0x010F not in written.getexif()
        assert written.getexif()[0x8298] == "(c) me"
        assert written.getexif().get_ifd(0x8825)[0x0001] == "N"
    assert "Warning" not in result.err


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_exif_whose_head_is_damaged_does_not_end_its_photo(vidsr: Cli, tmp_path: Path, suffix: str) -> None:
    exif = bytearray(described().tobytes())
    exif[6:8] = b"??"  # the order of its bytes
    Image.fromarray(noise(6, 9, 3)).save(tmp_path / f"a{suffix}", exif=bytes(exif))
    result = vidsr("upscale", tmp_path / f"a{suffix}", "-o", tmp_path / "b.png", *QUICK)
    assert result.code == 0, result.err
    assert "its EXIF is damaged, and left out" in result.err


def test_a_tiff_without_a_size_is_a_failure_of_its_own(tmp_path: Path) -> None:
    Image.fromarray(noise(6, 9, 3)).save(tmp_path / "a.tif")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    first = int.from_bytes(data[4:8], "little")
    end = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    data[end : end + 4] = len(data).to_bytes(4, "little")  # another picture, of which nothing is said
    (tmp_path / "a.tif").write_bytes(data + b"\1\0" + struct.pack("<HHII", 0x010A, 3, 1, 1) + bytes(4))
    with pytest.raises(MediaError, match=r"cannot be read: Missing dimensions"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("dpi", [4e9, 0.0])
def test_a_resolution_that_is_none_does_not_end_its_photo(tmp_path: Path, dpi: float, deep: bool) -> None:
    Image.fromarray(noise(6, 9, 3)).save(tmp_path / "a.tif", dpi=(dpi, dpi))
    array, meta = read_image(tmp_path / "a.tif")
    assert write_image(tmp_path / "b.png", array.astype(np.uint16) if deep else array, meta) == ()


def grey_inks() -> bytes:
    """A CMYK profile by which every ink is black: lightness falls with their sum, and there is no colour."""
    inks = np.indices((2, 2, 2, 2)).reshape(4, -1).sum(0)
    table = np.stack([np.clip(255 - 128 * inks, 0, 255), *np.full((2, 16), 128)], -1).astype(np.uint8).tobytes()
    matrix = struct.pack(">9i", *(65536, 0, 0, 0, 65536, 0, 0, 0, 65536))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + bytes(range(256)) * 4 + table + bytes(range(256)) * 3
    tags = {b"A2B0": lut, b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)}
    entries, data = b"", b""
    for name, value in tags.items():
        entries += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(data), len(value))
        data += value + b"\0" * (-len(value) % 4)
    body = struct.pack(">I", len(tags)) + entries + data
    head = struct.pack(">I4xI4s4s4s12x4s", 128 + len(body), 0x02100000, b"prtr", b"CMYK", b"Lab ", b"acsp")
    return head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061).ljust(60, b"\0") + body


def test_cmyk_becomes_rgb_by_its_profile(tmp_path: Path) -> None:
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    cyan.save(tmp_path / "a.tif", icc_profile=grey_inks())
    array, meta = read_image(tmp_path / "a.tif")
    assert np.ptp(array.astype(int), axis=2).max() <= 2, "no colour"
    assert 100 < array.mean() < 140
    assert meta.icc_profile is None
    assert meta.said == ("its CMYK colours become RGB",)
    cyan.save(tmp_path / "b.tif", icc_profile=b"none at all".ljust(200))
    assert np.array_equal(read_image(tmp_path / "b.tif")[0], np.asarray(cyan.convert("RGB"))), "as without one"


def test_the_same_command_again_does_nothing_with_tiff_of_16_bits(vidsr: Cli, tmp_path: Path) -> None:
    write_image(tmp_path / "a.tif", noise(6, 9, 3, dtype=np.uint16))
    for said in ("6x9", "done already"):
        result = vidsr("upscale", tmp_path / "a.tif", "-o", tmp_path / "b.tif", *QUICK)
        assert (result.code, said.replace("6x9", "9x6") in result.err) == (0, True), result.err
    assert "left out" not in result.err
    assert read_image(tmp_path / "b.tif")[0].dtype == np.uint16


def test_pictures_behind_a_photo_are_left_out_and_said(tmp_path: Path) -> None:
    frames = [Image.fromarray(noise(6, 9, 3)) for _ in range(2)]
    frames[0].save(tmp_path / "a.mpo", save_all=True, append_images=frames[1:], comment=b"hello")
    (tmp_path / "a.mpo").rename(tmp_path / "a.jpg")
    array, meta = read_image(tmp_path / "a.jpg")
    assert array.shape == (6, 9, 3)
    assert meta.said == ("the pictures behind it (previews, a gain map) are left out",)
    assert meta.comment == b"hello"
