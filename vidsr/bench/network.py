"""The network alone, and with colour and copies: no decoder, no encoder, no files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

from vidsr.backends import LISTED, accuracy
from vidsr.backends.base import Backend
from vidsr.backends.selection import open_backend
from vidsr.backends.torch.backend import TorchBackend
from vidsr.backends.torch.speedups import PLAIN, Speedups
from vidsr.bench.timing import Timing, matrix_peak, measure
from vidsr.errors import BackendError, OutOfMemoryError, VidsrError
from vidsr.frame import Colour, Frame, PixelFormat
from vidsr.jobs.memory import is_out_of_memory
from vidsr.models.registry import Model
from vidsr.upscaling.upscaler import Upscaler

STEP_BATCHES = 8  # batches of one stream, the first and last of which overlap with nothing
CPU_SHAPE = (1, 128, 128)  # of the frame on which the error of a CPU's line is measured: FP32 takes its time there
PATHS = {"plain": PLAIN, "fused": Speedups(True, False, False)}
GPU_PATHS = {
    **PATHS,
    "plain+graph": Speedups(False, False, True),
    "fused+graph": Speedups(True, False, True),
    "kernels+graph": Speedups(True, False, True, kernels=True),
    "kernels-but-ends+graph": Speedups(True, False, True, kernels=True, ends=False),
    "plain+compiled+graph": Speedups(False, True, True),
    "fused+compiled+graph": Speedups(True, True, True),
    "fused+autotuned+graph": Speedups(True, True, True, autotuned=True),
}


@dataclass(frozen=True, slots=True)
class BenchLine:
    """One way to run a model: what stands in one line of the table. `path` is ``best``, or a name of `GPU_PATHS`."""

    backend: str
    precision: str
    path: str = "best"

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.backend} {self.precision}" + ("" if self.path == "best" else f" {self.path}")

    @property
    def as_job(self) -> BenchLine:
        """As `vidsr upscale` can run it, which chooses the path itself."""
        return BenchLine(self.backend, self.precision)


@dataclass(frozen=True, slots=True)
class Speed:
    """A line at one size. All figures are of the pictures that come out, one call holding `batch` of them.

    FLOP are those of the plain graph, two for each multiply-add, whatever a backend made of it. `step_fps` is with
    colour conversion and the copies to and from the device; where one graph does all of that, `apart_fps` is the same
    without that graph. `psnr` (dB) and `codes` (99.9th percentile, in 8-bit codes)
    are against FP32; whether they keep the quality is said as for engines (`vidsr.backends.accuracy`).
    """

    line: BenchLine
    width: int
    height: int
    batch: int
    call: Timing
    milliseconds: float
    fps: float
    flops: float
    peak_share: float
    step_fps: float
    step_share: float
    psnr: float
    codes: float
    keeps_quality: bool
    apart_fps: float | None = None


@dataclass(frozen=True, slots=True)
class NotMeasured:
    """A line that does not run here, and why."""

    line: BenchLine
    why: str


@dataclass(frozen=True, slots=True)
class Peak:
    """What a plain matrix product reaches on this device, in FLOP/s."""

    device: str
    precision: str
    flops: float


def lines_here(backends: Sequence[str] = (), precisions: Sequence[str] = ()) -> list[BenchLine]:
    """The lines to measure: what was named, or every backend that this machine has, in its own precision.

    Names are not checked: what does not exist is refused when it is opened.
    """
    return [BenchLine(backend, each) for backend in backends or _backends_here() for each in precisions or ("auto",)]


def variants(lines: Sequence[BenchLine]) -> list[BenchLine]:
    """For each line of torch's own backends every way to run it, the plain one first; the others as they are."""
    found: list[BenchLine] = []
    for line in lines:
        paths: Sequence[str] = {"cuda": list(GPU_PATHS), "cpu": list(PATHS)}.get(line.backend, ["best"])
        found += [BenchLine(line.backend, line.precision, path) for path in paths]
    return found


def _backends_here() -> list[str]:
    there = (
        {"cuda"}
        if torch.cuda.is_available()
        else {"", "cpu", "mps"}
        if torch.backends.mps.is_available()
        else {"", "cpu"}
    )
    return [row.name for row in LISTED if row.torch in there and row.is_installed]


def open_line(line: BenchLine, model: Model, *, threads: int | None = None, device: int | str = "auto") -> Backend:
    """The backend of a line.

    Raises:
        VidsrError: it does not run here.
    """
    backend, _ = open_backend(line.backend, model, precision=line.precision, threads=threads, device=device)
    if line.path == "best":
        return backend
    backend.close()
    return TorchBackend(
        model, precision=backend.precision, device=backend.device, threads=threads, speedups=GPU_PATHS[line.path]
    )


class Peaks:
    """Matrix peaks of the devices at hand, each measured once."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._known: dict[tuple[str, str], Peak] = {}

    def of(self, backend: Backend) -> Peak:
        """The peak of the device and the precision that `backend` computes in; of INT8 that of FP32."""
        key = (str(backend.device), "fp32" if backend.precision == "int8" else backend.precision)
        if key not in self._known:
            dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[key[1]]
            self._known[key] = Peak(*key, matrix_peak(backend.device, dtype, self._seconds))
        return self._known[key]

    def all(self) -> list[Peak]:
        """Those that were asked for."""
        return list(self._known.values())


@dataclass(frozen=True, slots=True)
class Rig:
    """How lines are measured: at every (width, height), each twice for `seconds`, on `threads` or the GPU `device`."""

    sizes: Sequence[tuple[int, int]]
    seconds: float = 3.0
    threads: int | None = None
    device: int | str = "auto"


def measure_model(
    model: Model,
    lines: Sequence[BenchLine],
    rig: Rig,
    *,
    on_speed: Callable[[Speed | NotMeasured], None] = lambda _: None,
) -> tuple[list[Speed], list[NotMeasured], list[Peak]]:
    """Measure every line at every size."""
    speeds: list[Speed] = []
    refused: list[NotMeasured] = []
    peaks = Peaks(min(rig.seconds, 1.0))
    for line in lines:
        try:
            for result in _line_speeds(line, model, rig, peaks):
                if isinstance(result, Speed):
                    speeds.append(result)
                else:
                    refused.append(result)
                on_speed(result)
        except VidsrError as error:
            refused.append(NotMeasured(line, str(error)))
            on_speed(refused[-1])
    return speeds, refused, peaks.all()


def _line_speeds(line: BenchLine, model: Model, rig: Rig, peaks: Peaks) -> Iterator[Speed | NotMeasured]:
    backend = open_line(line, model, threads=rig.threads, device=rig.device)
    num = torch.get_num_threads()
    torch.set_num_threads(rig.threads or num)  # the matrix product's, too
    try:
        ran = BenchLine(line.backend, backend.precision, line.path)
        peak = peaks.of(backend).flops
        with Upscaler(str(model.path or model.name), scale=model.scale, backend=backend, reuse=False) as upscaler:
            for width, height in rig.sizes:
                result = _tried(ran, upscaler, (width, height), peak, rig.seconds)
                _check_path(line, upscaler)
                yield result
    finally:
        backend.close()
        torch.set_num_threads(num)


def _tried(
    line: BenchLine, upscaler: Upscaler, size: tuple[int, int], peak: float, seconds: float
) -> Speed | NotMeasured:
    """`_speed`, unless that size does not fit into the memory."""
    try:
        return _speed(line, upscaler, size, peak, seconds)
    except (MemoryError, RuntimeError, OutOfMemoryError) as error:
        if not (isinstance(error, OutOfMemoryError | torch.OutOfMemoryError) or is_out_of_memory(error)):
            raise
        return NotMeasured(line, f"{size[0]}x{size[1]} does not fit into the memory")


def _check_path(line: BenchLine, upscaler: Upscaler) -> None:
    """Refuse (`BackendError`) a line that went on by another path than its name says."""
    backend = upscaler.backend
    if isinstance(backend, TorchBackend) and line.path != "best" and backend.speedups != GPU_PATHS[line.path]:
        raise BackendError("; ".join((*upscaler.notes, *backend.notes)) or f"{line.path} does not run here")


def _speed(line: BenchLine, upscaler: Upscaler, size: tuple[int, int], peak: float, seconds: float) -> Speed:
    (width, height), backend = size, upscaler.backend
    batch = upscaler.batch_size(width * height)
    upscaler.prepare(width, height)
    pictures = torch.rand((batch, 3, height, width)).to(backend.device, backend.dtype)
    call = measure(lambda: upscaler.enlarger(pictures), backend.device, seconds)
    fps = batch / call.median
    flops = fps * 2 * upscaler.model.macs_per_pixel * width * height
    frames = synthetic_frames(width, height, STEP_BATCHES * batch)
    step_fps = _step_fps(upscaler, frames, seconds)
    apart_fps = None
    if upscaler.renderer.stepped:
        upscaler.renderer.stepping = False
        apart_fps = _step_fps(upscaler, frames, seconds / 3)
        upscaler.renderer.stepping = True
    error = _error(upscaler, (batch, height, width))
    return Speed(
        line=line,
        width=width,
        height=height,
        batch=batch,
        call=call,
        milliseconds=1000 / fps,
        fps=fps,
        flops=flops,
        peak_share=flops / peak,
        step_fps=step_fps,
        step_share=step_fps / fps,
        psnr=error.psnr,
        codes=error.p999,
        keeps_quality=error.passed,
        apart_fps=apart_fps,
    )


def _step_fps(upscaler: Upscaler, frames: Sequence[Frame], seconds: float) -> float:
    step = measure(lambda: deque(upscaler.stream(frames), maxlen=0), upscaler.backend.device, seconds)
    return len(frames) / step.median


def synthetic_frames(width: int, height: int, num: int) -> list[Frame]:
    """Frames of 8-bit 4:2:0: slopes, edges and grain that move, 25 a second."""
    format, rng = PixelFormat.parse("yuv420p"), np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width]
    grain = rng.normal(0, 4, (height, width + num))
    frames = []
    for index in range(num):
        slope = 110 + 60 * np.sin((x + 3 * index) / 23) * np.cos(y / 31)
        edge = 40 * ((x + y + 2 * index) // 37 % 2)
        luma = (slope + edge + grain[:, index : index + width]).clip(16, 235).astype(np.uint8)
        shape = format.plane_shapes(width, height)[1]
        chroma = [np.full(shape, 118 + 20 * sign, np.uint8) for sign in (0, 1)]
        frames.append(Frame((luma, *chroma), format, Colour(), index, Fraction(1, 25), 1))
    return frames


def _error(upscaler: Upscaler, shape: tuple[int, int, int]) -> accuracy.Accuracy:
    """How far from FP32 on a film frame: on a GPU of the shape that was timed, on the CPU of a small one."""
    device, dtype = upscaler.backend.device, upscaler.backend.dtype
    within = accuracy.limits(upscaler.backend.precision)
    small = CPU_SHAPE if device.type == "cpu" else shape
    return accuracy.check(upscaler.enlarger, upscaler.model, small, device, dtype, within)
