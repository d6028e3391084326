"""Photos into a bank, a bank into pairs of patches."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.train.conftest import photo, save
from train.data import Bank, batches, crops, find_photos, open_bank
from train.resample import downscale
from vidsr.errors import MediaError, OutputError

FULL = Path("/dev/full")


def test_photos_are_found_below_and_measuring_folders_left_out(tmp_path: Path) -> None:
    for name in ("b.png", "deep/a.jpg", "val/1.png", "deep/benchmarks/x4/2.png", "C.PNG"):
        save(tmp_path / name, photo(1, 8, 8))
    (tmp_path / "index.tsv").write_text("no photo")
    found = find_photos([tmp_path, tmp_path / "deep"])
    assert [path.name for path in found] == ["C.PNG", "b.png", "a.jpg"]


def test_a_val_folder_above_the_data_does_not_matter(tmp_path: Path) -> None:
    save(tmp_path / "val" / "mine" / "1.png", photo(1, 8, 8))
    assert len(find_photos([tmp_path / "val" / "mine"])) == 1


def test_folders_without_photos_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="empty holds no image"):
        find_photos([tmp_path / "empty"])
    with pytest.raises(MediaError, match="gone does not exist"):
        find_photos([tmp_path / "gone"])


def test_bank_holds_every_pixel(photos: Path, tmp_path: Path) -> None:
    paths = find_photos([photos])
    bank = open_bank(paths, tmp_path / "cache", 16)
    assert bank.sizes == [(64, 72), (72, 72), (64, 72), (72, 72), (64, 72)]
    for number in range(5):
        assert np.array_equal(bank.photo(number).numpy(), photo(number, 64 + 8 * (number % 2), 72))


def test_formats_and_modes_become_rgb(tmp_path: Path) -> None:
    pixels = photo(2, 32, 32)
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(pixels).save(folder / "a.avif", quality=95, subsampling="4:4:4")
    Image.fromarray(pixels[..., 0]).save(folder / "b.png")
    Image.fromarray(pixels).convert("RGBA").save(folder / "c.webp", lossless=True)
    bank = open_bank(find_photos([folder]), tmp_path / "cache", 8)
    off = np.abs(bank.photo(0).numpy().astype(int) - pixels)
    assert off.mean() < 6
    assert np.array_equal(bank.photo(1).numpy(), np.repeat(pixels[..., :1], 3, -1))
    assert np.array_equal(bank.photo(2).numpy(), pixels)


def test_bank_is_decoded_once_and_again_after_a_change(photos: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    paths = find_photos([photos])
    open_bank(paths, cache, 16)
    (first,) = cache.glob("*.npy")
    stamp = first.stat().st_mtime_ns
    open_bank(paths, cache, 16)
    assert [path.stat().st_mtime_ns for path in cache.glob("*.npy")] == [stamp]
    save(paths[0], photo(9))
    os.utime(paths[0], ns=(1, 1))
    assert np.array_equal(open_bank(paths, cache, 16).photo(0).numpy(), photo(9))
    assert len(list(cache.glob("*.npy"))) == 2


def test_a_corrupt_photo_is_named_and_leaves_no_bank(photos: Path, tmp_path: Path) -> None:
    whole = (photos / "3.png").read_bytes()
    (photos / "3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError, match=r"3\.png cannot be read"):
        open_bank(find_photos([photos]), tmp_path / "cache", 16)
    (photos / "3.png").write_text("text")
    with pytest.raises(MediaError, match=r"3\.png cannot be read"):
        open_bank(find_photos([photos]), tmp_path / "cache", 16)
    assert not list((tmp_path / "cache").glob("*.npy"))
    (photos / "3.png").write_bytes(whole)
    assert len(open_bank(find_photos([photos]), tmp_path / "cache", 16)) == 5


def test_a_photo_smaller_than_a_patch_is_named(photos: Path, tmp_path: Path) -> None:
    save(photos / "tiny.png", photo(1, 20, 200))
    with pytest.raises(MediaError, match=r"tiny\.png is 200x20, smaller than the 48 pixels"):
        open_bank(find_photos([photos]), tmp_path / "cache", 48)


@pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")
def test_a_full_disk_is_a_sentence(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *args: real(FULL if path.suffix == ".part" else path, *args))
    with pytest.raises(OutputError, match=r"Cannot write the decoded photos .*No space left"):
        open_bank(find_photos([photos]), tmp_path / "cache", 16)
    assert not list((tmp_path / "cache").glob("*.npy"))


def bank_of(*pictures: np.ndarray) -> Bank:
    ends = np.cumsum([0, *(picture.size for picture in pictures)])
    pixels = torch.from_numpy(np.concatenate([picture.reshape(-1) for picture in pictures]))
    return Bank(pixels, ends[:-1].tolist(), [(p.shape[0], p.shape[1]) for p in pictures])


def test_lr_is_the_downscaled_photo_itself() -> None:
    """A patch cut with a margin and then downscaled equals the same place of the whole photo downscaled."""
    whole = photo(4, 96, 96)
    bank = bank_of(whole)
    random = torch.Generator().manual_seed(0)
    full = torch.from_numpy(whole).permute(2, 0, 1).float() / 255
    for scale in (2, 4):
        stream = batches(bank, 6, 8, scale, random, torch.device("cpu"))
        lr, hr = next(stream)
        assert lr.shape == (6, 3, 8, 8)
        assert hr.shape == (6, 3, 8 * scale, 8 * scale)
        for small, large in zip(lr, hr, strict=True):
            upright, turned = find(full, large)
            assert upright is not None
            top, left = upright
            grid = full[:, top % scale :, left % scale :]
            reference = downscale(grid[..., : grid.shape[1] // scale * scale, : grid.shape[2] // scale * scale], scale)
            row, column = top // scale, left // scale
            off = (reference[:, row : row + 8, column : column + 8] - undo(small, turned)).abs() * 255
            assert off.max() < 1.5  # turned patches round after the rows first
            assert off.mean() < 0.3


def undo(patch: torch.Tensor, way: int) -> torch.Tensor:
    turns, mirrored = divmod(way, 2)
    return torch.rot90(patch.flip(-1) if mirrored else patch, -turns, (-2, -1))


def find(full: torch.Tensor, patch: torch.Tensor) -> tuple[tuple[int, int] | None, int]:
    """Where in the photo, and in which of eight orientations, a patch was cut."""
    side = patch.shape[-1]
    windows = full.unfold(1, side, 1).unfold(2, side, 1)
    for way in range(8):
        wanted = undo(patch, way)
        for top, left in ((windows[..., 0, 0] - wanted[:, :1, :1]).abs() < 1e-6).all(0).nonzero().tolist():
            if (windows[:, top, left] - wanted).abs().max() < 1e-6:
                return (top, left), way
    return None, 0


def test_crops_are_those_cut_one_by_one() -> None:
    bank = bank_of(photo(0, 30, 41), photo(1, 25, 25), photo(2, 64, 26))
    draws = torch.rand(64, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    made = crops(bank, 24, draws)
    for crop, (which, down, right, way) in zip(made, draws.tolist(), strict=True):
        whole = bank.photo(int(which * 3))
        top, left = (int(draw * (side - 24 + 1)) for draw, side in zip((down, right), whole.shape[:2], strict=True))
        turns, mirrored = divmod(int(way * 8), 2)
        cut = torch.rot90(whole[top : top + 24, left : left + 24], turns, (0, 1))
        assert torch.equal(crop, cut.flip(1) if mirrored else cut)


def test_all_photos_places_and_orientations_are_drawn() -> None:
    pictures = [np.arange(48, dtype=np.uint8).reshape(4, 4, 3) + 60 * n for n in range(4)]
    draws = torch.rand(2000, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    drawn = crops(bank_of(*pictures), 3, draws)
    seen = {tuple(crop.reshape(-1).tolist()) for crop in drawn}
    assert len(seen) == 4 * 4 * 8  # photos, places, orientations
