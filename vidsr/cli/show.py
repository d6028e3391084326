"""Shows what jobs report: a live bar on a terminal, sparse lines elsewhere, NDJSON on request.

stdout is for data alone (`--json`); everything meant for people goes to stderr.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from vidsr.cli.output import num_bytes, plain, plain_fields, size, span
from vidsr.cli.sentences import complain, printable
from vidsr.cli.steps import LOG_SECONDS, is_live, open_console, suspendable
from vidsr.jobs.events import (
    WORDS,
    Advanced,
    Done,
    Event,
    Failed,
    PartsKept,
    Planned,
    Resumed,
    Retried,
    SegmentDone,
    Skipped,
    Started,
)

if TYPE_CHECKING:
    from vidsr.jobs.run import BatchReport

JSON_SECONDS = 1.0
SLOW_SECONDS = 600.0  # a job that takes longer than this is told what is faster
JSON_VERSION = 1
JSON_NAMES = {"started": "start", "advanced": "progress", "segmentdone": "segment"}


def shower(*, json: bool, quiet: bool, verbose: int, num_inputs: int) -> Show:
    """The way of showing that fits the options and the terminal."""
    if json:
        return JsonShow(num_inputs)
    if quiet:
        return Show(num_inputs)
    console = open_console()
    kind = LiveShow if is_live(console) else LogShow
    return kind(num_inputs, console, verbose=verbose)


class Show:
    """Shows failures alone; the base of the others. Call it with each event."""

    def __init__(self, num_inputs: int) -> None:
        self.num_inputs = num_inputs

    def __enter__(self) -> Show:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, event: Event) -> None:
        """Show `event` by the method of its word."""
        getattr(self, WORDS[type(event)])(event)

    def close(self) -> None:
        """Leave the terminal as it was."""

    def failed(self, event: Failed) -> None:
        """A job ended without an output."""
        complain(_with_source(event))

    def planned(self, event: Planned) -> None:
        """What a job would do."""

    def started(self, event: Started) -> None:
        """A job begins."""

    def advanced(self, event: Advanced) -> None:
        """A frame is written."""

    def resumed(self, event: Resumed) -> None:
        """A job goes on where an earlier run ended."""

    def segmentdone(self, event: SegmentDone) -> None:
        """A part of a job is safe."""

    def retried(self, event: Retried) -> None:
        """A worker of a cluster was lost."""

    def kept(self, event: PartsKept) -> None:
        """A job ended early, and can go on."""
        complain(_kept(event))

    def done(self, event: Done) -> None:
        """A job's output is there."""

    def skipped(self, event: Skipped) -> None:
        """A job had nothing to do."""

    def summary(self, report: BatchReport) -> None:
        """The end of the batch."""


class LogShow(Show):
    """Lines for people: one for a job's start, its end, and every fifteen seconds between."""

    def __init__(self, num_inputs: int, console: Console, *, verbose: int) -> None:
        super().__init__(num_inputs)
        self.console = console
        self._verbose = verbose
        self._shown = time.monotonic()
        self._warned = False
        self._told: dict[Path, set[str]] = {}  # notes of each job that runs

    def _say(self, text: str) -> None:
        """One line; control characters of a hostile name do not reach the terminal."""
        self.console.print(printable(text))

    def failed(self, event: Failed) -> None:
        """As everywhere, without tearing a live bar."""
        self._say(f"vidsr: {_with_source(event)}")

    def planned(self, event: Planned) -> None:
        """The plan, its size and its time."""
        self._say(f"{event.source} -> {event.output}")
        self._say(f"  {size(event.source_size)} -> {size(event.size)}, {event.codec}, {event.container}")
        self._say(f"  {event.network}")
        about = f"{event.num_frames} frames" if event.num_frames else "an unknown number of frames"
        self._say(
            f"  {about}: about {span(event.seconds)} at {event.fps:.2f} fps, about {num_bytes(event.bytes)} "
            f"(measured on {event.num_tried} frames)"
        )
        self._details(event)

    def started(self, event: Started) -> None:
        """Source, sizes, codec, network, and all that will be lost."""
        self._shown, self._warned = time.monotonic(), False
        frames = f", {event.num_frames} frames" if event.num_frames else ""
        self._say(f"{event.source} -> {event.output}")
        self._say(f"  {size(event.source_size)} -> {size(event.size)}{frames}, {event.codec}; {event.network}")
        self._details(event)

    def advanced(self, event: Advanced) -> None:
        """At most one line in fifteen seconds."""
        self._warn_if_slow(event)
        if time.monotonic() - self._shown >= LOG_SECONDS:
            self._shown = time.monotonic()
            self._say(f"  {_state(event)}")
            if self._verbose > 1:
                self._say(f"  {_shares(event.progress.busy)}")

    def resumed(self, event: Resumed) -> None:
        """Where the job goes on."""
        parts = "part" if event.num_segments == 1 else "parts"
        self._say(f"  goes on after {event.num_segments} finished {parts} ({event.num_frames} frames)")

    def retried(self, event: Retried) -> None:
        """Which part runs again."""
        self._say(f"  part {event.number} runs again: {event.reason}")

    def kept(self, event: PartsKept) -> None:
        """What is kept, and how to go on."""
        self._say(f"  {_kept(event)}")

    def done(self, event: Done) -> None:
        """Frames, time, size and the limiting stage."""
        text = f"{event.output}: {event.num_frames} frames in {span(event.seconds)} ({event.fps:.2f} fps)"
        limit = f"; limited by {event.limit} ({event.busy[event.limit]:.0%} busy)" if event.limit else ""
        self._say(f"{text}, {num_bytes(event.bytes)}{limit}")
        if event.num_reused:
            self._say(f"  {event.num_reused} frames repeat the one before them and were not computed again")
        self._details(event)
        if self._verbose:
            for stream in event.kept:
                self._say(f"  copied: {stream}")
        if self._verbose > 1:
            self._say(f"  {_shares(event.busy)}")

    def skipped(self, event: Skipped) -> None:
        """The output, and why."""
        self._say(f"{event.output}: {event.reason}")

    def summary(self, report: BatchReport) -> None:
        """Of a batch: how many ended how, and which failed."""
        if self.num_inputs < 2 and not report.num_own:
            return
        counts = {word: count for word, count in report.counts.items() if count}
        self._say(", ".join(f"{count} {word}" for word, count in counts.items()) or "nothing to do")
        for event in report.failed:
            self._say(f"  failed: {_with_source(event)}")

    def _details(self, event: Started | Planned | Done) -> None:
        """Notes and losses, each once a job: some are known before it, others only after it."""
        told = self._told.pop(event.source, set()) if isinstance(event, Done) else set()
        for line in (*(f"note: {note}" for note in event.notes), *(f"left out: {lost}" for lost in event.dropped)):
            if line not in told:
                told.add(line)
                self._say(f"  {line}")
        if isinstance(event, Started):
            self._told[event.source] = told

    def _warn_if_slow(self, event: Advanced) -> None:
        left = _seconds_left(event)
        if self._warned or event.progress.seconds < 5 or left is None or left < SLOW_SECONDS:
            return
        self._warned = True
        self._say(
            f"  this takes about {span(left)} more at {event.progress.fps:.2f} fps; faster: an NVIDIA GPU, "
            "a smaller model (vidsr models), a smaller --scale or --size; --start and --end try a part"
        )


class LiveShow(LogShow):
    """A live bar on a terminal, and lines above it."""

    def __init__(self, num_inputs: int, console: Console, *, verbose: int) -> None:
        super().__init__(num_inputs, console, verbose=verbose)
        self._bar = Progress(
            BarColumn(bar_width=20),
            TextColumn("{task.fields[state]}", markup=False),
            console=console,
            transient=True,
            refresh_per_second=4,
        )
        self._tasks: dict[Path, TaskID] = {}  # one job is joined while the next one begins
        self._suspendable = suspendable(self._bar)

    def __enter__(self) -> Show:
        self._suspendable.__enter__()
        return super().__enter__()

    def __exit__(self, *details: object) -> None:
        super().__exit__(*details)
        self._suspendable.__exit__(None, None, None)

    def started(self, event: Started) -> None:
        """A fresh bar."""
        super().started(event)
        self._bar.start()
        self._tasks[event.source] = self._bar.add_task("", total=event.num_frames, state="starting")

    def advanced(self, event: Advanced) -> None:
        """The bar moves."""
        self._warn_if_slow(event)
        if (task := self._tasks.get(event.source)) is not None:
            total = max(event.num_frames, event.progress.num_frames) if event.num_frames else None
            self._bar.update(task, completed=event.progress.num_frames, total=total, state=_state(event))

    def done(self, event: Done) -> None:
        """The bar goes, the line stays."""
        self._remove(event.source)
        super().done(event)

    def failed(self, event: Failed) -> None:
        """The bar goes, the line stays."""
        self._remove(event.source)
        super().failed(event)

    def close(self) -> None:
        """Take all bars away."""
        for source in list(self._tasks):
            self._remove(source)

    def _remove(self, source: Path) -> None:
        if (task := self._tasks.pop(source, None)) is not None:
            self._bar.remove_task(task)
        if not self._tasks:
            self._bar.stop()


class JsonShow(Show):
    """One JSON object a line on stdout: `version`, `event`, and the event's fields."""

    def __init__(self, num_inputs: int) -> None:
        super().__init__(num_inputs)
        self._out = sys.stdout
        self._shown = 0.0

    def __call__(self, event: Event) -> None:
        """Write the event; of progress at most one line a second."""
        if isinstance(event, Advanced):
            if time.monotonic() - self._shown < JSON_SECONDS:
                return
            self._shown = time.monotonic()
        word = WORDS[type(event)]
        self._write(JSON_NAMES.get(word, word), plain_fields(event))

    def failed(self, event: Failed) -> None:
        """As any other event."""
        self(event)

    def kept(self, event: PartsKept) -> None:
        """As any other event."""
        self(event)

    def summary(self, report: BatchReport) -> None:
        """Counts, and what failed why, at the end."""
        counts = {word.replace(" ", "_"): count for word, count in report.counts.items()}
        self._write("summary", counts | {"failures": plain(report.failed)})

    def _write(self, event: str, fields: dict[str, object]) -> None:
        print(json.dumps({"version": JSON_VERSION, "event": event, **fields}), file=self._out, flush=True)


def _kept(event: PartsKept) -> str:
    parts = "part is" if event.num_segments == 1 else "parts are"
    return f"{event.num_segments} finished {parts} kept in {event.folder}; {event.advice}"


def _with_source(event: Failed) -> str:
    name = str(event.source)
    return event.error if name in event.error else f"{name}: {event.error}"


def _state(event: Advanced) -> str:
    progress = event.progress
    left = _seconds_left(event)
    frames = f"{progress.num_frames}/{event.num_frames}" if event.num_frames else f"{progress.num_frames}"
    time_left = f", {span(left)} left" if left is not None else ""
    return f"{frames} frames, {progress.fps:.2f} fps{time_left}, limited by {progress.limit}{_gpu_memory()}"


def _shares(busy: Mapping[str, float]) -> str:
    return "busy: " + ", ".join(f"{stage} {share:.0%}" for stage, share in busy.items())


def _gpu_memory() -> str:
    """Memory in use on the GPU, where this process uses one; nothing is loaded, and no other GPU asked, to find out."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return ""
    used = next((index for index in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(index)), None)
    if used is None:
        return ""
    free, total = torch.cuda.mem_get_info(used)
    return f", GPU memory {num_bytes(total - free)} of {num_bytes(total)}"


def _seconds_left(event: Advanced) -> float | None:
    if not event.num_frames or event.progress.fps <= 0:
        return None
    return max(event.num_frames - event.progress.num_frames, 0) / event.progress.fps
