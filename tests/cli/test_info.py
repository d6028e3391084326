"""`vidsr models`, `vidsr probe`, `vidsr doctor`: tables for people, JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from tests.clips import Audio, make_clip
from tests.conftest import Result

Cli = Callable[..., Result]


def test_models(vidsr: Cli) -> None:
    table = vidsr("models")
    assert table.code == 0
    assert "fast" in table.out
    assert "bicubic" in table.out
    rows = json.loads(vidsr("models", "--json").out)
    fast = next(row for row in rows if (row["name"], row["scale"]) == ("fast", 4))
    assert f"{fast['metadata']['metrics']['Set14']['psnr_y']:.2f} dB" in table.out


def test_probe(vidsr: Cli, tmp_path: Path) -> None:
    clip = make_clip(
        tmp_path / "a.mp4",
        frames=5,
        sample_aspect=Fraction(4, 3),
        audio=[Audio(language="deu")],
        metadata={"title": "T"},
    )
    text = vidsr("probe", clip)
    assert text.code == 0
    for words in ("h264 64x48 yuv420p", "4:3 pixels", "untagged: assumed", "audio aac deu", "title: T"):
        assert words in text.out
    data = json.loads(vidsr("probe", clip, "--json").out)
    assert (data["video"]["width"], data["video"]["sample_aspect"], data["num_chapters"]) == (64, "4/3", 0)
    assert data["video"]["colour"]["matrix"] == "smpte170m"


def test_probe_shows_no_control_characters_of_a_hostile_file(vidsr: Cli, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mkv", frames=2, metadata={"title": "x\x1b]0;owned\x07y"})
    assert "\x1b" not in vidsr("probe", clip).out


def test_probe_of_a_missing_file(vidsr: Cli, tmp_path: Path) -> None:
    result = vidsr("probe", tmp_path / "no.mp4")
    assert result.code == 1
    assert result.err.count("\n") == 1
    assert "no.mp4" in result.err


def test_doctor(vidsr: Cli) -> None:
    facts = json.loads(vidsr("doctor", "--json").out)
    assert facts["libx264"] == "works"
    assert facts["torch"][0].isdigit()
    assert "fast x4" in facts["models"]
    assert facts["h264 decoder"] == "works"
    assert {"driver", "gpu", "cuda", "tensorrt", "engines", "compiler", "nvdec", "advice"} <= facts.keys()
    assert not [value for value in facts.values() if value.startswith("fails")]
    if facts["gpu"] == "none that torch can use":
        assert all(facts[name].startswith("no: ") for name in ("h264_nvenc", "hevc_nvenc", "av1_nvenc", "nvdec"))
