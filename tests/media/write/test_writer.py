"""Segments: every frame once, at its own time, tagged, and nothing left of a segment that failed."""

from __future__ import annotations

import os
import struct
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests import warm
from tests.media.making import HEIGHT, WIDTH, frames_of, numbers, spec_of, write_segment
from vidsr.errors import OutputError
from vidsr.frame import Colour, Frame, Matrix
from vidsr.media.hdr import Mastering, light_level
from vidsr.media.pyav import side_data_of
from vidsr.media.write.encoder import scaled_matrix, to_video_frame
from vidsr.media.write.times import Times, decode_times, fitting_clock, read_times
from vidsr.media.write.writer import Writer

MASTERING = struct.pack(
    "<22i", *(34000, 50000, 16000, 50000, 13250, 50000, 34500, 50000, 7500, 50000, 3000, 50000),
    *(15635, 50000, 16450, 50000, 50, 10000, 10000000, 10000, 1, 1),
)  # fmt: skip
LIGHT = struct.pack("<2I", 1000, 400)
STEPS = [1, 1, 3, 1, 7, 2, 1, 1, 9, 1, 2, 1, 1, 30, 1, 1, 2, 1, 1, 5]  # frame distances of a variable rate

ENCODERS = [
    ("libx264", "yuv420p", ".mp4"),
    ("libx265", "yuv420p10le", ".mp4"),
    ("libsvtav1", "yuv420p10le", ".mp4"),
    ("libvpx-vp9", "yuv444p", ".mp4"),
    ("ffv1", "yuv422p10le", ".mkv"),
    ("prores_ks", "yuv422p10le", ".mov"),
]
CLOCKS = [
    (Fraction(1001, 30000), 1, 7),
    (Fraction(1, 90000), 3003, -6006),
    (Fraction(1, 1000), 41, 10_000),
    (Fraction(1, 14112000), 588000, 123_456_789),
    (Fraction(1, 10**9), 41708333, 3600 * 10**9 + 1),
]


def variable(step: int, first: int) -> list[int]:
    return [first + step * int(n) for n in np.cumsum([0, *STEPS])]


@pytest.mark.parametrize(("encoder", "layout", "suffix"), ENCODERS)
def test_every_frame_comes_back_in_order(tmp_path: Path, encoder: str, layout: str, suffix: str) -> None:
    pts = variable(1, 0)
    path = tmp_path / f"a{suffix}"
    info = write_segment(path, spec_of(encoder, layout), pts)
    assert numbers(path) == list(range(len(pts)))
    assert (info.num_frames, info.first_pts, info.last_pts) == (len(pts), 0, pts[-1])
    assert info.end_pts == pts[-1] + STEPS[-1]
    assert info.num_bytes == path.stat().st_size


@pytest.mark.skipif(sys.platform != "linux", reason="scheduling policies are Linux's")
@pytest.mark.parametrize("encoder", [encoder for encoder, _, _ in ENCODERS])
def test_no_encoder_makes_the_process_real_time(tmp_path: Path, encoder: str) -> None:
    """SVT-AV1 does, when run by root: every program started afterwards would starve the machine."""
    _, layout, suffix = next(row for row in ENCODERS if row[0] == encoder)
    policies: set[int] = set()

    def look() -> None:
        for thread in Path("/proc/self/task").iterdir():
            policies.add(os.sched_getscheduler(int(thread.name)))

    writer = Writer(tmp_path / f"a{suffix}", spec_of(encoder, layout), container=suffix[1:])
    try:
        look()
    finally:
        writer.abort()
    assert policies == {os.SCHED_OTHER}


@pytest.mark.parametrize(("time_base", "step", "first"), CLOCKS)
@pytest.mark.parametrize(("encoder", "layout", "suffix"), ENCODERS[:4:3])
def test_times_are_exact_on_any_clock(
    tmp_path: Path, encoder: str, layout: str, suffix: str, time_base: Fraction, step: int, first: int
) -> None:
    pts = variable(step, first)
    path = tmp_path / f"a{suffix}"
    write_segment(path, spec_of(encoder, layout, time_base, preset="medium" if encoder == "libx264" else None), pts)
    read = read_times([path])
    assert sorted(read.pts.tolist()) == pts
    assert read.end == pts[-1] + step * STEPS[-1]
    assert (np.diff(read.dts) > 0).all()
    assert (read.dts <= read.pts).all()


def test_b_frames_are_really_tested(tmp_path: Path) -> None:
    write_segment(tmp_path / "a.mp4", spec_of(preset="medium"), range(12))
    assert read_times([tmp_path / "a.mp4"]).pts.tolist() != list(range(12))


def test_frames_on_another_clock_are_converted(tmp_path: Path) -> None:
    spec = spec_of(time_base=Fraction(1, 90000))
    writer = Writer(tmp_path / "a.mp4", spec)
    for frame in frames_of(spec_of(), [0, 1, 5]):
        writer.write(frame)
    writer.close()
    assert read_times([tmp_path / "a.mp4"]).pts.tolist() == [0, 3750, 18750]


def test_last_duration_is_the_frames_own(tmp_path: Path) -> None:
    spec = spec_of(preset="medium")
    writer = Writer(tmp_path / "a.mp4", spec)
    for pts, frame in enumerate(frames_of(spec, range(5))):
        writer.write(Frame(frame.planes, frame.format, frame.colour, pts, frame.time_base, 1 if pts < 4 else 9))
    assert writer.close().end_pts == 4 + 9


@pytest.mark.parametrize(("encoder", "layout"), [e[:2] for e in ENCODERS[:4]])
def test_colour_aspect_and_hdr_are_tagged(tmp_path: Path, encoder: str, layout: str) -> None:
    colour = Colour(Matrix.BT2020_NCL, 9, 16, False, "topleft")
    spec = spec_of(
        encoder, layout, colour=colour, sample_aspect=Fraction(4, 3), mastering_display=MASTERING, light_level=LIGHT
    )
    write_segment(tmp_path / "a.mp4", spec, range(3))
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        assert (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) == (9, 9, 16, 1)
        assert stream.sample_aspect_ratio == Fraction(4, 3)
        side = {item.type.name: bytes(item) for item in side_data_of(frame)}
    read, written = Mastering.parse(side["MASTERING_DISPLAY_METADATA"]), Mastering.parse(MASTERING)
    assert read is not None
    assert written is not None
    for got, want in zip((*read.red, *read.white), (*written.red, *written.white), strict=True):
        assert abs(got - want) < Fraction(1, 20000)
    assert abs(read.brightest - written.brightest) < 1
    assert light_level(side["CONTENT_LIGHT_LEVEL"]) == (1000, 400)


def test_full_range_is_tagged(tmp_path: Path) -> None:
    write_segment(tmp_path / "a.mp4", spec_of(colour=Colour(full_range=True)), range(2))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert next(container.decode(video=0)).color_range == 2


def test_lossless_encoder_gives_the_very_samples(tmp_path: Path) -> None:
    spec = spec_of("ffv1", "yuv444p", width=37, height=21)
    rng = np.random.default_rng(5)
    planes = tuple(rng.integers(0, 256, (21, 37), np.uint8) for _ in range(3))
    writer = Writer(tmp_path / "a.mkv", spec, container="mkv")
    writer.write(Frame(planes, spec.format, spec.colour, 0, spec.time_base))
    writer.close()
    with av.open(str(tmp_path / "a.mkv")) as container:
        frame = next(container.decode(video=0))
        for plane, samples in zip(frame.planes, planes, strict=True):
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(21, -1)[:, :37]
            assert (rows == samples).all()


@pytest.mark.parametrize(
    ("encoder", "layout", "packed"),
    [("hevc_nvenc", "yuv420p10le", "p010le"), ("hevc_qsv", "yuv420p10le", "p010le"), ("h264_qsv", "yuv420p", "nv12")],
)
def test_what_hardware_is_fed_is_packed_as_swscale_reads_it(encoder: str, layout: str, packed: str) -> None:
    spec = spec_of(encoder, layout)
    rng = np.random.default_rng(6)
    most, dtype = 1 << spec.format.bits, spec.format.dtype
    planes = tuple(rng.integers(0, most, shape, dtype) for shape in spec.format.plane_shapes(WIDTH, HEIGHT))
    picture = to_video_frame(Frame(planes, spec.format, spec.colour, 0, spec.time_base), spec)
    assert picture.format.name == packed
    back = picture.reformat(format=layout)
    for plane, samples in zip(back.planes, planes, strict=True):
        rows = np.frombuffer(memoryview(plane), dtype).reshape(samples.shape[0], -1)
        assert (rows[:, : samples.shape[1]] == samples).all()


def test_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_segment(tmp_path / name, spec_of(threads=3), range(10))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_wrong_frames_are_refused(tmp_path: Path) -> None:
    spec = spec_of()
    writer = Writer(tmp_path / "a.mp4", spec)
    good = next(iter(frames_of(spec, [5])))
    with pytest.raises(ValueError, match="expected a frame of 96x64 yuv420p, got 96x64 yuv422p"):
        writer.write(next(iter(frames_of(spec_of(pix_fmt="yuv422p"), [5]))))
    with pytest.raises(ValueError, match="wrong shapes"):
        writer.write(
            Frame((good.planes[0], *good.planes[1:2] * 1, good.planes[0]), good.format, good.colour, 5, spec.time_base)
        )
    writer.write(good)
    with pytest.raises(OutputError, match="comes after"):
        writer.write(good)
    writer.abort()
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize(("encoder", "layout", "suffix"), ENCODERS)
def test_abort_leaves_nothing(tmp_path: Path, encoder: str, layout: str, suffix: str) -> None:
    spec = spec_of(encoder, layout)
    writer = Writer(tmp_path / f"a{suffix}", spec, container=suffix[1:])
    for frame in frames_of(spec, range(4)):
        writer.write(frame)
    writer.abort()
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_segment_without_frames_is_an_error(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "a.mp4", spec_of())
    with pytest.raises(OutputError, match="no frame"):
        writer.close()
    writer.abort()


def test_unfinished_segment_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_segment(path, spec_of(), range(4))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(OutputError, match="not a finished segment"):
        read_times([path])


def test_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match=r"is no folder; create it"):
        Writer(tmp_path / "file" / "a.mp4", spec_of())
    with pytest.raises(OutputError, match="cannot be written"):
        Writer(Path("/proc/vidsr.mp4"), spec_of())


FULL = """
import errno, resource, sys
from pathlib import Path
from tests import warm
from tests.media.making import frames_of, spec_of
from vidsr.errors import OutputError
from vidsr.frame import Frame
from vidsr.media.write.writer import Writer
import numpy as np
resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000))
path, spec = Path(sys.argv[1]), spec_of("ffv1", "yuv420p")
writer = Writer(path, spec, container="mkv")
rng = np.random.default_rng(0)
try:
    for pts in range(500):
        planes = tuple(rng.integers(0, 256, s, np.uint8) for s in spec.format.plane_shapes(spec.width, spec.height))
        writer.write(Frame(planes, spec.format, spec.colour, pts, spec.time_base))
    writer.close()
except OutputError as error:
    writer.abort()
    print(error)
    sys.exit(0 if not path.exists() else 2)
sys.exit(3)
"""


def test_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    """The system's limit on file sizes fails like a full disk, from write()."""
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", FULL, str(tmp_path / "a.mkv")]
    done = warm.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "takes no file of this size" in done.stdout
    assert done.stdout.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_no_space_left_names_the_folder() -> None:
    writer = Writer(Path("/dev/full"), spec_of("ffv1", "yuv420p"), container="mkv")
    with pytest.raises(OutputError, match="no space is left in /dev; free some"):  # noqa: PT012
        for frame in frames_of(writer._spec, range(3)):
            writer.write(frame)
        writer.close()


def test_decode_times_follow_the_frames_shown() -> None:
    pts = np.array([10, 40, 20, 30, 80, 50, 60])
    dts = decode_times(pts)
    assert (np.diff(dts) > 0).all()
    assert (dts <= pts).all()
    assert decode_times(np.array([3, 5, 9])).tolist() == [3, 5, 9]


def test_clock_gets_coarser_only_where_it_must() -> None:
    def at(*pts: int, base: int = 10**9) -> Fraction:
        ticks = np.array(pts, np.int64)
        return fitting_clock(Times(ticks, ticks, np.diff(ticks, append=ticks[-1] + 1), 0), Fraction(1, base))

    assert at(0, 1, 2**31 - 1) == Fraction(1, 10**9)
    assert at(0, 1, 2**31 + 1) == Fraction(1, 10**6)
    assert at(0, 1, 2**33, base=90000) == Fraction(1, 90000)
    ticks = np.array([0, 5 * 10**9], np.int64)
    times = Times(ticks, ticks, np.array([5 * 10**9, 5 * 10**9]), 0)
    assert fitting_clock(times, Fraction(1, 10**9)) == Fraction(5)


def test_display_matrix_grows_with_the_picture() -> None:
    quarter = (0, 65536, 0, -65536, 0, 0, 180 << 16, 0, 1 << 30)
    assert scaled_matrix(quarter, Fraction(2), Fraction(3)) == (0, 65536, 0, -65536, 0, 0, 540 << 16, 0, 1 << 30)
    mirror = (-65536, 0, 0, 0, 65536, 0, 320 << 16, 0, 1 << 30)
    assert scaled_matrix(mirror, Fraction(2), Fraction(3)) == (-65536, 0, 0, 0, 65536, 0, 640 << 16, 0, 1 << 30)
    assert scaled_matrix(None, Fraction(2), Fraction(2)) is None


def test_rgb_layout_keeps_the_order_of_its_planes(tmp_path: Path) -> None:
    spec = spec_of("libx265", "gbrp", colour=Colour(Matrix.RGB, 1, 13, True))
    planes = tuple(np.full((HEIGHT, WIDTH), value, np.uint8) for value in (200, 100, 30))  # green, blue, red
    writer = Writer(tmp_path / "a.mp4", spec)
    writer.write(Frame(planes, spec.format, spec.colour, 0, spec.time_base))
    writer.close()
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (frame.format.name, frame.colorspace) == ("gbrp", 0)
        assert abs(frame.to_ndarray(format="rgb24").reshape(-1, 3).mean(0) - [30, 200, 100]).max() < 3


def test_grey_is_encoded_as_grey(tmp_path: Path) -> None:
    write_segment(tmp_path / "a.mp4", spec_of("libx265", "gray"), range(3))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert next(container.decode(video=0)).format.name == "gray"
    assert numbers(tmp_path / "a.mp4") == [0, 1, 2]
