"""Jobs whose output is no file of its own: raw video or a film on standard output, or numbered images.

Frames are written as they are made. There are no parts to go on after.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from vidsr import pipeline
from vidsr.errors import UsageError
from vidsr.frame import Canvas, Colour, Frame, PixelFormat, output_colour
from vidsr.jobs import sources
from vidsr.jobs.batch import Batch, unwritable
from vidsr.jobs.events import ONCE, Advanced, Done, PartsKept, Started
from vidsr.jobs.idle import ENCODER, idle
from vidsr.jobs.inputs import Input, Target
from vidsr.jobs.options import Options
from vidsr.jobs.plan import crop_notes, geometry, of_film, plan, rounded, scan_notes, settled
from vidsr.media import sequence, y4m
from vidsr.media.containers import CONTAINERS
from vidsr.media.mux.live import LiveWriter, check_live
from vidsr.media.read.probe import MediaInfo
from vidsr.media.stills import is_image

if TYPE_CHECKING:
    from vidsr.upscaling.upscaler import Upscaler


class Sink(Protocol):
    """Takes frames of one size and layout; `notes` are what there is to say once all are written."""

    @property
    def num_bytes(self) -> int:
        """Written so far."""

    @property
    def notes(self) -> list[str]:
        """What was lost."""

    def write(self, frame: Frame) -> None:
        """Write one frame."""

    def close(self) -> None:
        """Hand over what is buffered."""

    def abort(self) -> None:
        """Let go of what is open; what was written stands."""


def is_stream(target: Target) -> bool:
    """Whether outputs go to standard output or become numbered images."""
    return target.pipe or target.pattern is not None


@dataclass(frozen=True, slots=True)
class _Stream:
    """What is written, and how: settled before a network is opened."""

    info: MediaInfo
    options: Options
    canvas: Canvas
    codec: str
    notes: tuple[str, ...]
    kept: tuple[str, ...]
    dropped: tuple[str, ...]
    open: Callable[[], Sink]
    pipe: y4m.Y4MReader | None


def run(item: Input, batch: Batch) -> Done:
    """Upscale one source into a stream: a film where a container is named, else its pictures alone.

    Raises:
        VidsrError: whatever ended the job. What was written until then stands.
        BrokenPipeError: whoever read standard output has gone.
    """
    began, target, options = time.perf_counter(), batch.target, batch.options
    _check(item, batch)
    made = _film(item, batch) if target.pipe and options.container is not None else _pictures(item, batch)
    info, size = made.info, made.canvas.size
    upscaler = batch.networks.upscaler(max(size[0] / info.video.width, size[1] / info.video.height))
    started = _started(made, of_film(upscaler.reason, upscaler), batch)
    batch.on_event(started)
    with _writing(started.output):
        sink = made.open()
    reused = upscaler.num_reused
    reader = sources.open_source(info, made.options, options.start, made.pipe, reach=upscaler.reach)
    last = _make(reader, upscaler, made, sink, started, batch)
    if not last.num_frames:
        raise sources.no_picture(info)
    if batch.preview is not None:
        batch.preview.close()
    previewed = batch.preview.notes if batch.preview is not None else ()
    seconds = time.perf_counter() - began
    return Done(
        source=started.source,
        output=started.output,
        num_frames=last.num_frames,
        num_resumed=0,
        num_reused=upscaler.num_reused - reused,
        seconds=seconds,
        fps=last.num_frames / max(seconds, 1e-9),
        busy=dict(last.busy),
        limit=last.limit,
        bytes=sink.num_bytes,
        kept=made.kept,
        dropped=made.dropped,
        notes=(*made.notes, *sources.source_notes(reader.report), *sink.notes, *previewed),
    )


def _check(item: Input, batch: Batch) -> None:
    """Raises UsageError for what cannot be of a stream, before anything is opened for it."""
    target = batch.target
    if item.kind == "file" and is_image(item.path):
        raise UsageError(f"{item.path} is one image, and the output {_output(target)} is for a film; name a file")
    if batch.ray is not None:
        raise UsageError(
            f"--ray (ray) makes files, and the output {_output(target)} is a stream; leave one of them out"
        )
    if batch.options.target_size is not None:
        raise UsageError(f"a target size is for a file, and the output {_output(target)} is a stream; leave it out")
    if target.pipe and sys.stdout.isatty():
        raise UsageError("-o - writes the video, which a terminal cannot show: send it to a file or a program")


def _film(item: Input, batch: Batch) -> _Stream:
    """A film in a container that plays while it is written, on standard output."""
    job = plan(item, batch.target, batch.options)
    check_live(CONTAINERS[job.choice.container])
    options, opens = job.options, sources.is_file(job.source)

    def sink() -> Sink:
        return LiveWriter(
            sys.stdout.buffer,
            job.choice.container,
            job.spec,
            job.source,
            job.kept,
            opens=opens,
            cut=options.start is not None or options.end is not None,
            end=options.end,
            keep_going=options.keep_going,
        )

    kept, dropped = (tuple(map(str, items)) for items in (job.kept, job.dropped))
    notes = (*job.notes, *idle(options, ("segment_seconds",), "a stream has no parts"))
    return _Stream(job.source, options, job.spec.canvas, job.choice.codec, notes, kept, dropped, sink, job.pipe)


def _pictures(item: Input, batch: Batch) -> _Stream:
    """Raw video on standard output, or numbered images."""
    target, options = batch.target, batch.options
    pipe = sources.standard_input(options) if item.kind == "pipe" else None
    info = sources.examine(item, options, pipe)
    options, said = settled(info, options)
    wide, high, aspect, notes = geometry(info, options)
    format, colour = _format(info, target)
    unused = idle(options, ENCODER, "no film is encoded")
    shift = format.chroma_shift
    size = rounded(wide, 1 << shift[0]), rounded(high, 1 << shift[1])
    cropped, scanned = crop_notes(info.video, options), scan_notes(info, options)
    header = y4m.Y4mHeader(
        *size,
        format,
        colour.siting,
        sources.deinterlacing(info, options).rate(info.video),
        aspect,
        pipe.header.scan if pipe is not None and options.deinterlace == "off" else "p",
        colour.full_range,
    )
    return _Stream(
        info,
        options,
        Canvas(size, format, colour),
        _output(target).suffix.lstrip(".") or "y4m",
        (*said, *notes, *cropped, *scanned, *_lost(info, format, colour, aspect, target), *unused),
        (),
        tuple(f"{s.kind} {s.index} ({s.codec}): dropped, pictures only" for s in info.streams[1:]),
        lambda: _sink(target, header, batch.overwrite),
        pipe,
    )


def _make(
    reader: sources.FrameSource, upscaler: Upscaler, made: _Stream, sink: Sink, job: Started, batch: Batch
) -> pipeline.Progress:
    """Decode, upscale and write; says what stands if that ends early."""
    num_frames = 0

    def stream(frames: Iterable[Frame]) -> Iterator[Frame]:
        if batch.preview is None:
            return upscaler.stream(frames, made.canvas)
        turned = made.info.video.display_matrix if isinstance(sink, LiveWriter) else None
        return batch.preview.made(upscaler.stream(batch.preview.sources(frames), made.canvas), turned)

    def advance(progress: pipeline.Progress) -> None:
        nonlocal num_frames
        num_frames = progress.num_frames
        batch.on_event(Advanced(job.source, progress, job.num_frames))

    def write(frame: Frame) -> None:
        with _writing(job.output):
            sink.write(frame)

    try:
        frames = sources.closing(reader, reach=upscaler.reach)
        last = pipeline.run(frames, stream, write, cancel=upscaler.cancel, on_progress=advance)
        with _writing(job.output):
            sink.close()
    except BrokenPipeError:
        sink.abort()
        raise
    except BaseException:
        sink.abort()
        advice = "it cannot be gone on with, and begins again" if made.pipe is None else ONCE
        batch.on_event(PartsKept(job.source, job.output, 0, num_frames, advice, 0.0))
        raise
    return last


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    """What the system says of the output, as of standard output on a full disk, is no word of the source."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritable(output, error) from error


def _format(info: MediaInfo, target: Target) -> tuple[PixelFormat, Colour]:
    """Layout and colour of what is written: the source's, as far as the output has them."""
    video = info.video
    format = y4m.writable(video.format) if target.pipe else sequence.image_layout(video.format)
    colour = output_colour(video.colour, video.format, format)
    if target.pipe and (format.bits > 8 or format.chroma_shift != (1, 1) or colour.siting not in ("center", "topleft")):
        colour = replace(colour, siting="left")
    return format, colour


def _lost(info: MediaInfo, format: PixelFormat, colour: Colour, aspect: Fraction, target: Target) -> tuple[str, ...]:
    """What y4m or images cannot say, in words."""
    video = info.video
    what = "y4m" if target.pipe else "an image"
    lost = [f"transparency is dropped: {what} does not hold it here"] if video.format.alpha and not format.alpha else []
    if target.pipe and video.colour_tagged:
        lost.append(f"{what} does not name its colours: {colour.matrix.name.lower()}, tell the next program")
    if not target.pipe and aspect != 1:
        squared = "--square-pixels (square_pixels=True) makes them square"
        lost.append(f"the pixels are {aspect.numerator}:{aspect.denominator}: {squared}")
    if video.display_matrix is not None:
        lost.append(f"{what} does not say how the camera was turned: the picture is as it was stored")
    return tuple(lost)


def _output(target: Target) -> Path:
    """What is said of where it goes."""
    assert target.pipe or target.pattern is not None, "is_stream was asked before"
    return target.pattern or Path("stdout")


def _started(made: _Stream, network: str, batch: Batch) -> Started:
    return Started(
        source=made.info.path,
        output=_output(batch.target),
        source_size=(made.info.video.width, made.info.video.height),
        size=made.canvas.size,
        num_frames=sources.num_frames(made.info, made.options),
        codec=made.codec,
        network=network,
        notes=made.notes,
        dropped=made.dropped,
    )


def _sink(target: Target, header: y4m.Y4mHeader, overwrite: bool) -> Sink:
    if target.pattern is not None:
        target.pattern.parent.mkdir(parents=True, exist_ok=True)
        return sequence.SequenceWriter(target.pattern, overwrite=overwrite)
    return y4m.Y4MWriter(sys.stdout.buffer, header)
