"""Every picture once, in order, at its own time: read back from the numbers drawn into the pictures."""

from __future__ import annotations

import gc
import random
import threading
import zlib
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.clips import Picture, make_clip, read_number
from vidsr.errors import MediaError, UsageError
from vidsr.frame import Frame, PixelFormat
from vidsr.media.read.deinterlace import Deinterlacing
from vidsr.media.read.feed import Feed
from vidsr.media.read.probe import probe
from vidsr.media.read.reader import Reader
from vidsr.media.read.timeline import Timeline

X265 = {"x265-params": "log-level=none:bframes=3:open-gop=1"}


def read(path: Path, **options: Any) -> tuple[list[int], list[int], Reader]:
    """Numbers, pts, and the closed reader."""
    with Reader(path, **options) as reader:
        frames = [(read_number(f.planes[0], f.format.bits), f.pts) for f in reader]
    return [n for n, _ in frames], [p for _, p in frames], reader


VFR = [0, 25, 50, 51, 100, 175, 180, 240, 241, 300, 400, 401]


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".mp4", {"bframes": 3}),
        (".mp4", {"codec": "libx265", "options": X265}),
        (".mp4", {"codec": "libsvtav1", "width": 64, "height": 64}),
        (".mp4", {"width": 65, "height": 49, "pix_fmt": "yuv444p"}),
        (".mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}),
        (".mov", {"codec": "qtrle", "pix_fmt": "argb"}),
        (".mkv", {"bframes": 3, "pix_fmt": "yuv420p10le"}),
        (".mkv", {"codec": "ffv1", "pix_fmt": "gray16le"}),
        (".mkv", {"codec": "libx264rgb", "pix_fmt": "rgb24"}),
        (".webm", {"codec": "libvpx-vp9", "options": {"deadline": "realtime"}}),
        (".ts", {"bframes": 3}),
        (".mpg", {"codec": "mpeg2video", "bframes": 2}),
        (".avi", {"codec": "rawvideo", "pix_fmt": "yuyv422"}),
    ],
)
def test_every_picture_once_at_its_time(tmp_path: Path, suffix: str, options: dict[str, Any]) -> None:
    clip = make_clip(tmp_path / f"a{suffix}", Picture(frames=30, **options))
    numbers, pts, reader = read(clip)
    assert numbers == list(range(30))
    base = reader.info.video.time_base
    times = [(p - pts[0]) * base for p in pts]
    assert times == pytest.approx([k / 24 for k in range(30)], abs=0.5001 * float(base))
    assert reader.report.num_frames == 30
    assert not reader.report.errors
    assert not reader.report.notes


@pytest.mark.parametrize("bframes", [0, 3])
def test_variable_rate_in_mp4_is_exact(tmp_path: Path, bframes: int) -> None:
    clip = make_clip(tmp_path / "a.mp4", pts=[p + 6000 for p in VFR], time_base=Fraction(1, 600), bframes=bframes)
    numbers, pts, reader = read(clip)
    assert reader.info.video.time_base == Fraction(1, 600)
    assert pts == [p + 6000 for p in VFR]
    assert numbers == list(range(len(VFR)))


def test_durations_in_mp4(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", pts=VFR, time_base=Fraction(1, 600))
    with Reader(clip) as reader:
        durations = [f.duration for f in reader]
    assert durations[:-1] == [b - a for a, b in pairwise(VFR)]


@pytest.mark.parametrize(("suffix", "codec"), [(".h264", "libx264"), (".avi", "libx264"), (".avi", "mpeg4")])
def test_missing_and_decoding_times_become_presentation_times(tmp_path: Path, suffix: str, codec: str) -> None:
    numbers, pts, reader = read(make_clip(tmp_path / f"a{suffix}", frames=40, codec=codec, bframes=2))
    assert numbers == list(range(40))
    assert [p * reader.info.video.time_base for p in pts] == [Fraction(k, 24) for k in range(40)]


def test_pictures_that_an_edit_list_hides_are_not_yielded(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", pts=[-2, -1, 0, 1, 2, 3], time_base=Fraction(1, 24))
    numbers, pts, reader = read(clip)
    assert (numbers, pts) == ([2, 3, 4, 5], [0, 1, 2, 3])
    assert (reader.report.num_packets, reader.report.num_discarded) == (6, 2)


def test_samples_equal_those_of_a_plain_decode(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=5, width=66, height=50, pix_fmt="yuv420p10le")
    frames = list(Reader(clip))
    with av.open(str(clip)) as container:
        for frame, plain in zip(frames, container.decode(video=0), strict=True):
            flat = np.concatenate([p.ravel() for p in frame.planes])
            assert np.array_equal(flat, plain.to_ndarray().ravel())


def test_what_the_codec_cuts_off_on_the_left_is_cut_off(tmp_path: Path) -> None:
    """FFmpeg alone leaves columns there that are not aligned in memory."""
    clip, cut = make_clip(tmp_path / "a.mkv", frames=3, width=80, height=64), tmp_path / "cut.mkv"
    with av.open(str(clip)) as whole, av.open(str(cut), "w") as out:
        source = whole.streams.video[0]
        target = out.add_stream_from_template(source)
        cutter = av.BitStreamFilterContext("h264_metadata=crop_left=10:crop_top=6", source, target)
        for packet in whole.demux(source):
            for made in cutter.filter(packet if packet.size else None):
                made.stream = target
                out.mux(made)
    frames, uncut = list(Reader(cut)), list(Reader(clip))
    assert len(frames) == 3
    for frame, full in zip(frames, uncut, strict=True):
        assert np.array_equal(frame.planes[0], full.planes[0][6:, 10:])
        assert np.array_equal(frame.planes[1], full.planes[1][3:, 5:])


def random_planes(number: int, fmt: PixelFormat, width: int, height: int) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(number)
    return [rng.integers(0, 256, shape).astype(np.uint8) for shape in fmt.plane_shapes(width, height)]


@pytest.mark.parametrize(("codec", "pix_fmt", "suffix"), [("rawvideo", "bgr24", ".avi"), ("qtrle", "argb", ".mov")])
def test_packed_formats_are_unpacked_exactly(tmp_path: Path, codec: str, pix_fmt: str, suffix: str) -> None:
    picture = Picture(frames=2, width=33, height=18, codec=codec, pix_fmt=pix_fmt, draw=random_planes)
    with Reader(make_clip(tmp_path / f"a{suffix}", picture)) as reader:
        for number, frame in enumerate(reader):
            drawn = random_planes(number, PixelFormat("rgb"), 33, 18)
            for got, expected in zip(frame.planes[:3], drawn, strict=True):
                assert np.array_equal(got, expected)


def test_planes_stay_valid_after_the_reader_is_closed(tmp_path: Path) -> None:
    with Reader(make_clip(tmp_path / "a.mp4", frames=12, bframes=2)) as reader:
        frames = list(reader)
    del reader
    gc.collect()
    assert [read_number(f.planes[0]) for f in frames] == list(range(12))


def signature(frame: Frame) -> tuple[int, ...]:
    return (frame.pts, *(zlib.crc32(p.tobytes()) for p in frame.planes))


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".mp4", {"bframes": 3}),
        (".mp4", {"options": {"intra-refresh": "1"}}),
        (".mkv", {"options": {"x264-params": "open-gop=1:bframes=3"}}),
        (".ts", {"options": {"x264-params": "open-gop=1:bframes=3"}}),
        (".ts", {"options": {"intra-refresh": "1"}}),
        (".ts", {"codec": "libx265", "options": X265}),
        (".mpg", {"codec": "mpeg2video", "bframes": 2}),
        (".avi", {"codec": "mpeg4", "bframes": 2}),
        (".h264", {"bframes": 2}),
    ],
)
def test_a_part_equals_that_part_of_the_whole(tmp_path: Path, suffix: str, options: dict[str, Any]) -> None:
    info = probe(make_clip(tmp_path / f"a{suffix}", Picture(frames=100, gop=20, **options)))
    with Reader(info) as reader:
        whole = [signature(f) for f in reader]
    times = [(s[0] - whole[0][0]) * info.video.time_base for s in whole]
    rng = random.Random(3)
    for _ in range(6):
        start, end = sorted(rng.sample(times, 2))
        with Reader(info, start=start, end=end) as reader:
            part = [signature(f) for f in reader]
        assert part == [s for s, t in zip(whole, times, strict=True) if start <= t < end]


def test_a_late_part_does_not_decode_the_beginning(tmp_path: Path) -> None:
    _, _, reader = read(make_clip(tmp_path / "a.mp4", frames=200, gop=20), start=Fraction(8))
    assert reader.report.num_frames == 8
    assert reader.report.num_packets <= 48


def joined(folder: Path) -> Path:
    parts = [make_clip(folder / f"{n}.ts", frames=n, bframes=2) for n in (30, 90)]
    (folder / "joined.ts").write_bytes(b"".join(p.read_bytes() for p in parts))
    return folder / "joined.ts"


def test_times_that_run_backwards_are_moved_on(tmp_path: Path) -> None:
    numbers, pts, reader = read(joined(tmp_path))
    assert numbers == [*range(30), *range(90)]
    assert [b - a for a, b in pairwise(pts)] == [3750] * 119
    assert len(reader.report.notes) == 1
    assert "backwards at 1.208 s by 1.208 s" in reader.report.notes[0]
    later, _, _ = read(tmp_path / "joined.ts", start=Fraction(45, 24))
    assert later == list(range(15, 90)), "not where a seek to that time would land"


def test_timeline_rules() -> None:
    line = Timeline(Fraction(1, 1000), Fraction(25), 0)
    assert [line.place(p) for p in (0, 40, 40, 80, None, 160, 200, 240)] == [0, 40, 41, 80, 120, 160, 200, 240]
    assert not line.notes
    assert [line.place(p) for p in (10, 50)] == [280, 320]
    assert len(line.notes) == 1
    without = Timeline(Fraction(1, 90000), Fraction(30000, 1001), None)
    assert [without.place(None) for _ in range(5)] == [0, 3003, 6006, 9009, 12012]


def test_among_pictures_without_times_a_time_has_to_agree_with_another() -> None:
    line = Timeline(Fraction(1, 1000), Fraction(25), 0)
    assert [line.place(p) for p in (0, None, None, 160, 160, None, 240)] == [0, 40, 80, 120, 160, 200, 240]
    assert [line.place(p) for p in (None, 800, None, 880, None)] == [280, 320, 360, 880, 920], "pictures are missing"
    assert [line.place(p) for p in (880, 880, 880)] == [960, 961, 962], "too many for their times"
    assert not line.notes


def test_a_change_of_size_is_resized_and_said(tmp_path: Path) -> None:
    first = make_clip(tmp_path / "1.h264", frames=5, width=64, height=48)
    second = make_clip(tmp_path / "2.h264", frames=5, width=128, height=96)
    (tmp_path / "both.h264").write_bytes(first.read_bytes() + second.read_bytes())
    with Reader(tmp_path / "both.h264") as reader:
        frames = list(reader)
    assert {(f.width, f.height) for f in frames} == {(64, 48)}
    assert [read_number(f.planes[0]) for f in frames] == [0, 1, 2, 3, 4] * 2
    assert reader.report.notes == ["the picture size becomes 128x96 at 0.208 s: resized to 64x48"]


@pytest.mark.parametrize("flags", ["+ilme+ildct", "0"])
def test_deinterlacing_keeps_number_and_times(tmp_path: Path, flags: str) -> None:
    clip = make_clip(
        tmp_path / "a.mpg", frames=20, codec="mpeg2video", options={"flags": flags, "qscale": "2"}, draw=combed
    )
    info = probe(clip)
    assert info.video.interlaced == (flags != "0")
    with Reader(info) as reader:
        plain = list(reader)
    with Reader(info, deinterlace=Deinterlacing("all")) as reader:
        smooth = list(reader)
    assert [f.pts for f in smooth] == [f.pts for f in plain]
    assert {f.time_base for f in smooth} == {info.video.time_base}
    assert combing(smooth[10]) < 0.2 * combing(plain[10])


def combed(number: int, fmt: PixelFormat, width: int, height: int) -> list[np.ndarray[Any, Any]]:
    """A moving edge whose odd lines are half a picture ahead."""
    planes = [np.full(s, 128, fmt.dtype) for s in fmt.plane_shapes(width, height)]
    for field in (0, 1):
        planes[0][field::2] = np.where(np.arange(width) < 10 + 4 * number % 40 + 8 * field, 40, 200)
    return planes


def combing(frame: Frame) -> float:
    luma = frame.planes[0].astype(float)
    return float(np.abs(luma[1:-1] - (luma[:-2] + luma[2:]) / 2).mean())


def test_two_threads_give_the_same(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mkv", frames=40, bframes=3, options={"x264-params": "slices=4"})
    with Reader(clip) as one, Reader(clip, threads=2) as two:
        assert [signature(f) for f in one] == [signature(f) for f in two]


def test_closing_early_twice_and_before_the_start(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=30, bframes=3)
    reader = Reader(clip)
    frames = iter(reader)
    first = next(frames)
    reader.close()
    reader.close()
    assert list(frames) == []
    assert read_number(first.planes[0]) == 0
    Reader(clip).close()


def test_closing_from_another_thread_after_iteration_stopped(tmp_path: Path) -> None:
    reader = Reader(make_clip(tmp_path / "a.mp4", frames=30))
    seen: list[Frame] = []
    worker = threading.Thread(target=lambda: seen.append(next(iter(reader))))
    worker.start()
    worker.join()
    reader.close()
    assert read_number(seen[0].planes[0]) == 0


def test_closing_while_another_thread_waits_for_a_packet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, go, closed = threading.Event(), threading.Event(), threading.Event()
    packets, close = Feed.__iter__, Feed.close

    def slowly(feed: Feed) -> Iterator[Any]:
        for number, packet in enumerate(packets(feed)):
            if number == 3:
                waiting.set()
                assert go.wait(60)
            yield packet

    monkeypatch.setattr(Feed, "__iter__", slowly)
    monkeypatch.setattr(Feed, "close", lambda feed: (close(feed), closed.set()))
    reader = Reader(make_clip(tmp_path / "a.mp4", frames=30))
    seen: list[Frame] = []
    worker = threading.Thread(target=lambda: seen.extend(reader))
    worker.start()
    assert waiting.wait(60)
    reader.close()
    assert not closed.is_set(), "the file is closed under the thread that reads it"
    go.set()
    worker.join(60)
    assert closed.is_set()
    assert len(seen) <= 4, "it reads on"


def test_impossible_arguments(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="got 0"):
        Reader(make_clip(tmp_path / "a.mp4", frames=2), threads=0)
    with pytest.raises(MediaError, match="does not exist"):
        Reader(tmp_path / "none.mp4")


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_stays_flat(tmp_path: Path) -> None:
    """2000 pictures of 57 kB: keeping even a tenth of them would show. No cycles: the collector is off."""
    clip = make_clip(tmp_path / "a.mp4", frames=2000, width=240, height=160, gop=250)
    at = {}
    gc.disable()
    try:
        with Reader(clip) as reader:
            for number, _ in enumerate(reader):
                if number in (200, 1999):
                    at[number] = resident_bytes()
    finally:
        gc.enable()
    assert at[1999] - at[200] < 6_000_000


def test_a_gpu_that_is_not_there_leaves_the_work_to_software(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=6)
    with Reader(clip) as plain, Reader(clip, gpu=99) as hardware:
        for a, b in zip(plain, hardware, strict=True):
            assert a.pts == b.pts
            assert all(np.array_equal(x, y) for x, y in zip(a.planes, b.planes, strict=True))
        assert hardware.report.notes == [
            "decoded in software: NVDEC does not open on GPU 99: it needs an NVIDIA GPU and its driver"
        ]
