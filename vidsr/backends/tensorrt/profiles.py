"""Static or dynamic: which engine a job uses, and whether building one pays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vidsr.backends.tensorrt.cache import Engine
from vidsr.backends.tensorrt.key import Profile, Shape

GAIN = 0.15  # of a dynamic engine's time that a static one saves: assumed until both were measured on this GPU
BUILD_SECONDS = {"rtx": 10.0, "full": 120.0}  # assumed until one was built here


@dataclass(frozen=True)
class EngineChoice:
    """The profile to use, whether its engine must be built first, and why."""

    profile: Profile
    build: bool
    reason: str


@dataclass(frozen=True)
class KnownTimes:
    """What is known before engines run: whether the dynamic one is in the cache, and what it and a build take.

    `ms` is of one call on the dynamic engine, None before it was measured; `gain` the share of it that a static engine
    saves.
    """

    has_dynamic: bool
    ms: float | None = None
    gain: float = GAIN
    build_seconds: float = 0.0


def choose(
    shape: Shape, num_calls: int | None, static: Sequence[Profile], dynamic: Profile, times: KnownTimes
) -> EngineChoice:
    """Decide how batches of `shape` are run.

    Args:
        shape: (N, H, W) of the batches.
        num_calls: how many there will be, None if nobody knows.
        static: profiles of the static engines in the cache.
        dynamic: the dynamic profile.
        times: what is known of the dynamic engine and of builds.
    """
    exact, text = Profile.static(shape), str(Profile.static(shape))
    if exact in static:
        return EngineChoice(exact, False, f"the static engine for {text}")
    if larger := [have for have in static if have.opt[1:] == shape[1:] and have.opt[0] > shape[0]]:
        return EngineChoice(
            min(larger, key=lambda have: have.opt[0]), False, f"the static engine for {larger[0]}, not full"
        )
    if parts := [have for have in static if have.opt[1:] == shape[1:] and shape[0] % have.opt[0] == 0]:
        most = max(parts, key=lambda have: have.opt[0])
        return EngineChoice(most, False, f"the static engine for {most}, {shape[0] // most.opt[0]} calls a batch")
    if not dynamic.covers((min(shape[0], dynamic.max[0]), *shape[1:])):  # a larger batch takes several calls
        return EngineChoice(exact, True, f"{text} lies outside of the dynamic engine's {dynamic}")
    if num_calls is not None and times.ms is not None:
        saved = num_calls * times.ms / 1000 * times.gain
        if saved > times.build_seconds:
            return EngineChoice(
                exact, True, f"it saves about {saved:.0f} s, and its build takes about {times.build_seconds:.0f} s"
            )
        why = f"a static one would save {saved:.0f} s, and its build takes about {times.build_seconds:.0f} s"
        return EngineChoice(dynamic, not times.has_dynamic, f"the dynamic engine: {why}")
    return EngineChoice(dynamic, not times.has_dynamic, f"the dynamic engine, which takes {dynamic}")


def measured_gain(engines: Sequence[Engine]) -> float:
    """The share of time that static engines save, by what was measured of both kinds per pixel; `GAIN` before."""
    speeds: dict[bool, list[float]] = {True: [], False: []}
    for engine in engines:
        if engine.ms is not None:
            profile = Profile.parse(engine.key.shapes)
            num, height, width = profile.opt
            speeds[profile.is_static].append(engine.ms / (num * height * width))
    if not (speeds[True] and speeds[False]):
        return GAIN
    return max(0.0, 1 - min(speeds[True]) / min(speeds[False]))
