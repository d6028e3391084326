"""Lines of text that overlap share a sample in mp4, for as long as they do."""

from __future__ import annotations

import random
import struct
from itertools import pairwise
from pathlib import Path

import av
import pytest

from tests.clips import Audio, Subtitles, make_clip, seconds
from tests.verify.mutants import upscaled
from vidsr.media.mux.timed_text import OneAtATime, TextLine, together
from vidsr.verify import compare

BOLD = struct.pack(">HHHBBI", 0, 3, 1, 1, 16, 0xFFFFFFFF)


def sample(text: str, styles: bytes = b"") -> bytes:
    data = text.encode()
    box = struct.pack(">I4sH", 10 + len(styles), b"styl", len(styles) // 12) + styles if styles else b""
    return struct.pack(">H", len(data)) + data + box


def test_every_moment_shows_what_it_should() -> None:
    rng = random.Random(3)
    for _ in range(50):
        begins = sorted(rng.randint(0, 60) for _ in range(8))
        lines = [TextLine(b, b + rng.randint(1, 30), sample(f"line {k}")) for k, b in enumerate(begins)]
        made: list[TextLine] = []
        single = OneAtATime()
        for line in lines:
            made += single.add(line)
        made += single.flush()
        assert all(a.end <= b.begin for a, b in pairwise(made))
        for tick in range(100):
            want = {str(k) for k, line in enumerate(lines) if line.begin <= tick < line.end}
            found = [line.sample[2:].decode() for line in made if line.begin <= tick < line.end]
            assert {words.split()[1] for text in found for words in text.splitlines()} == want


def test_what_is_over_is_not_held_back() -> None:
    single = OneAtATime()
    assert list(single.add(TextLine(10, 20, b"a"))) == []
    assert list(single.until(19)) == []
    assert list(single.until(20)) == [TextLine(10, 20, b"a")]
    assert list(single.flush()) == []


def test_styles_stay_with_their_words() -> None:
    made = together([sample("Größe", BOLD), sample("two", BOLD)])
    assert made.startswith(sample("Größe\ntwo"))
    second = struct.pack(">HH", 6, 9) + BOLD[4:]
    assert made == sample("Größe\ntwo", BOLD + second)


def test_text_that_is_too_long_for_one_sample_is_no_error() -> None:
    assert together([sample("x" * 65000), sample("y" * 65000)]) == sample("x" * 65000)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm"])
@pytest.mark.parametrize("codec", ["subrip", "ass"])
def test_overlapping_lines_are_kept_at_their_times(tmp_path: Path, suffix: str, codec: str) -> None:
    texts = [(0.1, 0.3, "One {x}"), (0.2, 0.4, "Two"), (0.2, 0.1, "Three"), (0.7, 0.1, "Four")]
    if codec == "ass":
        texts = [(begin, length, f"{k},0,Default,,0,0,0,,{words}") for k, (begin, length, words) in enumerate(texts)]
    source = make_clip(tmp_path / "a.mkv", frames=24, audio=[Audio()], subtitles=[Subtitles(texts, codec)])
    output = upscaled(source, tmp_path / f"out.{suffix}", preset=None)
    report = compare(source, output)
    assert report.ok, report.differences
    if suffix in ("mp4", "mov"):
        with av.open(str(output)) as container:
            packets = [p for p in container.demux(subtitles=0) if p.size > 2 and p.pts is not None]
            found = [(round(float(seconds(p)), 3), bytes(p)[2:].decode().split("\n")) for p in packets]
        one = "One {x}"
        assert found == [
            (0.1, [one]), (0.2, [one, "Two", "Three"]), (0.3, [one, "Two"]), (0.4, ["Two"]), (0.7, ["Four"])
        ]  # fmt: skip


def test_a_line_that_ends_early_is_named(tmp_path: Path) -> None:
    source, shorter = (
        make_clip(tmp_path / f"{k}.mkv", frames=24, subtitles=[Subtitles([(0.1, k, "One."), (0.7, 0.1, "Two.")])])
        for k in (0.5, 0.4)
    )
    report = compare(source, upscaled(shorter, tmp_path / "out.mp4"))
    assert [check.name for check in report.differences] == ["subtitle 1: text"]
    assert "line 1 is shown until 0.500 s instead of 0.600 s" in report.differences[0].detail
