"""Which frames go by one CUDA graph from codes to codes, and whether that does what the plain way does."""

from __future__ import annotations

import subprocess
from collections import OrderedDict, deque
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache, partial

import numpy as np
import torch
import torch.nn.functional as F

from vidsr import findings, light
from vidsr.backends.torch.graphs import Pool, capture
from vidsr.frame import Canvas, Colour, Frame, PixelFormat
from vidsr.stages import stage
from vidsr.upscaling.enlarger import Enlarger
from vidsr.upscaling.lanes import Lanes
from vidsr.upscaling.renderer import Rendering
from vidsr.upscaling.step import Kind, Network, Step, make, make_plainly

MAX_STEPS = 2  # kept; a film needs one
MAX_SEEN = 32  # kinds remembered that came once
RARE = 0.01  # of the samples that may be one code from the plain way's
TRIED = "yuv420p", (67, 45), 2  # the noise on which a device is tried: layout, (width, height), pictures


class Stepper:
    """The steps of one enlarger on one GPU. Where there is none for a batch, it goes the plain way.

    A kind of batch is captured when it comes for the second time. Then, and once for each layout, network, GPU and
    version, what comes out is compared with the plain way's. `notes` of the enlarger say why one was not.
    """

    def __init__(self, enlarger: Enlarger) -> None:
        self._enlarger = enlarger
        self._network: Network | None = None  # that all steps run
        self._steps: OrderedDict[Kind, Step | None] = OrderedDict()
        self._seen: deque[Kind] = deque(maxlen=MAX_SEEN)
        self._lanes: Lanes | None = None
        self._pool: Pool | None = None

    def start(self, frames: Sequence[Frame], canvas: Canvas, num: int) -> Rendering | None:
        """Begin to make `frames`, of which a batch may have `num`; None: there is no step for them.

        Raises:
            Cancelled: the enlarger was cancelled.
            RuntimeError: what torch raises: the device failed.
        """
        first = frames[0]
        network = self._enlarger.whole(num, first.height, first.width)
        if network is not self._network:
            self.clear()
            self._network = network
        if network is None or not fits(frames, canvas):
            return None
        kind = self._kind(first, canvas, num)
        if kind not in self._steps:
            if kind not in self._seen:
                self._seen.append(kind)
                return None
            self._make_room()
            self._steps[kind] = self._made(kind, network, frames)
        self._steps.move_to_end(kind)
        step = self._steps[kind]
        if step is None:
            return None
        with torch.cuda.device(self._device):
            return step.start(frames)

    def clear(self) -> None:
        """Let nothing run any more, and give the memory back."""
        if self._lanes is not None:
            self._lanes.finish()
            self._steps.clear()
            self._pool = self._lanes = None
            torch.cuda.empty_cache()
        self._steps.clear()
        self._network = None

    @property
    def _device(self) -> torch.device:
        return self._enlarger.backend.device

    def _kind(self, frame: Frame, canvas: Canvas, num: int) -> Kind:
        enlarger, size = self._enlarger, (frame.width, frame.height)
        padded = enlarger.padded(frame.width), enlarger.padded(frame.height)
        scale, clamped, dtype = enlarger.model.scale, enlarger.clamps, enlarger.backend.dtype
        return Kind(num, size, frame.format, frame.colour, canvas, scale, padded, clamped, dtype)

    def _make_room(self) -> None:
        if len(self._steps) >= MAX_STEPS:
            if self._lanes is not None:
                self._lanes.finish()
            self._steps.popitem(last=False)

    def _made(self, kind: Kind, network: Network, frames: Sequence[Frame]) -> Step | None:
        """A step that does what the plain way does; None where it does not, and `notes` say why."""
        model, backend = self._enlarger.model, self._enlarger.backend
        name = f"step {kind.format.name} {kind.canvas.format.name} {model.name} x{model.scale} {backend.precision}"
        facts = findings.machine(self._device) | {"weights": model.weights_hash, "path": backend.reason}
        try:
            with stage("graph"), torch.cuda.device(self._device):
                if (why := why_not(self._device)) is None:
                    self._lanes = self._lanes or Lanes(self._device)
                    self._pool = self._pool or torch.cuda.graph_pool_handle()
                    step = captured(kind, network, self._lanes, self._pool)
                    why = findings.why_not_trusted(name, facts, lambda: why_wrong(step, network, frames))
                if why is None:
                    return step
        except torch.OutOfMemoryError:
            why = "there is no room for it"
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            why = next(iter(str(error).splitlines()), type(error).__name__)
        self._enlarger.notes.append(f"one graph from codes to codes is not used on {self._device}: {why}")
        return None


def fits(frames: Sequence[Frame], canvas: Canvas) -> bool:
    """Whether a step may be for such frames: all of one colour, whose light stays as it is; no alpha to be made."""
    first = frames[0].colour
    relit = light.differs(first, canvas.colour) and light.is_known(first) and light.is_known(canvas.colour)
    return not canvas.format.alpha and not relit and all(frame.colour == first for frame in frames)


def captured(kind: Kind, network: Network, lanes: Lanes, pool: Pool) -> Step:
    """A step of `kind` on the current device, which is that of `lanes`.

    Raises:
        RuntimeError: what torch raises: out of memory, or that it cannot be captured.
    """
    codes, made = (block.empty(kind.num, lanes.device) for block in (kind.source, kind.target))
    with torch.no_grad():
        graph, _ = capture(lambda: make(kind, network, codes, made), lanes.stream, pool)
    return Step(kind, graph.replay, codes, made, lanes)


def plainly(kind: Kind, network: Network, lanes: Lanes) -> Step:
    """One that captures nothing and has no kernels: what frames become that no step is for."""
    codes, made = (block.empty(kind.num, lanes.device) for block in (kind.source, kind.target))
    return Step(kind, lambda: make_plainly(kind, network, codes, made), codes, made, lanes)


@lru_cache(maxsize=16)
def why_not(device: torch.device) -> str | None:
    """Why no batch goes by one graph on `device`, in a few words; None where that does what the plain way does.

    It is tried there on noise, with a small stand-in for the network, and remembered on this machine.

    Raises:
        torch.OutOfMemoryError: there is no room to try it.
    """
    if device.type != "cuda":
        return "only a GPU gains from it"
    return findings.why_not_trusted("step", findings.machine(device), lambda: _tried(device))


def _tried(device: torch.device) -> str | None:
    name, (width, height), num = TRIED
    format, network = PixelFormat.parse(name), partial(F.interpolate, scale_factor=2.0)
    canvas, rng = Canvas((2 * width, 2 * height), format, Colour()), np.random.default_rng(0)
    kind = Kind(num, (width, height), format, Colour(), canvas, 2, (width, height), True, torch.float16)
    shapes = format.plane_shapes(width, height)
    noise = [tuple(rng.integers(0, 256, shape, np.uint8) for shape in shapes) for _ in range(num)]
    frames = [Frame(planes, format, Colour(), 0, Fraction(1)) for planes in noise]
    with torch.cuda.device(device):
        step = captured(kind, network, Lanes(device), torch.cuda.graph_pool_handle())
        return why_wrong(step, network, frames)


def why_wrong(step: Step, network: Network, frames: Sequence[Frame]) -> str | None:
    """Where a step does not make of `frames` what the plain way makes of them, in a few words.

    Raises:
        OSError: the network gives what is no number, of which nothing follows.
    """
    sound, results = step.start(frames).wait()
    fine, expected = plainly(step.kind, network, step.lanes).start(frames).wait()
    if not (sound and fine):
        raise OSError("the network gives values that are not numbers")
    unit = step.kind.canvas.format.unit
    for planes, others in zip(results, expected, strict=True):
        for plane, other in zip(planes, others, strict=True):
            differences = np.abs(plane.astype(np.int32) - other)
            if differences.max() > unit or (differences >= unit).mean() > RARE:
                return f"its pictures are up to {differences.max()} codes from the plain way's"
    return None
