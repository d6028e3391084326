"""What a batch has in common: where outputs go, the options, the networks, and which outputs are taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from vidsr.errors import OutputError, UsageError
from vidsr.jobs.claims import Claims
from vidsr.jobs.events import Event
from vidsr.jobs.idle import of_batch
from vidsr.jobs.inputs import Input, Target
from vidsr.jobs.networks import Networks
from vidsr.jobs.options import Options
from vidsr.jobs.preview import Preview

REPLACE = "--overwrite (overwrite=True) replaces it"  # an output that is in the way
DONE = "done already, with the same options"


def in_the_way(output: Path) -> str:
    """What is said of an output that exists and would be another."""
    return f"{output}: exists, and is not what these options make; {REPLACE}"


def unwritable(output: Path, error: OSError, advice: str = "") -> OutputError:
    """What is said of an output that the system does not take, and what to do."""
    return OutputError(f"{output}: cannot be written ({error.strerror or error}){advice}")


def unheard(_event: Event) -> None:
    """For whoever wants no events."""


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Sources, and all that their jobs share. Use as a context manager: leaving closes the networks.

    `overwrite` replaces outputs that exist, `resume` goes on after the finished segments of an earlier run, `ray` is
    the address of a cluster, `preview` shows the newest picture while a film is made, and `on_event` is called with
    each event, in the calling thread alone.

    Raises:
        UsageError: a preview of what a cluster makes.
        OutputError: a preview that is a source.
    """

    inputs: Sequence[Input]
    target: Target
    options: Options
    overwrite: bool = False
    resume: bool = True
    ray: str | None = None
    on_event: Callable[[Event], None] = unheard
    preview: Preview | None = None
    networks: Networks = field(init=False)
    claims: Claims = field(init=False)
    unsaid: list[str] = field(init=False)  # of all sources: the first that begins says it, and clears this

    def __post_init__(self) -> None:
        if self.preview is not None and self.ray is not None:
            raise UsageError("--preview (preview) shows what is made in this process: leave it or --ray (ray) out")
        object.__setattr__(self, "networks", Networks(self.options, self.ray))
        object.__setattr__(self, "claims", Claims(self.inputs))
        if self.preview is not None:
            self.claims.take(self.preview.path, Path("--preview"))
        seen = ("preview",) if self.preview is not None else ()
        object.__setattr__(self, "unsaid", [*of_batch(self.inputs, self.options, *seen)])

    def __enter__(self) -> Self:
        self.networks.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self.preview is not None:
            self.preview.close()
        self.networks.__exit__()
