"""Raw video through pipes: what comes in goes out, in every layout, and anything else is one sentence."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests import warm
from tests.clips import draw_number, make_clip, read_number
from tests.conftest import ROOT
from vidsr.errors import DamagedError, MediaError
from vidsr.frame import Frame, PixelFormat
from vidsr.media.read.probe import probe
from vidsr.media.y4m import Y4mHeader, Y4MReader, Y4MWriter, writable

LAYOUTS = [
    "420jpeg", "420mpeg2", "420paldv", "422", "444", "411", "mono", "420p10", "422p10", "444p12", "420p16", "mono12"
]  # fmt: skip
QUICK = ("--model", "bicubic", "--backend", "cpu", "--scale", "2", "--codec", "auto")


def y4m(layout: str = "420mpeg2", frames: int = 4, *, width: int = 32, height: int = 16, words: str = "") -> bytes:
    """A stream whose pictures show their numbers, made by hand."""
    header = f"YUV4MPEG2 W{width} H{height} F30000:1001 Ip A4:3 C{layout}{words}\n".encode()
    fmt = Y4mHeader.parse(header.rstrip(), "test").format
    pictures = (
        b"FRAME\n" + b"".join(p.astype(p.dtype.newbyteorder("<")).tobytes() for p in draw_number(k, fmt, width, height))
        for k in range(frames)
    )
    return header + b"".join(pictures)


@dataclass
class Ended:
    """How a call of the command line ended."""

    returncode: int
    stdout: bytes
    stderr: bytes


def run(data: bytes, *arguments: str) -> Ended:
    """The command line, in this process, with `data` as standard input."""
    from vidsr.cli import main

    pipes = [io.TextIOWrapper(io.BytesIO(start), write_through=True) for start in (data, b"", b"")]
    with pytest.MonkeyPatch.context() as patch:
        for name, pipe in zip(("stdin", "stdout", "stderr"), pipes, strict=True):
            patch.setattr(sys, name, pipe)
        patch.setattr(sys, "argv", ["vidsr", "upscale", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    code = ended.value.code
    out, err = (pipe.buffer.getvalue() for pipe in pipes[1:])
    return Ended(code if isinstance(code, int) else 0, out, err)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read_and_written_as_it_was(layout: str) -> None:
    data = y4m(layout)
    reader = Y4MReader(io.BytesIO(data))
    out = io.BytesIO()
    writer = Y4MWriter(out, reader.header)
    frames = list(reader)
    for frame in frames:
        writer.write(frame)
    assert [read_number(f.planes[0], f.format.bits) for f in frames] == [0, 1, 2, 3]
    assert [f.pts * f.time_base for f in frames] == [Fraction(1001 * k, 30000) for k in range(4)]
    body = data.index(b"FRAME")
    assert out.getvalue()[out.getvalue().index(b"FRAME") :] == data[body:]
    assert Y4mHeader.parse(out.getvalue().split(b"\n")[0], "out") == reader.header
    assert writer.num_bytes == len(out.getvalue())


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout not in ("mono12",)])
def test_ffmpeg_reads_what_is_written(layout: str, tmp_path: Path) -> None:
    path = tmp_path / "a.y4m"
    with path.open("wb") as file:
        reader = Y4MReader(io.BytesIO(y4m(layout)))
        writer = Y4MWriter(file, reader.header)
        for frame in reader:
            writer.write(frame)
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        assert (video.width, video.height, video.average_rate) == (32, 16, Fraction(30000, 1001))
        assert video.sample_aspect_ratio == Fraction(4, 3)
        frames = list(container.decode(video=0))
    assert len(frames) == 4
    assert PixelFormat.parse(frames[0].format.name) == reader.header.format
    luma: Any = frames[3].planes[0]
    rows = np.frombuffer(luma, reader.header.format.dtype).reshape(16, -1)[:, :32]
    assert read_number(rows, reader.header.format.bits) == 3


@pytest.mark.parametrize(("words", "siting"), [("", "center"), ("C420paldv ", "topleft"), ("C420mpeg2 ", "left")])
def test_a_file_has_its_chroma_where_a_pipe_has_it(words: str, siting: str, tmp_path: Path) -> None:
    line = f"YUV4MPEG2 W4 H4 F25:1 {words}XCOLORRANGE=FULL".encode()
    (tmp_path / "a.y4m").write_bytes(line + b"\nFRAME\n" + bytes(24))
    assert Y4mHeader.parse(line, "a").siting == siting == probe(tmp_path / "a.y4m").video.colour.siting


def test_header_words() -> None:
    header = Y4mHeader.parse(b"YUV4MPEG2 W720 H576 F25:1 It A16:15 C420paldv XCOLORRANGE=FULL", "x")
    assert (header.siting, header.scan, header.full_range) == ("topleft", "t", True)
    info = Y4MReader(io.BytesIO(header.line())).info.video
    assert info.interlaced
    assert info.colour.full_range
    assert info.sample_aspect == Fraction(16, 15)
    plain = Y4mHeader.parse(b"YUV4MPEG2 W8 H8 F0:0 A0:0", "x")
    assert (plain.siting, plain.rate, plain.sample_aspect) == ("center", None, 1)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"RIFF....AVI LIST", "not y4m"),
        (b"\x00\x00\x00\x20ftypisom", "not y4m"),
        (b"YUV4MPEG2 F25:1", "names no size"),
        (b"YUV4MPEG2 W-4 H8", "names no size"),
        (b"YUV4MPEG2 W65535 H65535 C444", "above the limit"),
        (b"YUV4MPEG2 W999999 H999999", "above the limit"),
        (b"YUV4MPEG2 W8 H8 C420p99", "unknown"),
        (b"YUV4MPEG2 W8 H8 C\x1b[31m", "unknown"),
        (b"", "empty"),
    ],
)
def test_other_streams_are_one_sentence(line: bytes, sentence: str) -> None:
    with pytest.raises(MediaError, match=sentence) as caught:
        Y4MReader(io.BytesIO(line))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cut", [1, 700])
def test_a_stream_that_breaks_off(cut: int) -> None:
    data = y4m()[:-cut]
    frames: list[Frame] = []
    with pytest.raises(DamagedError, match="breaks off in a picture after 3 frames"):
        frames.extend(Y4MReader(io.BytesIO(data)))
    reader = Y4MReader(io.BytesIO(data), keep_going=True)
    assert len(list(reader)) == 3
    assert reader.report.num_errors == 1


@pytest.mark.parametrize(
    ("name", "written"),
    [("yuva420p", "yuv420p"), ("gbrp", "yuv444p"), ("gbrap16le", "yuv444p16le"), ("yuv440p", "yuv444p"),
     ("yuv411p", "yuv411p"), ("yuv410p", "yuv420p"), ("gray10le", "gray10le"), ("yuv422p10le", "yuv422p10le")],
)  # fmt: skip
def test_the_layout_that_loses_least(name: str, written: str) -> None:
    assert writable(PixelFormat.parse(name)).name == written


def test_frames_that_move_in_time_are_counted() -> None:
    header = Y4mHeader(16, 16, PixelFormat("grey"), rate=Fraction(25))
    writer = Y4MWriter(io.BytesIO(), header)
    for pts in (10, 11, 12, 20):
        frame = Frame(
            (np.zeros((16, 16), np.uint8),),
            header.format,
            Y4MReader(io.BytesIO(header.line())).info.video.colour,
            pts,
            Fraction(1, 25),
        )
        writer.write(frame)
    assert writer.notes == ["1 frames stand elsewhere in time: y4m has only a rate, 25.000 fps"]


@pytest.mark.parametrize("layout", ["420mpeg2", "422p10", "mono"])
def test_from_pipe_to_pipe(layout: str) -> None:
    result = run(y4m(layout), "-", "-o", "-", *QUICK)
    assert result.returncode == 0, result.stderr
    reader = Y4MReader(io.BytesIO(result.stdout))
    assert (reader.header.width, reader.header.height, reader.header.sample_aspect) == (64, 32, Fraction(4, 3))
    assert reader.header.format == Y4mHeader.parse(y4m(layout).split(b"\n")[0], "x").format
    assert [read_number(f.planes[0], f.format.bits) for f in reader] == [0, 1, 2, 3]
    assert b"stdin -> stdout" in result.stderr
    assert b"4 frames" in result.stderr


def test_from_pipe_to_file_and_from_file_to_pipe(tmp_path: Path) -> None:
    result = run(y4m(), "-", "-o", str(tmp_path / "a.mkv"), *QUICK)
    assert result.returncode == 0, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.mkv"]
    with av.open(str(tmp_path / "a.mkv")) as container:
        frames = list(container.decode(video=0))
    assert [read_number(f.to_ndarray(format="gray")) for f in frames] == [0, 1, 2, 3]
    assert [round(f.time * 1000) for f in frames] == [0, 33, 67, 100]
    back = run(b"", str(tmp_path / "a.mkv"), "-o", "-", *QUICK)
    assert back.returncode == 0, back.stderr
    assert [read_number(f.planes[0]) for f in Y4MReader(io.BytesIO(back.stdout))] == [0, 1, 2, 3]


def test_a_stream_is_read_while_it_is_written() -> None:
    """The first pictures come out before the last ones have gone in: nothing is collected first."""
    data = y4m(frames=80, width=320, height=240)
    command = [sys.executable, "-m", "vidsr", "upscale", "-", "-o", "-", *QUICK]
    with warm.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(data[: len(data) // 2])
        process.stdin.flush()
        first = process.stdout.read(640 * 480)  # would wait for ever if all had to come in first
        assert first.startswith(b"YUV4MPEG2 W640 H480 F30000:1001")
        process.stdin.close()
        rest = process.stdout.read()
        said = process.stderr.read()
        assert process.wait(60) == 1  # half of the stream breaks off in a picture
    assert b"39 frames stand in stdout; what came through the pipe has to come again" in b" ".join(said.split())
    assert len(list(Y4MReader(io.BytesIO(first + rest)))) == 39


def test_a_reader_that_leaves_ends_the_job() -> None:
    command = [sys.executable, "-m", "vidsr", "upscale", "-", "-o", "-", "-q", *QUICK]
    process = warm.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(y4m(frames=60), timeout=60)
    assert process.returncode == 1
    assert b"Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["-"], 2, "say where its output goes"),
        (["-", "-o", "out/"], 2, "is a folder"),
        (["-", "-o", "-", "--json"], 2, "--json"),
        (["-", "-o", "-", "--dry-run"], 2, "a dry run"),
        (["-", "-o", "-"], 1, "not y4m"),
    ],
)
def test_impossible_pipes(arguments: list[str], code: int, sentence: str) -> None:
    result = run(b"\x1aE\xdf\xa3 this would be Matroska\n", *arguments, *QUICK)
    assert result.returncode == code, result.stderr
    assert sentence in result.stderr.decode()
    assert b"Traceback" not in result.stderr


def test_a_part_of_a_pipe() -> None:
    result = run(y4m(frames=30), "-", "-o", "-", "--start", "0.5", "--end", "0.7", *QUICK)
    assert [read_number(f.planes[0]) for f in Y4MReader(io.BytesIO(result.stdout))] == list(range(15, 21))


def test_interlaced_pipes_become_progressive() -> None:
    """A moving edge whose odd lines are ahead: the fields fit together afterwards."""
    header = Y4mHeader(64, 32, PixelFormat("grey"), rate=Fraction(25), scan="t")
    pictures = []
    for number in range(8):
        picture = np.zeros((32, 64), np.uint8)
        for field in (0, 1):
            picture[field::2] = np.where(np.arange(64) < 8 + 6 * number + 3 * field, 40, 200)
        pictures.append(picture)
    data = header.line() + b"".join(b"FRAME\n" + picture.tobytes() for picture in pictures)
    kept = [f.planes[0] for f in Y4MReader(io.BytesIO(data), deinterlace="off")]
    flat = [f.planes[0] for f in Y4MReader(io.BytesIO(data), deinterlace="auto")]
    assert all(np.array_equal(a, b) for a, b in zip(kept, pictures, strict=True))
    assert len(flat) == len(pictures)
    before, after = (float(np.abs(np.diff(p[4].astype(int), axis=0)).mean()) for p in (kept, flat))
    assert after < 0.3 * before


def test_no_other_source_becomes_two_pipes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_clip(tmp_path / f"{name}.mp4", frames=2)
    result = run(b"", str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4"), "-o", "-", *QUICK)
    assert result.returncode == 2
    assert result.stdout == b""
