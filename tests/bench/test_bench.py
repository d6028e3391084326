"""`vidsr bench`: figures that add up, and a line that can be pasted."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests import warm
from tests.conftest import Result
from vidsr.backends.accuracy import MIN_PSNR
from vidsr.bench import chart, network, timing
from vidsr.bench.job import FilmLine
from vidsr.bench.network import BenchLine, Speed, synthetic_frames
from vidsr.bench.report import Bench, BenchReport, fastest
from vidsr.cli import bench as cli
from vidsr.errors import OutputError, UsageError
from vidsr.jobs import dry_run
from vidsr.jobs.batch import Batch
from vidsr.jobs.inputs import Input, Target
from vidsr.jobs.options import Options
from vidsr.upscaling.upscaler import Upscaler

Cli = Callable[..., Result]
CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def plotted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench") / "chart.png"


@pytest.fixture(scope="module")
def report(plotted: Path) -> dict:  # type: ignore[type-arg]
    """One run through the command line, with a film and everything: variants, jobs, prediction, chart."""
    command = [
        sys.executable, "-m", "vidsr", "bench", "samples/sintel.mp4", "--model", "fast", "--scale", "2",
        "--sizes", "48x32,32x24", "--seconds", "0.05", "--threads", "1", "--backends", "cpu,cuda", "--precisions",
        "fp32", "--variants", "--preset", "ultrafast", "--json", "--plot", str(plotted),
    ]  # fmt: skip
    result = warm.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_figures_add_up(report: dict) -> None:  # type: ignore[type-arg]
    cpu = [row for row in report["networks"] if row["line"]["backend"] == "cpu"]
    assert {row["line"]["path"] for row in cpu} == {"plain", "fused"}
    assert {(row["width"], row["height"]) for row in cpu} == {(48, 32), (32, 24)}
    peaks = {(peak["device"], peak["precision"]): peak["flops"] for peak in report["peaks"]}
    for row in cpu:
        flop = report["flop_per_pixel"] * row["width"] * row["height"]
        assert row["flops"] == pytest.approx(row["fps"] * flop)
        assert row["milliseconds"] * row["fps"] == pytest.approx(1000)
        assert row["fps"] * row["call"]["median"] == pytest.approx(row["batch"])
        assert row["call"]["low"] <= row["call"]["median"] <= row["call"]["high"]
        assert row["call"]["num_samples"] >= timing.MIN_SAMPLES
        assert row["peak_share"] == pytest.approx(row["flops"] / peaks["cpu", row["line"]["precision"]])
        assert row["step_share"] == pytest.approx(row["step_fps"] / row["fps"])
        assert row["psnr"] > 90  # FP32 against itself
        assert row["keeps_quality"]
    assert report["flop_per_pixel"] == 2 * 9 * (3 * 64 + 6 * 64 * 64 + 64 * 3 * 4)


def test_jobs_add_up(report: dict) -> None:  # type: ignore[type-arg]
    assert len(report["jobs"]) == 2
    for job in report["jobs"]:
        assert list(job["busy"]) == ["decode", "upscale", "encode"]
        assert all(0 <= share <= 1 for share in job["busy"].values())
        assert job["busy"][job["limit"]] == max(job["busy"].values()) > 0
        assert job["fps"] * job["seconds"] == pytest.approx(job["num_frames"])
        assert job["codec"] == "h264"
        assert job["bytes"] > 1000


def test_the_film_and_the_line_to_paste(report: dict) -> None:  # type: ignore[type-arg]
    (line,) = report["film"]
    assert line["seconds"] * line["fps"] == pytest.approx(96)
    assert line["num_tried"] >= 1
    options = Options(model="fast", scale=2, backend="cpu", precision="fp32", threads=1, preset="ultrafast")
    made = dry_run.run_batch(
        Batch([Input(ROOT / "samples/sintel.mp4", ROOT, named=True)], Target(), options, overwrite=True)
    )
    assert line["bytes"] == pytest.approx(made.planned[0].bytes, rel=0.2)  # fewer frames are tried on a busy machine
    assert report["fastest"] == {"backend": "cpu", "precision": "fp32", "path": "best"}
    words = shlex.split(report["command"])
    assert words[:3] == ["vidsr", "upscale", "samples/sintel.mp4"]
    assert words[words.index("--backend") + 1] == "cpu"
    assert words[words.index("--scale") + 1] == "2"
    assert words[words.index("--model") + 1] == "fast"


def test_what_does_not_run_is_named(report: dict) -> None:  # type: ignore[type-arg]
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert {row["line"]["backend"] for row in report["refused"]} == {"cuda"}
    assert all("no NVIDIA GPU" in row["why"] for row in report["refused"])


def test_the_chart_shows_every_figure(report: dict, plotted: Path) -> None:  # type: ignore[type-arg]
    with Image.open(plotted) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    for kind, number in (("generator", 4), ("with colour and copies", 4), ("whole job", 2)):
        column = (pixels[:, chart.LABEL + 1] == chart.COLOURS[kind]).all(axis=1)
        assert int((np.diff(column.astype(int)) == 1).sum()) == number, kind


def test_a_table_for_people(vidsr: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    result = vidsr("bench", "--model", "bicubic", "--sizes", "16x16", "--seconds", "0.01", "--network-only",
                   "--backends", "cpu")  # fmt: skip
    assert result.code == 0
    assert "cpu fp32" in result.out
    assert "Fastest that keeps the quality: vidsr upscale INPUT --backend cpu --precision fp32" in result.out
    assert "Whole jobs" not in result.out
    assert "cpu fp32 16x16: " in result.err


def test_a_chart_that_cannot_be_written_costs_no_figures(vidsr: Cli, tmp_path: Path) -> None:
    result = vidsr("bench", "--model", "bicubic", "--sizes", "16x16", "--seconds", "0.01", "--network-only",
                   "--backends", "cpu", "--json", "--plot", tmp_path / f"{'x' * 300}.png")  # fmt: skip
    assert (result.code, len(json.loads(result.out)["networks"])) == (1, 1), "one document"
    assert "the chart cannot be written" in result.err


def test_wrong_values(vidsr: Cli) -> None:
    for arguments in (("--sizes", "large"), ("--sizes", ""), ("--sizes", "1x1"), ("--seconds", "0"), ("--model", "x")):
        result = vidsr("bench", *arguments)
        assert result.code in (1, 2), arguments
        assert result.err.count("\n") == 1
        assert result.out == ""


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--sizes", "99999x99999"), 2, "16384x16384"),
        (("--backends", "nope"), 2, "tensorrt, cuda, mps, openvino, onnxruntime, cpu, not 'nope'"),
        (("--precisions", "int4"), 2, "not 'int4'"),
        (("--codec", "nope"), 2, "no codec 'nope'"),
        (("--preset", "nope"), 2, "preset nope"),
        (("--network-only", "--codec", "hevc"), 2, "--codec is of whole jobs and films"),
        (("--network-only", "--preset", "fast"), 2, "--preset is of whole jobs and films"),
        (("--plot", "chart.txt"), 2, "chart.txt"),
        (("--plot", "no/folder/chart.png"), 2, "no/folder"),
        (("missing.mkv",), 1, "does not exist"),
        ((".",), 1, "is a folder"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_measured(
    vidsr: Cli, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, words: str
) -> None:
    monkeypatch.setattr(network, "_speed", lambda *_: pytest.fail("measured"))
    result = vidsr("bench", *arguments)
    assert (result.code, result.out) == (code, "")
    assert words in result.err
    assert result.err.count("\n") == 1


def test_a_size_that_does_not_fit_leaves_the_others(vidsr: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = network._speed

    def small(line: BenchLine, upscaler: Upscaler, size: tuple[int, int], *others: Any) -> Speed:
        if size == (64, 48):
            torch.empty(1 << 50)
        return measured(line, upscaler, size, *others)

    monkeypatch.setattr(network, "_speed", small)
    result = vidsr("bench", "--model", "bicubic", "--sizes", "64x48,16x16", "--seconds", "0.01", "--network-only",
                   "--backends", "cpu,cpu", "--json")  # fmt: skip
    assert result.code == 0
    report = json.loads(result.out)
    assert [(row["width"], row["height"]) for row in report["networks"]] == [(16, 16)]
    assert [row["why"] for row in report["refused"]] == ["64x48 does not fit into the memory"]


def test_odd_sizes_and_an_encoder_that_is_not_there(vidsr: Cli) -> None:
    result = vidsr("bench", "--model", "bicubic", "--sizes", "33x31", "--seconds", "0.01", "--backends", "cpu",
                   "--codec", "h264_nvenc", "--json")  # fmt: skip
    assert result.code == 0, result.err
    (job,) = json.loads(result.out)["jobs"]
    assert (job["width"], job["height"]) == (32, 30)
    if not torch.cuda.is_available():
        assert "libx264 encodes, since h264_nvenc does not start here" in job["notes"][0]


def test_nothing_that_runs_is_a_failure(vidsr: Cli) -> None:
    result = vidsr("bench", "--backends", "tensorrt", "--sizes", "16x16", "--network-only")
    assert result.code == 1
    assert "not measured: tensorrt" in result.out


def test_the_network_alone_needs_no_decoder() -> None:
    script = (
        "import sys; sys.modules['av'] = None\n"
        "from vidsr.cli import main\n"
        "sys.argv = ['vidsr', 'bench', '--network-only', '--model', 'bicubic', '--sizes', '16x16', '--seconds', '0.01',"
        " '--backends', 'cpu']\n"
        "main()"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_medians_and_spread() -> None:
    found = timing.summary([3.0, 1.0, 2.0, 100.0, 2.5])
    assert found.median == 2.5
    assert found.low == pytest.approx(1.4)
    assert found.high == pytest.approx(61.2)
    assert timing.summary([2.0]) == timing.Timing(2.0, 2.0, 2.0, 1)


def test_short_calls_are_timed_several_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def call() -> None:
        clock[0] += 0.001

    found = timing.measure(call, CPU, 1.0)
    assert found.median == pytest.approx(0.001)
    assert found.num_samples == 20  # of 50 ms each


def test_synthetic_frames_move_and_fill_the_range() -> None:
    frames = synthetic_frames(33, 21, 3)
    assert [plane.shape for plane in frames[0].planes] == [(21, 33), (11, 17), (11, 17)]
    assert [frame.pts for frame in frames] == [0, 1, 2]
    assert not np.array_equal(frames[0].planes[0], frames[1].planes[0])
    assert np.ptp(frames[0].planes[0]) > 80


def speed(backend: str, fps: float, psnr: float) -> Speed:
    time = timing.Timing(1 / fps, 1 / fps, 1 / fps, 3)
    return Speed(
        BenchLine(backend, "fp16"), 10, 10, 1, time, 1000 / fps, fps, 1e9, 0.5, fps, 1.0, psnr, 0.5, psnr >= MIN_PSNR
    )


def test_the_fastest_must_keep_the_quality() -> None:
    report = BenchReport({}, "m", 4, 10)
    assert fastest(report) is None
    report.networks = [speed("quick", 100, 30), speed("good", 50, 70), speed("slow", 10, 90)]
    assert fastest(report) == BenchLine("good", "fp16")
    with pytest.raises(UsageError, match="--sizes"):
        Bench(sizes=())


def test_the_chart_has_the_job_of_an_odd_size_and_says_why_it_cannot_be_written(tmp_path: Path) -> None:
    line = network.BenchLine("cpu", "fp32")
    size = {"line": line, "width": 33, "height": 35}
    speed = SimpleNamespace(**size, fps=9.0, flops=1e9, peak_share=0.5, step_fps=8.0, step_share=0.9)
    job = SimpleNamespace(line=line, width=32, height=34, fps=7.0, limit="upscale", busy={"upscale": 0.9})
    about = {"model": "fast", "scale": 2, "machine": {"gpu": "none", "cpu": "a CPU"}}
    report: Any = SimpleNamespace(networks=[speed], jobs=[job], **about)
    assert [bar.fps for bar in chart.bars(report)] == [9.0, 8.0, 7.0]
    with pytest.raises(OutputError, match=r"cannot be written \(No such file or directory\); name"):
        chart.save(report, tmp_path / "gone" / "chart.png")


def test_what_a_job_of_the_film_would_say_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [BenchLine(name, "fp32") for name in ("cpu", "openvino")]
    rows = [FilmLine(line, 9.0, 2.0, 1500.0, 1, "vidsr", ("tiny-video: it would take long",)) for line in lines]
    cli._show(BenchReport({}, "fast-video", 4, 1000, film=rows))
    said = capsys.readouterr().out
    assert said.count("note: tiny-video: it would take long") == 1
    assert "1.5 kB  1 frame" in said
