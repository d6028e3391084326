"""How far a runtime is from FP32 on a real frame: half precision can go wrong without a word."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vidsr.backends.base import Backend, HostBackend, Pictures
from vidsr.errors import BackendError
from vidsr.models import plain
from vidsr.models.config import GeneratorConfig
from vidsr.models.registry import Model
from vidsr.tiling import plan

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

FRAME = Path(__file__).with_suffix(".png")  # of Sintel, (c) Blender Foundation, CC BY 3.0
MIN_PSNR = 55.0  # dB between a result and FP32's, both clamped to [0, 1]
MAX_P999 = 1.0  # 8-bit code values: the 99.9th percentile of the absolute differences


class Nearness(NamedTuple):
    """What a result may differ from FP32's by."""

    psnr: float
    p999: float


HALF, INT8 = Nearness(MIN_PSNR, MAX_P999), Nearness(48.0, 3.0)
BEST_PSNR = 120.0  # stands for anything closer, equality included
PROOF = (1, 96, 128)  # (N, H, W) of the film frame that `prove` takes
REFERENCE_PIXELS = 1 << 16  # of one tile of the FP32 network


@dataclass(frozen=True)
class Accuracy:
    """How far a result is from FP32's: PSNR in dB, the 99.9th percentile in 8-bit codes, and whether that will do."""

    psnr: float
    p999: float
    passed: bool


def film_frame(shape: tuple[int, int, int]) -> Pictures:
    """(N, 3, H, W) RGB in [0, 1]: a film frame, mirrored until it fills; each second one flipped."""
    num, height, width = shape
    image = np.asarray(Image.open(FRAME).convert("RGB"), dtype=np.float32) / 255
    missing = [(0, max(0, side - have)) for side, have in zip((height, width), image.shape[:2], strict=True)]
    image = np.pad(image, (*missing, (0, 0)), mode="symmetric")[:height, :width]
    picture = image.transpose(2, 0, 1)
    return np.stack([picture[..., ::-1] if index % 2 else picture for index in range(num)])


def real_frame(shape: tuple[int, int, int]) -> Tensor:
    """`film_frame` as a tensor of torch on the CPU."""
    from torch import from_numpy

    return from_numpy(film_frame(shape))


def limits(precision: str) -> Nearness:
    """Those of a precision."""
    return INT8 if precision == "int8" else HALF


def compare(result: Tensor | Pictures, reference: Tensor | Pictures, within: Nearness = HALF) -> Accuracy:
    """The error of `result` against `reference`, both (N, 3, H, W) around [0, 1] and clamped to it."""
    made, exact = _array(result), _array(reference)
    if made.shape != exact.shape or not np.isfinite(made).all():
        return Accuracy(0.0, 255.0, False)
    error = np.abs(made.clip(0, 1) - exact.clip(0, 1)).ravel() * np.float32(255)
    mean = float(np.square(error, dtype=np.float64).mean())
    psnr = BEST_PSNR if mean == 0 else min(BEST_PSNR, 10 * math.log10(255**2 / mean))
    most = p999(error)
    return Accuracy(round(psnr, 2), round(most, 4), psnr >= within.psnr and most <= within.p999)


def p999(errors: NDArray[np.float32]) -> float:
    """The 99.9th percentile of absolute differences, (N,) of any unit: the least of the thousandth that is largest."""
    rank = max(1, errors.size // 1000)
    return float(np.partition(errors, -rank)[-rank])


def _array(pictures: Tensor | Pictures) -> Pictures:
    if isinstance(pictures, np.ndarray):
        return pictures
    found: NDArray[np.float32] = pictures.detach().float().cpu().numpy()
    return found


def check(
    run: Callable[[Tensor], Tensor],
    model: Model,
    shape: tuple[int, int, int],
    device: torch.device,
    dtype: torch.dtype,
    within: Nearness = HALF,
) -> Accuracy:
    """Compare `run`, which maps batches of `dtype` on `device`, with the plain network in FP32 on a real frame."""
    batch = real_frame(shape).to(device)
    return compare(run(batch.to(dtype)), exact(model, batch), within)


def trial(backend: Backend, model: Model, shape: tuple[int, int, int]) -> tuple[Accuracy, Callable[[], object]]:
    """How far an open backend, of torch or without it, is from FP32 on a film frame; and a call of it, to be timed."""
    if isinstance(backend, HostBackend) and isinstance(model.config, GeneratorConfig):
        host, frame = backend, film_frame(shape)
        exactly = plain.run(model.config, model.weights, frame)
        return compare(host(frame), exactly, limits(backend.precision)), lambda: host(frame)
    batch = real_frame(shape).to(backend.device, backend.dtype)
    return compare(backend(batch), exact(model, batch.float())), lambda: backend(batch).cpu()


def prove(backend: Backend, model: Model) -> str:
    """What is to be said of an open backend of torch that is near enough to FP32 on a small film frame.

    Raises:
        BackendError: it is not.
    """
    return _verdict(check(backend, model, PROOF, backend.device, backend.dtype))


def prove_beside(backend: HostBackend, reference: HostBackend) -> str:
    """`prove`, without torch: beside what the same runtime makes of the frame on the CPU in FP32.

    Raises:
        BackendError: it is not near enough.
    """
    frame, within = film_frame(PROOF), limits(backend.precision)
    return _verdict(compare(backend(frame), reference(frame), within), within)


def seconds_beside(backend: HostBackend, other: HostBackend) -> tuple[float, float]:
    """What one call takes with a small film frame, of each in turn after one that does not count."""
    frame, taken = film_frame(PROOF), []
    for one in (backend, other):
        one(frame)
        began = time.perf_counter()
        one(frame)
        taken.append(time.perf_counter() - began)
    return taken[0], taken[1]


def _verdict(found: Accuracy, within: Nearness = HALF) -> str:
    if not found.passed:
        codes = f"{within.p999:g} code{'s' if within.p999 != 1 else ''}"
        needed = f"{within.psnr:g} dB and at most {codes} are needed"
        raise BackendError(f"its result is {found.psnr:g} dB and {found.p999:g} codes from FP32, and {needed}")
    return f"{found.psnr:g} dB from FP32 on a film frame"


def exact(model: Model, batch: Tensor) -> Tensor:
    """The plain network in FP32 on the batch's device, in tiles, without TF32."""
    import torch

    module: nn.Module = model.module
    if batch.device.type != "cpu":
        module = copy.deepcopy(module).to(batch.device)
    num, channels, height, width = batch.shape
    s = model.scale
    result = torch.empty((num, channels, height * s, width * s), device=batch.device)
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for tile in plan(height, width, REFERENCE_PIXELS // num, model.halo, model.multiple):
            result[tile.placed(s)] = module(batch[tile.read()])[tile.kept(s)]
    return result
