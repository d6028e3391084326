"""What jobs report while they run. The command line shows these, or prints them as NDJSON."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from vidsr.pipeline import Progress


@dataclass(frozen=True, slots=True)
class Scanning:
    """All of a large source is read before its job begins, to find where its clock begins anew."""

    source: Path


@dataclass(frozen=True, slots=True)
class Outline:
    """What is known of a job before it begins. Sizes are (width, height) in pixels; `num_frames` is an estimate."""

    source: Path
    output: Path
    source_size: tuple[int, int]
    size: tuple[int, int]
    num_frames: int | None
    codec: str
    network: str  # model and backend with their reasons, for people
    notes: tuple[str, ...]
    dropped: tuple[str, ...]

    def outline(self) -> dict[str, Any]:
        """These fields, as keywords for another event of the same job."""
        return {field.name: getattr(self, field.name) for field in fields(Outline)}


@dataclass(frozen=True, slots=True)
class Started(Outline):
    """A job begins."""

    image: bool = False


@dataclass(frozen=True, slots=True)
class Planned(Outline):
    """What a job would do: `seconds` and `bytes` are extrapolated from `num_tried` frames that were really made."""

    container: str
    seconds: float
    fps: float
    bytes: int
    num_tried: int
    warnings: tuple[str, ...] = ()  # what one may not want


@dataclass(frozen=True, slots=True)
class Advanced:
    """A job has written one more frame."""

    source: Path
    progress: Progress
    num_frames: int | None


@dataclass(frozen=True, slots=True)
class Resumed:
    """A job goes on after the segments that an earlier run finished."""

    source: Path
    output: Path
    num_segments: int
    num_frames: int


@dataclass(frozen=True, slots=True)
class SegmentDone:
    """One more segment is finished and will survive whatever happens. `number` counts from 1."""

    source: Path
    number: int
    num_frames: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Fitting:
    """All pictures are made; `num_parts` of `all_parts` are encoded again at `quality`, to meet the size asked for."""

    source: Path
    attempt: int  # counts from 1
    quality: float
    num_parts: int
    all_parts: int


@dataclass(frozen=True, slots=True)
class Retried:
    """A worker of a cluster was lost while it made the segment `number`, which runs again on another one."""

    source: Path
    number: int  # counts from 1, by the segment's time
    attempt: int  # how often it was lost so far
    reason: str


ONCE = "what came through the pipe has to come again"  # advice where a source can be read but once


@dataclass(frozen=True, slots=True)
class PartsKept:
    """A job ended early; its finished segments, if any, are kept in `folder`.

    `advice` says what goes on from there; what was made in the last `seconds_lost` has to be made again.
    """

    source: Path
    folder: Path
    num_segments: int
    num_frames: int
    advice: str
    seconds_lost: float


@dataclass(frozen=True, slots=True)
class Done:
    """A job's output stands under its final name, verified."""

    source: Path
    output: Path
    num_frames: int
    num_resumed: int  # of these, made by an earlier run
    num_reused: int  # of those of this run, equal to the frame before them, and not computed again
    seconds: float  # of this run: opening, upscaling, joining, verifying
    fps: float  # of this run
    busy: dict[str, float]
    limit: str
    bytes: int
    kept: tuple[str, ...]
    dropped: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Skipped:
    """Nothing to do: the output exists and is this job's."""

    source: Path
    output: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A job ended without an output."""

    source: Path
    error: str
    exit_code: int


Event = (
    Scanning
    | Planned
    | Started
    | Resumed
    | Advanced
    | SegmentDone
    | Fitting
    | Retried
    | PartsKept
    | Done
    | Skipped
    | Failed
)
WORDS = {kind: kind.__name__.lower() for kind in get_args(Event)} | {PartsKept: "kept"}  # one for each kind
