"""Engines of one model for one GPU: taken from the cache or built, then checked against FP32 before they run."""

from __future__ import annotations

import json
import platform
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from vidsr.backends.accuracy import MAX_P999, MIN_PSNR, Accuracy, check
from vidsr.backends.tensorrt import build as compiler
from vidsr.backends.tensorrt.build import DTYPES, Progress
from vidsr.backends.tensorrt.cache import KERNELS, TIMING, BuiltEngine, Engine, EngineCache, Opened
from vidsr.backends.tensorrt.flavour import Flavour
from vidsr.backends.tensorrt.gpu import Gpu
from vidsr.backends.tensorrt.key import CONVERTERS, LOWERED, ONNX, Key, Profile
from vidsr.backends.tensorrt.runtime import Loaded, LoadedEngine, Loader
from vidsr.errors import BackendError, Cancelled, OutOfMemoryError
from vidsr.models.registry import WEIGHTS, Model

AHEAD = ONNX  # what makes the network for a GPU that is not in this machine
MACHINES = {"AMD64": "x86_64", "ARM64": "aarch64"}  # Windows' names for them
POLL_SECONDS = 0.5  # a wait without a limit cannot be interrupted on every platform


@dataclass
class Maker:
    """Obtains engines. `device` is where they run, None where the target is not in this machine.

    Raises:
        BackendError: the installed TensorRT cannot build for this GPU, or not in this precision.
    """

    model: Model
    precision: str
    target: Gpu
    flavour: Flavour
    cache: EngineCache
    device: torch.device | None = None
    on_progress: Progress = lambda *_: None
    on_wait: Callable[[], None] = lambda: None
    loader: Loader = LoadedEngine
    graphs: dict[str, bytes] = field(default_factory=dict)  # of this model, see `build`
    _area: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        if self.precision not in DTYPES:
            raise BackendError(f"TensorRT runs {' and '.join(DTYPES)} here, not {self.precision}; use precision auto.")
        if not self.flavour.supports(self.target.capability):
            raise BackendError(
                f"{self.flavour.module} {self.flavour.tensorrt} does not know GPUs of compute capability "
                f"{self.target.dotted}; install torch-tensorrt, or use the backend cuda."
            )

    @property
    def converter(self) -> str:
        """What makes the network of an engine that is built here."""
        return AHEAD if self.device is None and self.flavour.name == "rtx" else LOWERED

    def key(self, profile: Profile, converter: str = "") -> Key:
        """All that identifies the engine of that profile, by `converter` or the one that is used here."""
        converter, full = converter or self.converter, self.flavour.name == "full"
        torch_version, machine = str(torch.__version__), platform.machine()
        return Key(
            model=self.model.name,
            scale=self.model.scale,
            weights=self.model.weights_hash,
            config=json.dumps(self.model.config.to_dict(), sort_keys=True),
            shapes=str(profile),
            precision=self.precision,
            converter=converter,
            flavour=self.flavour.name,
            tensorrt=self.flavour.tensorrt,
            torch_tensorrt="" if converter == ONNX else self.flavour.torch_tensorrt,
            torch=torch_version.partition("+")[0] if converter == ONNX else torch_version,
            capability=self.target.dotted,
            gpu=self.target.name if full else "",
            driver=self.target.driver if full else "",
            platform=f"{sys.platform}-{machine}" if full else MACHINES.get(machine, machine),
        )

    def keys(self, profile: Profile) -> list[Key]:
        """The keys of the engines that are used for that profile: one that is built here, and one built elsewhere."""
        own = self.key(profile)
        return (
            [own] if own.flavour == "full" else [own, *(self.key(profile, c) for c in CONVERTERS if c != own.converter)]
        )

    def find(self, profile: Profile) -> Engine | None:
        """The engine of that profile in the cache, by its manifest."""
        found = self.cache.find(self.key(profile).slot)
        return found if found is not None and found.key in self.keys(profile) else None

    def fit(self, profile: Profile) -> Profile:
        """A dynamic profile made smaller until no tensor of this model holds more elements than TensorRT can count.

        Raises:
            BackendError: a static one is too large for that; such pictures go through in tiles.
        """
        self._area = self._area or compiler.max_area(self.model.module)
        num, height, width = profile.max
        if num * height * width <= self._area:
            return profile
        if profile.is_static:
            raise BackendError(
                f"An engine for {profile} is too large for TensorRT, which takes {self._area / 1e6:.2f} megapixels at "
                f"once of {self.model.name} x{self.model.scale}; jobs cut such pictures into tiles."
            )
        shrink = (self._area / (num * height * width)) ** 0.5
        largest = (num, max(profile.min[1], int(height * shrink)), max(profile.min[2], int(width * shrink)))
        best = (profile.opt[0], min(profile.opt[1], largest[1]), min(profile.opt[2], largest[2]))
        return Profile(profile.min, best, largest)

    def obtain(self, profile: Profile, *, force: bool = False) -> Opened:
        """The engine of that profile, from the cache or built; not checked yet."""
        path = self.model.path
        source = self.model.name if path is None or path.parent == WEIGHTS else str(path.resolve())
        key, *others = self.keys(profile)
        return self.cache.open(
            key, lambda: self._make(profile, key), others=others, source=source, force=force, on_wait=self.on_wait
        )

    def load(self, profile: Profile) -> tuple[Loaded, Opened]:
        """The engine of that profile on its device, checked. One that came from elsewhere and fails is built here.

        Raises:
            BackendError: it could not be built, or differs too much from FP32: then it is never used.
        """
        opened = self.obtain(profile)
        try:
            return self._trusted(opened)
        except (Cancelled, OutOfMemoryError):
            raise
        except BackendError as error:
            if opened.engine.key == self.key(profile):
                raise
            loaded, again = self._trusted(self.obtain(profile, force=True))
            return loaded, replace(again, reason=f"the one that was built elsewhere failed ({error})")

    def _trusted(self, opened: Opened) -> tuple[Loaded, Opened]:
        loaded, engine = self._loaded(opened), opened.engine
        if engine.check is None:
            engine = self.verify(opened, loaded)
        assert engine.check is not None
        if not engine.check.passed:
            raise refusal(engine, engine.check)
        return loaded, Opened(engine, b"", opened.built, opened.reason)

    def verify(self, opened: Opened, loaded: Loaded | None = None) -> Engine:
        """Compare an engine with FP32 and time it, at its best shape; the manifest keeps both, a failure, too."""
        assert self.device is not None
        loaded = loaded or self._loaded(opened)
        shape = Profile.parse(opened.engine.key.shapes).opt
        runner = loaded.runner(shape)
        try:
            found = check(runner, self.model, shape, self.device, DTYPES[self.precision])
        except torch.OutOfMemoryError as error:
            raise OutOfMemoryError(
                "There is too little GPU memory to check an engine; close other programs."
            ) from error
        return self.cache.record(opened.engine, check=found, ms=runner.measure() if found.passed else None)

    def _loaded(self, opened: Opened) -> Loaded:
        assert self.device is not None
        kernels = self.cache.path(opened.engine.key.slot, KERNELS)
        return self.loader(self.flavour, opened.data, self.device, kernels)

    def _make(self, profile: Profile, key: Key) -> BuiltEngine:
        stop = threading.Event()
        with ThreadPoolExecutor(1, "vidsr-engine") as pool:
            made = pool.submit(self._built, profile, key, stop)
            try:
                while not wait([made], POLL_SECONDS).done:
                    pass
                return made.result()
            except BaseException:
                stop.set()
                raise

    def _built(self, profile: Profile, key: Key, stop: threading.Event) -> BuiltEngine:
        cuda = self.device is not None and self.device.type == "cuda"
        if cuda:
            torch.cuda.empty_cache()  # TensorRT cannot use what torch holds
        with torch.cuda.device(self.device) if cuda else nullcontext():
            return compiler.build(
                self.model,
                profile,
                precision=self.precision,
                converter=key.converter,
                flavour=self.flavour,
                capability=self.target.capability,
                graphs=self.graphs,
                timing_cache=self._timing_cache(key),
                on_progress=self.on_progress,
                stopped=stop.is_set,
            )

    def _timing_cache(self, key: Key) -> Path:
        return self.cache.path(f"{self.target.label}_{key.tensorrt}", TIMING)


def refusal(engine: Engine, found: Accuracy) -> BackendError:
    """Why an engine is not used."""
    return BackendError(
        f"The {engine.key.precision} engine of {engine.key.model} x{engine.key.scale} for {engine.key.shapes} is not "
        f"used: it differs from FP32 by {found.psnr:.1f} dB and {found.p999:.2f} code values (needed: {MIN_PSNR:g} dB, "
        f"{MAX_P999:g}); use the backend cuda, or build it again with `vidsr engine build --force`."
    )
