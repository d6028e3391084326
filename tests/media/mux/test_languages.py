"""Languages reach containers that spell them with three letters, or are named as lost."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from tests.clips import Audio, Subtitles, make_clip
from tests.media.making import upscaled
from vidsr.media.containers import CONTAINERS
from vidsr.media.mux.decide import plan_streams
from vidsr.media.mux.languages import held, loss
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
