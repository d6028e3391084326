"""What runs a job's network: an `Upscaler` in this process, or the workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from vidsr.jobs.events import Event
from vidsr.jobs.plan import Plan
from vidsr.jobs.segments import Segments
from vidsr.pipeline import Progress


class Runner(Protocol):
    """A model on a backend, or on many. `vidsr.upscaling.upscaler.Upscaler` is one."""

    reason: str  # model and backend, for people
    num_reused: int  # frames that repeated the one before them, so far

    @property
    def notes(self) -> Sequence[str]:
        """What had to be done to go on, so far: when memory ran out, or half precision failed."""

    def identity(self) -> dict[str, Any]:
        """What the bytes of a result depend on besides the frames."""

    def __call__(self, image: NDArray[np.uint8 | np.uint16], *, size: tuple[int, int] | None = None) -> NDArray[Any]:
        """Upscale an image."""

    def close(self) -> None:
        """Free what it holds; closing twice is fine."""


@dataclass(frozen=True, slots=True)
class Made:
    """How the missing segments of a job were made: the last figures, and what to say of it."""

    progress: Progress
    notes: tuple[str, ...]


@runtime_checkable
class RemoteRunner(Runner, Protocol):
    """One that makes segments elsewhere."""

    def make_missing(self, plan: Plan, segments: Segments, on_event: Callable[[Event], None]) -> Made:
        """Make the segments of `plan` that are not there, and land them in `segments`.

        Raises:
            VidsrError: whatever ended the job; what has landed stays.
        """
