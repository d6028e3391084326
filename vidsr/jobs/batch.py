"""Many inputs, one path: each is planned, skipped if done, run, reported; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from vidsr.errors import OutputError, UsageError, VidsrError
from vidsr.jobs import images
from vidsr.jobs.events import Done, Event, Failed, Skipped, Started
from vidsr.jobs.inputs import Input, Target
from vidsr.jobs.options import Options
from vidsr.jobs.plan import Plan, fingerprint, plan
from vidsr.jobs.run import run
from vidsr.media.fingerprint import read_fingerprint
from vidsr.media.stills import is_image
from vidsr.upscaler import Upscaler


class Networks:
    """The upscalers of a batch, each opened once and kept. Use as a context manager: leaving closes them."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._open: dict[int, Upscaler] = {}

    def __enter__(self) -> Networks:
        return self

    def __exit__(self, *_: object) -> None:
        self.reset()

    def reset(self) -> None:
        """Close all: after a failed job, whose upscaler was cancelled; the next job opens its own."""
        while self._open:
            self._open.popitem()[1].close()

    def get(self, scale: float) -> Upscaler:
        """The upscaler that serves `scale` (above 0, up to 4): the smallest native scale that reaches it."""
        native = 2 if scale <= 2 else 4
        if native not in self._open:
            options = self._options
            self._open[native] = Upscaler(
                options.model,
                scale=native,
                backend=options.backend,
                precision=options.precision,
                tile=options.tile,
                device=options.device,
                threads=options.threads,
                reuse=options.reuse,
            )
        return self._open[native]


@dataclass(slots=True)
class Report:
    """How a batch ended."""

    done: list[Done] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)

    def add(self, event: Done | Skipped | Failed) -> None:
        """File the end of one job."""
        match event:
            case Done():
                self.done.append(event)
            case Skipped():
                self.skipped.append(event)
            case Failed():
                self.failed.append(event)

    @property
    def exit_code(self) -> int:
        """0: all done; 2: every failure was a wrong option; 1: anything else failed."""
        if not self.failed:
            return 0
        return 2 if all(item.exit_code == UsageError.exit_code for item in self.failed) else 1


def run_batch(
    inputs: Iterable[Input],
    target: Target,
    options: Options,
    *,
    overwrite: bool = False,
    resume: bool = True,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Report:
    """Run every input's job in turn; failures are reported and counted, never raised (KeyboardInterrupt is)."""
    report = Report()
    taken: dict[Path, Path] = {}
    with Networks(options) as networks:
        for item in inputs:
            event: Done | Skipped | Failed | None
            try:
                event = run_one(
                    item, target, options, networks, taken, overwrite=overwrite, resume=resume, on_event=on_event
                )
            except VidsrError as error:
                event = Failed(item.path, str(error), error.exit_code)
                networks.reset()
            if event is not None:
                report.add(event)
                on_event(event)
    return report


def run_one(
    item: Input,
    target: Target,
    options: Options,
    networks: Networks,
    taken: dict[Path, Path],
    *,
    overwrite: bool = False,
    resume: bool = True,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Done | Skipped | None:
    """Plan and run the job of `item`; None for one of our own outputs that was met in a folder, which is not a source.

    Raises:
        VidsrError: the job could not be planned, or failed.
    """
    if is_image(item.path):
        return images.run(item, target, options, networks.get, partial(claim, taken), overwrite, on_event)
    prepared = prepare(item, target, options, networks, taken, overwrite=overwrite)
    if prepared is None or isinstance(prepared, Skipped):
        return prepared
    job, upscaler = prepared
    on_event(_started(job, upscaler))
    return run(job, upscaler, resume=resume, on_event=on_event)


def prepare(
    item: Input, target: Target, options: Options, networks: Networks, taken: dict[Path, Path], *, overwrite: bool
) -> tuple[Plan, Upscaler] | Skipped | None:
    """The job of a video and what runs it; or why there is nothing to do: it is done, or (None) an output of ours.

    Raises:
        VidsrError: the job cannot be planned.
    """
    if not item.named and read_fingerprint(item.path):
        return None
    job = plan(item, target, options)
    claim(taken, job.output, item.path)
    upscaler = networks.get(job.scale)
    return already_done(job, fingerprint(job.facts(upscaler)), overwrite) or (job, upscaler)


def claim(taken: dict[Path, Path], output: Path, source: Path) -> None:
    """Note that `source` writes `output`.

    Raises:
        OutputError: another source of this batch has claimed it.
    """
    other = taken.setdefault(output.resolve(), source)
    if other != source:
        raise OutputError(f"{source}: its output {output} is that of {other}, too; rename one, or use two folders")


def already_done(job: Plan, mark: str, overwrite: bool) -> Skipped | None:
    """Whether the output exists and is this very job's.

    Raises:
        OutputError: it exists and is something else, and may not be overwritten.
    """
    if not job.output.exists():
        return None
    if job.output.is_dir():
        raise OutputError(f"{job.output}: this is a folder; choose another name with -o")
    if overwrite:
        return None
    if read_fingerprint(job.output) == mark:
        return Skipped(job.source.path, job.output, "done already, with the same options")
    raise OutputError(f"{job.output}: exists, and is not what these options make; --overwrite replaces it")


def _started(job: Plan, upscaler: Upscaler) -> Started:
    return Started(
        source=job.source.path,
        output=job.output,
        source_size=(job.source.video.width, job.source.video.height),
        size=job.size,
        num_frames=job.num_frames,
        codec=job.choice.codec,
        network=upscaler.reason,
        notes=job.notes,
        dropped=tuple(str(stream) for stream in job.dropped),
    )
