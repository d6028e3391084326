"""Results that depend on neighbours: a film in parts is the whole film, however it is read, cut, killed or shipped."""

from __future__ import annotations

import io
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.clips import damage, make_clip
from tests.conftest import Result
from tests.jobs.test_resume import QUICK, run_and_kill
from tests.numbered import Planes
from vidsr.frame import SRGB, Frame, PixelFormat
from vidsr.jobs import sources
from vidsr.jobs.cluster.shipments import Shipments
from vidsr.jobs.inputs import Input, Target, expand
from vidsr.jobs.options import Options
from vidsr.jobs.plan import Plan, plan
from vidsr.jobs.segments import Grid
from vidsr.media import y4m
from vidsr.media.read.packets import unpack
from vidsr.media.sequence import SequenceWriter
from vidsr.neighbours import same_shot, windows
from vidsr.upscaling.upscaler import Upscaler

Cli = Callable[..., Result]
FRAMES, CUT = 16, 9
SHORT = 12  # frames, of which every part of 1, 2 and 7 is read by itself
HELD = [0, 0, 1, 1, 1, 2, 2, 3, 4, 4, 4, 5]  # which picture each frame shows: by twos and threes, and one alone
TEXTURE = np.random.default_rng(7).normal(0, 1, (2, 80, 120))


def drifting(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
    """A texture that goes right by a pixel and down by a half each frame, with noise; another one from `CUT` on."""
    field = TEXTURE[int(number >= CUT)]
    field = field + np.roll(field, 1, 0) + np.roll(field, 1, 1) + np.roll(field, (1, 1), (0, 1))
    moved = np.roll(field, (number // 2, number), (0, 1))[:height, :width]
    noise = np.random.default_rng(number).normal(0, 4, (height, width))
    luma = (120 + 25 * moved + noise + 30 * int(number >= CUT)).clip(20, 230).round()
    planes = [luma, *(np.full(shape, 120.0) for shape in fmt.plane_shapes(width, height)[1:])]
    return [np.asarray(one, fmt.dtype) << (fmt.bits - 8) for one in (plane.astype(fmt.dtype) for plane in planes)]


def held(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
    """Of a film that holds each picture for some frames."""
    return drifting(HELD[number % len(HELD)], fmt, width, height)


KINDS: dict[str, dict[str, Any]] = {
    "b-frames": {"suffix": ".mp4", "bframes": 2, "gop": 6},
    "every picture a keyframe": {"suffix": ".mkv", "codec": "ffv1", "gop": 1},
    "one keyframe": {"suffix": ".mp4", "gop": 250, "bframes": 2},
    "transport stream": {"suffix": ".ts", "bframes": 2, "gop": 6},
    "avi": {"suffix": ".avi", "codec": "mpeg4", "gop": 6},
    "webm": {"suffix": ".webm", "codec": "libvpx-vp9", "gop": 6},
    "uneven": {
        "suffix": ".mp4",
        "time_base": Fraction(1, 240),
        "pts": [k * 10 + (7 if k % 3 == 1 else 0) + (200 if k > 9 else 0) for k in range(FRAMES)],
    },
    "10 bit": {"suffix": ".mkv", "codec": "ffv1", "pix_fmt": "yuv422p10le", "gop": 1},
    "held": {"suffix": ".mp4", "bframes": 2, "gop": 6, "draw": held},
    "held without loss": {"suffix": ".mkv", "codec": "ffv1", "gop": 1, "draw": held},
    "rgb": {"suffix": ".mkv", "codec": "libx264rgb", "pix_fmt": "rgb24", "gop": 6},
}


def made(folder: Path, kind: str, frames: int = FRAMES) -> Path:
    options = dict(KINDS[kind])
    name = f"a{options.pop('suffix')}"
    if "pts" in options:
        options["pts"] = options["pts"][:frames]
    return make_clip(folder / name, frames=frames, **{"draw": drifting, **options})


def planned(source: Path, **options: Any) -> Plan:
    found = Input(source, source.parent, named=True)
    if "%" in source.name:
        found = expand([str(source)])[0][0]
    return plan(found, Target(), Options(scale=2, steady=1, model="bicubic", **options))


@pytest.fixture(scope="module")
def upscaler() -> Iterator[Upscaler]:
    with Upscaler("bicubic", scale=2, backend="cpu", steady=1) as found:
        yield found


def whole(job: Plan, upscaler: Upscaler, start: Fraction | None = None) -> list[Frame]:
    frames = sources.closing(job.open_reader(start, reach=upscaler.reach), reach=upscaler.reach)
    return list(upscaler.stream(frames, job.spec.canvas))


def in_parts(job: Plan, upscaler: Upscaler, num: int) -> Iterator[Frame]:
    """Each part of `num` pictures read anew, as after a kill."""
    grid = Grid(job, num / job.rate)
    with job.open_reader(job.options.start) as reader:
        numbers = sorted({grid.of(frame) for frame in reader})
    for part in numbers:
        reader = job.open_reader(grid.begin(part) or None, reach=upscaler.reach)
        yield from upscaler.stream(sources.closing(reader, _in(grid, part), upscaler.reach), job.spec.canvas)


def _in(grid: Grid, part: int) -> Callable[[Frame], bool]:
    return lambda frame: grid.of(frame) == part


def shipped(job: Plan, upscaler: Upscaler, num: int) -> Iterator[Frame]:
    """Each part as it arrives on a worker."""
    for shipment in Shipments(job, Grid(job, num / job.rate), (), 0, upscaler.reach):
        yield from upscaler.stream(unpack(shipment, job.source.video), job.spec.canvas)


def same(found: Iterator[Frame] | list[Frame], wanted: list[Frame]) -> bool:
    frames = list(found)
    assert [frame.pts for frame in frames] == [frame.pts for frame in wanted]
    assert not any(frame.aside for frame in frames)
    for one, other in zip(frames, wanted, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True)), one.pts
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_a_film_in_parts_is_the_whole_film(tmp_path: Path, upscaler: Upscaler, kind: str) -> None:
    job = planned(made(tmp_path, kind, SHORT))
    wanted = whole(job, upscaler)
    assert len(wanted) == SHORT
    for num in (1, 2, 7):
        assert same(in_parts(job, upscaler, num), wanted), num
        assert same(shipped(job, upscaler, num), wanted), num


@pytest.mark.parametrize("kind", ["b-frames", "every picture a keyframe", "transport stream", "uneven"])
def test_start_and_end_cut_the_same_pictures_out(tmp_path: Path, upscaler: Upscaler, kind: str) -> None:
    source = made(tmp_path, kind)
    wanted = whole(planned(source), upscaler)
    start, end = Fraction(2, 10), Fraction(6, 10)
    job = planned(source, start=start, end=end)
    times = [(frame.pts - wanted[0].pts) * frame.time_base for frame in wanted]
    inside = [frame for frame, time in zip(wanted, times, strict=True) if start <= time < end]
    assert 3 < len(inside) < FRAMES - 5
    assert same(whole(job, upscaler, start), inside)
    for num in (1, 2):
        assert same(in_parts(job, upscaler, num), inside)
        assert same(shipped(job, upscaler, num), inside)


@pytest.mark.parametrize("how", ["bwdif", "fields"])
def test_interlaced_film_in_parts_is_the_whole_film(tmp_path: Path, upscaler: Upscaler, how: str) -> None:
    options = {"flags": "+ilme+ildct", "x264-params": "tff=1"}
    source = make_clip(tmp_path / "a.mkv", frames=FRAMES, draw=drifting, gop=6, options=options)
    job = planned(source, deinterlace=how)
    wanted = whole(job, upscaler)
    assert len(wanted) == FRAMES * (2 if how == "fields" else 1)
    assert same(in_parts(job, upscaler, 2), wanted)
    assert same(shipped(job, upscaler, 2), wanted)


def test_what_is_damaged_is_the_same_in_parts(tmp_path: Path, upscaler: Upscaler) -> None:
    source = make_clip(tmp_path / "a.mkv", frames=48, draw=drifting, gop=6, width=96, height=64)
    job = planned(damage(source, tmp_path / "b.mkv"), keep_going=True)
    wanted = whole(job, upscaler)
    assert same(in_parts(job, upscaler, 1), wanted)
    assert same(shipped(job, upscaler, 7), wanted)


def test_numbered_images_in_parts_are_the_whole_film(tmp_path: Path, upscaler: Upscaler) -> None:
    frames = list(planned(made(tmp_path, "rgb")).open_reader(None))
    writer = SequenceWriter(tmp_path / "%03d.png")
    for frame in frames:
        writer.write(frame)
    (tmp_path / "009.png").unlink()
    job = planned(tmp_path / "%03d.png", keep_going=True)
    wanted = whole(job, upscaler)
    assert len(wanted) == FRAMES - 1
    for num in (1, 7):
        assert same(in_parts(job, upscaler, num), wanted)
        assert same(shipped(job, upscaler, num), wanted)


@pytest.mark.parametrize("kind", ["every picture a keyframe", "held without loss"])
def test_a_pipe_gives_what_a_file_gives(tmp_path: Path, upscaler: Upscaler, kind: str) -> None:
    job = planned(made(tmp_path, kind))
    with job.open_reader(None) as reader:
        frames = list(reader)
    stream = io.BytesIO()
    writer = y4m.Y4MWriter(stream, y4m.Y4mHeader(64, 48, frames[0].format, rate=Fraction(24)))
    for frame in frames:
        writer.write(frame)
    wanted = [frame.planes[0] for frame in whole(job, upscaler)]
    for start, end in ((None, None), (Fraction(1, 4), Fraction(1, 2))):
        stream.seek(0)
        pipe = y4m.Y4MReader(stream)
        reading = sources.open_source(pipe.info, Options(start=start, end=end), start, pipe, reach=upscaler.reach)
        near = sources.closing(reading, reach=upscaler.reach)
        found = [frame.planes[0] for frame in upscaler.stream(near)]
        part = wanted if start is None else wanted[6:12]
        assert all(np.array_equal(a, b) for a, b in zip(found, part, strict=True))


def test_nothing_crosses_a_cut_nor_the_ends(tmp_path: Path, upscaler: Upscaler) -> None:
    job = planned(made(tmp_path, "every picture a keyframe"))
    with job.open_reader(None) as reader:
        frames = list(reader)
    assert [k for k in range(1, FRAMES) if not same_shot(frames[k - 1], frames[k])] == [CUT]
    wanted = whole(job, upscaler)
    shots = [*upscaler.stream(frames[:CUT]), *upscaler.stream(frames[CUT:])]
    assert same(shots, wanted)
    with Upscaler("bicubic", scale=2, backend="cpu") as plain:
        alone = list(plain.stream(frames))
    differ = [not np.array_equal(a.planes[0], b.planes[0]) for a, b in zip(alone, wanted, strict=True)]
    assert all(differ)
    assert same([upscaler.upscale(frames[3])], [alone[3]])  # a photo has no neighbours


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [(2, 40), (40, 2), (1, 1), (3, 31)])
def test_a_cut_is_told_in_pictures_of_any_shape(size: tuple[int, int]) -> None:
    width, height = size
    one, other = (np.full((height, width), code, np.uint8) for code in (60, 200))
    one[::2], other[::2] = 80, 160
    first, second = (Frame((plane,), PixelFormat("grey"), SRGB, 0, Fraction(1)) for plane in (one, other))
    assert same_shot(first, first)
    assert not same_shot(first, second)


def test_what_comes_is_what_the_neighbours_decide(tmp_path: Path, upscaler: Upscaler) -> None:
    job = planned(made(tmp_path, "every picture a keyframe"))
    with job.open_reader(None) as reader:
        frames = list(reader)
    wanted = list(upscaler.stream(frames))
    far = [*frames[:2], replace(frames[2], planes=frames[12].planes), *frames[3:]]
    found = list(upscaler.stream(far))
    changed = [k for k in range(FRAMES) if not np.array_equal(found[k].planes[0], wanted[k].planes[0])]
    assert changed == [1, 2, 3]


def test_frames_that_repeat_are_reused_and_stand_still(tmp_path: Path) -> None:
    job = planned(made(tmp_path, "every picture a keyframe"))
    with job.open_reader(None) as reader:
        first, second, third, *_ = list(reader)
    frames = [replace(frame, pts=k) for k, frame in enumerate((first, second, second, second, third))]
    results = []
    for reuse in (True, False):
        with Upscaler("bicubic", scale=2, backend="cpu", steady=1, reuse=reuse) as upscaler:
            results.append(list(upscaler.stream(frames)))
            assert upscaler.num_reused == (2 if reuse else 0)
    assert same(results[0], results[1])
    one, two, three = (frame.planes[0] for frame in results[0][1:4])
    assert np.array_equal(one, two)  # a drawing that is held stands still, whatever comes before and behind it
    assert np.array_equal(two, three)


@pytest.mark.parametrize("reach", [0, 1, 2, 4])
def test_windows(reach: int) -> None:
    """Numbers, of which 5 begins a new shot."""
    found = list(windows(range(9), reach, lambda before, one: one != 5))
    assert [window[reach] for window in found] == list(range(9))
    for middle, window in enumerate(found):
        low, high = (0, 4) if middle < 5 else (5, 8)
        assert list(window) == [min(max(middle + k, low), high) for k in range(-reach, reach + 1)]
    assert [list(window) for window in windows([3], reach, lambda *_: True)] == [[3] * (2 * reach + 1)]


@pytest.mark.parametrize(("name", "at"), [("replace", 5), ("fsync", 6)])
def test_killed_and_resumed_it_ends_with_the_same_bytes(vidsr: Cli, tmp_path: Path, name: str, at: int) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=48, bframes=2, gop=250, draw=drifting)
    options = (*QUICK, "--steady", "1")
    assert vidsr("upscale", clip, "-o", tmp_path / "whole.mp4", *options).code == 0
    output = tmp_path / "out.mp4"
    assert run_and_kill(at, name, "upscale", clip, "-o", output, *options) == -signal.SIGKILL
    again = vidsr("upscale", clip, "-o", output, *options)
    assert again.code == 0, again.err
    assert "goes on after" in again.err
    assert output.read_bytes() == (tmp_path / "whole.mp4").read_bytes()
