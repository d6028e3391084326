"""A log of each job, on request."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.clips import make_clip
from tests.conftest import Result
from vidsr import __version__

Cli = Callable[..., Result]
QUICK = ("--model", "bicubic", "--backend", "cpu", "--scale", "2", "--preset", "ultrafast")


def words(log: Path) -> list[str]:
    """The event of each line."""
    lines = log.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d [a-z]+ \w+=", line) for line in lines), (
        lines
    )
    return [line.split(" ")[1] for line in lines]


def test_every_job_has_a_log_and_goes_on_in_it(vidsr: Cli, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        make_clip(tmp_path / folder / "a b.mp4", frames=24)
    (tmp_path / "two" / "bad.mp4").write_bytes(b"no film")
    logs = tmp_path / "logs" / "here"
    options = ("--recursive", "-o", tmp_path / "out", "--log-dir", logs, "--segment-seconds", "0.5", *QUICK)
    assert vidsr("upscale", tmp_path, *options).code == 1
    names = ["a b.mp4.2.log", "a b.mp4.log", "bad.mp4.log"]
    assert sorted(path.name for path in logs.iterdir()) == names
    for name in names[:2]:
        assert words(logs / name) == ["run", "started", "advanced", "segmentdone", "segmentdone", "done"]
        text = (logs / name).read_text()
        assert f"vidsr={__version__} " in text
        assert "num_frames=24 " in text
        assert f"folder={Path.cwd()}\n" in text.replace("'", "")
    assert "one/a b.mp4" in (logs / "a b.mp4.log").read_text()
    assert words(logs / "bad.mp4.log") == ["run", "failed"]
    assert vidsr("upscale", tmp_path, *options).code == 1
    assert words(logs / "a b.mp4.log")[-2:] == ["run", "skipped"]


def test_a_name_as_long_as_may_be_has_a_log(vidsr: Cli, tmp_path: Path) -> None:
    source = make_clip(tmp_path / ("a" * 250 + ".mp4"), frames=2)
    result = vidsr("upscale", source, *QUICK, "-o", tmp_path / "b.mp4", "--log-dir", tmp_path / "logs")
    assert result.code == 0, result.err
    (log,) = (tmp_path / "logs").iterdir()
    assert words(log)[-1] == "done"


def test_a_folder_that_cannot_hold_logs_is_said_before_anything_is_done(vidsr: Cli, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=2)
    (tmp_path / "logs").write_text("a file")
    result = vidsr("upscale", source, *QUICK, "--log-dir", tmp_path / "logs")
    assert result.code == 1
    assert "cannot hold logs" in result.err
    assert not (tmp_path / "a_x2.mp4").exists()
