"""Caches of baked pairs: aligned, shifted as stated, exact after a kill, readable without PyAV and Pillow."""

import json
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

import train.bake
from tests.train.conftest import photo, save
from train.__main__ import main
from train.bake import BakePlan, Limits, bake
from train.cache import HEADER, Cache, open_cache, pack, shard_path, unpack
from train.data import read_image
from train.degrade import Degradation
from train.resample import downscale
from train.scene import draw_offsets
from vidsr.errors import MediaError, OutputError, UsageError

PLAN = BakePlan(scale=2, crop=16, variants=3, frames=2, per_shard=2)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos, just large enough for some room around a window of 40 pixels."""
    found = tmp_path_factory.mktemp("photos")
    for number in range(3):
        save(found / f"{number}.png", photo(number, 64, 72))
    return found


@pytest.fixture(scope="module")
def baked(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("baked")
    assert bake(PLAN, [folder], out, out / "photos", Limits(13)) == 18  # rounded up to whole shards
    return out


@pytest.fixture
def cache(baked: Path) -> Cache:
    return open_cache(baked)


def shards(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("pairs-*.npz"))]


def test_threads_bake_the_same_bytes(folder: Path, baked: Path, tmp_path: Path) -> None:
    assert bake(PLAN, [folder], tmp_path / "out", tmp_path / "photos", Limits(13), threads=3) == 18
    assert shards(tmp_path / "out") == shards(baked)


def test_packing_loses_nothing() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 7, 9, 3), dtype=np.uint8)
    assert np.array_equal(unpack(pack(pixels)), pixels)
    assert not np.array_equal(pack(pixels), pixels)
    assert pack(np.full((4, 4, 3), 9, np.uint8)).sum() == 9  # a flat grey picture is one number


def test_a_shard_has_the_size_that_travels() -> None:
    for plan in (BakePlan(4, 64), BakePlan(2, 96), BakePlan(4, 256, variants=16)):
        assert plan.scenes * plan.scene_bytes <= 15 << 20
    assert BakePlan(4, 64).scenes == 32


@pytest.mark.parametrize("scale", [2, 4])
def test_offsets_make_shifts_of_1_to_7_pixels_and_never_of_whole_lr_pixels(scale: int) -> None:
    random = np.random.default_rng(1)
    largest = 0
    for _ in range(200):
        for a, b in combinations(draw_offsets(random, 4, scale).tolist(), 2):
            shift = [abs(x - y) for x, y in zip(a, b, strict=True)]
            assert any(value % scale for value in shift)
            largest = max(largest, *shift)
    assert largest == 7


def test_every_window_is_a_part_of_its_photo_and_every_photo_comes_first(cache: Cache, folder: Path) -> None:
    photos = [read_image(folder / f"{number}.png") for number in range(3)]
    window = cache.header.window
    assert window == 40
    seen = []
    for hr in cache.hr.numpy():
        views = [np.lib.stride_tricks.sliding_window_view(one, (window, window, 3)) for one in photos]
        seen.append([bool((view.reshape(-1, *hr.shape) == hr).all((1, 2, 3)).any()) for view in views].index(True))
    assert sorted(seen[:3]) == sorted(seen[3:]) == [0, 1, 2]


def test_clean_pairs_are_the_reduced_photo_at_their_offset(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.scene.draw_degradation", lambda random: Degradation())
    bake(PLAN, [folder], tmp_path / "c", tmp_path / "photos", Limits(1))
    lr, hr = next(open_cache(tmp_path / "c").batches(12, 16, torch.Generator().manual_seed(0), CPU))
    assert lr.shape == (12, 3, 16, 16)
    assert hr.shape == (12, 3, 32, 32)
    inner = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(
        lr[inner], downscale(hr, 2)[inner], rtol=0, atol=1.01 / 255
    )  # turning swaps the rounding


def test_shifted_pairs_show_the_same_place(cache: Cache) -> None:
    lr, hr, shifts = next(cache.shift_batches(64, 12, torch.Generator().manual_seed(2), CPU))
    (lr_a, lr_b), (hr_a, hr_b) = lr.chunk(2), hr.chunk(2)
    assert lr_a.shape == lr_b.shape == (64, 3, 12, 12)
    assert hr_a.shape == hr_b.shape == (64, 3, 24, 24)
    assert shifts.abs().max() <= 7
    assert bool((shifts % 2).any(1).all())
    for a, b, (down, right) in zip(hr_a, hr_b, shifts.tolist(), strict=True):
        rows, columns = 24 - abs(down), 24 - abs(right)
        top, left = max(down, 0), max(right, 0)
        part = b[:, top - down : top - down + rows, left - right : left - right + columns]
        assert torch.equal(a[:, top : top + rows, left : left + columns], part)
    assert not torch.equal(lr_a, lr_b)


def test_batches_follow_their_generator(cache: Cache) -> None:
    def first(seed: int) -> torch.Tensor:
        return torch.cat([next(cache.batches(8, 12, torch.Generator().manual_seed(seed), CPU))[0]])

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))
    assert len(cache) == 18
    assert cache.header.data["photos"] == 3


def test_a_patch_larger_than_the_pictures_is_refused(cache: Cache) -> None:
    random = torch.Generator()
    with pytest.raises(UsageError, match="LR pictures of 16 pixels, too small for a patch of 20"):
        next(cache.batches(1, 20, random, CPU))
    with pytest.raises(UsageError, match="too small for a patch of 20"):
        next(cache.shift_batches(1, 20, random, CPU))


def test_killed_while_writing_and_run_again_gives_the_same_bytes(
    baked: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, calls = tmp_path / "again", 0

    def killed(shards: int, *rest: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train.bake, "_report", killed)
        with pytest.raises(KeyboardInterrupt):
            bake(PLAN, [folder], out, tmp_path / "photos", Limits(18))
    assert len(shards(out)) == 2
    shard_path(out, 1).with_name("pairs-00001.npz.part").write_bytes(b"half")
    shard_path(out, 1).unlink()
    assert bake(PLAN, [folder], out, tmp_path / "photos", Limits(18)) == 18
    assert shards(out) == shards(baked)
    assert bake(PLAN, [folder], out, tmp_path / "photos", Limits(18)) == 18  # nothing left to do
    assert shards(out) == shards(baked)


def test_no_shard_is_there_before_it_is_whole(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "c"
    bake(PLAN, [folder], out, tmp_path / "photos", Limits(1))

    def killed(path: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        bake(PLAN, [folder], out, tmp_path / "photos", Limits(12))
    assert len(shards(out)) == 1


def test_another_seed_bakes_other_pairs(baked: Path, folder: Path, tmp_path: Path) -> None:
    bake(BakePlan(2, 16, 3, 2, seed=1, per_shard=2), [folder], tmp_path / "c", tmp_path / "photos", Limits(1))
    assert shards(tmp_path / "c")[0] != shards(baked)[0]


def test_the_size_limit_is_kept(baked: Path, folder: Path, tmp_path: Path) -> None:
    limit = sum(map(len, shards(baked)[:2])) + 10
    assert bake(PLAN, [folder], tmp_path / "c", tmp_path / "photos", Limits(max_bytes=limit)) == 12


def test_a_cache_of_another_plan_is_not_continued(baked: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="was baked with crop 16, not 18; choose another --out"):
        bake(BakePlan(2, 18, 3, 2, per_shard=2), [folder], baked, tmp_path, Limits(99))
    other = save(tmp_path / "other" / "0.png", photo(9)).parent
    with pytest.raises(UsageError, match="was baked with photos"):
        bake(PLAN, [other], baked, tmp_path, Limits(99))


def test_reading_needs_neither_pyav_nor_pillow(baked: Path) -> None:
    script = (
        "import sys\nfor name in ('av', 'PIL', 'pillow_avif'):\n    sys.modules[name] = None\n"
        "import torch\nfrom pathlib import Path\nfrom train.bake import open_cache\n"
        f"cache = open_cache(Path({str(baked)!r}))\nrandom = torch.Generator().manual_seed(0)\n"
        "lr, hr = next(cache.batches(4, 16, random, torch.device('cpu')))\nprint(len(cache), tuple(lr.shape))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=Path.cwd())
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "18 (4, 3, 16, 16)"


def test_a_damaged_cache_says_so(baked: Path, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"no cache of pairs .* bake one there"):
        open_cache(tmp_path)
    header = (baked / HEADER).read_text()
    (tmp_path / HEADER).write_text(header)
    with pytest.raises(MediaError, match="holds no pairs yet"):
        open_cache(tmp_path)
    shard_path(tmp_path, 0).write_bytes(shards(baked)[0][:-100])
    with pytest.raises(MediaError, match=r"pairs-00000\.npz is damaged; delete it and bake again"):
        open_cache(tmp_path)
    (tmp_path / HEADER).write_text(json.dumps(json.loads(header) | {"format": 99}))
    with pytest.raises(UsageError, match="another format than"):
        open_cache(tmp_path)


def test_a_full_disk_loses_no_shard(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "full"
    bake(PLAN, [folder], out, tmp_path / "photos", Limits(1))
    before = shards(out)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vidsr.files.os.fsync", full)
    with pytest.raises(OutputError, match=r"No space left on device\); make room and run again"):
        bake(PLAN, [folder], out, tmp_path / "photos", Limits(12))
    assert shards(out) == before
    assert not list(out.glob("*.part"))


def test_the_command_says_what_it_made_and_what_is_wrong(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["bake", "--data", str(folder), "--out", str(tmp_path / "c"), "--cache", str(tmp_path / "photos")]
    small = ["--scale", "2", "--crop", "16", "--variants", "2", "--frames", "1"]
    assert main([*command, *small, "--mib", "0.1", "--count", "1"]) == 0
    assert "pairs" in capsys.readouterr().out
    assert main(command) == 2
    assert "Say when to stop" in capsys.readouterr().err
    assert main([*command, "--count", "1", "--variants", "17"]) == 2
    assert "from 1 to 16, not 17" in capsys.readouterr().err
    assert main([*command, "--count", "1"]) == 1
    assert "smaller than the 264 pixels" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["bake", "--data", str(tmp_path / "empty"), "--out", str(tmp_path / "d"), "--count", "1"]) == 1
    assert "holds no image" in capsys.readouterr().err
