"""TensorRT on NVIDIA GPUs, by the full flavour or the RTX one: engines that are built once and kept."""

from __future__ import annotations

import math
from collections import OrderedDict
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from vidsr.backends import AUTO, Unit
from vidsr.backends.base import Backend, State, activation_bytes, check_batch
from vidsr.backends.tensorrt import recipes
from vidsr.backends.tensorrt.build import DTYPES, Progress, max_area
from vidsr.backends.tensorrt.cache import Engine, EngineCache, engine_folder
from vidsr.backends.tensorrt.engines import Maker
from vidsr.backends.tensorrt.flavour import require
from vidsr.backends.tensorrt.gpu import of_device
from vidsr.backends.tensorrt.key import Profile, Shape
from vidsr.backends.tensorrt.profiles import BUILD_SECONDS, EngineChoice, KnownTimes, choose, measured_gain
from vidsr.backends.tensorrt.runtime import EngineRunner, Loaded
from vidsr.errors import BackendError, Cancelled, OutOfMemoryError
from vidsr.models.fused import fuse
from vidsr.models.registry import Model

MAX_RUNNERS = 4  # shapes kept ready; each holds its activations
GPU_SHARE = 0.5  # of the GPU's free memory that one call may take


class TensorRTBackend(Backend):
    """Runs engines from the cache, and builds what is missing: see `prepare` for which.

    Opening it makes sure that an engine is there: the dynamic one, unless static ones are cached.

    Raises:
        BackendError: TensorRT or the GPU is missing; the engine cannot be built, or differs too much from FP32.
    """

    name = "tensorrt"
    unit = "NVIDIA GPU"

    def __init__(self, model: Model, maker: Maker, dynamic: Profile) -> None:
        super().__init__()
        assert maker.device is not None
        self.precision, self.device, self.scale = maker.precision, maker.device, model.scale
        self.dtype = DTYPES[maker.precision]
        self.max_pixels = _max_pixels(model, maker.device, self.dtype)
        self._maker, self._dynamic = maker, maker.fit(dynamic)
        maker.on_wait, maker.on_progress = self._state.check, _watched(maker.on_progress, self._state)
        self._loaded: dict[Profile, Loaded] = {}
        self._runners: OrderedDict[Shape, tuple[EngineRunner, int]] = OrderedDict()  # with the most frames of one call
        self.reason = self._begin()

    @classmethod
    def open(
        cls,
        model: Model,
        *,
        precision: str,
        device: torch.device | None,
        threads: int | None,
        unit: Unit = AUTO,
        folder: Path | None = None,
    ) -> Self:
        """With engines in `folder` (see `engine_folder`) by the recipe of that GPU."""
        del threads, unit
        assert device is not None
        flavour, target = require(), of_device(device.index)
        maker = Maker(model, precision, target, flavour, EngineCache(engine_folder(folder)), device)
        return cls(model, maker, recipes.for_target(target).dynamic)

    @classmethod
    def best_precision(cls, device: torch.device | None, unit: Unit = AUTO) -> tuple[str, str]:
        """FP16."""
        del device, unit
        return "fp16", "twice as fast on a GPU"

    def _begin(self) -> str:
        if static := self._cached():
            # What cannot be loaded must show now, while another backend can take over.
            return self._load(EngineChoice(next(iter(static)), False, f"engines for {', '.join(map(str, static))}"))[1]
        return self._load(EngineChoice(self._dynamic, True, f"the dynamic engine, {self._dynamic}"))[1]

    def __call__(self, batch: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3, H*scale, W*scale), both `dtype` on `device`."""
        self._state.check()
        check_batch(batch, self.device, self.dtype)
        num, _, height, width = batch.shape
        runner, at_once = self._runner((num, height, width))
        if num <= at_once:
            return runner(batch)
        return torch.cat([runner(batch[first : first + at_once]) for first in range(0, num, at_once)])

    def prepare(self, shape: Shape, num_calls: int | None = None) -> str:
        """Get ready for batches of (N, H, W), of which `num_calls` will come; returns which engine runs them, and why.

        The static engine that fits is used, else the dynamic one; a static one is built first only where it saves
        more time than that takes.
        """
        self._state.check()
        loaded, reason = self._load_or_dynamic(shape, self._choose(shape, num_calls))
        self._ready(shape, loaded)
        return reason

    def _runner(self, shape: Shape) -> tuple[EngineRunner, int]:
        if shape not in self._runners:
            loaded, self.reason = self._load_or_dynamic(shape, self._choose(shape, None))
            self._ready(shape, loaded)
        self._runners.move_to_end(shape)
        return self._runners[shape]

    def _ready(self, shape: Shape, loaded: tuple[Profile, Loaded]) -> None:
        profile, engine = loaded
        while len(self._runners) >= MAX_RUNNERS:
            self._wait()
            self._runners.popitem(last=False)
        best = profile.opt if profile.is_static else (min(shape[0], profile.max[0]), *shape[1:])
        try:
            self._runners[shape] = engine.runner(best), best[0]
        except OutOfMemoryError:
            if not self._runners:
                raise
            self._wait()
            self._runners.clear()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()  # TensorRT cannot use what torch holds
            self._runners[shape] = engine.runner(best), best[0]

    def _choose(self, shape: Shape, num_calls: int | None) -> EngineChoice:
        static = self._cached()
        dynamic = self._maker.find(self._dynamic)
        engines = [*static.values(), *([dynamic] if dynamic else [])]
        here = [engine for engine in engines if engine.key.converter == self._maker.converter]  # not built elsewhere
        known = [engine.seconds for engine in here if engine is not dynamic] or [engine.seconds for engine in here]
        return choose(
            shape,
            num_calls,
            list(static),
            self._dynamic,
            KnownTimes(
                has_dynamic=dynamic is not None,
                ms=_expected_ms(dynamic, shape),
                gain=measured_gain(engines),
                build_seconds=max(known, default=BUILD_SECONDS[self._maker.flavour.name]),
            ),
        )

    def _load_or_dynamic(self, shape: Shape, choice: EngineChoice) -> tuple[tuple[Profile, Loaded], str]:
        """The engine that was chosen, or the dynamic one where a static one cannot be had."""
        try:
            return self._load(choice)
        except Cancelled:
            raise
        except BackendError as error:
            if choice.profile == self._dynamic or not self._dynamic.covers((1, *shape[1:])):
                raise
            return self._load(
                EngineChoice(self._dynamic, True, f"the dynamic engine, since there is no static one: {error}")
            )

    def _load(self, choice: EngineChoice) -> tuple[tuple[Profile, Loaded], str]:
        if choice.profile in self._loaded:
            return (choice.profile, self._loaded[choice.profile]), choice.reason
        loaded, opened = self._maker.load(choice.profile)
        self._loaded[choice.profile] = loaded
        how = f"built in {opened.engine.seconds:.0f} s: {opened.reason}" if opened.built else "cached"
        return (choice.profile, loaded), f"{choice.reason}; {how}"

    def _cached(self) -> dict[Profile, Engine]:
        """Static engines of exactly this model on this GPU, by their shape; none that differs too much from FP32."""
        found = {}
        for engine in self._maker.cache.engines():
            profile, refused = Profile.parse(engine.key.shapes), engine.check is not None and not engine.check.passed
            if profile.is_static and not refused and engine.key in self._maker.keys(profile):
                found[profile] = engine
        return found

    def close(self) -> None:
        """Free the engines and their memory."""
        super().close()
        if self._runners:
            self._wait()
        self._runners.clear()
        self._loaded.clear()

    def _wait(self) -> None:
        """Until the GPU is done: an engine must not be freed while it runs."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _watched(on_progress: Progress, state: State) -> Progress:
    """Progress that ends the build once the backend is cancelled."""

    def watch(phase: str, share: float) -> None:
        state.check()
        on_progress(phase, share)

    return watch


def _max_pixels(model: Model, device: torch.device, dtype: torch.dtype) -> int:
    """What half of the free memory holds, and no tensor larger than TensorRT can count."""
    countable = max_area(model.module)
    if device.type == "cpu":
        return countable
    per_pixel = activation_bytes(fuse(model.module)) * dtype.itemsize / torch.float32.itemsize
    return min(countable, int(GPU_SHARE * torch.cuda.mem_get_info(device)[0] / per_pixel))


def _expected_ms(dynamic: Engine | None, shape: Shape) -> float | None:
    """What the dynamic engine needs for that shape, by its best one's time per pixel."""
    if dynamic is None or dynamic.ms is None:
        return None
    return dynamic.ms * math.prod(shape) / math.prod(Profile.parse(dynamic.key.shapes).opt)
