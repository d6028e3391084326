"""Languages reach containers that spell them with three letters, or are named as lost."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.clips import Audio, Subtitles, make_clip
from tests.media.making import spec_of, upscaled
from vidsr.media.containers import CONTAINERS
from vidsr.media.mux.decide import plan_streams
from vidsr.media.mux.languages import held, loss, says_more
from vidsr.media.mux.matroska import both_languages, write_languages
from vidsr.media.read.matroska import head_of
from vidsr.media.read.probe import probe
from vidsr.verify import compare


@pytest.mark.parametrize(
    ("language", "mp4", "why"),
    [
        ("eng", "eng", None),
        ("en", "eng", None),
        ("DE", "deu", None),
        ("iw", "heb", None),
        ("en-US", "eng", "mp4 holds only eng of it; the container mkv keeps it"),
        ("eng,fra", "eng", "mp4 holds only eng of it; the container mkv keeps it"),
        ("xx", None, "mp4 holds nothing of it; the container mkv keeps it"),
        ("English", None, "mp4 holds nothing of it; the container mkv keeps it"),
        ("und", "und", None),
        (None, None, None),
    ],
)
def test_what_mp4_holds(language: str | None, mp4: str | None, why: str | None) -> None:
    assert held(language, "audio", CONTAINERS["mp4"]) == mp4
    assert loss(language, "audio", CONTAINERS["mp4"]) == why
    assert held(language, "audio", CONTAINERS["mkv"]) == language
    assert loss(language, "audio", CONTAINERS["mkv"]) is None


def test_ts_holds_several_but_none_of_pictures() -> None:
    assert held("eng,fr", "audio", CONTAINERS["ts"]) == "eng,fra"
    assert loss("eng,fr", "audio", CONTAINERS["ts"]) is None
    assert held("eng", "video", CONTAINERS["ts"]) is None
    assert loss("eng", "video", CONTAINERS["ts"]) is not None


@pytest.mark.parametrize("container", ["mp4", "mov", "ts", "mkv"])
def test_short_languages_survive_and_verify_agrees(tmp_path: Path, container: str) -> None:
    source = make_clip(
        tmp_path / "a.mkv",
        frames=6,
        language="sv",
        audio=[Audio(seconds=0.2, language="en"), Audio(seconds=0.2, language="fr"), Audio(seconds=0.2, language="xx")],
        subtitles=[Subtitles(language="de")],
    )
    output = tmp_path / f"out.{container}"
    _, report = upscaled(source, output)
    with av.open(str(output)) as opened:
        found = [stream.metadata.get("language") for stream in opened.streams]
    three = [None if container == "ts" else "swe", "eng", "fra", None, "deu"]
    assert found[: len(three)] == (["sv", "en", "fr", "xx", "de"] if container == "mkv" else three[: len(found)])
    lost = {(item.index, item.codec) for item in report.dropped if item.kind.startswith("language")}
    assert lost == {"mkv": set(), "ts": {(0, "sv"), (3, "xx")}}.get(container, {(3, "xx")})
    assert [item for item in plan_streams(probe(source), container)[1] if item.kind.startswith("language")] == [
        item for item in report.dropped if item.kind.startswith("language")
    ]
    rows = {check.name: check.verdict for check in compare(source, output).checks}
    assert rows["languages"] == "ok"
    assert container == "mkv" or rows["language of audio 3"] == "dropped"


@pytest.mark.parametrize(
    ("exact", "language", "more"),
    [("pt-BR", "por", True), ("pt", "por", False), ("yue", "chi", True), ("yue", "yue", False), ("und", "", False)],
)
def test_what_a_long_name_says(exact: str, language: str, more: bool) -> None:
    assert says_more(exact, language) == more


def test_a_language_by_its_long_name_is_kept_beside_its_three_letters(tmp_path: Path) -> None:
    """As mkvmerge writes both; FFmpeg knows the three letters only. Elsewhere what is lost is named."""
    names = [("chi", "zh-Hant"), ("por", "pt-BR"), ("eng", "en"), ("fre", "fr-CA")]
    picture, first, second, text = (both_languages(*pair) for pair in names)
    source = make_clip(
        tmp_path / "a.mkv",
        frames=6,
        language=picture,
        audio=[Audio(seconds=0.2, language=first), Audio(seconds=0.2, language=second)],
        subtitles=[Subtitles(language=text)],
    )
    write_languages(source)
    long = dict(enumerate(exact for _, exact in names))
    assert head_of(source).languages == long
    output = tmp_path / "out.mkv"
    _, report = upscaled(source, output, spec=spec_of(sample_aspect=Fraction(4, 3)), pts=range(6))
    assert report.dropped == ()
    assert head_of(output).languages == long
    with av.open(str(output)) as opened:
        assert [stream.metadata["language"] for stream in opened.streams] == [three for three, _ in names]
        assert len(list(opened.decode(video=0))) == 6
    assert _rows(source, output)["stream tags"] == "ok"
    output.write_bytes(output.read_bytes().replace(b"pt-BR", b"pt-PT"))
    assert _rows(source, output)["stream tags"] == "differs"
    _, report = upscaled(source, tmp_path / "out.mp4")
    assert [str(item) for item in report.dropped if item.kind.startswith("language")] == [
        f"language of {kind} {number} ({long[number]}): dropped, mp4 holds only {names[number][0]} of it; "
        "the container mkv keeps it"
        for number, kind in enumerate(("video", "audio", "", "subtitle"))
        if kind
    ]


def _rows(source: Path, output: Path) -> dict[str, str]:
    return {check.name: check.verdict for check in compare(source, output).checks}


def test_a_language_that_is_none_beside_one_that_is(tmp_path: Path) -> None:
    exact = "-".join(["zh", *["abcdefgh"] * 8])  # as long as one may be
    path = make_clip(tmp_path / "a.mkv", audio=[Audio(language=both_languages("x" * 125, exact)), Audio()])
    size = path.stat().st_size
    write_languages(path)
    assert path.stat().st_size == size
    assert head_of(path).languages == {1: exact}
    with av.open(str(path)) as opened:
        assert [(stream.type, stream.metadata.get("language")) for stream in opened.streams] == [
            ("video", None),
            ("audio", None),
            ("audio", None),
        ]
