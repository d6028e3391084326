"""The video benchmark: exact motion, the same bytes again, and figures that tell upscalers apart."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from train import steadybench
from train.__main__ import main
from train.inference import each
from train.metrics import psnr
from train.resample import downscale
from train.videobench import INDEX, Benchmark, BenchPlan, make, open_benchmark, plan_clips
from train.videoscore import Part, measure, table
from vidsr.errors import MediaError, UsageError

PLAN = BenchPlan(scale=4, size=256, clips=3, frames=4, crfs=(18, 36))


@pytest.fixture(scope="module")
def bench(large_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    return make(PLAN, large_photos, tmp_path_factory.mktemp("bench"))


def bicubic(lr: Tensor) -> Tensor:
    return F.interpolate(lr[None], scale_factor=4, mode="bicubic", align_corners=False)[0].clamp(0, 255).round()


def blurred(lr: Tensor) -> Tensor:
    return F.interpolate(F.avg_pool2d(lr[None], 4), scale_factor=16, mode="bilinear")[0].round()


def difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().mean())


def test_a_benchmark_holds_every_kind_of_motion(bench: Benchmark) -> None:
    assert [clip.kind for clip in bench.clips] == ["pan", "zoom", "shake"]
    assert [clip.photo for clip in bench.clips] == ["0.png", "1.png", "2.png"]
    for clip in bench.clips:
        frames = bench.originals(clip, 9)
        assert len(frames) == 4
        assert frames[0].shape == (3, 256, 256)
        assert difference(frames[0], frames[-1]) > 1
        for view in clip.views:
            assert 0 <= view.left <= 300 - view.pitch * 256 + 1e-9
            assert 0 <= view.top <= 288 - view.pitch * 256 + 1e-9


def test_the_motion_is_exact(bench: Benchmark) -> None:
    for clip in bench.clips:
        frames = bench.originals(clip, 4)
        y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
        for k in range(1, 4):
            place = torch.stack([x, y, torch.ones_like(x)], -1) @ clip.motion(k, 0).float().T
            seen = F.grid_sample(frames[0][None], (place / 255 * 2 - 1)[None], mode="bicubic", align_corners=True)[0]
            inside = ((place >= 4) & (place <= 251)).all(-1)
            assert inside.float().mean() > 0.5
            error = difference(seen[:, inside], frames[k][:, inside])
            moved = difference(frames[0][:, inside], frames[k][:, inside])
            assert error < 1, (clip.name, k, error)
            assert error < 0.7 * moved, (clip.name, k, error, moved)


def test_the_index_states_the_motion(bench: Benchmark) -> None:
    clips = json.loads((bench.folder / INDEX).read_text())["clips"]
    for clip, stated in zip(bench.clips, clips, strict=True):
        first, second = (torch.tensor([*stated["affines"][k], [0, 0, 1]], dtype=torch.float64) for k in (0, 3))
        torch.testing.assert_close(second @ torch.cat([clip.motion(0, 3), torch.tensor([[0, 0, 1.0]])]), first)


def test_a_pan_moves_by_whole_pixels_that_are_no_multiple_of_the_scale(large_photos: Path) -> None:
    shapes = [("a.png", (512, 512)), ("b.png", (270, 300))]
    for scale in (2, 4):
        for seed in range(20):
            for clip in plan_clips(BenchPlan(scale, 256, 6, 8, seed=seed), shapes):
                assert all(view.pitch >= 1 for view in clip.views)
                if clip.kind == "pan":
                    steps = [clip.views[1].left - clip.views[0].left, clip.views[1].top - clip.views[0].top]
                    assert all(step.is_integer() and abs(step) <= 7 for step in steps)
                    assert any(step % scale for step in steps)


def test_lr_is_the_reduced_original_compressed(bench: Benchmark) -> None:
    for clip in bench.clips:
        hr = bench.originals(clip, 4)
        fine, coarse = bench.decoded(clip, 18, 4), bench.decoded(clip, 36, 4)
        assert len(fine) == len(coarse) == 4
        for k in range(4):
            lr = downscale(hr[k] / 255, 4) * 255
            assert fine[k].shape == lr.shape == (3, 64, 64)
            assert psnr(fine[k], lr) > psnr(coarse[k], lr)
            luma = (lr.mean(0), fine[k].mean(0))
            best = min(difference(luma[0].roll(s, d), luma[1]) for d in (0, 1) for s in (-1, 1))
            assert difference(*luma) < best  # not shifted


def test_the_same_photos_give_the_same_bytes(bench: Benchmark, large_photos: Path, tmp_path: Path) -> None:
    again = make(PLAN, large_photos, tmp_path)
    assert again.digest == bench.digest
    names = sorted(path.name for path in bench.folder.iterdir())
    assert names == sorted(path.name for path in tmp_path.iterdir())
    assert all((tmp_path / name).read_bytes() == (bench.folder / name).read_bytes() for name in names)
    assert make(PLAN, large_photos, tmp_path).digest == bench.digest
    with pytest.raises(UsageError, match="holds another video benchmark"):
        make(BenchPlan(4, 256, 3, 4, (18, 36), seed=1), large_photos, tmp_path)


def test_figures_tell_upscalers_apart(bench: Benchmark) -> None:
    sharp, soft = (measure(each(run), bench.folder, name="x") for run in (bicubic, blurred))
    assert list(sharp.rows) == ["crf18", "crf36", "original"]
    assert sharp.rows["crf18"]["psnr_y"] > soft.rows["crf18"]["psnr_y"] + 1
    assert sharp.rows["crf18"]["psnr_y"] > sharp.rows["crf36"]["psnr_y"]
    assert sharp.rows["crf18"]["ssim_y"] > sharp.rows["crf36"]["ssim_y"]
    assert sharp.rows["original"]["flicker"] == 0  # whole pixels: nothing is interpolated
    assert sharp.rows["crf18"]["flicker"] > 0
    assert sharp.rows["original"]["warp_error"] < sharp.rows["crf18"]["warp_error"]
    assert "flicker" not in sharp.clips["01-zoom"]["crf18"]
    assert sharp.num_frames == 12


def test_flicker_is_what_was_added(bench: Benchmark) -> None:
    """An upscaler that gives the original back, brighter by 6 in every other frame, flickers by 6."""
    clip = bench.clips[0]
    frames = iter([frame + 6 * (k % 2) for k, frame in enumerate(bench.originals(clip, 4))])
    report = measure(each(lambda lr: next(frames)), bench.folder, Part(1, crfs=(18,)))
    row = report.rows["crf18"]
    assert row["flicker"] == pytest.approx(6, abs=1e-6)
    assert row["chroma"] == pytest.approx(0, abs=1e-4)
    assert row["warp_error"] == pytest.approx(6, abs=0.5)


def test_blending_with_neighbours_holds_the_clips_still(
    bench: Benchmark, untrained: None, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["videobench", "--out", str(bench.folder), "--measure", "bicubic", "--clips", "1", "--crf", "36"]
    rows = []
    for steady in ("0", "1"):
        assert main([*command, "--json", "--steady", steady]) == 0
        rows.append(json.loads(capsys.readouterr().out)["rows"])
    assert 0 < rows[1]["crf36"]["flicker"] < rows[0]["crf36"]["flicker"]
    assert rows[1]["original"] == rows[0]["original"]
    assert main([*command, "--steady", "2"]) == 2
    assert "--steady must be from 0 to 1" in capsys.readouterr().err


def test_distances_are_measured_on_every_third_frame(bench: Benchmark) -> None:
    calls: list[float] = []

    def distance(a: Tensor, b: Tensor) -> float:
        calls.append(difference(a, b))
        return calls[-1]

    row = measure(each(bicubic), bench.folder, Part(1, crfs=(18,)), distances={"mean": distance}).rows["crf18"]
    assert len(calls) == 1 + 2 + 1  # frame 0 to 1 of the original; frames 0 and 3; frame 0 to 1 of the output
    assert row["mean"] == pytest.approx(sum(calls[1:3]) / 2)
    assert row["tlp-mean"] == pytest.approx(100 * abs(calls[3] - calls[0]))


def test_a_part_of_the_benchmark(bench: Benchmark) -> None:
    report = measure(each(bicubic), bench.folder, Part(2, 2, (36,)))
    assert list(report.clips) == ["00-pan", "01-zoom"]
    assert (report.num_frames, list(report.rows)) == (4, ["crf36", "original"])
    with pytest.raises(UsageError, match="has no CRF 23, only 18, 36"):
        measure(each(bicubic), bench.folder, Part(crfs=(23,)))
    with pytest.raises(UsageError, match="at least 1 clip and 2 frames"):
        measure(each(bicubic), bench.folder, Part(frames=1))


def test_the_command_makes_and_measures(large_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["videobench", "--out", str(tmp_path / "b")]
    small = ["--scale", "2", "--size", "128", "--clips", "1", "--frames", "3", "--crf", "28"]
    assert main([*command, "--data", str(large_photos), *small]) == 0
    assert "1 clips of 3 frames" in capsys.readouterr().out
    assert main([*command, "--measure", "bicubic", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["model"], report["scale"], report["frames"]) == ("bicubic", 2, 3)
    assert main([*command, "--measure", "bicubic"]) == 0
    assert f"{report['rows']['crf28']['psnr_y']:.4f}" in capsys.readouterr().out
    assert main(command) == 2
    assert "Give --data PHOTOS" in capsys.readouterr().err
    assert main(["videobench", "--out", str(tmp_path), "--measure", "bicubic"]) == 1
    assert "holds no video benchmark" in capsys.readouterr().err
    assert main(["videobench", "--out", str(tmp_path / "c"), "--data", str(large_photos)]) == 1
    assert "too small for clips of 384 pixels" in capsys.readouterr().err
    assert main([*command, "--data", str(large_photos), "--size", "128"]) == 2
    assert "multiple of 8 from 256, not 128" in capsys.readouterr().err


@pytest.mark.parametrize(("opened", "index"), [(open_benchmark, INDEX), (steadybench.open_bench, steadybench.INDEX)])
def test_a_damaged_index_says_so(opened: Callable[[Path], object], index: str, tmp_path: Path) -> None:
    (tmp_path / index).write_text('{"format": 1, "plan": {}}')
    with pytest.raises(MediaError, match="is damaged; delete the folder"):
        opened(tmp_path)
    (tmp_path / index).write_text('{"format": 9}')
    with pytest.raises(MediaError, match="has format 9, this version reads 1"):
        opened(tmp_path)


def test_the_table_lists_every_figure(bench: Benchmark) -> None:
    report = measure(each(bicubic), bench.folder, Part(1), name="bicubic")
    lines = table(report).splitlines()
    assert lines[0] == f"bicubic x4, video benchmark {bench.digest}, 4 frames"
    assert lines[1].split() == ["psnr_y", "ssim_y", "chroma", "warp_error", "flicker"]
    assert lines[-1].split() == ["original", "-", "-", "-", f"{report.rows['original']['warp_error']:.4f}", "0.0000"]
