"""Images: samples, orientation, profile and depth come back as they went in."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from vidsr.errors import MediaError, OutputError
from vidsr.media.image_meta import ImageMeta
from vidsr.media.stills import is_image, open_image, read_image, write_image


def noise(*shape: int, dtype: type[np.uint8 | np.uint16] = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(1).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".tga"])
@pytest.mark.parametrize("shape", [(12, 17), (12, 17, 3)])
def test_8_bit_samples_survive(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    array = noise(*shape)
    assert write_image(tmp_path / f"a{suffix}", array) == ()
    read, _ = read_image(tmp_path / f"a{suffix}")
    assert np.array_equal(read, array)
    assert [p.name for p in tmp_path.iterdir()] == [f"a{suffix}"], "no temporary file is left"


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("shape", [(12, 17), (12, 17, 3), (12, 17, 4)])
def test_16_bit_samples_survive(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    array = noise(*shape, dtype=np.uint16)
    write_image(tmp_path / f"a{suffix}", array)
    read, _ = read_image(tmp_path / f"a{suffix}")
    assert read.dtype == np.uint16
    assert np.array_equal(read, array)


def test_alpha_survives_in_png_and_is_named_where_it_cannot(tmp_path: Path) -> None:
    array = noise(12, 17, 4)
    assert write_image(tmp_path / "a.png", array) == ()
    assert np.array_equal(read_image(tmp_path / "a.png")[0], array)
    assert write_image(tmp_path / "a.jpg", array) == ("alpha (it lies on white now)",)
    assert read_image(tmp_path / "a.jpg")[0].shape == (12, 17, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_transparency_lies_on_white_where_it_cannot_be_kept(tmp_path: Path, dtype: type[np.uint8 | np.uint16]) -> None:
    peak = np.iinfo(dtype).max
    array = np.full((2, 3, 4), peak // 5, dtype)
    array[..., 3] = [0, peak // 5, peak]
    write_image(tmp_path / "a.bmp", array)
    assert read_image(tmp_path / "a.bmp")[0][0, :, 0].tolist() == [255, 214, 51]


def test_a_text_of_megabytes_in_a_png_is_kept(tmp_path: Path) -> None:
    texts, told = PngImagePlugin.PngInfo(), "workflow " * 200_000
    texts.add_text("prompt", told, zip=True)
    Image.fromarray(noise(4, 4, 3)).save(tmp_path / "a.png", pnginfo=texts)
    samples, meta = read_image(tmp_path / "a.png")
    write_image(tmp_path / "b.png", samples, meta)
    with open_image(tmp_path / "b.png") as image:
        assert image.info["prompt"] == told


def test_16_bits_are_rounded_for_jpeg(tmp_path: Path) -> None:
    array = np.full((16, 16), 0x7FFF + 200, np.uint16)
    assert write_image(tmp_path / "a.jpg", array) == ("16 bits",)
    assert abs(int(read_image(tmp_path / "a.jpg")[0][8, 8]) - round((0x7FFF + 200) / 257)) <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_applied_once(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = Image.fromarray(noise(6, 9, 3))
    source.save(tmp_path / "a.png", exif=exif)
    array, meta = read_image(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as again:
        assert np.array_equal(array, np.asarray(ImageOps.exif_transpose(again)))
    write_image(tmp_path / "b.png", array, meta)
    with Image.open(tmp_path / "b.png") as written:
        assert written.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize(("suffix", "deep"), [(".jpg", False), (".png", False), (".png", True), (".webp", False)])
def test_profile_and_exif_are_kept(tmp_path: Path, suffix: str, deep: bool) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8769)[0x829A] = 0.5  # exposure time
    exif.get_ifd(0x8769)[0xA002] = 9
    exif.get_ifd(0x8825)[0x0001] = "N"
    Image.fromarray(noise(6, 9, 3)).save(tmp_path / "a.jpg", exif=exif, icc_profile=profile)
    _, meta = read_image(tmp_path / "a.jpg")
    big = noise(24, 36, 3, dtype=np.uint16 if deep else np.uint8)
    assert write_image(tmp_path / f"b{suffix}", big, meta) == ()
    with Image.open(tmp_path / f"b{suffix}") as written:
        assert written.info["icc_profile"] == profile
        kept = written.getexif()
        assert kept[0x010F] == "Maker"
        assert kept.get_ifd(0x8769)[0x829A] == pytest.approx(0.5)
        assert kept.get_ifd(0x8769)[0xA002] == 36, "the new width"
        assert kept.get_ifd(0x8825)[0x0001] == "N"


def test_palettes_and_cmyk_become_rgb(tmp_path: Path) -> None:
    picture = Image.fromarray(noise(8, 8, 3))
    palette = picture.quantize(16)
    palette.save(tmp_path / "p.png")
    assert np.array_equal(read_image(tmp_path / "p.png")[0], np.asarray(palette.convert("RGB")))
    picture.convert("CMYK").save(tmp_path / "c.tif")
    array, meta = read_image(tmp_path / "c.tif")
    assert array.shape == (8, 8, 3)
    assert meta.icc_profile is None


def test_what_counts_as_an_image(tmp_path: Path) -> None:
    frames = [Image.fromarray(noise(8, 8, 3)) for _ in range(2)]
    frames[0].save(tmp_path / "still.png")
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    assert is_image(tmp_path / "still.png")
    assert not is_image(tmp_path / "moving.png")
    assert is_image(Path("photo.JPG"))
    assert not is_image(Path("clip.mp4"))
    assert not is_image(Path("clip.gif"))


def broken_files(folder: Path) -> dict[str, str]:
    whole = io.BytesIO()
    Image.fromarray(noise(64, 64, 3)).save(whole, "PNG")
    (folder / "cut.png").write_bytes(whole.getvalue()[:3000])
    (folder / "text.png").write_text("not a picture")
    (folder / "empty.jpg").write_bytes(b"")
    header = b"IHDR" + (40000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    bomb = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")
    (folder / "bomb.png").write_bytes(bomb + (0).to_bytes(4, "big") + b"IDAT" + zlib.crc32(b"IDAT").to_bytes(4, "big"))
    frames = [Image.fromarray(noise(8, 8, 3)), Image.new("RGB", (8, 8))]
    for name in ("moving.webp", "scan.tif"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:])
    return {
        "cut.png": "cannot be read",
        "text.png": "not an image",
        "empty.jpg": r"is empty \(0 bytes\); copy or download it again",
        "bomb.png": "cannot be read|above the limit",
        "moving.webp": "holds 2 pictures",
        "scan.tif": "holds 2 pages; split it",
        "missing.png": "does not exist",
    }


def test_bad_files_give_one_sentence(tmp_path: Path) -> None:
    for name, sentence in broken_files(tmp_path).items():
        with pytest.raises(MediaError, match=sentence) as caught:
            read_image(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_unwritable_targets(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.xyz"):
        write_image(tmp_path / "a.xyz", noise(4, 4))
    with pytest.raises(OutputError, match="cannot be written"):
        write_image(tmp_path / "nowhere" / "a.png", noise(4, 4), ImageMeta())
