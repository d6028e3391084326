"""What users of such tools report, row by row: each has a test here that proves its remedy on a small clip."""

from __future__ import annotations

import ast
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from tests.backends.tensorrt.making import make_key
from tests.clips import Audio, make_clip, shown
from tests.conformance.test_backends import make_model
from tests.conftest import ROOT, Result
from tests.media.making import spec_of
from tests.media.making import upscaled as made_anew
from tests.upscaling.test_enlarger import Small
from tests.verify.mutants import LIGHT, MASTERING, OPTIONS, upscaled
from vidsr import pipeline
from vidsr.api import upscale_video
from vidsr.backends.accuracy import compare as compare_engine
from vidsr.backends.accuracy import real_frame
from vidsr.backends.tensorrt.cache import BuiltEngine, EngineCache
from vidsr.errors import BackendError, OutOfMemoryError, OutputError
from vidsr.frame import Colour, Frame, Matrix, PixelFormat
from vidsr.jobs.events import Advanced, Done, Event
from vidsr.jobs.options import Options
from vidsr.media.encoders import ENCODERS
from vidsr.media.read.probe import probe
from vidsr.media.write import choice
from vidsr.media.write.encoder import VideoSpec
from vidsr.upscaling.enlarger import Enlarger
from vidsr.upscaling.upscaler import Upscaler
from vidsr.verify import compare

Cli = Callable[..., Result]
QUICK = ("--model", "bicubic", "--backend", "cpu", "--scale", "2", "--preset", "ultrafast")
VFR = [0, 1, 2, 5, 6, 10, 11, 12, 20, 21, 22, 30]


def sound(path: Path) -> list[tuple[bytes, Fraction]]:
    with av.open(str(path)) as container:
        return [(bytes(p), p.pts * p.time_base) for p in container.demux(audio=0) if p.size and p.pts is not None]


def run(source: Path, output: Path, **options: Any) -> Done:
    done = upscale_video(source, output, **{**OPTIONS, **options})
    assert isinstance(done, Done)
    return done


def test_job_lost_after_hours(tmp_path: Path) -> None:
    """A job that ends early goes on after its finished segments."""
    source = make_clip(tmp_path / "a.mp4", frames=24)
    options = {"segment_seconds": Fraction(1, 4)}

    def stop(event: Event) -> None:
        if isinstance(event, Advanced) and event.progress.num_frames == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upscale_video(source, tmp_path / "out.mp4", on_event=stop, **OPTIONS, **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out.mp4").exists()
    done = run(source, tmp_path / "out.mp4", **options)
    assert done.num_resumed == 12
    assert shown(tmp_path / "out.mp4") == [(k, Fraction(k, 24)) for k in range(24)]


def test_fewer_frames_or_another_duration(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", pts=VFR, time_base=Fraction(1, 24), bframes=2)
    run(source, tmp_path / "out.mp4")
    assert shown(tmp_path / "out.mp4") == [(k, Fraction(p, 24)) for k, p in enumerate(VFR)]
    with av.open(str(source)) as old, av.open(str(tmp_path / "out.mp4")) as new:
        assert new.duration == old.duration


def test_audio_lost_or_out_of_step(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=12, audio=[Audio(seconds=0.4, start=0.25)])
    run(source, tmp_path / "out.mp4")
    assert sound(tmp_path / "out.mp4") == sound(source)
    assert len(sound(source)) > 10


def test_extra_frames_after_chunking(tmp_path: Path) -> None:
    """Segments of a fifth of a second, between keyframes, cut and join without a trace."""
    source = make_clip(tmp_path / "a.mp4", frames=24, bframes=2, gop=250)
    parts = run(source, tmp_path / "out.mp4", segment_seconds=Fraction(1, 5))
    assert parts.num_frames == 24
    assert shown(tmp_path / "out.mp4") == [(k, Fraction(k, 24)) for k in range(24)]


def test_hdr_lost(tmp_path: Path) -> None:
    spec = spec_of("libx265", "yuv420p10le", colour=Colour(Matrix.BT2020_NCL, 9, 16), mastering_display=MASTERING,
                   light_level=LIGHT)  # fmt: skip
    made_anew(make_clip(tmp_path / "plain.mp4"), tmp_path / "a.mp4", spec=spec, pts=range(3))
    run(tmp_path / "a.mp4", tmp_path / "out.mp4")
    old, new = probe(tmp_path / "a.mp4").video, probe(tmp_path / "out.mp4").video
    assert (new.format.bits, new.colour) == (10, Colour(Matrix.BT2020_NCL, 9, 16))
    assert new.mastering_display == old.mastering_display is not None
    assert new.light_level == LIGHT
    info = probe(tmp_path / "a.mp4")
    for extra, words in (("DOVI_METADATA", "Dolby Vision"), ("DYNAMIC_HDR_PLUS", "HDR10+")):
        marked = replace(info, video=replace(info.video, extras=(extra,)))
        asked = choice.Encoding(width=192, height=128, bits=10, container="webm", codec="vp9")
        assert any(f"{words} is dropped" in note for note in choice.choose(marked, asked).notes)


def test_anamorphic_squashed_or_phone_clip_on_its_side(tmp_path: Path) -> None:
    turned = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    clip = {"frames": 2, "sample_aspect": Fraction(64, 45), "display_matrix": turned}
    for suffix in ("mp4", "mov", "mkv"):
        source = make_clip(tmp_path / f"a.{suffix}", **clip)  # type: ignore[arg-type]
        run(source, tmp_path / f"out.{suffix}")
        video = probe(tmp_path / f"out.{suffix}").video
        assert video.sample_aspect == Fraction(64, 45)
        assert video.display_matrix == turned


def test_want_1080p_not_x2(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=1, width=640, height=272)
    run(source, tmp_path / "out.mp4", size="1080p")
    video = probe(tmp_path / "out.mp4").video
    assert (video.width, video.height) == (1920, 816)


def frames(count: int, made: list[int]) -> Iterator[Frame]:
    for number in range(count):
        made.append(number)
        yield Frame((np.zeros((16, 16), np.uint8),), PixelFormat("grey"), Colour(), number, Fraction(1, 25))


def test_memory_grows_without_end() -> None:
    """However slow the encoder is, decoding stays a bounded number of bytes ahead."""
    made: list[int] = []
    ahead = []
    full = threading.Event()

    def write(frame: Frame) -> None:
        full.wait(0.02)
        ahead.append(len(made) - frame.pts)

    pipeline.run(frames(60, made), iter, write, queue_bytes=4 * 256)
    assert len(made) == 60
    assert max(ahead) <= 2 * 4 + 4  # two queues of four frames, and one in each hand


def test_out_of_memory_kills_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pictures again in smaller calls; and where nothing helps, no file has the final name."""
    model = make_model("fast", 2, blocks=1)
    batch = torch.rand((2, 3, 50, 70), generator=torch.Generator().manual_seed(1))
    expected = Enlarger(model, Small(model, math.inf))(batch.clone())
    short = Enlarger(model, Small(model, 1500))
    assert float((short(batch.clone()) - expected).abs().max()) < 1e-5
    assert short.notes

    def full(*_: object, **__: object) -> Iterator[Frame]:
        raise OutOfMemoryError("the GPU is full")
        yield

    monkeypatch.setattr(Upscaler, "stream", full)
    source = make_clip(tmp_path / "a.mp4", frames=4, audio=[Audio(seconds=0.2)])
    with pytest.raises(OutOfMemoryError):
        run(source, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_stale_engine(tmp_path: Path) -> None:
    """New weights under the old name, or another driver: built again, and the reason said."""
    cache, built = EngineCache(tmp_path), []

    def build() -> BuiltEngine:
        built.append(1)
        return BuiltEngine(b"engine", {})

    assert cache.open(make_key(), build).built
    assert not cache.open(make_key(), build).built
    for change in ({"weights": "b" * 64}, {"driver": "590.0"}, {"tensorrt": "11.1"}):
        opened = cache.open(make_key(**change), build)
        assert opened.built
        assert next(iter(change)).replace("_", "-") in opened.reason
    assert len(built) == 4


def test_black_or_nan_frames_in_fp16() -> None:
    """An engine that gives black or no numbers is not trusted; nor is a backend that does."""
    reference = real_frame((1, 48, 64))
    assert compare_engine(reference, reference).passed
    assert not compare_engine(torch.zeros_like(reference), reference).passed
    assert not compare_engine(reference / 0 * 0, reference).passed
    broken = Small(make_model("fast", 2, blocks=1), math.inf)
    no_numbers = torch.nn.Sequential(torch.nn.Upsample(scale_factor=2), torch.nn.Threshold(math.inf, math.nan))
    broken.model = replace(broken.model, given=no_numbers)
    frame = next(frames(1, []))
    upscaler = Upscaler("bicubic", scale=2, backend=broken)
    with pytest.raises(BackendError, match="not"):
        upscaler.upscale(frame)


def test_the_real_error_is_hidden(vidsr: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails first is what the user reads, in one sentence, from the one process that there is."""

    def fail(*_: object) -> None:
        raise OutputError("the first thing that failed")

    monkeypatch.setattr("vidsr.media.write.writer.Writer.write", fail)
    source = make_clip(tmp_path / "a.mp4", frames=8)
    result = vidsr("upscale", source, *QUICK)
    assert result.code == 1
    said = [line for line in result.err.splitlines() if line.startswith("vidsr:")]
    assert len(said) == 1
    assert said[0].endswith("the first thing that failed")
    assert "Traceback" not in result.err


def test_seams() -> None:
    """Tiles that overlap by the receptive radius give the picture that a single call gives."""
    model = make_model("srgan", 2, blocks=1)
    picture = torch.rand((1, 3, 120, 150), generator=torch.Generator().manual_seed(2))
    whole = Enlarger(model, Small(model, math.inf), tile="off")(picture.clone())
    spy = Small(model, math.inf)
    tiled = Enlarger(model, spy, tile=2 * model.halo + 16)(picture.clone())
    assert len(spy.calls) > 4
    assert float((tiled - whole).abs().max()) < 1e-5


def test_cpu_at_98_gpu_at_20(vidsr: Cli, tmp_path: Path) -> None:
    """The stages overlap, and the report names the one that limits."""
    source = make_clip(tmp_path / "a.mp4", frames=12)
    lines = vidsr("upscale", source, *QUICK, "--json").out.splitlines()
    done = next(event for event in map(json.loads, lines) if event["event"] == "done")
    assert done["limit"] in done["busy"]
    assert done["busy"][done["limit"]] == max(done["busy"].values())
    assert set(done["busy"]) == {"decode", "upscale", "encode"}


def test_batch_ignores_options(vidsr: Cli, tmp_path: Path) -> None:
    """A folder and a single file go one way: the same options, the same bytes."""
    (tmp_path / "in").mkdir()
    source = make_clip(tmp_path / "in" / "a.mp4", frames=4)
    make_clip(tmp_path / "in" / "b.mp4", frames=2)
    options = ("--model", "bicubic", "--backend", "cpu", "--size", "150x100", "--codec", "hevc", "--crf", "30",
               "--preset", "ultrafast", "--container", "mkv")  # fmt: skip
    assert vidsr("upscale", tmp_path / "in", "-o", f"{tmp_path / 'batch'}/", *options).code == 0
    assert vidsr("upscale", source, "-o", tmp_path / "one.mkv", *options).code == 0
    made = sorted(path.name for path in (tmp_path / "batch").iterdir())
    assert made == ["a_150x100.mkv", "b_150x100.mkv"]
    assert (tmp_path / "batch" / made[0]).read_bytes() == (tmp_path / "one.mkv").read_bytes()
    video = probe(tmp_path / "one.mkv").video
    assert (video.codec, video.width, video.height) == ("hevc", 150, 100)


def test_metadata_lost(tmp_path: Path) -> None:
    tags = {"title": "A film", "com.apple.quicktime.make": "A phone", "creation_time": "2020-02-03T04:05:06.000000Z"}
    source = make_clip(tmp_path / "a.mov", frames=2, metadata=tags, container_options={"movflags": "use_metadata_tags"})
    with av.open(str(source)) as container:
        before = {key: value for key, value in container.metadata.items() if key in tags}
    assert before == tags
    for suffix in ("mov", "mp4", "mkv"):
        run(source, tmp_path / f"out.{suffix}")
        with av.open(str(tmp_path / f"out.{suffix}")) as container:
            found = {key.lower(): value for key, value in container.metadata.items()}
        assert {key: found.get(key) for key in tags} == tags


def test_46_mbits_by_default(vidsr: Cli, tmp_path: Path) -> None:
    """Quality decides, so a still picture costs little; and a dry run says the size before."""
    assert ENCODERS["libx264"].quality is not None
    assert VideoSpec.__dataclass_fields__["crf"].default is None
    source = make_clip(tmp_path / "a.mp4", frames=48, numbers=[5] * 48, width=320, height=240)
    done = run(source, tmp_path / "out.mp4", preset=None)
    assert 8 * done.bytes / 2 < 500_000  # bits a second
    dry = vidsr("upscale", source, "--dry-run", "--json", "--model", "bicubic", "--backend", "cpu", "--scale", "2")
    planned = next(event for event in map(json.loads, dry.out.splitlines()) if event["event"] == "planned")
    assert done.bytes / 4 < planned["bytes"] < 4 * done.bytes


def test_illegal_instruction_on_older_cpus() -> None:
    """Nothing compiled is shipped: instructions are chosen at run time by libraries that ask the processor."""
    shipped = [path for path in (ROOT / "vidsr").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    kinds = {path.suffix for path in shipped}
    assert ".py" in kinds
    assert not kinds & {".so", ".pyd", ".dll", ".dylib", ".a", ".engine", ".ptx", ".cubin", ".pt", ".ts"}
    script = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    baseline = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"ATEN_CPU_CAPABILITY": "default"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "AVX" not in baseline.stdout


def test_zero_percent_no_output(vidsr: Cli, tmp_path: Path) -> None:
    """What cannot be read says so at once, with an exit code, and `doctor` says what this machine has."""
    (tmp_path / "a.mp4").write_bytes(os.urandom(4096))
    result = vidsr("upscale", tmp_path / "a.mp4", *QUICK)
    assert result.code == 1
    assert "a.mp4 is not a video that vidsr can read" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    doctor = vidsr("doctor")
    assert doctor.code == 0
    assert "torch" in doctor.out


def test_cuda_visible_devices_ignored(tmp_path: Path) -> None:
    """Nothing here writes the variable, which CUDA reads; hidden GPUs are not used."""
    for path in (ROOT / "vidsr").rglob("*.py"):
        words = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert "CUDA_VISIBLE_DEVICES" not in words, path
    source = make_clip(tmp_path / "a.mp4", frames=2)
    script = (
        "import os, sys\nfrom vidsr.cli import main\n"
        "try:\n    main()\nfinally:\n    print(repr(os.environ['CUDA_VISIBLE_DEVICES']), file=sys.stderr)"
    )
    arguments = ["upscale", str(source), "--model", "fast", "--backend", "auto", "--scale", "2"]
    result = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.strip().endswith("''")
    assert "no NVIDIA GPU" in result.stderr


def test_a_row_fails_where_its_remedy_fails(tmp_path: Path) -> None:
    """`verify` is the proof that users have themselves: it is not satisfied with another clip."""
    source = make_clip(tmp_path / "a.mp4", frames=6)
    other = make_clip(tmp_path / "b.mp4", frames=6, numbers=[900 + k for k in range(6)])
    assert compare(source, upscaled(source, tmp_path / "out.mp4")).ok
    assert not compare(other, tmp_path / "out.mp4").ok
    assert Options().scale is None  # x4, or what stays within the usual size
