"""`--dry-run`: the plan of each job, with its time and size extrapolated from a few frames that are really made."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from av import AudioLayout
from av.stream import AttachmentStream

from vidsr import pipeline, words
from vidsr.errors import ExistsError, MediaError, UsageError, VidsrError
from vidsr.frame import Frame
from vidsr.jobs import image, piped
from vidsr.jobs.batch import Batch
from vidsr.jobs.budget import copied_bytes
from vidsr.jobs.events import Done, Planned, Skipped, Started
from vidsr.jobs.inputs import Input
from vidsr.jobs.pace import faster, too_long
from vidsr.jobs.plan import Plan, of_film
from vidsr.jobs.run import BatchReport, each, prepare, started
from vidsr.jobs.sources import closing, no_picture
from vidsr.media.containers import CONTAINERS
from vidsr.media.mux.animation import animate
from vidsr.media.read.open import demux, open_input
from vidsr.media.stills import is_image
from vidsr.media.write.writer import Writer
from vidsr.models import registry

if TYPE_CHECKING:
    from vidsr.upscaling.upscaler import Upscaler

TRY_FRAMES, TRY_SECONDS = 24, 1.0  # at least so many, and so long: a GPU makes the frames in no time
MOST_SECONDS = 6.0  # whatever was made by then
WARM_UP_BATCHES = 3  # of a GPU
SOUND_SECONDS = 60  # of the other streams that tell how large they are
LONG_SECONDS = 3600.0
LARGEST_PLAYED = (8192, 4320)  # by the levels of HEVC and AV1 that hardware decodes
PLAYED = {"h264": (4096, 2304)}  # its level 5.1


def run_batch(batch: Batch, missing: Iterable[tuple[Path, VidsrError]] = ()) -> BatchReport:
    """Report what each job would be, that it is done already, or why it cannot be planned. Writes no output.

    Raises:
        UsageError: with a cluster; frames are tried on this machine alone.
    """
    if batch.ray is not None:
        raise UsageError("a dry run tries a few frames on this machine: leave --ray (ray) out")
    return each(batch, missing, lambda item: _plan_one(item, batch))


def _plan_one(item: Input, batch: Batch) -> Planned | Skipped | None:
    if batch.claims.is_own_output(item):
        return None
    if item.kind == "pipe" or (piped.is_stream(batch.target) and item.number is None):
        raise UsageError("a dry run tries files that become files; there is none to try here")
    if item.kind == "file" and is_image(item.path):
        return _try_image(item, batch)
    try:
        job = prepare(item, batch)
    except ExistsError as error:
        job = prepare(item, replace(batch, overwrite=True))
        assert isinstance(job, Plan)
        job = replace(job, notes=(*job.notes, str(error)))
    return job if isinstance(job, Skipped) else _try(job, batch.networks.upscaler(job.scale, job.options.model))


def _try_image(item: Input, batch: Batch) -> Planned | Skipped:
    """Really make the image, into a folder that goes away."""
    begun: list[Started] = []

    def elsewhere(output: Path) -> Path:
        return Path(folder) / output.name

    with tempfile.TemporaryDirectory(prefix="vidsr-") as folder:
        made = image.run(item, batch, on_start=begun.append, write_to=elsewhere)
    if not isinstance(made, Done):
        return made
    (start,) = begun
    return Planned(
        **replace(start, dropped=made.dropped).outline(),
        container=start.codec,
        seconds=made.seconds,
        fps=made.fps,
        bytes=made.bytes,
        num_tried=1,
    )


def _try(job: Plan, upscaler: Upscaler) -> Planned:
    """Make 24 frames and for a second, or what takes six, from the middle of the job; on a GPU after some untimed."""
    duration = job.source.video.duration
    if duration is not None and job.options.start is None:
        middle = duration * Fraction(2, 5)
        tried = replace(job, options=replace(job.options, start=middle, end=None))
    else:
        tried = job

    def stream(frames: Iterable[Frame]) -> Iterator[Frame]:
        return upscaler.stream(frames, job.spec.canvas)

    def few(frames: Iterable[Frame]) -> Iterator[Frame]:
        began = time.perf_counter()
        for number, frame in enumerate(stream(frames), 1):
            yield frame
            seconds = time.perf_counter() - began
            if (number >= TRY_FRAMES and seconds > TRY_SECONDS) or seconds > MOST_SECONDS:
                return

    video = job.source.video
    upscaler.prepare(video.width, video.height, job.num_frames)
    untimed = WARM_UP_BATCHES * upscaler.batch_size(video.width * video.height)
    with tempfile.TemporaryDirectory(prefix="vidsr-") as folder:
        segment = Path(folder) / "try"
        try:
            if not upscaler.backend.on_host:
                _warm_up(tried, lambda frames: stream(islice(frames, untimed)), upscaler.cancel)
            last, flush = _make(tried, segment, few, upscaler.cancel)
        except MediaError:  # nothing decodes from there on: a clip of one frame, or a duration that is not true
            last, flush = _make(job, segment, few, upscaler.cancel)
        of_parts, (key, other) = _packet_sizes(segment), _packet_sizes(_as_written(job, segment))
    num_frames = job.num_frames or last.num_frames
    seconds = steady_seconds(last, flush, shared=upscaler.backend.on_host)
    fps = last.num_frames / max(seconds, 1e-9)
    length = job.part_seconds(upscaler.model.macs_per_pixel, on_gpu=upscaler.on_gpu)  # each begins with a keyframe
    keyframes = max(num_frames / float(job.rate * min(length, Fraction(job.spec.keyframe_seconds))), 1)
    num_bytes = key * keyframes + other * (num_frames - keyframes) + _other_bytes(job, num_frames / float(job.rate))
    return Planned(
        **started(job, of_film(upscaler.reason, upscaler)).outline(),
        container=job.choice.container,
        seconds=num_frames / fps,
        fps=fps,
        bytes=round(min(num_bytes, job.options.target_size or num_bytes)),
        num_tried=last.num_frames,
        warnings=warnings(job, upscaler.model.name, num_frames / fps, max(num_bytes, of_parts[1] * num_frames)),
    )


def warnings(job: Plan, model: str, seconds: float, num_bytes: float) -> tuple[str, ...]:
    """What one may not want: hours, pictures that few can play, a disk that is too small, or closed."""
    said: list[str] = []
    length = float((job.num_frames or 0) / job.rate)
    if seconds > LONG_SECONDS:
        said.append(f"this takes hours; faster: {faster(model)}")
    elif length and too_long(seconds, length) and not model.startswith(registry.QUICKEST):
        said.append(f"this takes {seconds / length:.0f} times the film's length; faster: {faster(model)}")
    (long, short), (widest, highest) = sorted(job.size, reverse=True), PLAYED.get(job.choice.codec, LARGEST_PLAYED)
    if long > widest or short > highest:
        said.append(f"hardly any player decodes {job.choice.codec} above {widest}x{highest}; --size 2160p is safe")
    folder = next(parent for parent in job.output.absolute().parents if parent.is_dir())
    if not os.access(folder, os.W_OK):
        said.append(f"nothing can be written in {folder}; choose another folder with -o")
    free = shutil.disk_usage(folder).free
    if 2 * num_bytes > free:
        said.append(
            f"the disk of {folder} has {words.num_bytes(free)} free; the parts and the file joined of them take "
            f"{words.num_bytes(2 * num_bytes)}; free some, or choose another folder with -o"
        )
    return tuple(said)


def _warm_up(job: Plan, stream: Callable[[Iterable[Frame]], Iterator[Frame]], cancel: Callable[[], None]) -> None:
    """Let the GPU choose its algorithms, which the time of a whole job hardly sees."""
    pipeline.run(closing(job.open_reader(job.options.start)), stream, lambda _: None, cancel=cancel)


def steady_seconds(last: pipeline.Progress, flush: float, *, shared: bool) -> float:
    """What the frames of a run take in the middle of a film, if its encoder needed `flush` seconds more in the end.

    Encoders look ahead: most of a short run is encoded after its last frame went in. In the middle of a film that work
    stands beside the network's. Where both need the same cores (`shared`) it adds to it, else the slower one counts.
    """
    encoding = last.busy["encode"] * last.seconds + flush
    return last.seconds + flush if shared else max(last.seconds, encoding)


def _make(
    job: Plan, path: Path, stream: Callable[[Iterable[Frame]], Iterator[Frame]], cancel: Callable[[], None]
) -> tuple[pipeline.Progress, float]:
    """Write what comes out of `stream` into `path`, as a job would; and the seconds that the last pictures took."""
    writer = Writer(path, job.spec, container=job.choice.segment_container)
    try:
        with job.open_reader(job.options.start) as reader:
            last = pipeline.run(reader, stream, writer.write, cancel=cancel)
        if not last.num_frames:
            raise no_picture(job.source)
        began = time.perf_counter()
        writer.close()
        flush = time.perf_counter() - began
    except BaseException:
        writer.abort()
        raise
    return last, flush


def _as_written(job: Plan, segment: Path) -> Path:
    """The pictures of `segment` as the output holds them."""
    if not CONTAINERS[job.choice.container].animated:
        return segment
    output = segment.with_suffix(f".{job.choice.container}")
    kind, encoded = job.choice.container, job.choice.encoder
    animate([segment], job.source, output, container=kind, encoded=encoded, spec=job.spec)
    return output


def _packet_sizes(segment: Path) -> tuple[float, float]:
    """Mean bytes of a keyframe and of any other frame, which is one, too, where all are."""
    key: list[int] = []
    other: list[int] = []
    with open_input(segment) as container:
        for packet in demux(container, container.streams.video[0]):
            if packet.size:
                (key if packet.is_keyframe else other).append(packet.size)
    others = other or key
    return sum(key) / max(len(key), 1), sum(others) / max(len(others), 1)


def _other_bytes(job: Plan, seconds: float) -> float:
    """What the other streams take in a job of `seconds`: packets as in the source's first minute, and attachments."""
    if not job.kept:
        return 0.0
    sampled = min(SOUND_SECONDS, float(job.source.video.duration or seconds))
    copied = copied_bytes(job.source, job.kept, Fraction(0), Fraction(SOUND_SECONDS)) / max(sampled, 1e-9)
    sound = CONTAINERS[job.choice.container].sound
    layouts = [AudioLayout(item.layout) for item in job.kept if item.how == "encoded" and item.layout]
    encoded = sound[1] / 8 * sum(layout.nb_channels for layout in layouts) if sound else 0.0
    with open_input(job.source.path) as container:
        files = [container.streams[item.index] for item in job.kept if item.kind == "attachment"]
        attached = sum(len(stream.data) for stream in files if isinstance(stream, AttachmentStream))
    return (copied + encoded) * seconds + attached
