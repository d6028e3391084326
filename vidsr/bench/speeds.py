"""How fast each shipped model is on this machine: measured when asked, and remembered in the user's cache."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vidsr import __version__, files
from vidsr.backends.hardware import num_cores
from vidsr.frame import Colour, Frame, PixelFormat
from vidsr.machine import cpu_name
from vidsr.models.registry import ModelInfo, available_models

if TYPE_CHECKING:
    from vidsr.upscaling.upscaler import Upscaler

STATED = 640, 360  # the pictures of which speeds are told
CPU_SHAPE, GPU_SHAPE = (192, 108), STATED  # that are timed: a large network takes seconds for more on a CPU
CPU_FRAMES, GPU_FRAMES = 2, 16


def speeds_file() -> Path:
    """Where they are remembered."""
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("vidsr", appauthor=False)) / "speeds.json"


def known() -> dict[str, float]:
    """Pictures of 640x360 a second by `key`, as measured on this machine by this version; nothing is loaded for it."""
    try:
        found = json.loads(speeds_file().read_text(encoding="utf-8"))
        if found["machine"] != _machine():
            return {}
        return {str(name): float(speed) for name, speed in found["speeds"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def key(info: ModelInfo) -> str:
    """Of a model in what is remembered; other weights of the same name are another."""
    size = info.path.stat().st_size if info.path is not None else 0
    return f"{info.name} x{info.scale} {info.metadata.get('steps', '')} {size}"


def measure(
    on_step: Callable[[str, float], None] = lambda _text, _share: None,
    *,
    open_upscaler: Callable[..., Upscaler] | None = None,
) -> dict[str, float]:
    """Time every shipped model on the backend that a job would take, and remember it.

    Where the cache cannot be written the speeds are only returned.
    """
    from vidsr.upscaling.upscaler import Upscaler

    models = available_models()
    speeds: dict[str, float] = {}
    for number, info in enumerate(models):
        on_step(f"{info.name} x{info.scale}", number / len(models))
        with (open_upscaler or Upscaler)(info.name, scale=info.scale) as upscaler:
            speeds[key(info)] = _speed(upscaler)
    path = speeds_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, json.dumps({"machine": _machine(), "speeds": speeds}), shared=True)
    except OSError:
        pass
    return speeds


def _speed(upscaler: Upscaler) -> float:
    (width, height), count = (GPU_SHAPE, GPU_FRAMES) if upscaler.on_gpu else (CPU_SHAPE, CPU_FRAMES)
    for _ in upscaler.stream(_frames(width, height, count)):
        pass  # libraries load, algorithms are chosen
    began = time.perf_counter()
    for _ in upscaler.stream(_frames(width, height, count)):
        pass
    pixels = width * height * count / max(time.perf_counter() - began, 1e-9)
    return pixels / (STATED[0] * STATED[1])


def _frames(width: int, height: int, count: int) -> Iterator[Frame]:
    """Noise, of which none repeats."""
    random = np.random.default_rng(0)
    fmt = PixelFormat("yuv", 8, (1, 1))
    for number in range(count):
        planes = tuple(random.integers(16, 235, shape, np.uint8) for shape in fmt.plane_shapes(width, height))
        yield Frame(planes, fmt, Colour(), number, Fraction(1, 25))


def _machine() -> str:
    return f"{cpu_name()}, {num_cores()} cores, vidsr {__version__}"
