"""Makes segments in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

from vidsr import pipeline
from vidsr.frame import Frame, Samples
from vidsr.jobs import sources
from vidsr.jobs.events import Advanced, Event
from vidsr.jobs.options import Options
from vidsr.jobs.plan import Plan
from vidsr.jobs.preview import Preview
from vidsr.jobs.segment_maker import SegmentsMade
from vidsr.jobs.segments import Segments
from vidsr.stages import stage
from vidsr.upscaling.upscaler import Upscaler


def open_upscaler(options: Options, scale: int, *, model: str | None = None, threads: int | None = None) -> Upscaler:
    """The network that `options` ask for, at that native scale; `model` and `threads` replace theirs.

    Raises:
        VidsrError: what `Upscaler` raises.
    """
    return Upscaler(
        model or options.model,
        scale=scale,
        backend=options.backend,
        precision=options.precision,
        tile=options.tile,
        device=options.device,
        threads=threads or options.threads,
        reuse=options.reuse,
        steady=options.steady,
        grain=options.grain,
    )


class LocalMaker:
    """An `Upscaler` that makes segments; a `SegmentMaker`."""

    def __init__(self, upscaler: Upscaler) -> None:
        self.upscaler = upscaler

    @property
    def reason(self) -> str:
        """The upscaler's."""
        return self.upscaler.reason

    @property
    def num_reused(self) -> int:
        """The upscaler's."""
        return self.upscaler.num_reused

    @property
    def notes(self) -> Sequence[str]:
        """The upscaler's."""
        return self.upscaler.notes

    @property
    def macs_per_pixel(self) -> int:
        """The model's."""
        return self.upscaler.model.macs_per_pixel

    @property
    def on_gpu(self) -> bool:
        """The upscaler's."""
        return self.upscaler.on_gpu

    def identity(self) -> dict[str, object]:
        """The upscaler's."""
        return self.upscaler.identity()

    def __call__(self, image: Samples, *, size: tuple[int, int] | None = None) -> Samples:
        """Upscale an image."""
        return self.upscaler(image, size=size)

    def make_missing(
        self, plan: Plan, segments: Segments, on_event: Callable[[Event], None], preview: Preview | None = None
    ) -> SegmentsMade:
        """Decode, upscale and encode in one go from the first missing segment on; see `SegmentMaker`."""
        upscaler, manifest = self.upscaler, segments.manifest
        done, before, told = manifest.intervals, manifest.num_frames, len(upscaler.notes)
        begin = segments.grid.begin(manifest.first_missing)

        def stream(frames: Iterable[Frame]) -> Iterator[Frame]:
            if preview is None:
                return upscaler.stream(frames, plan.spec.canvas)
            made = upscaler.stream(preview.sources(frames), plan.spec.canvas)
            return preview.made(made, plan.source.video.display_matrix)

        def advance(progress: pipeline.Progress) -> None:
            if progress.num_frames == 1:
                stages.close()
                stages.enter_context(stage("frames"))
            total = replace(progress, num_frames=progress.num_frames + before)
            on_event(Advanced(plan.source.path, total, plan.num_frames))

        left = None if plan.num_frames is None else max(plan.num_frames - before, 0)
        with stage("preparing"):
            upscaler.prepare(plan.source.video.width, plan.source.video.height, left)
        stages = ExitStack()
        try:
            stages.enter_context(stage("first frame"))
            reader = plan.open_reader(begin or None, reach=upscaler.reach)
            missing = sources.closing(reader, lambda frame: segments.grid.of(frame) not in done, upscaler.reach)
            last = pipeline.run(missing, stream, segments.write, cancel=upscaler.cancel, on_progress=advance)
            segments.close()
        except BaseException:
            segments.abort()
            raise
        finally:
            stages.close()
        return SegmentsMade(last, (*sources.source_notes(reader.report), *upscaler.notes[told:]))

    def close(self) -> None:
        """Free the network."""
        self.upscaler.close()
