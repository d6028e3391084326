"""A plan from its first phase to its figures, by the clock."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from train import arguments, checkpoint, export, fit
from train.alarms import Watch
from train.card import card
from train.data import Bank, find_photos, open_bank
from train.evaluate import Pair, read_benchmarks
from train.lease.bakery import Bakery
from train.lease.parcels import Parcels
from train.lease.plan import LEAST_SECONDS, LeasePlan, Phase
from train.origin import initialise, read_origin
from train.recipe import Recipe
from train.run import Clock, Run
from train.sample import Source
from train.trained import Notes, Trained
from vidsr.errors import ModelError, OutputError, VidsrError
from vidsr.models.srgan import build

log = logging.getLogger("train")

ROOM = 1 << 20  # bytes beside a phase's weights: card, log, picture


class Piece(fit.Trainer):
    """A phase in training: what it has reached is in the parcels after every report, whatever happens next."""

    lease: "Lease"
    phase: Phase
    before: float  # share of its time that went in an earlier lease

    def report(self, watch: Watch, means: dict[str, float], seconds_per_step: float) -> None:
        """As a trainer's, and the weights are kept."""
        with self.lease.on_trouble():
            super().report(watch, means, seconds_per_step)
        self.keep(finished=False)

    def keep(self, finished: bool) -> None:
        """Put the averaged weights as they are, the log and the last picture into the parcels."""
        trained = Trained(self.run.recipe, self.run.freeze(), export.read_notes(self.out / "run.json"))
        assert self.run.clock
        report = {"step": self.run.step, "gone": self.before + (1 - self.before) * self.run.clock.gone}
        name = self.phase.name
        files = _files(trained, name, self.out)
        with self.lease.on_trouble():
            weights = self.lease.work / f"{name}.safetensors"  # for phases that begin with them
            weights.write_bytes(files[weights.name])
            if finished:
                files[f"{name}.md"] = card(trained, weights, {}).encode()
        with self.lease.on_trouble():
            self.lease.parcels.keep(name, files, report | {"finished": finished})

    def save(self) -> None:
        """As a trainer's; weights, and a checkpoint of the constant rate, go into the parcels, too."""
        self.keep(finished=False)
        with self.lease.on_trouble():
            super().save()
            found = checkpoint.list_checkpoints(self.out / "stable")
            if found and self.run.phase == "stable":
                self.lease.keep_state(self.phase.name, found[-1])


@dataclass
class Lease:
    """Runs `plan` on `device` until `deadline` (monotonic): its results to `parcels`, everything else below `work`."""

    plan: LeasePlan
    photos: Sequence[Path]
    benchmarks: Path | None
    parcels: Parcels
    work: Path
    device: torch.device
    deadline: float
    reserve: float  # seconds before it that are kept for the last figures
    failed: list[str] = field(init=False, default_factory=list)
    trouble: str = field(init=False, default="")
    _figures: dict[str, "subprocess.Popen[bytes]"] = field(init=False, default_factory=dict)

    def run(self) -> bool:
        """All phases that are not finished yet, then the figures; False where a signal ended it before.

        Raises:
            MediaError: no photo, or a damaged or too small one.
            ModelError: a phase failed; the others had their time.
            OutputError: the results could not be written at last.
        """
        paths, began = find_photos(self.photos), time.monotonic()
        bank = open_bank(paths, self.work / "photos", self.plan.smallest_photo)
        log.info("%d photos decoded in %.1f s", len(bank), time.monotonic() - began)
        data = export.summarise_data(list(self.photos), paths)
        left = [phase for phase in self.plan.phases if not self._said(phase.name).get("finished")]
        bakes = any(phase.recipe.data == "baked" for phase in left)
        try:
            with self._bakery(bakes) as bakery:
                whole = self._phases(left, bank, bakery, data)
            self._await_figures(self.deadline if whole else 0.0)
        finally:
            self._end_figures()
        if self.trouble:
            self.parcels.write()  # what could not be written before
        if self.failed:
            raise ModelError(f"{len(self.failed)} of {len(self.plan.phases)} phases failed. {self.failed[0]}")
        return whole

    @contextmanager
    def _bakery(self, bakes: bool) -> Iterator[Bakery | None]:
        bakery = Bakery(self.plan.baking, self.photos, self.work, self.work / "photos") if bakes else None
        try:
            yield bakery
        finally:
            if bakery:
                bakery.close()

    def _phases(self, left: list[Phase], bank: Bank, bakery: Bakery | None, data: Notes) -> bool:
        sources: dict[str, tuple[Source, Notes]] = {"photos": (bank.near(self.device), data)}
        for number, phase in enumerate(left):
            kind = phase.recipe.data
            try:
                if kind not in sources:
                    assert bakery
                    cache = bakery.take(self.deadline - self.reserve - LEAST_SECONDS * (len(left) - number))
                    pairs = {"pairs": len(cache), "degraded_by": cache.header.maker}
                    sources[kind] = (cache.near(self.device), cache.header.data | pairs)
                if not self._train(left[number:], *sources[kind]):
                    return False
            except (VidsrError, RuntimeError) as error:  # the other phases still have their time
                log.warning("The phase %s failed: %s", phase.name, error, exc_info=not isinstance(error, VidsrError))
                self.failed.append(f"{phase.name}: {error}")
        return True

    def _seconds(self, left: Sequence[Phase]) -> float:
        """Of the first of the phases that are left: its share of the time that is left to them."""
        shares = [phase.share * (1.0 - self._gone(phase.name)) for phase in left]
        room = self.deadline - self.reserve - time.monotonic()
        return max(LEAST_SECONDS / 2, room * shares[0] / (sum(shares) or 1.0))

    def _train(self, left: Sequence[Phase], source: Source, data: Notes) -> bool:
        """Train the first of the phases that are left; False where a signal ended it."""
        phase = left[0]
        out = self.work / "runs" / phase.name
        run = self._start(phase, out)
        run.clock = Clock(self._seconds(left), phase.hold)
        log.info("=== %s: %.0f s", phase.name, run.clock.seconds)
        machine = arguments.machine(self.device)
        losses = run.recipe.losses.in_words()
        with self.on_trouble():
            fit.note(out, {"data": data, "machine": machine, "losses": losses, "origin": run.origin, "processes": 1})
        piece = Piece(run, source, out, self._pairs(phase))
        piece.lease, piece.phase, piece.before = self, phase, self._gone(phase.name)
        whole = piece.train()
        piece.keep(finished=whole)
        if whole:
            self._measure(phase, out)
        return whole

    def _start(self, phase: Phase, out: Path) -> Run:
        """A run that begins as the phase says, or goes on where an earlier lease was cut off."""
        run = Run(self._recipe(phase), self.device)
        cut_off = checkpoint.list_checkpoints(out / "stable")
        if cut_off or phase.resume:
            found = cut_off or checkpoint.list_checkpoints(Path(phase.resume) / "stable")
            if not found:
                raise ModelError(f"{phase.resume} holds no checkpoint for the phase {phase.name} to go on from.")
            run.thaw(checkpoint.load(found[-1]))
            log.info("%s goes on at step %d", phase.name, run.step)
        elif phase.init or phase.after:
            origin = phase.init or self._weights(phase.after)
            initialise(run, read_origin(origin, phase.recipe.generator.scale))
        return run

    def _recipe(self, phase: Phase) -> Recipe:
        """The phase's own, with the file of the weights whose details it keeps."""
        if not phase.keeps:
            return phase.recipe
        return replace(phase.recipe, losses=replace(phase.recipe.losses, keeps=self._weights(phase.keeps)))

    def _weights(self, phase: str) -> str:
        return str(self.work / f"{phase}.safetensors")

    def _pairs(self, phase: Phase) -> dict[str, list[Pair]]:
        return read_benchmarks(self.benchmarks, phase.recipe.generator.scale)

    def _said(self, phase: str) -> dict[str, object]:
        said: dict[str, object] = self.parcels.report.get("phases", {}).get(phase, {})
        return said

    def _gone(self, phase: str) -> float:
        """Which share of its time is over."""
        gone = self._said(phase).get("gone", 0.0)
        assert isinstance(gone, int | float)
        return gone

    def keep_state(self, phase: str, folder: Path) -> None:
        """Put a checkpoint into the parcels, with what a card needs to know of its run."""
        files = [*sorted(folder.iterdir()), *self.work.glob(f"runs/{phase}/run.json")]
        step = int(folder.name.removeprefix("step-"))
        if not self.parcels.keep_state(phase, step, self.work, files):
            log.warning("The checkpoint of %s is too large for %s; it stays in %s.", phase, self.parcels.folder, folder)

    @contextmanager
    def on_trouble(self) -> Iterator[None]:
        """What cannot be written does not end the training: it is said, and tried again with the next report."""
        try:
            yield
        except OutputError as error:
            self._note_trouble(str(error))
        except OSError as error:
            self._note_trouble(f"Cannot write {error.filename or 'a file'} ({error.strerror}).")

    def _note_trouble(self, sentence: str) -> None:
        if sentence != self.trouble:
            log.warning(sentence)
        self.trouble = sentence

    def _measure(self, phase: Phase, out: Path) -> None:
        """Begin to measure a finished phase on the CPU, beside the next one, and to write its card."""
        command = [sys.executable, "-m", "train", "export", str(out), "-o", str(self._measured(phase.name))]
        command += ["--benchmarks", str(self.benchmarks)] if self.benchmarks else []
        with self.on_trouble(), (self.work / f"figures-{phase.name}.log").open("wb") as said:
            process = subprocess.Popen(command, stdout=said, stderr=said, stdin=subprocess.DEVNULL)
            self._figures[phase.name] = process

    def _measured(self, phase: str) -> Path:
        return self.work / "measured" / f"{phase}.safetensors"

    def _await_figures(self, deadline: float) -> None:
        """Keep the weights with their figures and cards as they come, until the time is over."""
        for name, process in self._figures.items():
            try:
                code = process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("%s was not measured in time; its weights are whole, without figures and card.", name)
                continue
            if code:
                log.warning("%s could not be measured: %s", name, _last_line(self.work / f"figures-{name}.log"))
                continue
            with self.on_trouble():
                weights = self._measured(name)
                files = {path.name: path.read_bytes() for path in (weights, weights.with_suffix(".md"))}
                self.parcels.keep(name, files, {"measured": bool(self.benchmarks)})

    def _end_figures(self) -> None:
        for process in self._figures.values():
            process.kill()
            process.wait()


def _files(trained: Trained, name: str, out: Path) -> dict[str, bytes]:
    """What a parcel holds of a phase, by file name."""
    files = {f"{name}.safetensors": export.weights_file(trained)}
    if (out / "log.csv").exists():
        files[f"{name}.csv"] = (out / "log.csv").read_bytes()
    if pictures := sorted((out / "grids").glob("*.png")):
        files[f"{name}.png"] = pictures[-1].read_bytes()
    return files


def _last_line(path: Path) -> str:
    return (path.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no reason said"])[-1]


def weights_sizes(plan: LeasePlan) -> dict[str, int]:
    """Bytes that the weights of every phase take in a parcel, with what belongs to them."""
    made = {phase.name: build(phase.recipe.generator).parameters() for phase in plan.phases}
    return {name: ROOM + 2 * sum(one.numel() for one in weights) for name, weights in made.items()}


def keep_compiled(work: Path) -> None:
    """Let what is compiled for a GPU lie below `work` unless the environment says another place: phases share it."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(work / "compiled" / "inductor"))
    os.environ.setdefault("TRITON_CACHE_DIR", str(work / "compiled" / "triton"))
