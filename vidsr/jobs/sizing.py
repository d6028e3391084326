"""Brings a finished job to a size that was asked for: its parts are encoded again, at one quality for the whole film.

The network has run once, into parts that are finer than what they become. The quality is found on a few parts all over
the film, then all parts are encoded, joined and weighed, and what is still wrong is corrected. All of that follows from
the parts alone, so the bytes do not depend on who made them, or on how often a job was interrupted; a part that was
encoded at a quality stays until the job ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from vidsr.errors import OutputError, TooSmallError
from vidsr.files import rename
from vidsr.frame import Frame
from vidsr.jobs.events import Event, Fitting
from vidsr.jobs.manifest import Manifest
from vidsr.jobs.plan import Plan
from vidsr.media.encoders import Quality, encoder
from vidsr.media.read.open import demux, open_input
from vidsr.media.read.reader import Reader
from vidsr.media.write.times import read_times
from vidsr.media.write.writer import Writer
from vidsr.words import num_bytes

AIM, LEAST = 0.99, 0.97  # of the size that is asked for, which is not exceeded
SAMPLE_FRAMES, SAMPLE_SHARE = 400, 8  # so many frames or an eighth of the film, whatever is more
SAMPLE_TRIALS, FILM_TRIALS = 6, 4
CLOSE = 0.005  # of a power of two: such a sample is good enough
HALVING = 6 / 51  # of the scale of quality halve the bytes, roughly
PICTURE_BYTES, FILE_BYTES = 24, 2000  # what a container adds; the first join tells exactly


def fitted(
    plan: Plan,
    manifest: Manifest,
    work: Path,
    weigh: Callable[[Sequence[Path]], int],
    on_event: Callable[[Event], None],
) -> tuple[list[Path], tuple[str, ...]]:
    """The parts of `plan` at the quality that makes the output as large as asked, and what is said of it.

    `weigh` joins parts and tells the output's bytes.

    Raises:
        TooSmallError: the size cannot be reached.
    """
    return _Fit(plan, manifest, work, on_event).run(weigh)


class _Fit:
    def __init__(self, plan: Plan, manifest: Manifest, work: Path, on_event: Callable[[Event], None]) -> None:
        quality, target = encoder(plan.spec.encoder).quality, plan.options.target_size
        assert quality is not None, "`budget` has seen to it"
        assert target is not None
        assert plan.spec.crf is not None
        self._plan, self._work, self._on_event = plan, work, on_event
        self._quality: Quality = quality
        self._target, self._finest = target, plan.spec.crf
        self._parts = [(entry.interval, work / entry.name) for entry in manifest.segments]
        self._num_frames = manifest.num_frames
        self._attempt = 0

    def run(self, weigh: Callable[[Sequence[Path]], int]) -> tuple[list[Path], tuple[str, ...]]:
        paths = [path for _, path in self._parts]
        whole = _packet_bytes(paths)
        rest = self._plan.copied_bytes + PICTURE_BYTES * self._num_frames + FILE_BYTES
        if whole + rest <= self._target and (size := weigh(paths)) <= self._target:
            return paths, self._told(size, self._finest)
        made: dict[float, tuple[int, list[Path]]] = {}  # quality -> the output's bytes, and its parts
        points: dict[float, float] = {}  # quality -> powers of two above what is wanted
        value = self._on_sample(whole, rest)
        while value not in made and len(made) < FILM_TRIALS:
            size, paths = made[value] = self._weighed(weigh, value)
            if LEAST * self._target <= size <= self._target:
                break
            video = _packet_bytes(paths)
            if AIM * self._target <= size - video:
                break  # the container alone is larger than that
            points[value] = math.log2(video / (AIM * self._target - (size - video)))
            value = self._next(value, points[value], points)
        most, lowest = (2 - LEAST) * self._target, self._quality.worst
        if lowest not in made and all(size > most for size, _ in made.values()):
            made[lowest] = self._weighed(weigh, lowest)
        if all(size > most for size, _ in made.values()):
            raise self._impossible(made[lowest][0])
        value = min((one for one in made if made[one][0] <= most), key=lambda one: self._badness(made[one][0]))
        size, paths = made[value]
        return paths, self._told(size, value)

    def _weighed(self, weigh: Callable[[Sequence[Path]], int], value: float) -> tuple[int, list[Path]]:
        paths = self._encoded(self._parts, value)
        return weigh(paths), paths

    def _on_sample(self, whole: int, rest: float) -> float:
        """The quality at which a few parts become as much smaller as the film has to."""
        number = max(SAMPLE_FRAMES, self._num_frames // SAMPLE_SHARE) * len(self._parts) / max(self._num_frames, 1)
        count = min(max(math.ceil(number), 1), len(self._parts))
        chosen = [self._parts[(2 * k + 1) * len(self._parts) // (2 * count)] for k in range(count)]
        before = _packet_bytes([path for _, path in chosen])
        wanted = before * max(AIM * self._target - rest, 1) / whole  # the rest is guessed: the first join tells
        points: dict[float, float] = {}  # quality -> powers of two above what is wanted
        value = self._next(self._finest, math.log2(before / wanted))
        while value not in points and len(points) < SAMPLE_TRIALS:
            points[value] = math.log2(_packet_bytes(self._encoded(chosen, value)) / wanted)
            if abs(points[value]) < CLOSE:
                break
            value = self._next(value, points[value], points)
        return min(points, key=lambda tried: abs(points[tried]))

    def _next(self, value: float, above: float, points: dict[float, float] | None = None) -> float:
        """Where to look after `value` gave so many powers of two too much; `points` tell the slope."""
        slope = 1 / (HALVING * self._quality.worst)
        if points and len(points) > 1:
            (a, high), (b, low) = sorted(points.items(), key=lambda point: abs(point[1]))[:2]
            slope = (high - low) / (b - a) if (high - low) * (b - a) > 0 else slope
        step = self._quality.step / (len(self._parts) if self._quality.step == 1 else 1)
        moved = round((value + above / slope) / step) * step
        return round(min(max(moved, self._finest), self._quality.worst), 3)

    def _badness(self, size: int) -> float:
        return abs(math.log2(size / (AIM * self._target)))

    def _encoded(self, parts: Sequence[tuple[int, Path]], value: float) -> list[Path]:
        self._attempt += 1
        self._on_event(Fitting(self._plan.source.path, self._attempt, value, len(parts), len(self._parts)))
        return [self._one(number, path, self._of_part(value, k)) for k, (number, path) in enumerate(parts)]

    def _of_part(self, value: float, number: int) -> float:
        """Where an encoder takes whole steps only, parts take the two beside `value` in turn, as often as it says."""
        if self._quality.step != 1:
            return value
        low, share = math.floor(value), value - math.floor(value)
        return low + (math.floor((number + 1) * share + 1e-6) - math.floor(number * share + 1e-6))

    def _one(self, interval: int, path: Path, value: float) -> Path:
        container = self._plan.choice.segment_container
        done = self._work / f"{interval:06d}.q{round(value * 100):04d}.{container}"
        if not done.exists():
            part = done.with_name(done.name + ".part")
            crf = int(value) if self._quality.step == 1 else value
            spec = self._plan.spec
            vision = spec.dolby_vision.grown_already if spec.dolby_vision else None
            writer = Writer(part, replace(spec, crf=crf, dolby_vision=vision), container=container)
            try:
                for frame in _frames(path, self._plan):
                    writer.write(frame)
                writer.close()
            except BaseException:
                writer.abort()
                raise
            rename(part, done)
        return done

    def _told(self, size: int, value: float) -> tuple[str, ...]:
        words = f"{num_bytes(size, exact=True)} of {num_bytes(self._target, exact=True)}, at crf {value:g}"
        if value <= self._finest and size < LEAST * self._target:
            return (f"{words}: finer is of no use, so the file stays smaller than asked",)
        if not LEAST * self._target <= size <= (2 - LEAST) * self._target:
            return (f"{words}: its encoder comes no closer",)
        return (words,)

    def _impossible(self, size: float) -> TooSmallError:
        target, least = (num_bytes(number, exact=True) for number in (self._target, size))
        return TooSmallError(
            f"{self._plan.output}: {target} are too little: even at the lowest quality, with its other streams, "
            f"it takes {least}; ask for more, or for a smaller --scale or --size"
        )


def _packet_bytes(paths: Iterable[Path]) -> int:
    total = 0
    for path in paths:
        with open_input(path) as container, closing(demux(container, container.streams.video[0])) as packets:
            total += sum(packet.size for packet in packets)
    return total


def _frames(path: Path, plan: Plan) -> Iterator[Frame]:
    """The pictures of a part at their own times, and as long as they were."""
    times, base = read_times([path]), plan.spec.time_base
    shown = np.append(np.sort(times.pts), times.end).tolist()
    count = 0
    with Reader(path) as reader:
        for number, frame in enumerate(reader):
            count += 1
            if count < len(shown):
                length = shown[number + 1] - shown[number]
                yield replace(frame, pts=shown[number], time_base=base, duration=length, colour=plan.spec.colour)
    if count != len(times):
        raise OutputError(f"{path}: this part holds {count} pictures instead of {len(times)}; run the job again.")
