"""What a job will do, decided before anything is written: sizes, codec, streams kept and dropped, fingerprint."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from vidsr import __version__
from vidsr.errors import MediaError, OutputError
from vidsr.jobs.inputs import Input, Target
from vidsr.jobs.options import Options
from vidsr.media import codecs
from vidsr.media.probe import MediaInfo, probe
from vidsr.media.remux import Dropped, Kept, plan_streams
from vidsr.media.writer import VideoSpec

DEFAULT_THREADS = 2  # of the software encoders: their bytes depend on it, so it never follows the machine


@dataclass(frozen=True, slots=True)
class Plan:
    """One video job, complete but for the network, which `fingerprint` takes by its identity."""

    source: MediaInfo
    output: Path
    options: Options
    choice: codecs.Choice
    spec: VideoSpec
    kept: tuple[Kept, ...]
    dropped: tuple[Dropped, ...]
    notes: tuple[str, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the output in pixels, as stored."""
        return self.spec.width, self.spec.height

    @property
    def scale(self) -> float:
        """The larger of the two ratios of output to source size."""
        video = self.source.video
        return max(self.spec.width / video.width, self.spec.height / video.height)

    @property
    def num_frames(self) -> int | None:
        """An estimate for display: of the interval that is asked for."""
        video = self.source.video
        if video.num_frames is None or video.duration is None or not video.duration:
            return video.num_frames
        start = self.options.start or Fraction(0)
        end = min(self.options.end or video.duration, video.duration)
        share = max(end - start, Fraction(0)) / video.duration
        return round(video.num_frames * share) if share < 1 else video.num_frames

    def fingerprint(self, network: dict[str, Any]) -> str:
        """Identifies source, options, `network` and program: equal fingerprints mean an equal output."""
        facts = {
            "source": source_identity(self.source.path),
            "spec": repr(self.spec),
            "container": self.choice.container,
            "start": str(self.options.start),
            "end": str(self.options.end),
            "deinterlace": self.options.deinterlace,
            "keep_going": self.options.keep_going,
            "network": network,
            "version": __version__,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def source_identity(path: Path) -> str:
    """A hash of a file's size and of its first, middle and last mebibyte: tells files apart without reading films."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for position in sorted({0, max(size // 2 - 2**19, 0), max(size - 2**20, 0)}):
            file.seek(position)
            digest.update(file.read(2**20))
    return digest.hexdigest()


def plan(source: Input, target: Target, options: Options, info: MediaInfo | None = None) -> Plan:
    """Decide how `source` is upscaled.

    Raises:
        MediaError: the source cannot be read.
        UsageError: the options cannot be met for this source.
        OutputError: the container cannot hold what was asked, or the target is the source.
    """
    info = info or probe(source.path)
    _check_interval(info, options)
    if target.file is not None and options.container is not None:
        _check_suffix(target.file, options.container)
    container = options.container or (target.file.suffix.lower().lstrip(".") if target.file else None)
    width, height, aspect, notes = _geometry(info, options)
    choice = codecs.choose(
        info,
        width=width,
        height=height,
        bits=info.video.format.bits,
        container=container,
        codec=options.codec,
        pix_fmt=options.pix_fmt,
        crf=options.crf,
        preset=options.preset,
    )
    even = tuple(1 << shift for shift in choice.format.chroma_shift)
    width, height = (max(round(side / step) * step, step) for side, step in zip((width, height), even, strict=True))
    output = target.path(source, options.label, codecs.suffix(choice.container))
    if output.resolve() == info.path.resolve():
        raise OutputError(f"{output}: the output would replace its own source; choose another name with -o")
    kept, dropped = plan_streams(info.path, choice.container)
    return Plan(
        source=info,
        output=output,
        options=options,
        choice=choice,
        spec=_spec(info, choice, width, height, aspect, options),
        kept=tuple(kept),
        dropped=tuple(dropped),
        notes=(*choice.notes, *notes),
    )


def _check_interval(info: MediaInfo, options: Options) -> None:
    duration = info.video.duration
    if options.start is not None and duration is not None and options.start >= duration:
        raise MediaError(
            f"{info.path}: --start {float(options.start):g} s lies behind the end of the video ({float(duration):.2f} s)"
        )


def _check_suffix(file: Path, container: str) -> None:
    suffix = file.suffix.lower().lstrip(".")
    if suffix != container:
        raise OutputError(f"{file}: its name says {suffix}, --container says {container}; make them agree")


def _geometry(info: MediaInfo, options: Options) -> tuple[int, int, Fraction, tuple[str, ...]]:
    """(width, height, sample aspect, notes) of the output, not yet rounded for chroma.

    An exact size that changes the shape keeps the displayed shape by its sample aspect; rounding to whole pixels does not
    count as a change.
    """
    video = info.video
    aspect = video.sample_aspect
    width, height = video.width, video.height
    if options.square_pixels and aspect != 1:
        wide = width * aspect
        width, height, aspect = (round(wide), height, Fraction(1)) if aspect > 1 else (width, round(height / aspect), aspect)
    wide_target, high_target = options.target(width, height)
    if options.square_pixels:
        return max(round(wide_target), 1), max(round(high_target), 1), Fraction(1), ()
    stretch = (wide_target / high_target) / Fraction(video.width, video.height)
    notes: tuple[str, ...] = ()
    if abs(stretch - 1) > Fraction(1, 100):
        aspect = (aspect / stretch).limit_denominator(255)
        notes = (f"the size changes the pixels' shape: sample aspect {aspect.numerator}:{aspect.denominator} keeps the picture's",)
    return max(round(wide_target), 1), max(round(high_target), 1), aspect, notes


def _spec(
    info: MediaInfo, choice: codecs.Choice, width: int, height: int, aspect: Fraction, options: Options
) -> VideoSpec:
    video = info.video
    return VideoSpec(
        encoder=choice.encoder,
        format=choice.format,
        colour=choice.colour,
        width=width,
        height=height,
        time_base=video.time_base,
        rate=video.rate,
        sample_aspect=aspect,
        display_matrix=video.display_matrix,
        crf=choice.crf,
        preset=choice.preset,
        threads=options.threads or DEFAULT_THREADS,
        mastering_display=video.mastering_display,
        light_level=video.light_level,
    )


def with_output(job: Plan, output: Path) -> Plan:
    """The same job, written to another file."""
    return replace(job, output=output)
