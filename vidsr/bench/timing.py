"""How long a call takes: warmed up, many times, with its spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

MIN_SAMPLES, MAX_SAMPLES = 3, 200
SAMPLE_SECONDS = 0.05  # shorter calls are timed several at a time: starting and stopping the clock costs microseconds
WARM_UPS = 2


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one call: the median of `num_samples`, and the 10th and 90th percentile."""

    median: float
    low: float
    high: float
    num_samples: int


def wait_for(device: torch.device) -> None:
    """Return when `device` has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def measure(call: Callable[[], object], device: torch.device, seconds: float) -> Timing:
    """Time `call` for about `seconds`, after two calls that are not counted; on a GPU until it has finished."""
    for _ in range(WARM_UPS):
        once = _sample(call, device, 1)
    repeat = max(1, round(SAMPLE_SECONDS / max(once, 1e-9)))
    samples: list[float] = []
    started = time.perf_counter()
    while len(samples) < MIN_SAMPLES or (time.perf_counter() - started < seconds and len(samples) < MAX_SAMPLES):
        samples.append(_sample(call, device, repeat))
    return summary(samples)


def summary(samples: list[float]) -> Timing:
    """Median and spread of `samples`, at least one."""
    deciles = statistics.quantiles(samples, n=10, method="inclusive") if len(samples) > 1 else samples
    return Timing(statistics.median(samples), deciles[0], deciles[-1], len(samples))


def _sample(call: Callable[[], object], device: torch.device, repeat: int) -> float:
    wait_for(device)
    started = time.perf_counter()
    for _ in range(repeat):
        call()
    wait_for(device)
    return (time.perf_counter() - started) / repeat


def matrix_peak(device: torch.device, dtype: torch.dtype, seconds: float = 1.0) -> float:
    """FLOP/s of a plain product of large square matrices by torch: what this device reaches at best."""
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.rand((side, side), device=device).to(dtype) for _ in range(2))
    timing = measure(lambda: torch.mm(a, b), device, seconds)
    return 2 * side**3 / timing.low
