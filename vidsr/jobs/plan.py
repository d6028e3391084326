"""What a job will do, decided before anything is written: sizes, codec, streams kept and dropped, fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from vidsr import __version__
from vidsr.errors import UsageError
from vidsr.frame import SRGB, Colour, PixelFormat, output_colour
from vidsr.jobs import sources
from vidsr.jobs.budget import check_target, finer, size_notes
from vidsr.jobs.idle import idle
from vidsr.jobs.inputs import Input, Target, refuse_source
from vidsr.jobs.options import Options
from vidsr.media import sequence
from vidsr.media.containers import CONTAINERS, container_of, suffix_of
from vidsr.media.dolby_vision import DolbyVision
from vidsr.media.encoders import encoder
from vidsr.media.mux.decide import plan_streams
from vidsr.media.mux.origin import origin_notes
from vidsr.media.mux.streams import Dropped, KeptStream
from vidsr.media.read import heads, joints
from vidsr.media.read.colour_tags import stated
from vidsr.media.read.probe import MediaInfo, Video
from vidsr.media.write import choice
from vidsr.media.write.writer import VideoSpec
from vidsr.media.y4m import Y4MReader

PART_WORK = 4e12  # multiply-adds after which a part ends: about a minute on two slow cores
GPU_PART_WORK = 100 * PART_WORK  # where the network runs on a GPU: SRGAN on 1080p else had a keyframe in each picture
ENCODING_WORK = 4000  # of them take as long as it takes to encode a pixel


class Identified(Protocol):
    """A network that knows what its results depend on, as `Upscaler` does."""

    def identity(self) -> dict[str, object]:
        """The model and how it runs, as JSON can hold it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One video job, complete but for the network."""

    source: MediaInfo
    output: Path
    options: Options
    choice: choice.OutputFormat
    spec: VideoSpec
    kept: tuple[KeptStream, ...]
    dropped: tuple[Dropped, ...]
    notes: tuple[str, ...]
    copied_bytes: int = 0  # of other streams; counted where a size is to be met
    pipe: Y4MReader | None = None  # standard input, of which nothing can be read twice

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
        return sources.num_frames(self.source, self.options)

    def open_reader(self, start: Fraction | None, *, reach: int = 0) -> sources.FrameSource:
        """The source's frames from `start` seconds on, to the end that the options set, and `reach` neighbours."""
        return sources.open_source(self.source, self.options, start, self.pipe, reach=reach)

    def part_seconds(self, macs_per_pixel: int, *, on_gpu: bool = False) -> Fraction:
        """How long a part is: as the options say, or the pictures of a minute's work (or one), if that is less.

        It follows from film, model, size and kind of backend, which all are in the fingerprint, and never from the
        machine or the moment, since encoded bytes depend on where parts end.
        """
        video = self.source.video
        work = video.width * video.height * macs_per_pixel + self.spec.width * self.spec.height * ENCODING_WORK
        num_frames = max(int((GPU_PART_WORK if on_gpu else PART_WORK) // work), 1)
        return min(self.options.segment_seconds, num_frames / self.rate)

    @property
    def rate(self) -> Fraction:
        """Pictures a second, roughly."""
        return self.spec.rate or Fraction(25)

    def mark(self, upscaler: Identified) -> str:
        """Of the output: the fingerprint of all that decides it, and the options beside it."""
        return " ".join([fingerprint(self.facts(upscaler)), *map("=".join, self.options.beside().items())])

    def facts(self, upscaler: Identified) -> dict[str, str]:
        """All that decides the output, in words: source, options, network and program. Equal facts, equal output."""
        return {
            "source": sources.identity(self.source),
            **{name.replace("_", " "): str(getattr(self.spec, name)) for name in VideoSpec.__slots__},
            "container": self.choice.container,
            **self.options.deciding(),
            **network_identity(upscaler),
        }


def fingerprint(facts: Mapping[str, str]) -> str:
    """Identifies an output by the facts that decide it."""
    return hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode()).hexdigest()[:32]


def split_mark(mark: str) -> tuple[str, dict[str, str]]:
    """The fingerprint in the mark of an output, and the options beside it."""
    found, *words = mark.split(" ")
    return found, {name: value for name, _, value in (word.partition("=") for word in words)}


def network_identity(upscaler: Identified) -> dict[str, str]:
    """What decides the pixels besides source and options: the program and its network."""
    return {"version": __version__, **{name: str(value) for name, value in upscaler.identity().items()}}


def of_film(reason: str, network: Identified) -> str:
    """`reason`, and that pictures are blended with their neighbours, where `network` does that with a film's."""
    steady = network.identity().get("steady")
    off = "--steady 0 (steady=0) leaves each to itself"
    return f"{reason} Pictures are blended with their neighbours by {steady}; {off}." if steady else reason


def plan(
    source: Input,
    target: Target,
    options: Options,
    info: MediaInfo | None = None,
    on_scan: Callable[[], None] = lambda: None,
) -> Plan:
    """Decide how `source` is upscaled. `on_scan`: see `sources.examine`, which tells its `info` unless that is given.

    Raises:
        MediaError: the source cannot be read.
        UsageError: the options cannot be met for this source.
        OutputError: the container cannot hold what was asked, or the target is the source.
    """
    pipe = sources.standard_input(options) if source.kind == "pipe" else None
    info = info or sources.examine(source, options, pipe, on_scan)
    if target.file is not None and options.container not in (None, container_of(target.file.suffix)):
        raise UsageError(
            f"the output {target.file} and the container {options.container} disagree; leave one of them out"
        )
    options, notes = settled(info, options)
    wide, high, aspect, changed = geometry(info, options)
    asked = choice.Encoding(
        width=rounded(wide, 2),
        height=rounded(high, 2),
        bits=info.video.format.bits,
        container=options.container,
        codec=options.codec,
        pix_fmt=options.pix_fmt,
        out_suffix=target.file.suffix if target.file and not options.container else None,
        crf=options.crf,
        preset=options.preset,
        gpu=options.gpu or None,
        live=target.pipe,
    )
    chosen = choice.choose(info, asked)
    if options.target_size is not None:
        chosen = finer(chosen)
    shift = chosen.pix_fmt.chroma_shift
    width, height = rounded(wide, 1 << shift[0]), rounded(high, 1 << shift[1])
    shrunk = _even(info, (wide, high), (width, height), chosen.pix_fmt)
    _check_shown(chosen.container, aspect, sources.deinterlacing(info, options).rate(info.video))
    output = target.path(source, options.label, suffix_of(chosen.container, info.path))
    refuse_source(output, info.path)
    whole = options.start is None and options.end is None and not target.pipe
    kept, dropped = plan_streams(info, chosen.container, whole=whole) if sources.is_file(info) else ([], [])
    copied = check_target(info, kept, options) if sources.is_file(info) else 0
    return Plan(
        source=info,
        output=output,
        options=options,
        choice=chosen,
        spec=_spec(info, chosen, (width, height), aspect, options),
        kept=tuple(kept),
        dropped=tuple(dropped),
        notes=(
            *notes,
            *crop_notes(info.video, options),
            *chosen.notes,
            *changed,
            *shrunk,
            *scan_notes(info, options),
            *size_notes(options),
            *_time_notes(info, chosen, options),
            *_made_anew(kept),
        ),
        copied_bytes=copied,
        pipe=pipe,
    )


def _check_shown(container: str, aspect: Fraction, rate: Fraction | None) -> None:
    """Raises UsageError where players of that container show no such pixels, or no pictures that fast."""
    row = CONTAINERS[container]
    if row.square and aspect != 1:
        shape = f"{aspect.numerator}:{aspect.denominator}"
        raise UsageError(
            f"{row} has square pixels only, and these are {shape}: add --square-pixels (square_pixels=True)"
        )
    if row.fastest and rate is not None and rate > row.fastest * Fraction(101, 100):
        raise UsageError(
            f"{row} shows {row.fastest} pictures a second at most, and here are {float(rate):.4g}; "
            "apng, webm and mp4 show them all (--container, container)"
        )


def geometry(info: MediaInfo, options: Options) -> tuple[Fraction, Fraction, Fraction, tuple[str, ...]]:
    """(width, height, sample aspect, notes) of the output, not yet rounded.

    An exact size that changes the shape keeps the displayed shape by its sample aspect; rounding to whole pixels does
    not count as a change.
    """
    width, height, aspect = _shape(info, options)
    wide, high = options.target(width, height)
    stretch = (wide / high) / (width / height)
    notes: tuple[str, ...] = ()
    if abs(stretch - 1) > Fraction(1, 100):
        aspect = (aspect / stretch).limit_denominator(255)
        notes = (f"the pixels become {aspect.numerator}:{aspect.denominator}, so that the picture keeps its shape",)
    return wide, high, aspect, notes


def settled(info: MediaInfo, options: Options) -> tuple[Options, tuple[str, ...]]:
    """`options` with the scale that a film gets for which none is named, and what is said of it.

    Raises:
        UsageError: the film is too large for a scale of its own accord, or ends before the part that is asked for.
    """
    duration = info.video.duration
    if options.start is not None and duration is not None and options.start >= duration:
        start, end = float(options.start), float(duration)
        raise UsageError(f"{info.path}: the start, {start:g} s, lies behind the end of the video, {end:.2f} s")
    width, height, _ = _shape(info, options)
    unused = () if info.container == sequence.CONTAINER else idle(options, ("fps",), "the source has its own times")
    options, said = options.within_usual(width, height)
    return options, (*said, *unused)


def _shape(info: MediaInfo, options: Options) -> tuple[Fraction, Fraction, Fraction]:
    """(width, height, sample aspect) of the source, its pixels made square where that is asked for."""
    width, height, aspect = Fraction(info.video.width), Fraction(info.video.height), info.video.sample_aspect
    if options.square_pixels:
        return width * max(aspect, Fraction(1)), height / min(aspect, Fraction(1)), Fraction(1)
    return width, height, aspect


def _even(
    info: MediaInfo, exact: tuple[Fraction, Fraction], size: tuple[int, int], format: PixelFormat
) -> tuple[str, ...]:
    """Said where the layout takes even sizes only, and a side of the picture becomes shorter than it was."""
    video = info.video
    if size[0] >= video.width and size[1] >= video.height:
        return ()
    wide, high = (rounded(side, 1) for side in exact)
    return (f"{wide}x{high} becomes {size[0]}x{size[1]}: {format.name} takes even sizes only, yuv444p any",)


def _made_anew(kept: Sequence[KeptStream]) -> tuple[str, ...]:
    return tuple(str(item) for item in kept if item.how in ("converted", "encoded"))


def crop_notes(video: Video, options: Options) -> tuple[str, ...]:
    """What is said of what is cut away, by the container or as asked."""
    if not any(video.crop):
        return ("no black bars are found: nothing is cropped",) if options.crop == "auto" else ()
    stored, sides = "{}x{}".format(*video.stored), zip(video.crop, ("left", "top", "right", "bottom"), strict=True)
    where = ", ".join(f"{pixels} {side}" for pixels, side in sides if pixels)
    why = "as the container says" if options.crop is None else f"crop {options.crop}"
    return (f"cropped from {stored} to {video.width}x{video.height} before it is upscaled: {where} ({why})",)


def scan_notes(info: MediaInfo, options: Options) -> tuple[str, ...]:
    """What is said of an interlaced source, and of one that is not although fields are asked for."""
    video, option = info.video, options.deinterlace
    if not (video.interlaced or video.combed):
        plain = "not interlaced, as far as can be seen: one picture is made of each, two of those that say they are"
        return (plain,) if option == "fields" else ()
    if option == "off":
        return ("interlaced, and upscaled as it is: deinterlace auto makes it progressive first",)
    rate = video.rate or Fraction(25)
    once, twice = (f"{float(rate * each):.4g} a second" for each in (1, 2))
    what = "interlaced" if video.interlaced else "not marked as interlaced, but it is"
    if option == "fields":
        what = what if video.interlaced else "not marked as interlaced, but taken to be"
        return (f"{what}: made progressive by bwdif, two pictures of each frame, {twice}, all of the motion",)
    return (
        f"{what}: made progressive by bwdif, one picture for each frame, {once}, which is half of the motion; "
        f"--deinterlace fields (deinterlace='fields') makes {twice}, all of the motion, in twice the time",
    )


def _time_notes(info: MediaInfo, chosen: choice.OutputFormat, options: Options) -> tuple[str, ...]:
    """What is said of a clock that begins late, or anew; a part begins at 0 in any case."""
    if not sources.is_file(info):
        return ()
    moved = origin_notes(info, chosen.container) if options.start is None and options.end is None else ()
    found = joints.joints_of(info.path, info.container, info.video.index)
    return (*heads.left_out(info.path), *moved, *joints.notes(found))


def rounded(side: Fraction, step: int) -> int:
    """`side` to the nearest multiple of `step`, but not to none."""
    return max(round(side / step) * step, step)


def _output_colour(video: Video, format: PixelFormat, container: str, codec: str) -> Colour:
    """As the upscaler has it, as far as the codec can say it."""
    if CONTAINERS[container].srgb:
        return SRGB
    return stated(output_colour(video.colour, video.format, format), codec, format)


def _spec(
    info: MediaInfo, chosen: choice.OutputFormat, size: tuple[int, int], aspect: Fraction, options: Options
) -> VideoSpec:
    video, how = info.video, sources.deinterlacing(info, options)
    grown = Fraction(size[0], video.width), Fraction(size[1], video.height)
    vision = DolbyVision(video.dolby_vision or 0, grown, video.crop) if chosen.dolby_vision else None
    return VideoSpec(
        encoder=chosen.part_encoder,
        format=chosen.pix_fmt,
        colour=_output_colour(video, chosen.pix_fmt, chosen.container, encoder(chosen.part_encoder).codec),
        width=size[0],
        height=size[1],
        time_base=how.time_base(video),
        rate=how.rate(video),
        sample_aspect=aspect,
        display_matrix=video.display_matrix,
        crf=chosen.crf,
        preset=chosen.preset,
        threads=options.threads,
        dolby_vision=vision,
        mastering_display=video.mastering_display,
        light_level=video.light_level,
        spherical=video.spherical,
        stereo=video.stereo,
        gpu=chosen.gpu,
    )
