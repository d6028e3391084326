"""What makes the segments of jobs: a network in this process, or one on the workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from vidsr.frame import Samples
from vidsr.jobs.events import Event
from vidsr.jobs.plan import Plan
from vidsr.jobs.preview import Preview
from vidsr.jobs.segments import Segments
from vidsr.pipeline import Progress


@dataclass(frozen=True, slots=True)
class SegmentsMade:
    """How the missing segments of a job were made: the last figures, and what to say of it."""

    progress: Progress
    notes: tuple[str, ...]


class SegmentMaker(Protocol):
    """A model on a backend, or on many."""

    @property
    def reason(self) -> str:
        """Model and backend, for people."""

    @property
    def num_reused(self) -> int:
        """Frames that repeated the one before them, so far."""

    @property
    def notes(self) -> Sequence[str]:
        """What had to be done to go on, so far: when memory ran out, or half precision failed."""

    @property
    def macs_per_pixel(self) -> int:
        """Multiply-adds of the model for each pixel of a source."""

    @property
    def on_gpu(self) -> bool:
        """Whether the network was opened on a GPU; of equal identities all are, or none."""

    def identity(self) -> dict[str, object]:
        """What the bytes of a result depend on besides the frames."""

    def __call__(self, image: Samples, *, size: tuple[int, int] | None = None) -> Samples:
        """Upscale an image."""

    def make_missing(
        self, plan: Plan, segments: Segments, on_event: Callable[[Event], None], preview: Preview | None = None
    ) -> SegmentsMade:
        """Make the segments of `plan` that are not there, and put them into `segments`.

        Raises:
            VidsrError: whatever ended the job; what is finished stays.
        """

    def close(self) -> None:
        """Free what it holds; closing twice is fine."""
