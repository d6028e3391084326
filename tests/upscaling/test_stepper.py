"""Batches by one graph: what is captured when, trusted or not, and that copies and computation never meet.

Streams and events are played on the CPU (`tests.upscaling.playing`).
"""

from __future__ import annotations

from collections import deque
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.upscaling.playing import Deaf, Event, PlayedLanes
from tests.upscaling.test_upscaler import make_frame
from vidsr import findings
from vidsr.backends.nearest import NearestBackend
from vidsr.errors import BackendError, Cancelled
from vidsr.frame import Canvas, Colour, Frame, PixelFormat
from vidsr.upscaling import stepper as module
from vidsr.upscaling.lanes import KEPT, Ring
from vidsr.upscaling.step import Kind, Network, Step, make
from vidsr.upscaling.upscaler import Upscaler

CPU = torch.device("cpu")
YUV420 = PixelFormat.parse("yuv420p")


class Capturable(NearestBackend):
    """Nearest neighbour by torch, that a graph may hold."""

    needs_torch = True

    def __init__(self, scale: int = 2) -> None:
        super().__init__(scale)
        self.network: Network | None = partial(torch.nn.functional.interpolate, scale_factor=float(scale))

    def body(self) -> Network | None:
        self._state.check()
        return self.network


def played(kind: Kind, network: Network, lanes: Any, pool: object = None) -> Step:
    """`stepper.captured`, replayed by running it again."""
    codes, made = kind.source.empty(kind.num, CPU), kind.target.empty(kind.num, CPU)
    return Step(kind, lambda: make(kind, network, codes, made), codes, made, lanes)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Kind]:
    """What was captured on a GPU that is played."""
    kinds: list[Kind] = []

    def captured(kind: Kind, *how: Any) -> Step:
        kinds.append(kind)
        return played(kind, *how)

    monkeypatch.setattr(module, "captured", captured)
    monkeypatch.setattr(module, "Lanes", lambda _: PlayedLanes(1))
    monkeypatch.setattr(module, "why_not", lambda _: None)
    monkeypatch.setattr(findings, "folder", lambda: tmp_path)
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 1))
    return kinds


def kind_of(num: int, size: tuple[int, int] = (9, 5)) -> Kind:
    colour = clip(1)[0].colour
    canvas = Canvas((2 * size[0], 2 * size[1]), YUV420, colour)
    return Kind(num, size, YUV420, colour, canvas, 2, size, False, torch.float32)


def clip(num: int, width: int = 9, height: int = 5, format: PixelFormat = YUV420) -> list[Frame]:
    return [make_frame(width, height, format, pts=index, seed=index) for index in range(num)]


def through(step: Step, frames: list[Frame], depth: int = 2) -> list[tuple[Any, ...]]:
    """All of them in batches as a stream has them on their way; every result is looked at once all are there."""
    started, results = deque[Any](), list[tuple[Any, ...]]()
    for first in range(0, len(frames), step.kind.num):
        started.append(step.start(frames[first : first + step.kind.num]))
        if len(started) > depth:
            results += started.popleft().wait()[1]
    for rendering in started:
        results += rendering.wait()[1]
    return results


def same(results: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]) -> bool:
    pairs = zip(results, expected, strict=True)
    return all(np.array_equal(x, y) for a, b in pairs for x, y in zip(a, b, strict=True))


def expected_of(frames: list[Frame], **options: Any) -> list[tuple[Any, ...]]:
    with Upscaler("bicubic", scale=2, backend=NearestBackend(2), reuse=False) as upscaler:
        return [large.planes for large in upscaler.stream(frames, **options)]


def test_copies_and_computation_never_meet_in_whatever_order_they_go() -> None:
    frames = clip(13)
    expected = expected_of(frames)
    network = Capturable().network
    assert network is not None
    for seed in range(20):
        assert same(through(played(kind_of(2), network, PlayedLanes(seed)), frames), expected)
    deaf = [through(played(kind_of(2), network, PlayedLanes(seed, Deaf)), frames) for seed in range(5)]
    assert not any(same(results, expected) for results in deaf)  # what the lanes wait for is needed


def test_a_block_is_used_again_once_nobody_looks_into_it() -> None:
    ring = Ring(lambda: torch.zeros((2, 8), dtype=torch.int16))
    block, samples = ring.take()
    assert samples.dtype == np.uint16
    place, plane = block.data_ptr(), samples[1][2:8].reshape(2, 3)
    del block, samples
    other, _ = ring.take()
    assert other.data_ptr() != place  # a plane is left
    del plane
    assert ring.take()[0].data_ptr() == place
    views = [ring.take()[1] for _ in range(3 * KEPT)]
    assert len({view.ctypes.data for view in views}) == 3 * KEPT
    del views
    assert len(ring._free) == KEPT


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "yuva444p12le", "gbrp16le", "gray"])
def test_a_stream_goes_by_one_graph(gpu: list[Kind], name: str) -> None:
    format = PixelFormat.parse(name)
    target = replace(format, alpha=False)
    frames = clip(9, 9, 5, format)
    frames[4] = replace(frames[3], pts=4)  # which is not computed
    with Upscaler("bicubic", scale=2, backend=Capturable()) as upscaler:
        upscaler._depth = 2
        canvas = Canvas((18, 10), target, Colour())
        results = list(upscaler.stream(frames, canvas))
        assert (upscaler.notes, upscaler.num_reused) == ([], 1)
    assert [kind.format for kind in gpu] == [format]
    assert [large.pts for large in results] == list(range(9))
    assert same([large.planes for large in results], expected_of(frames, canvas=canvas))


def test_a_kind_is_captured_when_it_comes_for_the_second_time(gpu: list[Kind]) -> None:
    with Upscaler("bicubic", scale=2, backend=Capturable(), reuse=False) as upscaler:
        for size in ((9, 5), (8, 6), (7, 7)):
            list(upscaler.stream(clip(1, *size)))
        assert gpu == []
        for size in ((9, 5), (8, 6), (9, 5), (7, 7), (9, 5), (8, 6)):
            list(upscaler.stream(clip(2, *size)))
        assert [kind.size for kind in gpu] == [(9, 5), (8, 6), (7, 7), (8, 6)]  # two are kept, those that came last


def test_another_size_and_a_scale_between_go_by_it_too(gpu: list[Kind]) -> None:
    frames = clip(4, 16, 10)
    with Upscaler("bicubic", scale=1.5, backend=Capturable(), reuse=False) as upscaler:
        made = [large.planes for large in upscaler.stream(frames)]
        upscaler.renderer.stepping = False
        assert same(made, [large.planes for large in upscaler.stream(frames)])
    assert len(gpu) == 1


def starts(upscaler: Upscaler, frames: list[Frame], canvas: Canvas | None = None) -> bool:
    """Whether frames go by one graph."""
    steps, canvas = upscaler.renderer._stepper, canvas or upscaler.canvas(frames[0])  # type: ignore[attr-defined]
    assert steps.start(frames, canvas, len(frames)) is None
    return steps.start(frames, canvas, len(frames)) is not None


def test_what_goes_the_plain_way(gpu: list[Kind]) -> None:
    frames = clip(2)
    alpha = Canvas((18, 10), PixelFormat.parse("yuva420p"), Colour())
    other_light = Canvas((18, 10), YUV420, Colour(primaries=9))
    mixed = [frames[0], replace(frames[1], colour=Colour(full_range=True))]
    backend = Capturable()
    with Upscaler("bicubic", scale=2, backend=backend) as upscaler:
        assert not starts(upscaler, frames, alpha)
        assert not starts(upscaler, frames, other_light)
        assert not starts(upscaler, mixed)
        backend.max_pixels = 40
        assert not starts(upscaler, frames)
        backend.max_pixels = None
        assert starts(upscaler, frames)
        backend.network = None
        assert not starts(upscaler, frames)
        assert upscaler.notes == []


def test_a_network_that_changes_is_captured_anew(gpu: list[Kind]) -> None:
    frames, backend = clip(2), Capturable()
    with Upscaler("bicubic", scale=2, backend=backend) as upscaler:
        steps, canvas = upscaler.renderer._stepper, upscaler.canvas(frames[0])  # type: ignore[attr-defined]
        assert starts(upscaler, frames)
        backend.network = lambda batch: torch.zeros(2, 3, 10, 18)
        rendering = steps.start(frames, canvas, 2)
        assert rendering is not None
        assert len(gpu) == 2
        assert all((planes[0] == 16).all() for planes in rendering.wait()[1])


def test_one_that_makes_other_pictures_is_not_used_and_said_once(
    gpu: list[Kind], monkeypatch: pytest.MonkeyPatch
) -> None:
    def captured(kind: Kind, network: Network, *how: Any) -> Step:
        gpu.append(kind)
        return played(kind, lambda batch: network(batch).roll(1, 3), *how)

    monkeypatch.setattr(module, "captured", captured)
    frames = clip(6)
    for _ in range(2):
        with Upscaler("bicubic", scale=2, backend=Capturable()) as upscaler:
            assert same([large.planes for large in upscaler.stream(frames)], expected_of(frames))
            (note,) = upscaler.notes
            assert note.startswith("one graph from codes to codes is not used on cpu: its pictures are up to ")
    assert len(gpu) == 2


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (torch.OutOfMemoryError("CUDA out of memory.\nmore"), "there is no room for it"),
        (RuntimeError("operation not permitted when stream is capturing\nmore"), "operation not permitted when"),
    ],
)
def test_one_that_cannot_be_captured_is_not_used(
    gpu: list[Kind], monkeypatch: pytest.MonkeyPatch, error: Exception, why: str
) -> None:
    def captured(*_: object) -> Step:
        raise error

    monkeypatch.setattr(module, "captured", captured)
    frames = clip(4)
    with Upscaler("bicubic", scale=2, backend=Capturable()) as upscaler:
        assert same([large.planes for large in upscaler.stream(frames)], expected_of(frames))
        assert [why in note for note in upscaler.notes] == [True]


def test_values_that_are_no_numbers_are_found(gpu: list[Kind]) -> None:
    broken = False

    def network(batch: Tensor) -> Tensor:
        large = batch.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return large.fill_(torch.nan) if broken else large

    backend, frames = Capturable(), clip(6)
    backend.network = network
    with Upscaler("bicubic", scale=2, backend=backend) as upscaler:
        stream = upscaler.stream(frames)
        for _ in range(3):
            next(stream)
        broken = True
        with pytest.raises(BackendError, match="not numbers"):
            list(stream)


def test_cancel_and_close_leave_nothing_running(gpu: list[Kind]) -> None:
    upscaler = Upscaler("bicubic", scale=2, backend=Capturable())
    upscaler._depth = 2
    stream = upscaler.stream(clip(9))
    for _ in range(3):
        next(stream)
    lanes: Any = upscaler.renderer._stepper._lanes  # type: ignore[attr-defined]
    assert lanes.compute.queue
    upscaler.cancel()
    with pytest.raises(Cancelled):
        list(stream)
    upscaler.close()
    assert [*lanes.up.queue, *lanes.compute.queue, *lanes.down.queue] == []
    upscaler.close()


def test_a_gpu_that_fails_is_one_sentence() -> None:
    class Failing(Event):
        def synchronize(self) -> None:
            if self.marked:
                raise RuntimeError("CUDA error: an illegal memory access was encountered\nand more")

    lanes = PlayedLanes()
    lanes.event = lambda: Failing(lanes)  # type: ignore[method-assign]
    network = Capturable().network
    assert network is not None
    rendering = played(kind_of(1), network, lanes).start(clip(1))
    with pytest.raises(BackendError, match=r"^The GPU failed: CUDA error: an illegal memory access was encountered$"):
        rendering.wait()
