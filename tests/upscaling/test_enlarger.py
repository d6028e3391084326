"""The ladder: what runs out of memory still yields every picture, as if it had not."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.clips import make_clip
from tests.conformance.test_backends import make_model
from vidsr.api import upscale_video
from vidsr.backends.base import Backend
from vidsr.backends.torch.backend import TorchBackend
from vidsr.errors import BackendError, Cancelled, OutOfMemoryError
from vidsr.frame import Colour, Frame, PixelFormat
from vidsr.jobs.events import Done
from vidsr.models.registry import Model
from vidsr.upscaling import enlarger as module
from vidsr.upscaling.device import DeviceRenderer
from vidsr.upscaling.enlarger import Enlarger
from vidsr.upscaling.upscaler import Upscaler


@dataclass
class Small(Backend):
    """The reference with room for `room` pixels a call, on a device that calls itself by another name."""

    model: Model
    room: float
    precision: str = "fp32"
    name: str = "small"
    max_pixels: int | None = None
    calls: list[tuple[int, ...]] = field(default_factory=list)
    closed: bool = False

    def __post_init__(self) -> None:
        super().__init__()
        self.device, self.dtype, self.scale = torch.device("cpu"), torch.float32, self.model.scale

    @classmethod
    def open(cls, model: Model, **_: object) -> Small:
        return cls(model, math.inf)

    def __call__(self, batch: Tensor) -> Tensor:
        self.calls.append(tuple(batch.shape))
        if batch.shape[0] * batch.shape[2] * batch.shape[3] > self.room:
            raise OutOfMemoryError("full")
        with torch.no_grad():
            return self.model.module(batch)

    def cancel(self) -> None:
        raise AssertionError("nobody cancels")

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module", params=["srgan", "fast"])
def model(request: pytest.FixtureRequest) -> Model:
    return make_model(request.param, 2, blocks=1)


def pictures(num: int, height: int = 50, width: int = 70) -> Tensor:
    return torch.rand((num, 3, height, width), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("room", [3 * 3500, 2 * 3500, 3500, 3499, 1200, 900])
def test_every_picture_comes_out_the_same(model: Model, room: int) -> None:
    batch = pictures(3)
    expected = Enlarger(model, Small(model, math.inf))(batch.clone())
    small = Small(model, room)
    enlarger = Enlarger(model, small)
    result = enlarger(batch.clone())
    assert float((result - expected).abs().max()) < 1e-5
    failed = [shape for shape in small.calls if math.prod(shape) > 3 * room]
    assert len(failed) == len(enlarger.notes)
    assert all("out of memory on small (CPU): calls of at most" in note for note in enlarger.notes)
    small.calls.clear()
    enlarger(batch.clone())  # what was learnt stays learnt
    assert all(math.prod(shape) <= 3 * room for shape in small.calls)
    assert len(enlarger.notes) == len(failed)


def test_fewer_pictures_come_before_smaller_tiles(model: Model) -> None:
    small = Small(model, 3500)
    Enlarger(model, small)(pictures(4))
    assert [shape[0] for shape in small.calls] == [4, 2, 1, 1, 1, 1]
    assert {shape[2:] for shape in small.calls} == {(50, 70)}


@pytest.mark.parametrize("tile", ["off", 48])
def test_a_tile_that_was_asked_for_gives_way(model: Model, tile: int) -> None:
    small = Small(model, 1500)
    enlarger = Enlarger(model, small, tile=tile)
    expected = Enlarger(model, Small(model, math.inf), tile=tile)(pictures(1))
    assert float((enlarger(pictures(1)) - expected).abs().max()) < 1e-5
    assert enlarger.notes


def test_the_ladder_ends_on_a_cpu(model: Model) -> None:
    with pytest.raises(OutOfMemoryError, match="full"):
        Enlarger(model, Small(model, 10))(pictures(1))


class Elsewhere(Small):
    """A device of its own, whose memory is too small for any tile."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.device, self.unit = torch.device("meta"), "GPU"


def test_the_cpu_takes_over(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []
    real = TorchBackend.__call__
    monkeypatch.setattr(
        TorchBackend, "__call__", lambda self, batch: shapes.append(tuple(batch.shape)) or real(self, batch)
    )
    expected = Enlarger(model, Small(model, math.inf))(pictures(2))
    small = Elsewhere(model, 10)
    enlarger = Enlarger(model, small)
    assert float((enlarger(pictures(2)) - expected).abs().max()) < 1e-5
    assert small.closed
    assert (enlarger.backend.name, enlarger.backend.precision) == ("cpu", "fp32")
    assert "the CPU goes on in FP32" in enlarger.notes[-1]
    assert len(enlarger.notes) == len(small.calls)
    assert shapes == [(2, 3, 50, 70)]  # the CPU's memory is another one


def test_what_takes_over_is_cancelled_too(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Elsewhere(model, 10)
    enlarger = Enlarger(model, small)
    monkeypatch.setattr(small, "cancel", lambda: None)
    enlarger.cancel()
    with pytest.raises(Cancelled):
        enlarger(pictures(1))


class Overflowing(Small):
    """Half precision as one meets it: infinite from the second call on."""

    def __call__(self, batch: Tensor) -> Tensor:
        result = super().__call__(batch)
        return result if len(self.calls) == 1 else result + math.inf


def make_upscaler(model: Model, backend: Small, depth: int = 0) -> Upscaler:
    upscaler = Upscaler("bicubic", scale=2, backend=backend)
    upscaler.enlarger.model = model
    upscaler._depth = depth
    return upscaler


def clip(num: int) -> list[Frame]:
    rng = np.random.default_rng(5)
    format = PixelFormat.parse("yuv420p10le")
    return [
        Frame(
            tuple(rng.integers(64, 900, shape, dtype=np.uint16) for shape in format.plane_shapes(40, 24)),
            format,
            Colour(),
            pts,
            Fraction(1, 25),
        )
        for pts in range(num)
    ]


@pytest.mark.parametrize("depth", [0, 1, 2, 9])
def test_fp32_goes_on_where_fp16_overflows(model: Model, depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def reopen(name: str, model: Model, *, precision: str, device: int) -> tuple[Backend, str]:
        assert (name, precision) == ("small", "fp32")
        return Small(model, math.inf), "as asked"

    monkeypatch.setattr(module, "open_backend", reopen)
    frames = clip(5)
    results = []
    for backend in (Overflowing(model, math.inf, precision="fp16"), Small(model, math.inf)):
        upscaler = make_upscaler(model, backend, depth)
        results.append(list(upscaler.stream(frames)))
        assert len(upscaler.notes) == (backend.precision == "fp16")
    same_frames(*results)


def same_frames(results: list[Frame], expected: list[Frame], *, codes: int = 0) -> None:
    assert [frame.pts for frame in results] == [frame.pts for frame in expected]
    for a, b in zip(results, expected, strict=True):
        assert all(np.abs(x.astype(int) - y).max() <= codes for x, y in zip(a.planes, b.planes, strict=True))


def test_fp32_that_is_not_finite_is_an_error(model: Model) -> None:
    upscaler = make_upscaler(model, Overflowing(model, math.inf))
    with pytest.raises(BackendError, match="not numbers"):
        list(upscaler.stream(clip(3)))


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_frames_in_flight_come_out_in_order(
    model: Model, depth: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU does, on the CPU: batches started ahead, results late, repeats among them, and memory running out."""
    monkeypatch.setattr(Upscaler, "batch_size", lambda *_: batch)
    frames = [clip(4)[index] for index in (0, 0, 1, 2, 2, 2, 3, 0)]
    small = Small(model, 2 * 24 * 40)
    late, plain = make_upscaler(model, small, depth), make_upscaler(model, Small(model, math.inf))
    same_frames(list(late.stream(frames)), [plain.upscale(frame) for frame in frames])
    assert late.num_reused == 3
    assert sum(math.prod(shape) <= 3 * small.room for shape in small.calls) >= 5 / batch


def test_out_of_memory_in_the_colour_conversion_is_a_step_too(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own error, outside of the backend."""
    frames = clip(2)
    upscaler = make_upscaler(model, Small(model, math.inf))
    expected = [upscaler.upscale(frame) for frame in frames]
    real, failures = DeviceRenderer._attempt, [torch.OutOfMemoryError("CUDA out of memory")]

    def attempt(*arguments: object) -> object:
        if failures:
            raise failures.pop()
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(DeviceRenderer, "_attempt", attempt)
    same_frames(
        list(upscaler.stream(frames)), expected, codes=1
    )  # tiles differ by 1e-6: a code may round the other way
    assert len(upscaler.notes) == 1


def test_the_report_of_a_job_names_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backends: list[Small] = []

    def opened(name: str, model: Model, **options: object) -> tuple[Backend, str]:
        backends.append(Small(model, 600))
        return backends[-1], "small: as asked"

    monkeypatch.setattr("vidsr.upscaling.upscaler.open_backend", opened)
    clip = make_clip(tmp_path / "a.mp4", frames=5)
    done = upscale_video(clip, tmp_path / "b.mp4", model="bicubic", scale=2)
    assert isinstance(done, Done)
    assert done.num_frames == 5
    steps = [note for note in done.notes if note.startswith("out of memory on small")]
    failed = [shape for shape in backends[0].calls if math.prod(shape) > 3 * 600]
    assert len(steps) == len(failed) > 1


def test_a_backend_that_compiles_is_told_before_the_first_frame_what_will_come(tmp_path: Path) -> None:
    """A job of TensorRT decides by this whether a static engine is worth its build."""
    told: list[tuple[tuple[int, int, int], int | None]] = []
    seen: list[int] = []

    class Compiling(Small):
        def prepare(self, shape: tuple[int, int, int], num_calls: int | None = None) -> str:
            seen.append(len(self.calls))
            told.append((shape, num_calls))
            return "the static engine, since it saves more than its build takes"

    model = make_model("fast", 2, blocks=1)
    backend = Compiling(model, math.inf)
    with Upscaler(scale=2, model="bicubic", backend="cpu") as upscaler:
        upscaler.renderer.enlarger = Enlarger(model, backend, tile=24)
        upscaler.prepare(40, 20, 10)
        assert upscaler.notes == ["the static engine, since it saves more than its build takes"]
        (((num, height, width), calls),) = told
        assert num == 1
        assert height <= 20
        assert width < 40
        upscaler(np.zeros((20, 40, 3), np.uint8))
        assert {call[2:] for call in backend.calls} >= {(height, width)}
        assert calls == 10 * len(backend.calls)
        assert seen == [0]


def test_memory_that_ends_while_a_backend_compiles_is_a_step_too(model: Model) -> None:
    """An engine's own memory is taken before the first frame."""
    shapes: list[tuple[int, int, int]] = []

    class Compiling(Small):
        def prepare(self, shape: tuple[int, int, int], num_calls: int | None = None) -> str:
            shapes.append(shape)
            if math.prod(shape) > self.room:
                raise OutOfMemoryError("full")
            return f"the engine for {shape}"

    small = Compiling(model, 1200)
    enlarger = Enlarger(model, small)
    enlarger.prepare(2, 50, 70, 10)
    assert shapes[0] == (2, 50, 70)
    assert math.prod(shapes[-1]) <= 1200
    assert len(enlarger.notes) == len(shapes) > 1
    assert all(note.startswith("out of memory on small") for note in enlarger.notes[:-1])
    expected = Enlarger(model, Small(model, math.inf))(pictures(2))
    assert float((enlarger(pictures(2)) - expected).abs().max()) < 1e-5
    assert all(math.prod(call) <= 3 * 1200 for call in small.calls)


def test_the_cpu_takes_over_from_a_backend_that_cannot_even_compile(model: Model) -> None:
    class Compiling(Elsewhere):
        def prepare(self, shape: tuple[int, int, int], num_calls: int | None = None) -> str:
            raise OutOfMemoryError("full")

    enlarger = Enlarger(model, Compiling(model, 10))
    enlarger.prepare(1, 50, 70, None)
    assert (enlarger.backend.name, enlarger.backend.precision) == ("cpu", "fp32")
    assert "the CPU goes on in FP32" in enlarger.notes[-1]
