"""Shows what jobs report in sparse lines; `vidsr.cli.live` has a bar on a terminal, `vidsr.cli.json_show` NDJSON.

stdout is for data alone (`--json`); everything meant for people goes to stderr.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from rich.console import Console

from vidsr.cli.course import Course
from vidsr.cli.output import size, span
from vidsr.cli.phrases import kept, seconds_left, shares, state, timeline, with_source
from vidsr.cli.sentences import complain
from vidsr.cli.steps import LOG_SECONDS, say
from vidsr.jobs import events
from vidsr.jobs.pace import faster
from vidsr.stages import StageTimes
from vidsr.words import counted, num_bytes, printable

if TYPE_CHECKING:
    from vidsr.jobs.run import BatchReport

SLOW_SECONDS = 600.0  # a job that takes longer than this is told what is faster
LAST_LINES = 4  # of a screen that the end of a batch needs besides the failures: what is left, counts, totals, a prompt
NO_SIZES: Mapping[Path, int] = MappingProxyType({})


class Show:
    """Shows failures alone; the base of the others. Call it with each event."""

    def __init__(self, num_inputs: int) -> None:
        self.num_inputs = num_inputs

    def __enter__(self) -> Show:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, event: events.Event) -> None:
        """Show `event` by the method of its word, where there is one."""
        if show := getattr(self, events.WORDS[type(event)], None):
            show(event)

    def close(self) -> None:
        """Leave the terminal as it was."""

    def failed(self, event: events.Failed) -> None:
        """A job ended without an output."""
        complain(with_source(event))

    def stage(self, name: str, seconds: float | None) -> None:
        """A stage of the work begins, or is over after that long; from any thread."""

    def kept(self, event: events.PartsKept) -> None:
        """A job ended early, and can go on."""
        complain(kept(event))

    def summary(self, report: BatchReport) -> None:
        """The end of the batch."""

    def interrupted(self) -> None:
        """The batch ends before its end."""


class LogShow(Show):
    """Lines for people: one for a job's start, its end, and every fifteen seconds between."""

    def __init__(
        self,
        num_inputs: int,
        console: Console,
        *,
        verbose: int,
        sizes: Mapping[Path, int] = NO_SIZES,
        times: StageTimes | None = None,
    ) -> None:
        super().__init__(num_inputs)
        self.console = console
        self._course = Course(num_inputs, sizes)
        self._network = ""  # that was named last
        self._photos: dict[Path, events.Started] = {}  # of a batch: a line each, when they are done
        self._verbose = verbose
        self._shown = time.monotonic()
        self._warned = False
        self._told: dict[Path, set[str]] = {}  # notes of each job that runs
        self.times = times or StageTimes()

    def _say(self, text: str) -> None:
        say(self.console, text)

    def failed(self, event: events.Failed) -> None:
        """As everywhere, without tearing a live bar."""
        self._course.ended(event.source, made=False)
        self._say(f"vidsr: {with_source(event)}")

    def scanning(self, event: events.Scanning) -> None:
        """A line."""
        self._say(f"{event.source}: read once before the work, to find where recordings were joined ...")

    def planned(self, event: events.Planned) -> None:
        """The plan, its size and its time."""
        self._say(f"{self._course.number(event.source)}{event.source} -> {event.output}")
        kind = ", ".join(dict.fromkeys((event.codec, event.container)))  # gif and jpg are both
        self._say(f"  {size(event.source_size)} -> {size(event.size)}, {kind}")
        if network := self._new_network(event):
            self._say(f"  {network}")
        about = counted(event.num_frames, "frame") if event.num_frames else "an unknown number of frames"
        self._say(
            f"  {about}: about {span(event.seconds)} at {event.fps:.2f} fps, about {num_bytes(event.bytes)} "
            f"(measured on {counted(event.num_tried, 'frame')})"
        )
        for warning in event.warnings:
            self._say(f"  warning: {warning}")
        self._details(event)

    def started(self, event: events.Started) -> None:
        """Source, sizes, codec, network, and all that will be lost."""
        self._shown, self._warned = time.monotonic(), False
        number = self._course.number(event.source)
        if event.image and self.num_inputs > 1:
            self._photos[event.source] = event
            return
        frames = f", {counted(event.num_frames, 'frame')}" if event.num_frames else ""
        network = f"; {words}" if (words := self._new_network(event)) else ""
        self._say(f"{number}{event.source} -> {event.output}")
        self._say(f"  {size(event.source_size)} -> {size(event.size)}{frames}, {event.codec}{network}")
        self._details(event)

    def _new_network(self, event: events.Started | events.Planned) -> str:
        """The network's sentence, unless it was the last one's, too."""
        before, self._network = self._network, event.network
        return "" if event.network == before else event.network

    def stage(self, name: str, seconds: float | None) -> None:
        """Counted, for the end."""
        self.times(name, seconds)

    def advanced(self, event: events.Advanced) -> None:
        """At most one line in fifteen seconds."""
        self._warn_if_slow(event)
        if time.monotonic() - self._shown >= LOG_SECONDS:
            self._shown = time.monotonic()
            self._say(f"  {state(event, others=self._course.time_left(event))}")
            if self._verbose > 1:
                self._say(f"  {shares(event.progress.busy)}")

    def resumed(self, event: events.Resumed) -> None:
        """Where the job goes on."""
        parts = counted(event.num_segments, "finished part")
        self._say(f"  goes on after {parts} ({counted(event.num_frames, 'frame')})")

    def fitting(self, event: events.Fitting) -> None:
        """Which attempt to meet a size begins."""
        parts = "all parts" if event.num_parts == event.all_parts else f"{event.num_parts} of {event.all_parts} parts"
        self._say(f"  to the size asked for, attempt {event.attempt}: {parts} encoded again at crf {event.quality:g}")

    def retried(self, event: events.Retried) -> None:
        """Which part runs again."""
        self._say(f"  part {event.number} runs again: {event.reason}")

    def kept(self, event: events.PartsKept) -> None:
        """What is kept, and how to go on."""
        self._say(f"  {kept(event)}")

    def done(self, event: events.Done) -> None:
        """Frames, time, size and the limiting stage."""
        self._course.ended(event.source, made=True)
        if (photo := self._photos.pop(event.source, None)) is not None:
            self._photo(photo, event)
            return
        only_joined = event.num_resumed == event.num_frames  # by a run that was ended while it joined its parts
        rate = "all made before" if only_joined else f"{event.fps:.2f} fps"
        text = f"{event.output}: {counted(event.num_frames, 'frame')} in {span(event.seconds)} ({rate})"
        limited = event.limit and not only_joined
        limit = f"; limited by {event.limit} ({event.busy[event.limit]:.0%} busy)" if limited else ""
        self._say(f"{text}, {num_bytes(event.bytes)}{limit}")
        if event.num_reused:
            repeat = (
                "repeats the one before it and was" if event.num_reused == 1 else "repeat the one before them and were"
            )
            self._say(f"  {counted(event.num_reused, 'frame')} {repeat} not computed again")
        self._details(event)
        if self._verbose:
            for stream in event.kept:
                self._say(f"  copied: {stream}")
        if self._verbose > 1:
            self._say(f"  {shares(event.busy)}")

    def _photo(self, begun: events.Started, event: events.Done) -> None:
        """All of a photo on one line, and below it what was lost."""
        name = f"{self._course.number(event.source)}{event.source} -> {event.output}"
        sizes = f"{size(begun.source_size)} -> {size(begun.size)}"
        network = f"; {words}" if (words := self._new_network(begun)) else ""
        self._say(f"{name}: {sizes}, {span(event.seconds)}, {num_bytes(event.bytes)}{network}")
        self._details(event)

    def skipped(self, event: events.Skipped) -> None:
        """The output, and why."""
        self._course.ended(event.source, made=False)
        self._say(f"{self._course.number(event.source)}{event.output}: {event.reason}")

    def summary(self, report: BatchReport) -> None:
        """Of a batch: how many ended how, and which failed; with -vv the time of each stage."""
        if self._verbose > 1:
            self._say(timeline(self.times.seconds))
        if self.num_inputs < 2 and not report.num_own:
            return
        room = self.console.height - LAST_LINES
        for number, event in enumerate(report.failed):
            line = f"failed: {with_source(event)}"
            room -= -(-len(printable(line)) // self.console.width)
            if room < 0 and number:
                self._say(f"... and {len(report.failed) - number} more failed; --json lists all")
                break
            self._say(line)
        counts = [
            (count, word.replace("outputs", "output") if count == 1 else word) for word, count in report.counts.items()
        ]
        self._say(", ".join(f"{count} {word}" for count, word in counts if count) or "nothing to do")
        if report.planned:
            seconds, num = sum(event.seconds for event in report.planned), sum(event.bytes for event in report.planned)
            self._say(f"all of them: about {span(seconds)}, about {num_bytes(num)}")

    def interrupted(self) -> None:
        """How many files are still to be done."""
        if self.num_inputs > 1:
            left = counted(self._course.num_left, "file")
            self._say(f"{left} of {self.num_inputs} not done; the same command leaves out what is done, and goes on")

    def _details(self, event: events.Started | events.Planned | events.Done) -> None:
        """Notes and losses, each once a job: some are known before it, others only after it."""
        told = self._told.pop(event.source, set()) if isinstance(event, events.Done) else set()
        for line in (*(f"note: {note}" for note in event.notes), *(f"left out: {lost}" for lost in event.dropped)):
            if line not in told:
                told.add(line)
                self._say(f"  {line}")
        if isinstance(event, events.Started):
            self._told[event.source] = told

    def _warn_if_slow(self, event: events.Advanced) -> None:
        left = seconds_left(event)
        if self._warned or event.progress.seconds < 5 or left is None or left < SLOW_SECONDS:
            return
        self._warned = True
        self._say(
            f"  this takes about {span(left)} more at {event.progress.fps:.2f} fps; faster: {faster(self._network)}"
        )
