"""Many inputs, one path: each is planned, skipped if done, run, reported; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from vidsr.errors import DamagedError, ExistsError, MediaError, UsageError, VidsrError
from vidsr.jobs import image, piped
from vidsr.jobs.batch import DONE, Batch, in_the_way
from vidsr.jobs.events import Done, Event, Failed, Planned, Scanning, Skipped, Started
from vidsr.jobs.inputs import Input
from vidsr.jobs.joining import Tails, failed
from vidsr.jobs.memory import memory_for
from vidsr.jobs.networks import check_network
from vidsr.jobs.pace import paced
from vidsr.jobs.plan import Plan, fingerprint, of_film, plan, split_mark
from vidsr.jobs.video import Unjoined, discard, finish, make
from vidsr.media.mux.fingerprint import read_fingerprint
from vidsr.media.stills import is_image


@dataclass(slots=True)
class BatchReport:
    """How a batch ended."""

    planned: list[Planned] = field(default_factory=list)
    done: list[Done] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    num_own: int = 0  # outputs of vidsr that were met among the sources, and left alone

    @property
    def counts(self) -> dict[str, int]:
        """How many ended how, in words."""
        names = ("planned", "done", "skipped", "failed")
        return {name: len(getattr(self, name)) for name in names} | {"own outputs left alone": self.num_own}

    def add(self, event: Planned | Done | Skipped | Failed | None) -> None:
        """File the end of one job."""
        match event:
            case None:
                self.num_own += 1
            case Planned():
                self.planned.append(event)
            case Done():
                self.done.append(event)
            case Skipped():
                self.skipped.append(event)
            case Failed():
                self.failed.append(event)

    @property
    def exit_code(self) -> int:
        """0: nothing failed; 2: nothing else happened, and every failure was a wrong option; 1: anything else."""
        if not self.failed:
            return 0
        others = self.planned or self.done or self.skipped
        return 2 if not others and all(item.exit_code == UsageError.exit_code for item in self.failed) else 1


def run_batch(batch: Batch, missing: Iterable[tuple[Path, VidsrError]] = ()) -> BatchReport:
    """Run every input's job; failures are reported and counted, never raised (KeyboardInterrupt is).

    While a job is joined and checked the next one begins. `missing` are arguments that meant no file, which count as
    failures.
    """
    tails = Tails(batch.on_event)

    def watched(event: Event) -> None:
        batch.on_event(event)
        tails.poll()

    heard = replace(batch, on_event=watched)
    return each(heard, missing, lambda item: make_one(item, heard), tails)


def each(
    batch: Batch,
    missing: Iterable[tuple[Path, VidsrError]],
    one: Callable[[Input], Planned | Done | Skipped | Unjoined | None],
    tails: Tails | None = None,
) -> BatchReport:
    """Do `one` for every input, whatever becomes of the others, and report how each ended.

    Raises:
        UsageError, UnknownModelError: no such backend, or model.
    """
    report = BatchReport()
    tails = tails or Tails(batch.on_event)

    def end(event: Planned | Done | Skipped | Failed | None) -> None:
        report.add(event)
        if event is not None:
            batch.on_event(event)

    check_network(batch.options, 1)  # what is wrong for every file is said once
    for path, error in missing:
        end(Failed(path, str(error), error.exit_code))
    with batch, tails.reporting(end):
        for item in batch.inputs:
            try:
                with memory_for(item.path):
                    outcome = one(item)
            except BrokenPipeError:
                raise  # whoever reads our own output has gone
            except (VidsrError, OSError) as error:
                if isinstance(error, DamagedError) or not isinstance(error, MediaError | UsageError):
                    batch.networks.reset()
                tails.collect()  # those that came before are reported before
                end(failed(item.path, error))
                continue
            if isinstance(outcome, Unjoined):
                tails.add(outcome)
            else:
                tails.collect()
                end(outcome)
    return report


def run_one(item: Input, batch: Batch) -> Done | Skipped | None:
    """`make_one`, and the join.

    Raises:
        VidsrError: the job could not be planned, or failed.
    """
    with memory_for(item.path):
        made = make_one(item, batch)
        return finish(made, batch.on_event) if isinstance(made, Unjoined) else made


def make_one(item: Input, batch: Batch) -> Done | Skipped | Unjoined | None:
    """Plan the job of `item` and make all of it but for the join.

    None for one of our own outputs that was met in a folder, which is not a source.

    Raises:
        VidsrError: the job could not be planned, or failed.
    """
    if batch.claims.is_own_output(item):
        return None
    if piped.is_stream(batch.target) and item.number is None:
        return piped.run(item, batch)
    if item.kind == "file" and is_image(item.path):
        return image.run(item, batch)
    job = prepare(item, batch)
    if isinstance(job, Skipped):
        return job
    maker = batch.networks.get(job.scale, job.options.model)
    batch.on_event(started(job, of_film(maker.reason, maker)))
    return make(job, maker, batch)


def prepare(item: Input, batch: Batch) -> Plan | Skipped:
    """The job of a video; or that it is done already. A network is opened only where that needs to be known.

    Raises:
        VidsrError: the job cannot be planned.
    """
    job = plan(item, batch.target, batch.options, on_scan=lambda: batch.on_event(Scanning(item.path)))
    if batch.ray is None:
        job = paced(job, resume=batch.resume)
    batch.claims.take(job.output, item.path)
    return _already_done(job, batch) or job


def _already_done(job: Plan, batch: Batch) -> Skipped | None:
    """Whether the output exists and is this very job's; to know that of one of vidsr's takes the network.

    Raises:
        OutputError: it exists and is something else, and may not be overwritten.
    """
    if batch.overwrite or not job.output.exists():
        return None
    found = read_fingerprint(job.output)
    if found is not None:
        made, beside = split_mark(found)
        if made == fingerprint(job.facts(batch.networks.get(job.scale, job.options.model))):
            discard(job.output, made)
            return Skipped(job.source.path, job.output, _done_already(beside, options=job.options.beside()))
    raise ExistsError(in_the_way(job.output))


def _done_already(made: dict[str, str], *, options: dict[str, str]) -> str:
    """`made` and `options`: those beside the fingerprint, of the output and of this run."""
    different = [name for name in {**made, **options} if made.get(name) != options.get(name)]
    other = ", ".join(f"--{name.replace('_', '-')}" for name in different)
    return f"{DONE}{f' but for {other}' if other else ''}"


def started(job: Plan, network: str) -> Started:
    """What is told of a video before it begins; `network` is chosen for a reason."""
    return Started(
        source=job.source.path,
        output=job.output,
        source_size=(job.source.video.width, job.source.video.height),
        size=job.size,
        num_frames=job.num_frames,
        codec=job.choice.codec,
        network=network,
        notes=job.notes,
        dropped=tuple(str(stream) for stream in job.dropped),
    )
