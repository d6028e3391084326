"""Whether the engines that are there still fit: this machine, its software, and the models as they are now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vidsr.backends.tensorrt.cache import CacheEntry, Engine, EngineCache
from vidsr.backends.tensorrt.engines import Maker
from vidsr.backends.tensorrt.flavour import Flavour, installed
from vidsr.backends.tensorrt.gpu import Gpu, here, parse_capability
from vidsr.backends.tensorrt.key import Key, Profile, differences
from vidsr.errors import VidsrError
from vidsr.models import registry

Kind = Literal["fits", "unchecked", "refused", "another GPU", "stale", "unknown"]


@dataclass(frozen=True)
class Status:
    """An entry of the cache, whether it still fits, and why not."""

    entry: CacheEntry
    kind: Kind
    why: str = ""

    def __str__(self) -> str:
        """In words for a table."""
        return f"{self.kind}: {self.why}" if self.why else self.kind


def statuses(cache: EngineCache, device: int = 0) -> list[Status]:
    """All entries of a cache against the GPU of that index. Without any GPU, engines for all GPUs are kept apart.

    Raises:
        UsageError: there are GPUs, but none of that index.
    """
    entries, flavour, target = cache.entries(), installed(), here(device)
    return [status(entry, flavour, target) for entry in entries]


def status(entry: CacheEntry, flavour: Flavour | None, target: Gpu | None) -> Status:
    """One entry against the installed TensorRT and a GPU (None: there is none)."""
    engine = entry.engine
    if engine is None or entry.problem:
        return Status(entry, "stale", entry.problem)
    if flavour is None:
        return Status(entry, "unknown", "TensorRT is not installed")
    try:
        now = key_now(engine, flavour)
    except VidsrError as error:
        return Status(entry, "stale", str(error).rstrip("."))
    if changes := differences(engine.key, now):
        return Status(entry, "stale", "; ".join(changes))
    if target is None:
        return Status(entry, "another GPU", "there is none here")
    if elsewhere := _elsewhere(engine.key, target):
        return Status(entry, *elsewhere)
    if engine.check is None:
        return Status(entry, "unchecked", "it fits, and is compared with FP32 when it is first opened")
    if not engine.check.passed:
        return Status(entry, "refused", "it differs too much from FP32")
    return Status(entry, "fits")


def key_now(engine: Engine, flavour: Flavour) -> Key:
    """The key that the same engine would have if it were built now, for the GPU that it was built for.

    Raises:
        VidsrError: its model is gone, or its GPU is unknown to this TensorRT.
    """
    key = engine.key
    target = Gpu(parse_capability(key.capability), key.gpu, key.driver)
    maker = Maker(registry.load(engine.source, key.scale), key.precision, target, flavour, EngineCache(Path()))
    return min(maker.keys(Profile.parse(key.shapes)), key=lambda now: len(differences(key, now)))


def _elsewhere(key: Key, target: Gpu) -> tuple[Kind, str] | None:
    """What keeps an engine from running on that GPU."""
    if key.capability != target.dotted:
        return "another GPU", f"capability is {key.capability}, not {target.dotted}"
    if key.gpu and key.gpu != target.name:
        return "another GPU", f"a {key.gpu}, not a {target.name}"
    if key.gpu and key.driver != target.driver:
        return "stale", f"driver was {key.driver or 'unknown'}, is {target.driver or 'unknown'}"
    return None
