"""What people and scripts are shown while jobs run."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from vidsr.cli import live, phrases, show
from vidsr.cli.shower import shower
from vidsr.jobs.events import Advanced, Done, Failed, PartsKept, Resumed, Retried, Scanning, Skipped, Started
from vidsr.jobs.run import BatchReport
from vidsr.pipeline import Progress

CLIP, OUT = Path("in [bold]clip[/bold].mp4"), Path("out.mp4")
STARTED = Started(CLIP, OUT, (320, 136), (1280, 544), 96, "h264", "fast on cpu", ("a note",), ("data 3: dropped",))
DONE = Done(
    source=CLIP,
    output=OUT,
    num_frames=96,
    num_resumed=0,
    num_reused=12,
    seconds=130.0,
    fps=0.74,
    busy={"decode": 0.1, "upscale": 0.9, "encode": 0.2},
    limit="upscale",
    bytes=1_900_000,
    kept=("audio 1 (aac): copied",),
    dropped=("data 3: dropped", "subtitle 2: dropped"),
    notes=("a note", "another note"),
)


def advanced(frames: int, fps: float = 2.0, seconds: float = 30.0) -> Advanced:
    return Advanced(CLIP, Progress(frames, seconds, fps, {"decode": 0.1, "upscale": 0.9, "encode": 0.2}), 96)


def shown(kind: type[show.LogShow], *events: object, verbose: int = 0, terminal: bool = False) -> str:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=100, highlight=False, markup=False, soft_wrap=True)
    with kind(1, console, verbose=verbose) as screen:
        for event in events:
            screen(event)  # type: ignore[arg-type]
    return text.getvalue()


def test_how_much_is_said_grows_with_every_v() -> None:
    plain, once, twice = (shown(show.LogShow, STARTED, DONE, verbose=count) for count in range(3))
    assert "copied: audio 1" not in plain
    assert "copied: audio 1" in once
    assert "busy:" not in once
    assert "busy: decode 10%, upscale 90%, encode 20%" in twice


def test_the_time_left_follows_the_rate() -> None:
    assert phrases.state(advanced(40)) == "40/96 frames, 2.00 fps, 28.0 s left, limited by upscale"
    assert "40/96 frames, 0.50 fps, 1 min 52 s left" in phrases.state(advanced(40, fps=0.5))


def test_what_does_not_fit_is_left_out_whole() -> None:
    assert phrases.state(advanced(40), width=40) == "40/96 frames, 2.00 fps, 28.0 s left"
    assert phrases.state(advanced(40), width=10) == "40/96 frames"


def test_memory_is_that_of_the_gpu_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking the first GPU while the second one works would take memory on the first."""
    torch = pytest.importorskip("torch")
    for name, value in {
        "is_initialized": lambda: True,
        "device_count": lambda: 2,
        "memory_reserved": lambda index: 5 * index,
        "mem_get_info": {1: (6 * 10**9, 8 * 10**9)}.__getitem__,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    assert phrases.gpu_memory() == "GPU memory 2.0 GB of 8.0 GB"
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 0)
    assert phrases.gpu_memory() == ""


def test_a_job_in_lines() -> None:
    text = shown(show.LogShow, STARTED, DONE, verbose=1)
    assert "in [bold]clip[/bold].mp4 -> out.mp4" in text  # a file's name is never markup
    assert "320x136 -> 1280x544, 96 frames, h264; fast on cpu" in text
    assert "out.mp4: 96 frames in 2 min 10 s (0.74 fps), 1.9 MB; limited by upscale (90% busy)" in text
    assert "out.mp4: 96 frames in 2 min 10 s (all made before), 1.9 MB\n" in shown(
        show.LogShow, STARTED, replace(DONE, num_resumed=96, fps=0.0), verbose=1
    )
    assert "12 frames repeat the one before them" in text
    assert "copied: audio 1 (aac): copied" in text
    for line in ("note: a note", "note: another note", "left out: data 3: dropped", "left out: subtitle 2: dropped"):
        assert text.count(f"  {line}\n") == 1


def test_sparse_lines_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    text = io.StringIO()
    screen = show.LogShow(1, Console(file=text, width=100, markup=False), verbose=False)
    screen(STARTED)
    for second in range(60):
        clock[0] = float(second)
        screen(advanced(second))
    lines = [line for line in text.getvalue().splitlines() if "/96 frames" in line]
    assert lines == [f"  {k}/96 frames, 2.00 fps, {(96 - k) / 2:.1f} s left, limited by upscale" for k in (15, 30, 45)]


def test_a_slow_job_is_told_what_is_faster_once() -> None:
    text = shown(show.LogShow, STARTED, *(advanced(k, fps=0.01, seconds=20) for k in range(5)))
    assert text.count("faster: an NVIDIA GPU") == 1
    assert "this takes about 2 h 40 min more at 0.01 fps" in text


def test_a_live_bar_comes_and_goes() -> None:
    text = shown(live.LiveShow, STARTED, advanced(48), DONE, terminal=True)
    assert text.endswith("left out: subtitle 2: dropped\n")
    assert "\x1b[?25l" in text  # the cursor is hidden,
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # and comes back


def test_a_bar_shows_what_is_done_while_no_frame_comes() -> None:
    text = io.StringIO()
    screen = live.LiveShow(1, Console(file=text, force_terminal=True, width=300, highlight=False), verbose=2)

    def words() -> list[str]:
        return [task.fields["state"] for task in screen._bar.tasks]

    with screen:
        screen.stage("network", None)
        screen.stage("kernels", None)
        assert words() == ["starting: kernels"]
        assert screen._bar.live.is_started
        screen.stage("kernels", 12.0)
        screen.stage("network", 0.25)
        screen(STARTED)
        screen.stage("first frame", None)
        screen.stage("tuning", None)
        assert words() == ["starting: tuning"]
        screen.stage("tuning", 0.5)
        assert words() == ["starting: first frame"]
        screen.stage("first frame", 1.0)
        screen(advanced(96))
        screen.stage("frames", None)
        assert words()[0].startswith("96/96 frames")
        screen.stage("frames", 3.0)
        screen.stage("join", None)
        assert words() == ["join"]
        screen.stage("join", 0.125)
        screen(DONE)
        assert words() == []
        assert not screen._bar.live.is_started
        screen.summary(BatchReport(done=[DONE]))
    line = "timeline: network 0.25 s, kernels 12.00 s, first frame 1.00 s, tuning 0.50 s, frames 3.00 s, join 0.12 s"
    assert line in text.getvalue()


def test_a_bar_of_a_job_that_never_began_goes() -> None:
    screen = live.LiveShow(1, Console(file=io.StringIO(), force_terminal=True, width=100), verbose=0)
    with screen:
        screen.stage("weights", None)
        screen.stage("weights", 0.1)
        screen(Failed(CLIP, "no such model", 1))
    assert screen._bar.tasks == []
    assert not screen._bar.live.is_started


def test_the_end_of_one_job_does_not_disturb_the_next_one() -> None:
    other = replace(STARTED, source=Path("next.mp4"), notes=("its own note",))
    screen = live.LiveShow(2, Console(file=io.StringIO(), force_terminal=True, width=100), verbose=False)
    with screen:
        for event in (STARTED, other):
            screen(event)
        assert len(screen._bar.tasks) == 2
        screen(advanced(96))
        screen.stage("join", None)
        screen.stage("first frame", None)
        assert [task.fields["state"] for task in screen._bar.tasks][1] == "starting: first frame"
        screen.stage("first frame", 1.0)
        assert [task.fields["state"] for task in screen._bar.tasks][1] == "starting", "what joins is the other one"
        screen.stage("join", 1.0)
        screen(DONE)
        screen(replace(advanced(48), source=other.source))
        (bar,) = screen._bar.tasks
        assert bar.completed == 48
    text = shown(show.LogShow, STARTED, other, DONE, replace(DONE, source=other.source, notes=("its own note",)))
    assert text.count("note: a note") == text.count("note: its own note") == 1


def test_a_lost_worker_is_told() -> None:
    assert "part 5 runs again: node 3 was lost" in shown(show.LogShow, Retried(CLIP, 5, 1, "node 3 was lost"))


def test_a_large_source_is_read_with_a_word() -> None:
    assert "where recordings were joined" in shown(show.LogShow, Scanning(CLIP))


def test_resume_and_its_offer() -> None:
    text = shown(
        show.LogShow, Resumed(CLIP, OUT, 2, 480), PartsKept(CLIP, Path("o.vidsr"), 3, 720, "the same goes on", 4)
    )
    assert "goes on after 2 finished parts (480 frames)" in text
    assert "3 finished parts are kept in o.vidsr, 4.0 s of work are lost; the same goes on\n" in text


def test_an_error_names_its_file_once(capsys: pytest.CaptureFixture[str]) -> None:
    for source, error in (("a", "a: cannot be read"), ("a", "crop 9x9 does not lie within the picture")):
        show.Show(2)(Failed(Path(source), error, 1))
    said = ["vidsr: a: cannot be read", "vidsr: a: crop 9x9 does not lie within the picture"]
    assert capsys.readouterr().err.splitlines() == said


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    screen = shower(json=True, quiet=False, verbose=False, num_inputs=1)
    for event in (STARTED, advanced(1), advanced(2), DONE, Skipped(CLIP, OUT, "done"), Failed(CLIP, "no", 1)):
        screen(event)
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events] == ["start", "progress", "done", "skipped", "failed"]
    assert events[0]["size"] == [1280, 544]
    assert events[1]["progress"]["busy"]["upscale"] == 0.9
    assert err == ""


def test_the_end_as_json_says_what_failed_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    screen = shower(json=True, quiet=False, verbose=False, num_inputs=2)
    screen.summary(BatchReport(done=[DONE], failed=[Failed(CLIP, "it broke", 1)]))
    summary = json.loads(capsys.readouterr().out)
    assert (summary["event"], summary["done"], summary["skipped"], summary["failed"]) == ("summary", 1, 0, 1)
    assert summary["failures"] == [{"source": str(CLIP), "error": "it broke", "exit_code": 1}]


def test_quiet_shows_failures_alone(capsys: pytest.CaptureFixture[str]) -> None:
    screen = shower(json=False, quiet=True, verbose=False, num_inputs=1)
    for event in (STARTED, advanced(1), DONE, Failed(CLIP, "it broke", 1)):
        screen(event)
    assert capsys.readouterr() == ("", f"vidsr: {CLIP}: it broke\n")
