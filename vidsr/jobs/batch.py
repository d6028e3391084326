"""Many inputs, one path: each is planned, skipped if done, run, reported; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vidsr.errors import DamagedError, MediaError, OutputError, UsageError, VidsrError
from vidsr.jobs import image, piped
from vidsr.jobs.events import Done, Event, Failed, Planned, Skipped, Started
from vidsr.jobs.inputs import Input, Target
from vidsr.jobs.joining import Tails, failed
from vidsr.jobs.memory import memory_for
from vidsr.jobs.networks import Networks
from vidsr.jobs.options import Options
from vidsr.jobs.plan import Plan, fingerprint, plan
from vidsr.jobs.runner import Runner
from vidsr.jobs.video import Unjoined, discard, finish, make
from vidsr.media.mux.fingerprint import read_fingerprint
from vidsr.media.stills import is_image


@dataclass(slots=True)
class Report:
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


def run_batch(
    inputs: Sequence[Input],
    target: Target,
    options: Options,
    missing: Iterable[tuple[Path, VidsrError]] = (),
    *,
    overwrite: bool = False,
    resume: bool = True,
    ray: str | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Report:
    """Run every input's job; failures are reported and counted, never raised (KeyboardInterrupt is).

    While a job is joined and checked the next one begins. `missing` are arguments that meant no file, which count as
    failures; `ray` is the address of a cluster. `on_event` is called in the calling thread alone.
    """
    tails = Tails(on_event)

    def watched(event: Event) -> None:
        on_event(event)
        tails.poll()

    def one(item: Input, networks: Networks, claims: Claims) -> Done | Skipped | Unjoined | None:
        return make_one(item, target, options, networks, claims, overwrite=overwrite, resume=resume, on_event=watched)

    return each(inputs, Networks(options, ray), missing, one, on_event, tails)


def each(
    inputs: Sequence[Input],
    networks: Networks,
    missing: Iterable[tuple[Path, VidsrError]],
    one: Callable[[Input, Networks, Claims], Planned | Done | Skipped | Unjoined | None],
    on_event: Callable[[Event], None],
    tails: Tails | None = None,
) -> Report:
    """Do `one` for every input, whatever becomes of the others, and report how each ended."""
    report = Report()
    claims = Claims(inputs)
    tails = tails or Tails(on_event)

    def end(event: Planned | Done | Skipped | Failed | None) -> None:
        report.add(event)
        if event is not None:
            on_event(event)

    for path, error in missing:
        end(Failed(path, str(error), error.exit_code))
    with networks, tails.reporting(end):
        for item in inputs:
            try:
                with memory_for(item.path):
                    outcome = one(item, networks, claims)
            except BrokenPipeError:
                raise  # whoever reads our own output has gone
            except (VidsrError, OSError) as error:
                if isinstance(error, DamagedError) or not isinstance(error, MediaError | UsageError):
                    networks.reset()
                tails.collect()  # those that came before are reported before
                end(failed(item.path, error))
                continue
            if isinstance(outcome, Unjoined):
                tails.add(outcome)
            else:
                tails.collect()
                end(outcome)
    return report


class Claims:
    """Which file of a batch is written for which source; no source is ever written."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._sources = {item.path.resolve(): item for item in inputs}
        self._taken: dict[Path, Path] = {}

    def is_own_output(self, item: Input) -> bool:
        """Whether `item` is an output of vidsr that a folder or a glob, our own or the shell's, swept up."""
        return (not item.named or len(self._sources) > 1) and _is_marked(item.path)

    def take(self, output: Path, source: Path) -> None:
        """Note that `source` writes `output`.

        Raises:
            OutputError: another source of this batch has claimed it, or is it.
        """
        place = output.resolve()
        if (item := self._sources.get(place)) is not None and not self.is_own_output(item):
            raise OutputError(f"{source}: its output {output} is itself a source; choose another place with -o")
        other = self._taken.setdefault(place, source)
        if other != source:
            raise OutputError(f"{source}: its output {output} is that of {other}, too; rename one, or use two folders")


def _is_marked(path: Path) -> bool:
    return image.mark(path) is not None if is_image(path) else read_fingerprint(path) is not None


def run_one(
    item: Input,
    target: Target,
    options: Options,
    networks: Networks,
    claims: Claims,
    *,
    overwrite: bool = False,
    resume: bool = True,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Done | Skipped | None:
    """`make_one`, and the join.

    Raises:
        VidsrError: the job could not be planned, or failed.
    """
    with memory_for(item.path):
        made = make_one(item, target, options, networks, claims, overwrite=overwrite, resume=resume, on_event=on_event)
        return finish(made, on_event) if isinstance(made, Unjoined) else made


def make_one(
    item: Input,
    target: Target,
    options: Options,
    networks: Networks,
    claims: Claims,
    *,
    overwrite: bool = False,
    resume: bool = True,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Done | Skipped | Unjoined | None:
    """Plan the job of `item` and make all of it but for the join.

    None for one of our own outputs that was met in a folder, which is not a source.

    Raises:
        VidsrError: the job could not be planned, or failed.
    """
    if claims.is_own_output(item):
        return None
    if piped.is_stream(target) and item.number is None:
        return piped.run(item, target, options, networks.get, overwrite, on_event)
    if item.kind == "file" and is_image(item.path):
        return image.run(item, target, options, networks.get, claims.take, overwrite, on_event)
    prepared = prepare(item, target, options, networks, claims, overwrite=overwrite)
    if isinstance(prepared, Skipped):
        return prepared
    job, runner = prepared
    on_event(_started(job, runner))
    return make(job, runner, overwrite=overwrite, resume=resume, on_event=on_event)


def prepare(
    item: Input, target: Target, options: Options, networks: Networks, claims: Claims, *, overwrite: bool
) -> tuple[Plan, Runner] | Skipped:
    """The job of a video and what runs it; or that it is done already.

    Raises:
        VidsrError: the job cannot be planned.
    """
    job = plan(item, target, options)
    claims.take(job.output, item.path)
    runner = networks.get(job.scale)
    return already_done(job, fingerprint(job.facts(runner)), overwrite) or (job, runner)


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
        discard(job.output, mark)
        return Skipped(job.source.path, job.output, "done already, with the same options")
    raise OutputError(f"{job.output}: exists, and is not what these options make; --overwrite replaces it")


def _started(job: Plan, runner: Runner) -> Started:
    return Started(
        source=job.source.path,
        output=job.output,
        source_size=(job.source.video.width, job.source.video.height),
        size=job.size,
        num_frames=job.num_frames,
        codec=job.choice.codec,
        network=runner.reason,
        notes=job.notes,
        dropped=tuple(str(stream) for stream in job.dropped),
    )
