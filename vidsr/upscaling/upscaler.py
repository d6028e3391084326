"""Frames in, larger frames out: colour, batching, tiling and resizing around one backend."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Literal, Self, TypedDict, Unpack, cast

import numpy as np

from vidsr.arguments import checked, checked_one
from vidsr.backends import Unit, hardware, may_use_gpu
from vidsr.backends.base import Backend
from vidsr.backends.selection import open_backend
from vidsr.errors import UsageError
from vidsr.frame import SRGB, Canvas, Colour, Frame, PixelFormat, Samples, output_colour
from vidsr.models import names, registry
from vidsr.neighbours import same_picture
from vidsr.stages import stage
from vidsr.upscaling.drawings import REACH, Chosen, Made, chosen, gathered
from vidsr.upscaling.enlarger import Enlarger
from vidsr.upscaling.given import check_size, frames_of, num_channels
from vidsr.upscaling.grain import Grainer
from vidsr.upscaling.host import HostRenderer
from vidsr.upscaling.renderer import Renderer, Rendering
from vidsr.upscaling.workers import Until, mapped

MIN_SCALE, MAX_SCALE = 1.0, 4.0
GPU_BATCH_PIXELS = 1 << 18  # smaller frames are batched up to this on a GPU; a CPU gains nothing from batches
BESIDE = 4  # threads at most that finish pictures while the network makes the next


@dataclass(frozen=True)
class _Batch:
    """Consecutive frames on their way: `work` makes those of them, `fresh`, that do not repeat the one before."""

    frames: list[Frame]
    repeats: list[bool]
    fresh: list[Frame]
    canvas: Canvas
    backend: Backend  # that the work began on
    work: Rendering | None


class UpscalerKeywords(TypedDict, total=False):
    """What an `Upscaler` may be told besides its model."""

    scale: float
    backend: str | Backend
    precision: str
    tile: int | Literal["auto", "off"]
    device: int | str
    threads: int | None
    reuse: bool
    steady: float | None
    grain: float


class Upscaler:
    """A model on a backend, ready for frames. Threads may share it for images, which take turns; not for streams.

    Args:
        model: a name of `registry.available_models`, a weights file, or ``auto``.
        scale: any number from 1 to 4. A scale that the model does not have is reached through its next larger one, and
            an antialiased resize down.
        backend: a name for `open_backend`, or a backend that is open already, which `close` then closes.
        precision: one of `backends.PRECISIONS`.
        tile: ``auto`` (as the backend's memory allows), ``off``, or a side: tiles of about that many pixels squared.
        device: a kind of `backends.UNITS`, or the number of a GPU.
        threads: of a CPU backend; None leaves it to the runtime.
        reuse: whether a frame that repeats the one before it takes over its result, and in FP32 on a CPU its parts
            theirs (not with `tile` off, which asks for whole pictures).
        steady: from 0 to 1, how far each large frame of a stream is blended with its neighbours; 0 (the default) leaves
            it alone, None is what suits the model and what computes.
        grain: from 0 to 1, how much of the source's grain, where it is gone, is put back; also as ``NAME@grain=0.5``.

    Raises:
        UsageError: an impossible value.
        ModelError: the model does not exist, or not for this scale.
        BackendError: the backend is not available here.
    """

    def __init__(self, model: str | Path = "auto", **keywords: Unpack[UpscalerKeywords]) -> None:
        if wrong := UsageError.of_keywords("Upscaler", keywords, ("model", *UpscalerKeywords.__annotations__)):
            raise wrong
        model = checked_one("model", model, str | Path)
        keywords = cast("UpscalerKeywords", checked(keywords, UpscalerKeywords))
        self._turn = Lock()
        self.scale = scale = keywords.get("scale", 4)
        backend, threads = keywords.get("backend", "auto"), keywords.get("threads")
        if not (math.isfinite(scale) and MIN_SCALE <= scale <= MAX_SCALE):
            raise UsageError(f"The scale must be a number from 1 to 4, not {scale:g}.")
        if threads is not None and threads < 1:
            raise UsageError(f"The number of threads must be at least 1, not {threads}.")
        with stage("device"):
            name, why_model = _choose_model(model, scale, backend, Unit.of(keywords.get("device", "auto")))
        with stage("weights"):
            self.model = registry.load(name, registry.native_scale(name, scale))
        grain = keywords.get("grain", 0.0) or names.split_strengths(name)[1].get(names.GRAIN, 0.0)
        steady = keywords.get("steady", 0.0)
        for strength, value in (("grain", grain), ("steady", steady or 0.0)):
            if not 0 <= value <= 1:
                raise UsageError(f"{strength} must be from 0 to 1, not {value:g}.")
        self._grainer = Grainer(grain) if grain else None
        tile = _check_tile(keywords.get("tile", "auto"), self.model)
        if isinstance(backend, str):
            precision, device = keywords.get("precision", "auto"), keywords.get("device", "auto")
            opened, why_backend = open_backend(backend, self.model, precision=precision, threads=threads, device=device)
        else:
            opened, why_backend = backend, f"{backend.name}: as given."
        self._reuse = keywords.get("reuse", True)
        self.renderer = _renderer(Enlarger(self.model, opened, tile=tile), self._reuse and tile != "off")
        if steady is None:
            steady = _usual_steady(self.model, opened)
        self.steady = steady
        self._steadier = self.renderer.steadier(steady) if steady else None
        cores = threads or hardware.num_cores()
        self._num_beside = min(max(cores - 1, 1), BESIDE) if not self._steadier or self._steadier.on_host else 0
        self._opened: dict[str, object] = {"backend": opened.name, "precision": opened.precision, "tile": tile}
        self._opened |= {name: value for name, value in (("grain", grain), ("steady", steady)) if value}
        self._opened |= dict(opened.facts)
        if opened.threads is not None and self.model.is_network:
            self._opened["network threads"] = opened.threads
        if opened.unit != "CPU" and opened.on_host:
            self._opened["unit"] = opened.unit
        self._depth = self.renderer.depth
        self.on_gpu = opened.unit != "CPU"  # as opened; out of memory it may go on elsewhere
        self.label = self.model.name + (f"@{names.GRAIN}={grain:g}" if grain else "")
        self.reason = f"{self.label} x{self.model.scale}: {why_model}. {why_backend}."
        self.num_reused = 0  # frames that repeated the one before them, so far

    @property
    def reach(self) -> int:
        """How many frames on either side the result of one depends on."""
        return REACH if self._steadier else 0

    @property
    def enlarger(self) -> Enlarger:
        """The network on its backend, for pictures of any size."""
        return self.renderer.enlarger

    @property
    def backend(self) -> Backend:
        """What runs the model now."""
        return self.enlarger.backend

    @property
    def notes(self) -> list[str]:
        """What had to be done to go on, so far: a sentence for each step when memory ran out or FP16 failed."""
        return self.enlarger.notes

    def prepare(self, width: int, height: int, num_frames: int | None = None) -> None:
        """Let a backend that compiles for a size do so now, if `num_frames` are worth it; `notes` say what it did.

        Raises:
            BackendError: it cannot compile.
        """
        self.renderer.prepare(self.batch_size(width * height), height, width, num_frames)

    def output_size(self, width: int, height: int, format: PixelFormat | None = None) -> tuple[int, int]:
        """(width, height) of an upscaled picture: rounded, and to even numbers where chroma is subsampled."""
        horizontal, vertical = format.chroma_shift if format else (0, 0)
        return self._side(width, 2 if horizontal else 1), self._side(height, 2 if vertical else 1)

    def _side(self, side: int, step: int) -> int:
        return max(step, step * math.floor(side * self.scale / step + 0.5))

    def __call__(self, image: Samples, *, size: tuple[int, int] | None = None) -> Samples:
        """Upscale an image: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA -> the same number of channels and type.

        `size` is (width, height); by default the image's times `scale`, rounded.

        Raises:
            UsageError: another shape or type, or no size.
            BackendError: see `stream`.
        """
        channels = num_channels(image)
        check_size(size)
        bits = 8 * image.dtype.itemsize
        if channels == 1:
            grey = Frame((image.reshape(image.shape[:2]),), PixelFormat("grey", bits), SRGB, 0, Fraction(1))
            large = self.upscale(grey, self.canvas(grey, size=size)).planes[0]
            return large.reshape(*large.shape, *image.shape[2:])
        planes = tuple(image[..., channel] for channel in (1, 2, 0, 3)[:channels])
        frame = Frame(planes, PixelFormat("rgb", bits, alpha=channels == 4), SRGB, 0, Fraction(1))
        green, blue, red, *alpha = self.upscale(frame, self.canvas(frame, size=size)).planes
        return np.stack((red, green, blue, *alpha), axis=-1)

    def canvas(
        self,
        first: Frame,
        *,
        size: tuple[int, int] | None = None,
        format: PixelFormat | None = None,
        colour: Colour | None = None,
    ) -> Canvas:
        """What comes out of frames like `first`: what is asked for, else what follows from it; see `output_size`."""
        format = format or first.format
        size = size or self.output_size(first.width, first.height, format)
        return Canvas(size, format, colour or output_colour(first.colour, first.format, format))

    def upscale(self, frame: Frame, canvas: Canvas | None = None) -> Frame:
        """Upscale one frame; see `stream`. Another thread's call is waited for."""
        with self._turn:
            return next(self.stream((frame,), canvas))

    def enlarge(self, frame: Frame) -> Frame:
        """What the network makes of one frame: `finish` does the rest, and `stream` both."""
        _, large = next(self._made((replace(frame, aside=False),), None))
        return large

    def finish(self, own: Made, others: Sequence[Made] = ()) -> Frame:
        """A large picture with all that is done behind the network, blended with the neighbours that are given."""
        small, large = own
        if self._steadier:
            large = self._steadier(own, others)
        return self._grainer(small, large) if self._grainer else large

    def stream(self, frames: Iterable[Frame], canvas: Canvas | None = None) -> Iterator[Frame]:
        """Upscale frames: as many come out, in order, with their pts, time base, duration and what stands inside.

        All come out on one `canvas`, by default that of the first frame that is made: a later one of another size or
        layout is converted. A frame whose samples equal those of the one before it is not computed again (and counted
        in `num_reused`), nor on a CPU a part of it that does: the result is the same to the bit.

        Frames that are aside are only neighbours: none comes out for them. Where a result depends on `reach` frames
        on either side, it comes up to three times as many later; there are none beyond the ends of the stream and of
        each shot.

        Results come up to `Renderer.depth` batches late, so that copies and computation overlap, and with `steady` or
        `grain` some frames more. An error of `frames` is raised behind the results of those before it, less those that
        wait for what follows them.

        Raises:
            OutOfMemoryError: not even the smallest tile fits, neither on the device nor on the CPU.
            Cancelled: `cancel` was called.
            UsageError: no frames, or one whose planes are not of its layout.
            BackendError: the runtime failed, or the network's output is not finite even in FP32.
        """
        found = self._with_others(frames_of(frames), canvas)
        if self._steadier or self._grainer:
            yield from mapped(lambda one: self.finish(*one), found, self._num_beside)
        else:
            yield from (large for (_, large), _ in found)

    def _with_others(self, frames: Iterable[Frame], canvas: Canvas | None) -> Iterator[tuple[Made, Sequence[Made]]]:
        """Every frame with what the network makes of it, and its neighbours to be blended with it."""
        if not self._steadier:
            return ((one, ()) for one in self._made(frames, canvas) if not one[0].aside)
        given = deque[Chosen]()

        def told() -> Iterator[Frame]:
            for one in chosen(frames):
                given.append(one)
                yield one.frame

        return gathered((given.popleft(), large) for _, large in self._made(told(), canvas))

    def _made(self, frames: Iterable[Frame], canvas: Canvas | None) -> Iterator[Made]:
        """Every frame, and what the network makes of it."""
        last: Frame | None = None
        made: Frame | None = None
        started: deque[_Batch] = deque()
        source = Until(frames)
        try:
            for frames_of_one_kind in self._batches(source):
                canvas = canvas or self.canvas(frames_of_one_kind[0])
                started.append(self._start(frames_of_one_kind, last, canvas))
                last = frames_of_one_kind[-1]
                if len(started) > self._depth:
                    made = yield from self._finished(started.popleft(), made)
            while started:
                made = yield from self._finished(started.popleft(), made)
        finally:
            self.renderer.forget()
        source.check()

    def _batches(self, frames: Iterable[Frame]) -> Iterator[list[Frame]]:
        """Consecutive frames of one size and layout, as many as the device likes at once."""
        batch: list[Frame] = []
        for frame in frames:
            kind = frame.width, frame.height, frame.format
            if batch and kind != (batch[0].width, batch[0].height, batch[0].format):
                yield batch
                batch = []
            batch.append(frame)
            if len(batch) >= self.batch_size(frame.width * frame.height):
                yield batch
                batch = []
        if batch:
            yield batch

    def batch_size(self, pixels: int) -> int:
        """How many frames of that many pixels the device takes at once: more than one only on a GPU."""
        if self.backend.on_host:
            return 1
        most = min(GPU_BATCH_PIXELS, self.backend.max_pixels or GPU_BATCH_PIXELS)
        return max(1, most // pixels)

    def _start(self, frames: list[Frame], before: Frame | None, canvas: Canvas) -> _Batch:
        """Give the device all it needs for `frames`; `before` is the frame that they follow."""
        repeats = [self._reuse and same_picture(*pair) for pair in pairwise((before, *frames))]
        fresh = [frame for frame, same in zip(frames, repeats, strict=True) if not same]
        work = self.renderer.start(fresh, canvas) if fresh else None
        return _Batch(frames, repeats, fresh, canvas, self.backend, work)

    def _finished(self, batch: _Batch, made: Frame | None) -> Generator[Made, None, Frame | None]:
        """Every frame of `batch` and its result; `made` is that of the frame before it. Returns the last result."""
        results = iter(self._results(batch))
        for source, same in zip(batch.frames, batch.repeats, strict=True):
            made = made if same and made else next(results)
            self.num_reused += same and not source.aside
            pts, base, duration = source.pts, source.time_base, source.duration
            yield source, replace(made, pts=pts, time_base=base, duration=duration, inside=source.inside)
        return made

    def _results(self, batch: _Batch) -> list[Frame]:
        if batch.work is None:
            return []
        sound, pictures = batch.work.wait()
        backend = batch.backend
        while not sound:
            if backend is self.backend:  # a batch before this one may have replaced it already
                self.enlarger.make_exact()
            backend = self.backend
            sound, pictures = self.renderer.start(batch.fresh, batch.canvas).wait()
        canvas = batch.canvas
        return [
            replace(frame, planes=planes, format=canvas.format, colour=canvas.colour, aside=False)
            for frame, planes in zip(batch.fresh, pictures, strict=True)
        ]

    def identity(self) -> dict[str, object]:
        """What the bytes of a result depend on besides the frames: the model and how it runs, as JSON can hold it."""
        return {
            "model": self.model.name,
            "scale": self.scale,
            "native_scale": self.model.scale,
            "weights": self.model.weights_hash,
            **self._opened,
        }

    def cancel(self) -> None:
        """Make a call in progress in another thread raise `Cancelled` soon; later calls raise it too."""
        self.enlarger.cancel()

    def close(self) -> None:
        """Free the backend; closing twice is fine."""
        self.renderer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _usual_steady(model: registry.Model, backend: Backend) -> float:
    """0 on a GPU: what blends there has not been seen on one yet."""
    name, _ = names.split_strengths(model.name)
    return registry.STEADY.get(name, 0.0) if backend.on_host else 0.0


def _renderer(enlarger: Enlarger, reuse: bool) -> Renderer:
    """In numpy where the backend does without torch, else in torch on the device that its backend is on."""
    if not enlarger.backend.needs_torch:
        return HostRenderer(enlarger, reuse=reuse)
    from vidsr.upscaling.device import DeviceRenderer

    return DeviceRenderer(enlarger)


def _choose_model(model: str | Path, scale: float, backend: str | Backend, unit: Unit) -> tuple[str, str]:
    if str(model) not in ("auto", registry.QUICK):
        return str(model), "as asked"
    asked = unit.kind in ("auto", "gpu") and isinstance(backend, str) and may_use_gpu(backend)
    gpu = asked and hardware.has_nvidia()
    return registry.default_model(scale, gpu=gpu, quick=str(model) == registry.QUICK)


def _check_tile(tile: int | Literal["auto", "off"], model: registry.Model) -> int | Literal["auto", "off"]:
    if isinstance(tile, str):
        if tile in ("auto", "off"):
            return tile
        raise UsageError(f"tile is auto, off or a number of pixels, not {tile!r}.")
    smallest = 2 * model.halo + max(8, model.multiple)
    if tile < smallest:
        raise UsageError(f"A tile of {tile} pixels is too small for {model.name}: use at least {smallest}.")
    return tile
