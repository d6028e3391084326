"""`vidsr models`, `vidsr probe`, `vidsr doctor`: tables for people, JSON for scripts."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from rich.console import Console

from tests.backends.tensorrt.making import FULL, RTX
from tests.clips import Audio, make_clip
from tests.conftest import Result
from vidsr.backends.tensorrt.flavour import Flavour
from vidsr.bench import speeds
from vidsr.cli import doctor, trials
from vidsr.cli.output import print_table, table
from vidsr.cli.sentences import filled
from vidsr.cli.steps import say

Cli = Callable[..., Result]


def test_models(vidsr: Cli) -> None:
    listed = vidsr("models")
    assert listed.code == 0
    assert "fast" in listed.out
    assert "bicubic" in listed.out
    rows = json.loads(vidsr("models", "--json").out)
    fast = next(row for row in rows if (row["name"], row["scale"]) == ("fast", 4))
    assert f"{fast['metadata']['metrics']['Set14']['psnr_y']:.2f} dB" in listed.out


def test_a_narrow_terminal_breaks_between_words(vidsr: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    for command in ("models", "probe"):
        monkeypatch.setattr(f"vidsr.cli.{command}.filled", lambda text, _, *indent: filled(text, Terminal(), *indent))
    listed, probed = vidsr("models").out, vidsr("probe", make_clip(tmp_path / "a.mkv", frames=2)).out
    assert max(map(len, listed.splitlines())) <= 50
    assert {"fast-video", "srgan-video", "32.71", "dB"} <= set(listed.split())
    assert "fast-video: the default: films, phones, old" in " ".join(listed.split())
    assert "(untagged: assumed from the height)" in " ".join(probed.split())
    assert max(map(len, probed.splitlines()[1:])) <= 50  # the first has a path


def test_a_very_narrow_terminal_breaks_no_word(vidsr: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr("vidsr.cli.output.shutil.get_terminal_size", lambda: os.terminal_size((20, 24)))
    listed = vidsr("models").out
    assert "fast-video" in listed
    assert "32.71 dB" in listed


def test_a_failure_is_a_document_too(vidsr: Cli, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=2)
    for arguments in (("verify", source, tmp_path / "no.mp4"), ("probe", tmp_path / "no.mp4")):
        told = vidsr(*arguments, "--json")
        error = f"{tmp_path / 'no.mp4'} does not exist; check the name."
        assert (told.code, json.loads(told.out)) == (1, {"error": error, "exit_code": 1})
        assert "does not exist" in told.err
    told = vidsr("verify", source, source, "--json", "--deinterlace", "x")
    assert (told.code, json.loads(told.out)["exit_code"]) == (2, 2)
    assert vidsr("probe", tmp_path / "no.mp4").out == ""
    assert vidsr("upscale", source, "--scale", "9", "--json").out == "", "no event"
    assert vidsr("probe", "--", "--json").out == "", "a name"
    blocked = vidsr("compare", source, "--at", "0", "--json", "-o", f"/dev/full/{'x' * 300}")
    assert json.loads(blocked.out)["exit_code"] == blocked.code == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_that_a_terminal_is_too_narrow_for_becomes_paragraphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    made = table("line|size|codec|limited by|", [["cpu fp32", "64x48", "", "upscale", "<- fastest"]])
    for columns, shown in (
        ("30", ["cpu fp32: size 64x48, limited", "  by upscale, <- fastest"]),
        ("60", ["line      size   codec  limited by", "cpu fp32  64x48         upscale     <- fastest"]),
    ):
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setattr("sys.stdout", seen := Terminal())
        print_table(made)
        assert [line.rstrip() for line in seen.getvalue().splitlines()] == shown


def test_what_follows_of_a_broken_line_is_indented() -> None:
    for wide, shown in ((True, "  note: a word and others of it\n"), (False, "  note: a word and\n    others of it\n")):
        say(Console(file=(text := io.StringIO()), width=20, soft_wrap=wide), "  note: a word and others of it")
        assert text.getvalue() == shown


def test_speeds_are_measured_once_and_remembered(vidsr: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the smallest pictures; another processor remembers nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(speeds, "speeds_file", lambda: tmp_path / "vidsr" / "speeds.json")
    monkeypatch.setattr(speeds, "CPU_SHAPE", (16, 16))
    before = json.loads(vidsr("models", "--json").out)
    assert all(row["fps"] is None for row in before)
    assert all(row["use"] for row in before)
    assert [row["name"] for row in before if row["default"]] == ["fast-video", "fast-video"]
    assert vidsr("models", "--measure").code == 0
    rows = {(row["name"], row["scale"]): row["fps"] for row in json.loads(vidsr("models", "--json").out)}
    assert all(fps > 0 for fps in rows.values())
    assert rows["fast-video", 4] > rows["srgan-video", 4], "seven times the work"
    shown = vidsr("models")
    assert "the default: films" in " ".join(shown.out.split())
    assert "as measured on this machine" in shown.err
    monkeypatch.setattr(speeds, "cpu_name", lambda: "another")
    assert "--measure" in vidsr("models").err


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


@pytest.mark.parametrize(
    ("flavour", "gpu", "words"),
    [
        (None, "NVIDIA GeForce RTX 4090/8.9", "vidsr-upscaler[rtx]"),
        (None, "NVIDIA H100 80GB HBM3/9.0", "vidsr-upscaler[tensorrt]"),
        (None, "Tesla T4/7.5", "vidsr-upscaler[tensorrt]"),
        (RTX, "NVIDIA GeForce RTX 4090/8.9", "nothing: TensorRT and the GPU are used"),
        (RTX, "NVIDIA H100 80GB HBM3/9.0", "pip uninstall torch-tensorrt-rtx"),
        (FULL, "NVIDIA H100 80GB HBM3/9.0", "nothing: TensorRT and the GPU are used"),
        (FULL, "Tesla V100/7.0", "TensorRT does not know every GPU here"),
    ],
)
def test_the_doctor_knows_which_tensorrt_fits_a_gpu(
    monkeypatch: pytest.MonkeyPatch, flavour: Flavour | None, gpu: str, words: str
) -> None:
    torch = pytest.importorskip("torch")
    name, capability = gpu.split("/")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("vidsr.backends.tensorrt.flavour.installed", lambda: flavour)
    monkeypatch.setattr(doctor, "gpus", lambda: [{"name": name, "compute_capability": capability}])
    assert words in doctor._advice()


def test_the_doctor_says_where_cuda_came_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(doctor, "_driver", lambda: "no NVIDIA driver")
    monkeypatch.setattr(doctor, "_cuda_bytes", lambda: 2_900_000_000)
    said = doctor._advice()
    assert said.startswith("this torch is built for CUDA, of which 2.9 GB are for nothing here: pip install")
    assert said.endswith("--index-url https://download.pytorch.org/whl/cpu")


def test_the_doctor_tries_everything_that_is_here(vidsr: Cli) -> None:
    result = vidsr("doctor", "--check", "--json")
    facts = json.loads(result.out)
    assert result.code == 0
    assert facts["try cpu on cpu"].startswith("works: CPU in ")
    assert facts["try mps on gpu"].startswith(("works", "no: "))
    assert facts["try a film"].endswith("and nothing was lost")
    assert not [value for value in facts.values() if value.startswith(("fails", "wrong"))]
    assert "try" not in " ".join(json.loads(vidsr("doctor", "--json").out))


def test_a_trial_that_is_wrong_is_said_and_is_a_failure(vidsr: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "LISTED", [])
    monkeypatch.setattr(trials, "_make", lambda path: path.write_bytes(b"no film"))
    result = vidsr("doctor", "--check", "--json")
    assert result.code == 1
    assert json.loads(result.out)["try a film"].startswith("wrong: ")
    assert result.err == "vidsr: not as it should be here: try a film; send all of the above\n"
