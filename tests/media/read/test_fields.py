"""One picture for each field: every one once, in the order of the fields, each at its own time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from tests.interlaced import Film, edge, field_of, make_interlaced, mpeg2_says, order_of, paff
from vidsr.frame import Frame
from vidsr.media.read.deinterlace import Deinterlacing
from vidsr.media.read.interlace import judged
from vidsr.media.read.probe import MediaInfo, probe
from vidsr.media.read.reader import Reader

NTSC = Fraction(30000, 1001)
CODECS = {
    "mpeg2.ts": Film(),
    "mpeg2.mkv": Film(),
    "mpeg2.mpg": Film(),
    "h264.mp4": Film(codec="libx264"),
    "prores.mov": Film(codec="prores_ks", pix_fmt="yuv422p10le"),
    "paff.ts": Film(codec="paff", frames=10),
    "paff.mkv": Film(codec="paff", frames=10),
    "dv.avi": Film(codec="dvvideo", frames=4, width=720, height=576),
    "unsaid.mkv": Film(codec="ffv1", said="prog"),
    "unsaid.mp4": Film(codec="libx264", said="prog", options=(("flags", "0"), ("x264-params", ""))),
}


def make(path: Path, film: Film, patch: Callable[[bytes, int], bytes] | None = None) -> Path:
    return paff(path, film) if film.codec == "paff" else make_interlaced(path, film, patch=patch)


def fields(path: Path, start: Fraction | None = None) -> tuple[MediaInfo, list[Frame]]:
    info = judged(probe(path), "fields")
    with Reader(info, start=start, deinterlace=Deinterlacing.of(info.video, "fields")) as reader:
        return info, list(reader)


def times(info: MediaInfo, frames: Sequence[Frame]) -> list[Fraction]:
    """In seconds from the first picture."""
    first = (info.video.start_pts or 0) * info.video.time_base
    return [frame.pts * frame.time_base - first for frame in frames]


def shown(film: Film, frames: Sequence[Frame]) -> list[int]:
    """The field on those lines of each picture that come from one; two pictures of each frame."""
    found = []
    for number, frame in enumerate(frames):
        first = 0 if order_of(film, number // 2) == "tff" else 1
        found.append(field_of(frame, (first + number) % 2))
    return found


@pytest.mark.parametrize("order", ["tff", "bff"])
@pytest.mark.parametrize("name", CODECS)
def test_every_field_once_at_its_time(tmp_path: Path, name: str, order: str) -> None:
    film = replace(CODECS[name], order=order)
    info, frames = fields(make(tmp_path / name, film))
    assert shown(film, frames) == list(range(2 * film.frames))
    assert times(info, frames) == [Fraction(k, 50) for k in range(2 * film.frames)]
    assert {frame.time_base for frame in frames} == {info.video.time_base / 2}
    assert {frame.duration * frame.time_base for frame in frames} == {Fraction(1, 50)}
    how = Deinterlacing.of(info.video, "fields")
    assert (how.rate(info.video), info.video.rate) == (50, 25)


def test_the_wrong_order_would_be_seen(tmp_path: Path) -> None:
    """What the other tests rely on: said to be the other way round, fields come in the other order."""
    film = Film(said="bff")
    _, frames = fields(make(tmp_path / "a.mkv", film))
    assert shown(Film(order="bff"), frames)[:6] == [1, 0, 3, 2, 5, 4]


def test_an_order_that_changes_half_way(tmp_path: Path) -> None:
    film = Film(bottom_from=10)
    info, frames = fields(make(tmp_path / "a.ts", film, lambda data, n: mpeg2_says(data, top_first=n < 10)))
    assert shown(film, frames) == list(range(40))
    assert times(info, frames) == [Fraction(k, 50) for k in range(40)]


def test_hybrid_film_has_two_pictures_of_an_interlaced_one_and_one_of_the_others(tmp_path: Path) -> None:
    film = Film(progressive=frozenset({*range(3), *range(8, 14)}))
    patch = lambda data, n: mpeg2_says(data, progressive=n in film.progressive)  # noqa: E731
    info, frames = fields(make(tmp_path / "a.ts", film, patch))
    wanted = [(n, part) for n in range(20) for part in (0, 1) if not (part and n in film.progressive)]
    assert times(info, frames) == [Fraction(2 * n + part, 50) for n, part in wanted]
    assert [field_of(frame, part) for frame, (_, part) in zip(frames, wanted, strict=True)] == [
        2 * n + part for n, part in wanted
    ]
    lengths = {part_of: frame.duration * frame.time_base for frame, part_of in zip(frames, wanted, strict=True)}
    assert lengths[1, 0] == Fraction(1, 25)
    assert lengths[5, 0] == lengths[5, 1] == Fraction(1, 50)


def test_soft_telecine_stays_film(tmp_path: Path) -> None:
    """Progressive pictures that are shown for three fields and for two in turn."""
    pts = [1001 * 90000 * (5 * k + 1) // 2 // 60000 for k in range(20)]
    film = Film(progressive=frozenset(range(20)), rate=NTSC, time_base=Fraction(1, 90000), pts=pts)
    patch = lambda data, n: mpeg2_says(data, progressive=True, repeat=n % 2 == 0)  # noqa: E731
    info, frames = fields(make(tmp_path / "a.ts", film, patch))
    assert not info.video.interlaced
    assert times(info, frames) == [Fraction(p - pts[0], 90000) for p in pts]


def test_where_pictures_are_missing_a_field_stands_half_a_picture_after_the_other(tmp_path: Path) -> None:
    film = Film(frames=9, time_base=Fraction(1, 90000), pts=[3600 * k for k in (0, 1, 2, 3, 10, 11, 12, 40, 41)])
    info, frames = fields(make(tmp_path / "a.mkv", film))
    assert times(info, frames) == [
        Fraction(2 * k + part, 50) for k in (0, 1, 2, 3, 10, 11, 12, 40, 41) for part in (0, 1)
    ]


def test_a_single_picture_has_two_fields(tmp_path: Path) -> None:
    info, frames = fields(make(tmp_path / "a.mkv", Film(frames=1)))
    assert times(info, frames) == [0, Fraction(1, 50)]


@pytest.mark.parametrize("suffix", ["mp4", "ts", "mkv"])
def test_a_rate_that_no_clock_halves(tmp_path: Path, suffix: str) -> None:
    """29.97 pictures a second: 3003 ticks of 1/90000 s, 33 and 34 of Matroska's; fields stand half-way to the tick."""
    film = Film(codec="libx264", rate=NTSC, frames=20)
    info, frames = fields(make(tmp_path / f"a.{suffix}", film))
    with Reader(probe(tmp_path / f"a.{suffix}")) as reader:
        own = [frame.pts for frame in reader]
    assert [frame.pts for frame in frames[::2]] == [2 * pts for pts in own]
    assert [frame.pts for frame in frames[1:-1:2]] == [a + b for a, b in pairwise(own)]
    exact = [Fraction(1001 * k, 60000) for k in range(40)]
    grain = Fraction(0) if suffix != "mkv" else Fraction(1, 1000)
    assert all(abs(got - want) <= grain for got, want in zip(times(info, frames), exact, strict=True))


@pytest.mark.parametrize("name", ["h264.mp4", "mpeg2.ts", "prores.mov", "hybrid.ts", "gaps.mkv"])
def test_reading_may_begin_at_any_field(tmp_path: Path, name: str) -> None:
    patch = None
    film = CODECS.get(name, Film())
    if name == "hybrid.ts":
        patch = lambda data, n: mpeg2_says(data, progressive=n % 5 in (1, 2))  # noqa: E731
    if name == "gaps.mkv":
        film = Film(time_base=Fraction(1, 90000), pts=[3600 * (k + 5 * (k > 8) + 3 * (k > 9)) for k in range(20)])
    path = make(tmp_path / name, film, patch)
    info, whole = fields(path)
    early = Fraction(1, 100)
    for number, time in enumerate(times(info, whole)):
        if number % 3 == 0 or number > len(whole) - 3:
            _, rest = fields(path, start=time - early)
            assert [f.pts for f in rest] == [f.pts for f in whole[number:]]
            assert all((a.planes[0] == b.planes[0]).all() for a, b in zip(rest, whole[number:], strict=True)), number


def test_film_that_neither_says_nor_shows_fields_stays_as_it_is(tmp_path: Path) -> None:
    film = Film(
        codec="libx264", said="prog", options=(("flags", "0"), ("x264-params", "")), progressive=frozenset(range(20))
    )
    info, frames = fields(make(tmp_path / "a.mp4", film))
    assert not info.video.combed
    assert times(info, frames) == [Fraction(k, 25) for k in range(20)]


def test_film_that_shows_nothing_is_believed_to_be_what_is_asked_for(tmp_path: Path) -> None:
    still = Film(codec="ffv1", said="prog", frames=4)
    info, frames = fields(make(tmp_path / "a.mkv", still))
    assert info.video.combed
    assert len(frames) == 8


def test_the_edge_is_where_it_is_said_to_be() -> None:
    assert [edge(k) for k in (0, 1, 39, 40)] == [6, 8, 84, 6]
