"""Names that are nearly too long, and files whose suffix says nothing."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from tests.clips import jpeg, make_clip
from tests.conftest import Result
from vidsr.errors import MediaError
from vidsr.files import MAX_BYTES, fitting
from vidsr.jobs.inputs import expand
from vidsr.media.read.content import holds_pictures
from vidsr.media.read.open import open_input

Cli = Callable[..., Result]
QUICK = ("--model", "bicubic", "--backend", "cpu", "--scale", "2")


@pytest.mark.parametrize("length", [245, 249, 251, 252, 255])
def test_names_up_to_the_longest_are_made(vidsr: Cli, tmp_path: Path, length: int) -> None:
    source = tmp_path / ("M" * (length - 4) + ".mp4")
    make_clip(source, frames=2)
    result = vidsr("upscale", source, "-o", f"{tmp_path / 'out'}/", *QUICK)
    assert result.code == 0, result.err
    (made,) = (tmp_path / "out").iterdir()
    assert made.name.endswith("_x2.mp4")
    assert made.name == source.stem + "_x2.mp4" or len(made.name.encode()) == MAX_BYTES
    assert vidsr("upscale", source, "-o", f"{tmp_path / 'out'}/", *QUICK).code == 0, "it is found done"
    assert list((tmp_path / "out").iterdir()) == [made]


def test_an_output_of_the_longest_name_is_made(vidsr: Cli, tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", frames=2)
    output = tmp_path / ("ä" * 125 + "n.mp4")
    assert len(output.name.encode()) == MAX_BYTES
    assert vidsr("upscale", tmp_path / "a.mp4", "-o", output, *QUICK).code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", output.name}


def test_names_that_are_cut_stay_apart_and_whole() -> None:
    names = {fitting("é" * 200 + letter, "_x2.mkv") for letter in "ab"}
    assert len(names) == 2
    assert all(len(name.encode()) <= MAX_BYTES and name.endswith("_x2.mkv") for name in names)
    assert fitting("short", ".mp4") == "short.mp4"


@pytest.mark.parametrize(
    ("suffix", "form"),
    [
        *(("m2t", "mpegts"), ("tod", "mpegts"), ("mod", "vob"), ("mpe", "mpeg"), ("divx", "avi"), ("mk3d", "matroska")),
        *(
            ("insv", "mp4"),
            ("lrv", "mp4"),
            ("ogm", "ogg"),
            ("rmvb", "rm"),
            ("", "flv"),
            ("what", "nut"),
            ("bin", "asf"),
        ),
    ],
)
def test_a_folder_is_searched_by_content(tmp_path: Path, suffix: str, form: str) -> None:
    path = tmp_path / (f"film.{suffix}" if suffix else "film")
    _film(path, form)
    (tmp_path / "notes.txt").write_text("no film")
    found, missing = expand([str(tmp_path)])
    assert [item.path for item in found] == [path]
    assert not missing


def test_what_is_no_finished_film_is_passed_over(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", frames=2)
    for name in ("a.mp4.part", "a.mp4.crdownload"):
        shutil.copy(tmp_path / "a.mp4", tmp_path / name)
    with av.open(str(tmp_path / "sound.m4a"), "w", format="mp4") as out:
        out.add_stream("aac", rate=48000)
        out.start_encoding()
    (tmp_path / "photo.thm").write_bytes(jpeg())
    (tmp_path / "cut.bin").write_bytes((tmp_path / "a.mp4").read_bytes()[:40])
    (tmp_path / "empty").write_bytes(b"")
    assert [item.path.name for item in expand([str(tmp_path)])[0]] == ["a.mp4"]
    assert not any(holds_pictures(path) for path in tmp_path.iterdir() if path.name != "a.mp4")


def _film(path: Path, form: str) -> None:
    """Two pictures in a codec that FFmpeg's muxer `form` takes."""
    codec = {"ogg": "libvpx", "rm": "rv20", "flv": "flv"}.get(form, "mpeg2video" if form != "avi" else "mpeg4")
    memory = io.BytesIO()
    with av.open(memory, "w", format=form) as out:
        stream: Any = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 176, 144, "yuv420p"
        for _ in range(25):
            out.mux(stream.encode(av.VideoFrame(176, 144, "yuv420p")))
        out.mux(stream.encode(None))
    path.write_bytes(memory.getvalue())


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        ("a.HEIF", b"\0\0\0\x18ftypmif1\0\0\0\0", "HEIC"),
        ("a.jxl", b"\xff\x0a\xfa\x17", "JPEG XL"),
        ("b.jxl", b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    ],
)
def test_photos_that_are_not_read_are_found_in_a_folder_and_named(
    tmp_path: Path, name: str, head: bytes, kind: str
) -> None:
    (tmp_path / name).write_bytes(head.ljust(100, b"\1"))
    ((item,), missing) = expand([str(tmp_path)])
    assert not missing
    with pytest.raises(MediaError, match=f"is a {kind} picture, which vidsr does not read"):
        open_input(item.path)


@pytest.mark.parametrize("name", ["a.cr2", "a.nef"])
def test_raw_pictures_are_named_but_not_looked_for(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"II*\0".ljust(100, b"\1"))
    assert expand([str(tmp_path)])[0] == []
    with pytest.raises(MediaError, match="is a raw or TIFF picture"):
        open_input(path)
