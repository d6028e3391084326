"""One case: its file through `vidsr upscale`, and whether the output is as expected, by other programs' word."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests import warm
from tests.conftest import Result
from tests.field import asking

TABLE = Path(__file__).with_name("cases.toml")
OPTIONS = ("--scale", "2", "--model", "bicubic", "--backend", "cpu", "--preset", "ultrafast", "--json")
PRESETS = {"webm": "8"}
UNEXPECTED = ("Traceback", "please report", "cannot be written", "Invalid argument")
SLACK = 0.15  # seconds of a length: one block of sound, and the roundings of containers
IN_SYNC = 0.08  # seconds
IN_COLOUR = 7  # of 255

_NO_QUESTION = ("options", "wrong", "alone", "found", "says", "never_says")


@dataclass(frozen=True)
class Case:
    """A row of the table: what it takes, and what is expected. None: not asked."""

    kind: int  # of the list at the head of the table
    source: str  # of `recipes.RECIPES`
    output: str  # the suffix of the output
    options: tuple[str, ...] = ()
    wrong: bool = False  # it does not come out so today
    alone: bool = False  # in a process of its own: it may take this one with it
    found: bool = False  # it found what no case of its question did: it is not left to `make soak`
    exit: int = 0
    streams: tuple[str, ...] | None = None  # codecs, by ffprobe
    rate: str | None = None  # frames a second, or "none" where they vary
    duration: float | None = None  # seconds
    start: float | None = None  # seconds
    frames: int | None = None
    sync: bool = False  # a beep at each flash
    marks: int | None = None  # so many subtitles, each at a flash
    layout: tuple[str, ...] | None = None  # of the sounds
    languages: tuple[str, ...] | None = None  # of the sounds
    side_data: str | None = None  # FFmpeg's name: kept, or named by what matches `named`
    named: str | None = None  # a pattern
    says: tuple[str, ...] = ()  # patterns, all of them
    never_says: tuple[str, ...] = ()
    aspect: float | None = None  # width over height as shown
    bars: bool = False  # True: the source has bars that its container cuts away, and the output must not show them
    colours: tuple[int, ...] | None = None  # red, green, blue of all pictures
    most_combed: int | None = None  # pictures
    least_combed: int | None = None  # likewise
    like_off: bool | None = None  # whether the pictures equal those of --deinterlace off
    verify: bool = True  # `vidsr verify` finds no difference

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return " ".join((f"{self.source} to {self.output}", *self.options))

    @property
    def question(self) -> tuple[object, ...]:
        """What is asked of which container, without the answer."""
        answers = [f.name for f in fields(self) if f.default is not MISSING and f.name not in _NO_QUESTION]
        return self.kind, self.output, self.options, *(n for n in answers if getattr(self, n) not in (None, False, ()))


@dataclass(frozen=True)
class Outcome:
    """What `vidsr upscale` did. `made`: a picture was upscaled, whatever became of it."""

    code: int
    said: str
    output: Path
    made: bool


def cases() -> list[Case]:
    """All rows."""
    rows = tomllib.loads(TABLE.read_text())["case"]
    fields: list[dict[str, Any]] = [{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows]
    return [Case(**each) for each in fields]


def attempt(vidsr: Callable[..., Result], case: Case, source: Path, folder: Path, *more: str) -> Outcome:
    """Upscale `source` into `folder`, in this process or, as `case` has it, in one of its own."""
    folder.mkdir(exist_ok=True)
    output = folder / f"output.{case.output}"
    preset = ("--preset", PRESETS[case.output]) if case.output in PRESETS else ()
    words = ("upscale", source, "-o", output, *OPTIONS, *preset, *case.options, *more)
    done = _apart(*words) if case.alone else vidsr(*words)
    events = [json.loads(line) for line in done.out.splitlines() if line.startswith("{")]
    said = [done.err]
    for event in events:
        said += [event.get("error", ""), *event.get("notes", ()), *event.get("dropped", ())]
    made = any(event["event"] in ("progress", "segment") for event in events)
    return Outcome(done.code, "\n".join(filter(None, said)).replace(str(folder.parent), ""), output, made)


def _apart(*words: object) -> Result:
    command = [sys.executable, "-m", "vidsr", *map(str, words)]
    done = warm.run(command, capture_output=True, text=True, errors="replace", timeout=asking.TIMEOUT)
    return Result(done.returncode, done.stdout, done.stderr)


def wrongs(vidsr: Callable[..., Result], case: Case, source: Path, folder: Path) -> Iterator[str]:
    """Whatever is not as `case` has it, in words."""
    outcome = attempt(vidsr, case, source, folder)
    yield from failures(outcome, case.exit)
    for pattern in case.says:
        if not re.search(pattern, outcome.said, re.IGNORECASE):
            yield f"does not say {pattern!r}: {outcome.said!r}"
    for pattern in case.never_says:
        if re.search(pattern, outcome.said, re.IGNORECASE):
            yield f"says {pattern!r}: {outcome.said!r}"
    if outcome.code or case.exit:
        return
    yield from unnamed(source, outcome)
    yield from _times(case, outcome.output)
    yield from _streams(case, outcome)
    yield from _pictures(case, source, outcome.output)
    if case.like_off is not None:
        off = attempt(vidsr, case, source, folder / "off", "--deinterlace", "off")
        if (asking.picture_md5(outcome.output) == asking.picture_md5(off.output)) != case.like_off:
            yield f"pictures {'differ from' if case.like_off else 'equal'} those of --deinterlace off"
    if case.verify:
        yield from _verified(vidsr, source, outcome.output, case.options)


def _verified(vidsr: Callable[..., Result], source: Path, output: Path, options: Sequence[str]) -> Iterator[str]:
    """The rows of `vidsr verify` that differ."""
    passed = [word for pair in pairwise(options) if pair[0] == "--deinterlace" for word in pair]
    done = vidsr("verify", source, output, "--json", *passed)
    if done.code and not done.out:
        yield f"verify: {done.err}"
    elif done.code:
        rows = [row for row in json.loads(done.out)["checks"] if row["verdict"] == "differs"]
        yield "verify: " + "; ".join(f"{row['name']} ({row['detail']})" for row in rows)


def failures(outcome: Outcome, code: int) -> Iterator[str]:
    """An end that nobody foresaw, or one that came only after pictures were made."""
    last = outcome.said.strip().splitlines()[-1:] or [""]
    if outcome.code != code:
        yield f"exit {outcome.code}: {last[0]}"
    if outcome.code and outcome.made:
        yield f"it fails after pictures were made: {last[0]}"
    yield from (f"says {words!r}: {last[0]}" for words in UNEXPECTED if words in outcome.said)
    if outcome.code and outcome.output.exists():
        yield "it fails and leaves a file"


def unnamed(source: Path, outcome: Outcome) -> Iterator[str]:
    """Streams of a kind that are fewer in the output, without a word about that kind or that number."""
    before, after = asking.streams(source), asking.streams(outcome.output)
    for kind in ("video", "audio", "subtitle"):
        num = [sum(s.get("codec_type") == kind for s in found) for found in (before, after)]
        lost = [line for line in outcome.said.splitlines() if re.search(rf"\b({kind}|cover)\b.*dropped", line)]
        if num[1] < num[0] - len(lost):
            yield f"{num[0]} {kind} streams become {num[1]}, and nothing is said"


def _times(case: Case, output: Path) -> Iterator[str]:
    if case.duration is not None:
        for program, found in asking.duration(output).items():
            if abs(found - case.duration) > SLACK:
                yield f"lasts {found:.3f} s by {program}, not {case.duration}"
    if case.start is not None:
        found = float(asking.ffprobe(output)["format"]["start_time"])
        if abs(found - case.start) > SLACK:
            yield f"begins at {found:.3f} s, not {case.start}"
    if case.rate is not None:
        want = None if case.rate == "none" else asking.ratio(case.rate)
        for program, rate in asking.rates(output).items():
            if want is None and program == "mkvmerge" and rate is not None:
                yield f"{rate:.3f} frames a second by {program}, although they vary"
            silent = rate is None and program == "mediainfo" and output.suffix == ".ts"  # it needs a longer one
            if want is not None and not silent and (rate is None or abs(rate - want) > want / 1000):
                yield f"{rate} frames a second by {program}, not {case.rate}"
    yield from _sync(case, output)


def _sync(case: Case, output: Path) -> Iterator[str]:
    if not case.sync and case.marks is None:
        return
    flashes = asking.flashes(output)
    distance = asking.apart(flashes, asking.beeps(output)) if case.sync else 0
    if distance is None or distance > IN_SYNC:
        yield f"flash and beep are {distance} s apart"
    if case.marks is not None:
        marks = asking.marks(output)
        distance = asking.apart(flashes, marks)
        if len(marks) != case.marks or distance is None or distance > IN_SYNC:
            yield f"{len(marks)} subtitles of {case.marks}, {distance} s from the flashes"


def _streams(case: Case, outcome: Outcome) -> Iterator[str]:
    output = outcome.output
    if case.streams is not None:
        found = tuple(s.get("codec_name", s.get("codec_type")) for s in asking.streams(output))
        if found != case.streams:
            yield f"streams {found}, not {case.streams}"
    if case.layout is not None and tuple(asking.layout(output)) != case.layout:
        yield f"layouts {asking.layout(output)}, not {case.layout}"
    if case.languages is not None:
        spoken = tuple(s.get("tags", {}).get("language", "und") for s in asking.streams(output, "audio"))
        if spoken != case.languages:
            yield f"languages {spoken}, not {case.languages}"
    if case.side_data is not None and case.side_data not in asking.side_data(output):
        named = re.search(case.named or case.side_data, outcome.said, re.IGNORECASE)
        if not named:
            yield f"{case.side_data} is neither kept nor named: {outcome.said!r}"
    if complaint := asking.decodes(output):
        yield f"ffmpeg: {complaint[:200]}"


def _pictures(case: Case, source: Path, output: Path) -> Iterator[str]:
    width, height, aspect = asking.shape(output)
    if case.frames is not None and (num := len(asking.colours(output))) != case.frames:
        yield f"{num} pictures, not {case.frames}"
    if case.aspect is not None and abs(aspect - case.aspect) > 0.01 * case.aspect:
        yield f"shown as {aspect:.3f}, not {case.aspect}"
    if case.bars and asking.has_bars(output) and not asking.crop_kept(output):
        yield f"bars are back in {width}x{height}"
    if case.colours is not None:
        worst = max(asking.colours(output), key=lambda found: _distance(found, case.colours or found))
        if _distance(worst, case.colours) > IN_COLOUR:
            yield f"a picture of {worst}, not {case.colours}"
    if case.most_combed is not None or case.least_combed is not None:
        before = asking.shape(source)
        num = sum(asking.combed(output, before[0], before[1]))
        if case.most_combed is not None and num > case.most_combed:
            yield f"{num} combed pictures, not {case.most_combed} at most"
        if case.least_combed is not None and num < case.least_combed:
            yield f"{num} combed pictures, not {case.least_combed} at least"


def _distance(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))
