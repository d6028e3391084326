"""The kind of ProRes that a track says it is: its tag, by which players choose."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from tests.clips import make_clip
from tests.media.making import spec_of, upscaled


def tags_of(path: Path) -> list[str]:
    with av.open(str(path)) as opened:
        return [stream.codec_context.codec_tag for stream in opened.streams.video]


@pytest.mark.parametrize("container", ["mov", "mkv"])
@pytest.mark.parametrize(("layout", "tag"), [("yuva444p10le", "ap4h"), ("yuv422p10le", "apch")])
def test_pictures_are_of_the_kind_that_they_were_encoded_as(
    tmp_path: Path, container: str, layout: str, tag: str
) -> None:
    source = make_clip(tmp_path / "a.mkv", frames=2)
    output = tmp_path / f"out.{container}"
    upscaled(source, output, spec=spec_of("prores_ks", layout, preset="auto"), suffix=".mov", pts=[0, 1])
    assert tags_of(tmp_path / "out_0.mov") == [tag]
    assert tags_of(output) == [tag]


@pytest.mark.parametrize("container", ["mov", "mkv"])
@pytest.mark.parametrize("suffix", ["mov", "mkv"])
def test_second_pictures_stay_of_their_kind(tmp_path: Path, suffix: str, container: str) -> None:
    source = tmp_path / f"a.{suffix}"
    with av.open(str(source), "w") as out:
        first, second = out.add_stream("libx264", rate=24), out.add_stream("prores_ks", rate=24)
        second.codec_context.options = {"profile": "lt"}
        first.pix_fmt, second.pix_fmt = "yuv420p", "yuv422p10le"
        for stream in (first, second):
            stream.width, stream.height = 64, 48
        for _ in range(2):
            for stream in (first, second):
                out.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        for stream in (first, second):
            out.mux(stream.encode(None))
    assert tags_of(source)[1] == "apcs"
    upscaled(source, tmp_path / f"out.{container}")
    assert tags_of(tmp_path / f"out.{container}")[1] == "apcs"
