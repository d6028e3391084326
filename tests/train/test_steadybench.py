"""The benchmark of steadiness: exact layers and motion, the same bytes again, measures that find what was put in."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from train.__main__ import main
from train.scenes import KINDS, plan_scenes
from train.steadybench import SteadyBench, make
from train.steadyscore import by_kind, measure
from train.videobench import BenchPlan
from train.videoscore import Part
from vidsr.errors import UsageError

PLAN = BenchPlan(scale=4, size=256, clips=8, frames=4, crfs=(28,))


@pytest.fixture(scope="module")
def bench(large_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> SteadyBench:
    return make(PLAN, large_photos, tmp_path_factory.mktemp("steady"))


def bicubic(frames: list[Tensor]) -> list[Tensor]:
    return [F.interpolate(one[None], scale_factor=4, mode="bicubic")[0].clamp(0, 255).round() for one in frames]


def made_of(bench: SteadyBench, scene: str, change: Callable[[list[Tensor]], list[Tensor]]) -> dict[str, float]:
    """The figures of one scene, of an upscaler that makes its originals, changed."""
    numbers = [number for number, one in enumerate(bench.scenes) if one.kind == scene]
    originals = iter([bench.originals(one, 4) for one in bench.scenes[: numbers[0] + 1]])
    report = measure(lambda _: change(next(originals)), bench.folder, Part(numbers[0] + 1))
    return report.clips[bench.scenes[numbers[0]].name]["crf28"]


def alternating(frames: list[Tensor]) -> list[Tensor]:
    return [frame + 6 * (k % 2) for k, frame in enumerate(frames)]


def smeared(frames: list[Tensor]) -> list[Tensor]:
    """Half of the frame before, where it stood."""
    return [(frame + frames[max(k - 1, 0)]) / 2 for k, frame in enumerate(frames)]


def test_every_kind_is_there_and_its_layers_are_seen(bench: SteadyBench) -> None:
    assert tuple(scene.kind for scene in bench.scenes) == KINDS
    for scene in bench.scenes:
        maps = bench.layers(scene, 9)
        assert len(maps) == len(bench.originals(scene, 9)) == len(bench.decoded(scene, 28, 9)) == 4
        shown = {int(value) for one in maps for value in one.flatten().tolist()}
        assert set(range(1, len(scene.layers) + 1)) <= shown <= set(range(len(scene.layers) + 1))
    assert [sorted(scene.cuts) for scene in bench.scenes if scene.kind == "cut"] == [[2]]
    assert not any(scene.cuts for scene in bench.scenes if scene.kind != "cut")


def test_the_motion_of_each_layer_is_exact(bench: SteadyBench) -> None:
    """The originals laid on each other by it differ by what bilinear sampling costs, and else by much more."""
    report = measure(bicubic, bench.folder)
    for scene in bench.scenes:
        frames = bench.originals(scene, 4)
        known = report.clips[scene.name]["original"]["warp_error"]
        if scene.kind in ("tripod", "twos", "fade"):  # most of it stands, or its light changes
            continue
        plain = sum(float((b - a).abs().mean()) for a, b in pairwise(frames)) / 3
        assert known < 1.5, scene.name
        assert known < plain * 0.7, scene.name
    assert report.clips["00-tripod"]["original"]["warp_error"] < 1


def test_twos_show_each_drawing_twice_and_a_fade_darkens(bench: SteadyBench) -> None:
    for scene in bench.scenes:
        frames = bench.originals(scene, 4)
        if scene.kind == "twos":
            assert torch.equal(frames[0], frames[1])
            assert torch.equal(frames[2], frames[3])
            assert not torch.equal(frames[1], frames[2])
        if scene.kind == "fade":
            assert frames[2].mean() < 0.7 * frames[0].mean()


def test_noise_is_in_the_copies_and_not_in_the_originals(large_photos: Path, tmp_path: Path) -> None:
    bench = make(BenchPlan(4, 256, 4, 2, (0,)), large_photos, tmp_path)
    kinds = {scene.kind: scene for scene in bench.scenes}
    rough = {}
    for kind in ("tripod", "drift", "grain"):
        (hr, *_), (lr, *_) = bench.originals(kinds[kind], 1), bench.decoded(kinds[kind], 0, 1)
        rough[kind] = float((F.avg_pool2d(hr[None], 4)[0] - lr).mean(0).std())
    assert rough["tripod"] > rough["drift"] + 0.3
    assert rough["grain"] > rough["drift"] + 0.3


@pytest.mark.parametrize("kind", ["tripod", "drift", pytest.param("text", marks=pytest.mark.soak)])
def test_what_flickers_is_found(bench: SteadyBench, kind: str) -> None:
    same = made_of(bench, kind, lambda frames: frames)
    assert same["along"] == same.get("still", 0) == same.get("ghost", 0) == 0
    row = made_of(bench, kind, alternating)
    assert row["along"] == pytest.approx(6, abs=1e-3)
    assert row.get("still", 6) == pytest.approx(6, abs=1e-3)
    assert ("still" in row) == (kind != "drift")


@pytest.mark.soak  # measures all scenes three times
def test_ghosts_are_found_where_something_was_uncovered_or_cut(bench: SteadyBench) -> None:
    for kind in ("tripod", "cut"):
        row = made_of(bench, kind, smeared)
        assert row["ghost"] > 5
    assert made_of(bench, "text", smeared)["still"] < 0.1
    assert "ghost" not in made_of(bench, "drift", smeared)


def test_distances_never_cross_a_cut(bench: SteadyBench) -> None:
    seen: list[float] = []

    def distance(a: Tensor, b: Tensor) -> float:
        seen.append(float((a - b).abs().mean()))
        return seen[-1]

    number = next(k for k, scene in enumerate(bench.scenes) if scene.kind == "cut")
    cut = bench.originals(bench.scenes[number], 4)
    row = measure(bicubic, bench.folder, Part(number + 1), distances={"mean": distance}).clips["04-cut"]["crf28"]
    assert row["tlp-mean"] >= 0
    assert max(seen[-2:]) < float((cut[2] - cut[1]).abs().mean())  # the pair of the first shot, twice


def test_the_same_photos_give_the_same_bytes(large_photos: Path, tmp_path: Path) -> None:
    plan = BenchPlan(4, 256, 2, 2, (28,))
    one, two = (make(plan, large_photos, tmp_path / name) for name in ("a", "b"))
    assert one.digest == two.digest
    assert make(plan, large_photos, tmp_path / "a").digest == one.digest
    assert one.scenes == two.scenes == tuple(plan_scenes(2, 2, 256, [(f"{k}.png", (288, 300)) for k in range(3)], 0))
    with pytest.raises(UsageError, match="holds another benchmark"):
        make(BenchPlan(4, 256, 2, 2, (28,), seed=1), large_photos, tmp_path / "a")


def test_the_command_makes_and_measures(large_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["steadybench", "--out", str(tmp_path / "b")]
    small = ["--scale", "2", "--size", "128", "--scenes", "1", "--frames", "2", "--crf", "28"]
    assert main([*command, "--data", str(large_photos), *small]) == 0
    assert "1 scenes of 2 frames" in capsys.readouterr().out
    assert main([*command, "--measure", "bicubic", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["model"], report["scale"], report["frames"]) == ("bicubic", 2, 2)
    assert main([*command, "--measure", "bicubic"]) == 0
    shown = capsys.readouterr().out
    assert f"{report['rows']['crf28']['along']:.4f}" in shown
    assert "tripod crf28" in shown
    assert main([*command, "--measure", "bicubic", "--steady", "1", "--json"]) == 0
    steady = json.loads(capsys.readouterr().out)["rows"]["crf28"]
    assert 0 < steady["along"] < report["rows"]["crf28"]["along"]
    assert main([*command, "--measure", "bicubic", "--steady", "2"]) == 2
    assert "--steady must be from 0 to 1" in capsys.readouterr().err
    assert main(command) == 2
    assert "Give --data PHOTOS" in capsys.readouterr().err
    assert main([*command, "--measure", "bicubic", "--crf", "23"]) == 2
    assert "has no CRF 23, only 28" in capsys.readouterr().err
    assert main(["steadybench", "--out", str(tmp_path), "--measure", "bicubic"]) == 1
    assert "holds no benchmark of steadiness" in capsys.readouterr().err
    assert main(["steadybench", "--out", str(tmp_path / "c"), "--data", str(large_photos)]) == 1
    assert "smaller than a scene of 384 pixels" in capsys.readouterr().err


def test_kinds_have_rows_of_their_own(bench: SteadyBench) -> None:
    report = measure(bicubic, bench.folder, Part(2, 2))
    rows = by_kind(report, bench).rows
    assert list(rows) == ["crf28", "original", "tripod crf28", "drift crf28"]
    assert rows["crf28"]["along"] == pytest.approx((rows["tripod crf28"]["along"] + rows["drift crf28"]["along"]) / 2)
