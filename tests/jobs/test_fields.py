"""`--deinterlace fields` from end to end: twice the pictures, each at its field's time, in whole and in parts."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.clips import Audio
from tests.conftest import Result
from tests.interlaced import STEPS, Film, make_interlaced, mpeg2_says, paff
from vidsr.api import upscale_video
from vidsr.jobs.cluster.shipments import Shipments
from vidsr.jobs.cluster.worker import Hello, Task, Worker
from vidsr.jobs.cluster.worker import Result as Made
from vidsr.jobs.events import Event, SegmentDone
from vidsr.jobs.inputs import Input, Target
from vidsr.jobs.options import Options
from vidsr.jobs.plan import plan
from vidsr.jobs.segments import Grid
from vidsr.media.encoders import ENCODERS
from vidsr.verify import compare

Cli = Callable[..., Result]
OPTIONS: Any = {"model": "bicubic", "backend": "cpu", "scale": 1, "preset": "ultrafast", "deinterlace": "fields"}
QUICK = ("--model", "bicubic", "--backend", "cpu", "--scale", "1", "--preset", "ultrafast")
NTSC = Fraction(30000, 1001)
KEPT = 20  # rows of the table in `make test`; the others in `make soak`

SOURCES = {
    "mpeg2.ts": Film(),
    "h264.mp4": Film(codec="libx264"),
    "paff.ts": Film(codec="paff", frames=12),
    "prores.mov": Film(codec="prores_ks", pix_fmt="yuv422p10le", frames=12),
    "unsaid.mkv": Film(codec="ffv1", said="prog"),
    "mpeg2.mkv": Film(),
    "mpeg2.mpg": Film(),
    "h264.mkv": Film(codec="libx264"),
    "h264.ts": Film(codec="libx264"),
    "h264.mov": Film(codec="libx264"),
    "paff.mkv": Film(codec="paff", frames=12),
}
SHAPES = ("whole", "cut", "gaps", "hybrid")
CONTAINERS = ("mp4", "mkv", "mov", "ts")


@dataclass(frozen=True)
class Row:
    source: str
    shape: str
    order: str
    rate: Fraction
    container: str

    @property
    def name(self) -> str:
        return f"{self.source} {self.shape} {self.order} {float(self.rate):.4g} to {self.container}"

    @property
    def film(self) -> Film:
        film = replace(SOURCES[self.source], order=self.order, rate=self.rate)
        if self.shape == "hybrid":
            return replace(film, progressive=frozenset({*range(4), *range(9, 14)}))
        if self.shape == "gaps" and film.codec != "paff":
            places = [k + 4 * (k > 5) + 9 * (k > 8) for k in range(film.frames)]
            return replace(film, time_base=Fraction(1, 90000), pts=[round(p * 90000 / self.rate) for p in places])
        return film

    @property
    def cut(self) -> tuple[Fraction, Fraction] | None:
        """From a second field to a first one, and not by the grain of a clock more or less."""
        grain = Fraction(1, 1000)
        return (Fraction(7, 2) / self.rate - grain, 9 / self.rate - grain) if self.shape == "cut" else None

    def make(self, folder: Path) -> Path:
        film, path = self.film, folder / self.source
        if film.codec == "paff":
            return paff(path, film)
        said = film.progressive
        return make_interlaced(path, film, patch=(lambda d, n: mpeg2_says(d, progressive=n in said)) if said else None)

    def times(self) -> list[Fraction]:
        """In seconds from the first picture, by what the film is."""
        film, half = self.film, 1 / (2 * self.rate)
        starts = (
            [p * (film.time_base or 0) for p in film.pts] if film.pts else [k / self.rate for k in range(film.frames)]
        )
        found = [t + part * half for k, t in enumerate(starts) for part in range(1 if k in film.progressive else 2)]
        return found if self.cut is None else [t for t in found if self.cut[0] <= t < self.cut[1]]


def table() -> Iterator[Row]:
    outputs = itertools.cycle(CONTAINERS)
    for shape, order, rate, source in itertools.product(SHAPES, ("tff", "bff"), (Fraction(25), NTSC), SOURCES):
        if shape == "hybrid" and not source.startswith("mpeg2"):
            continue  # the flags of others cannot be set picture by picture
        if shape in ("gaps", "cut") and (source in ("paff.mkv", "mpeg2.mpg", "h264.mov") or order == "bff"):
            continue
        if shape == "gaps" and source == "paff.ts":
            continue
        if not (shape == "whole" and order == "bff" and rate == NTSC and source[-2:] == "ts"):
            yield Row(source, shape, order, rate, next(outputs))


ROWS = sorted(table(), key=lambda row: row.name[::-1])
ffprobe = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs ffprobe")


def probed(path: Path) -> dict[str, Any]:
    words = ["-select_streams", "v", "-show_entries", "packet=pts_time:stream", "-of", "json"]
    return json.loads(subprocess.run(["ffprobe", "-v", "error", *words, path], capture_output=True, check=True).stdout)


def rows() -> list[Any]:
    return list(_rows())


def _rows() -> Iterator[Any]:
    for number, row in enumerate(ROWS):
        soak = number % (len(ROWS) // KEPT + 1)
        yield pytest.param(row, id=row.name, marks=[pytest.mark.soak] if soak else [])


@ffprobe
@pytest.mark.parametrize("row", rows())
def test_the_times_of_a_clip(row: Row, tmp_path: Path) -> None:
    """By what the film is, and by ffprobe's word; to the grains of the clocks of both files."""
    source, output = row.make(tmp_path), tmp_path / f"out.{row.container}"
    begin, end = row.cut or (None, None)
    upscale_video(source, output, start=begin, end=end, **OPTIONS)
    found = probed(output)
    times = sorted(float(packet["pts_time"]) for packet in found["packets"])
    wanted = row.times()
    assert len(times) == len(wanted)
    grain = 1e-5 + sum(1e-3 for path in (source, output) if path.suffix == ".mkv")
    apart = [got - times[0] - float(want - wanted[0]) for got, want in zip(times, wanted, strict=True)]
    assert max(map(abs, apart)) <= grain
    (stream,) = found["streams"]
    if row.shape in ("whole", "cut"):
        if stream["avg_frame_rate"] != "0/0":  # too few for FFmpeg to tell it
            assert float(Fraction(stream["avg_frame_rate"])) == pytest.approx(2 * row.rate, rel=0.01)
        assert float(Fraction(stream["r_frame_rate"])) == pytest.approx(2 * row.rate, rel=1e-6)  # mkv: in nanoseconds
    assert stream.get("field_order", "progressive") == "progressive"
    report = compare(source, output, start=begin, end=end, deinterlace="fields")
    assert report.ok, report.differences
    assert fields(output) == numbers(row)


def numbers(row: Row) -> list[int]:
    film = row.film
    every = [2 * k + part for k in range(film.frames) for part in range(1 if k in film.progressive else 2)]
    wanted = row.times()
    if row.cut is None:
        return every
    return [n for n in every if row.cut[0] <= n / (2 * row.rate) < row.cut[1]][: len(wanted)]


def fields(path: Path) -> list[int]:
    """What the pictures of an output show, as `tests.interlaced` draws it."""
    with av.open(str(path)) as container:
        found = []
        for picture in container.decode(video=0):
            dark = float((picture.to_ndarray(format="gray") < 120).sum(axis=1).mean())
            found.append(round((dark - 6) / 2) % STEPS)
    return found


def test_the_table_has_fifty_rows() -> None:
    assert len(ROWS) >= 50
    assert len({row.name for row in ROWS}) == len(ROWS)
    for key in ("source", "shape", "order", "rate", "container"):
        assert len({getattr(row, key) for row in ROWS}) == len({"source": SOURCES, "shape": SHAPES,
            "order": "tb", "rate": "PN", "container": CONTAINERS}[key])  # fmt: skip


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With sound; 60 pictures of which 6 are progressive."""
    film = Film(frames=60, progressive=frozenset(range(20, 26)))
    path = tmp_path_factory.mktemp("hybrid") / "a.mkv"
    patch = lambda data, n: mpeg2_says(data, progressive=n in film.progressive)  # noqa: E731
    return make_interlaced(path, film, audio=Audio(seconds=2.4), patch=patch)


def test_a_job_interrupted_after_any_part_ends_with_the_same_bytes(hybrid: Path, tmp_path: Path) -> None:
    parts: Any = {**OPTIONS, "segment_seconds": Fraction(3, 5)}
    done: list[int] = []

    def note(event: Event) -> None:
        if isinstance(event, SegmentDone):
            done.append(event.num_frames)

    upscale_video(hybrid, tmp_path / "whole.mp4", on_event=note, **parts)
    assert (len(done), sum(done)) == (4, 114)
    for stop_at in range(1, len(done)):
        output = tmp_path / f"{stop_at}.mp4"

        def stop(event: Event, stop_at: int = stop_at) -> None:
            if isinstance(event, SegmentDone) and event.number == stop_at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            upscale_video(hybrid, output, on_event=stop, **parts)
        upscale_video(hybrid, output, **parts)
        assert output.read_bytes() == (tmp_path / "whole.mp4").read_bytes(), stop_at


def test_a_film_in_parts_has_the_pictures_and_times_of_the_whole(hybrid: Path, tmp_path: Path) -> None:
    lossless: Any = {**OPTIONS, "codec": "ffv1", "preset": None}
    found = []
    for seconds in (10, Fraction(7, 50)):  # an odd number of fields
        upscale_video(hybrid, tmp_path / f"{seconds.numerator}.mkv", segment_seconds=seconds, **lossless)
        with av.open(str(tmp_path / f"{seconds.numerator}.mkv")) as container:
            found.append([(picture.pts, picture.to_ndarray()) for picture in container.decode(video=0)])
    assert len(found[0]) == len(found[1]) == 114
    for (pts, picture), (other, same) in zip(*found, strict=True):
        assert pts == other
        assert np.array_equal(picture, same)


def test_the_workers_of_a_cluster_make_the_same_parts(hybrid: Path, tmp_path: Path) -> None:
    """What the driver ships, and a worker makes of it, without Ray between them."""
    options = Options(**{**OPTIONS, "segment_seconds": Fraction(1, 2)})
    job = plan(Input(hybrid, hybrid.parent, named=True), Target(), options)
    worker, made = Worker(options, None, None), {}
    hello = worker.hello(2)
    assert isinstance(hello, Hello), hello
    task = Task(2, hello.identity, job.source.video, job.spec, job.choice.segment_container)
    for shipment in Shipments(job, Grid(job, options.segment_seconds), (), 0, 0):
        result = worker.make(task, shipment)
        assert isinstance(result, Made), result
        made[shipment.interval] = result.data
    worker._forget(2)
    assert len(made) == 5
    there: dict[int, bytes] = {}

    def keep(event: Event) -> None:
        if isinstance(event, SegmentDone):
            folder = tmp_path / "out.mkv.vidsr"
            there.update({int(path.stem): path.read_bytes() for path in folder.glob("0*.mp4")})

    upscale_video(hybrid, tmp_path / "out.mkv", on_event=keep, **{**OPTIONS, "segment_seconds": Fraction(1, 2)})
    assert made == there


def test_announced_are_the_pictures_that_come(vidsr: Cli, hybrid: Path, tmp_path: Path) -> None:
    flags = (*QUICK, "--deinterlace", "fields")
    planned = vidsr("upscale", hybrid, "--dry-run", "--json", *flags, "-o", tmp_path / "out.mkv")
    assert planned.code == 0, planned.err
    assert '"num_frames": 114' in planned.out
    made = vidsr("upscale", hybrid, "-o", tmp_path / "out.mkv", *flags)
    assert "114 frames, h264" in made.err
    assert "out.mkv: 114 frames in" in made.err
    part = vidsr("upscale", hybrid, "-o", tmp_path / "part.mkv", "--start", "0.1", "--end", "0.5", *flags)
    assert "20 frames, h264" in part.err
    assert "part.mkv: 20 frames in" in part.err


def test_what_is_said(vidsr: Cli, hybrid: Path, tmp_path: Path) -> None:
    usual = vidsr("upscale", hybrid, "-o", tmp_path / "a.mkv", *QUICK)
    assert "one picture for each frame, 25 a second, which is half of the motion; --deinterlace fields" in usual.err
    assert "makes 50 a second, all of the motion, in twice the time" in usual.err
    assert "a.mkv: 60 frames in" in usual.err
    smooth = vidsr("upscale", hybrid, "-o", tmp_path / "b.mkv", *QUICK, "--deinterlace", "fields")
    assert "two pictures of each frame, 50 a second, all of the motion" in smooth.err
    assert "25 a second); --deinterlace fields makes 50, all of its motion" in vidsr("probe", hybrid).out
    other = vidsr("upscale", hybrid, "-o", tmp_path / "c.mkv", *QUICK, "--deinterlace", "bob")
    assert (other.code, "must be auto, off, bwdif or fields" in other.err) == (2, True)
    wrong = vidsr("verify", hybrid, tmp_path / "b.mkv")
    assert wrong.code == 1
    assert vidsr("verify", hybrid, tmp_path / "b.mkv", "--deinterlace", "fields").code == 0


@pytest.mark.parametrize("codec", ["h264", "hevc", "prores", "ffv1", "vp9"])
def test_other_codecs_hold_them(codec: str, hybrid: Path, tmp_path: Path) -> None:
    suffix = {"prores": "mov", "vp9": "webm"}.get(codec, "mkv")
    row = next(row for row in ENCODERS.values() if row.codec == codec and not row.hardware)
    preset = {**OPTIONS, "preset": "ultrafast" if row.presets and codec in ("h264", "hevc") else None}
    upscale_video(hybrid, tmp_path / f"a.{suffix}", codec=codec, end=Fraction(1, 2), **preset)
    with av.open(str(tmp_path / f"a.{suffix}")) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 50
        pictures = list(container.decode(stream))
    assert len(pictures) == 25
    assert not any(picture.interlaced_frame for picture in pictures)
    assert stream.codec_context.field_order in (0, 1)
