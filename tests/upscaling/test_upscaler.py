from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vidsr.backends import Unit, hardware
from vidsr.backends.base import Pictures
from vidsr.backends.nearest import NearestBackend
from vidsr.errors import BackendError, Cancelled, MediaError, ModelError, UsageError
from vidsr.frame import Colour, Frame, Matrix, PixelFormat
from vidsr.models import registry, srgan
from vidsr.upscaling.device import DeviceRenderer
from vidsr.upscaling.drawings import REACH
from vidsr.upscaling.enlarger import Arrays, Enlarger
from vidsr.upscaling.host import HostRenderer
from vidsr.upscaling.upscaler import Upscaler, _choose_model, _usual_steady

YUV420 = PixelFormat.parse("yuv420p")


def make_frame(width: int, height: int, format: PixelFormat = YUV420, *, pts: int = 0, seed: int = 0) -> Frame:
    """Smooth noise in valid codes of a limited range."""
    rng = np.random.default_rng(seed)
    unit = 1 << (format.bits - 8)
    planes = tuple(
        (rng.integers(40, 200, shape) * unit).astype(format.dtype) for shape in format.plane_shapes(width, height)
    )
    return Frame(planes, format, Colour(Matrix.BT470BG), pts, Fraction(1, 90000), 3003)


def constant_frame(format: PixelFormat, colour: Colour, values: tuple[int, ...], size: tuple[int, int]) -> Frame:
    shapes = format.plane_shapes(*size)
    planes = tuple(np.full(shape, value, format.dtype) for shape, value in zip(shapes, values, strict=True))
    return Frame(planes, format, colour, 0, Fraction(1))


@pytest.fixture(scope="module", params=["srgan", "fast"])
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small x2 generator with random weights, on disk; its halo is about 8 pixels."""
    torch.manual_seed(0)
    config = srgan.GeneratorConfig(request.param, 2, channels=16, blocks=1 if request.param == "srgan" else 5)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    header = {"format": "1", "name": "small", "scale": "2", "config": json.dumps(config.to_dict())}
    save_file({key: value.contiguous() for key, value in srgan.build(config).state_dict().items()}, path, header)
    return path


@pytest.mark.parametrize("scale", [0, 0.99, 4.01, -2, math.nan, math.inf])
def test_impossible_scales(scale: float) -> None:
    with pytest.raises(UsageError, match="from 1 to 4") as caught:
        Upscaler("bicubic", scale=scale)
    assert caught.value.exit_code == 2


def test_impossible_options() -> None:
    for options in (
        {"tile": 5},
        {"tile": 0},
        {"tile": "large"},
        {"threads": 0},
        {"backend": "gpu"},
        {"precision": "x"},
    ):
        with pytest.raises(UsageError):
            Upscaler("bicubic", **options)
    with pytest.raises(ModelError):
        Upscaler("no-such-model")


def test_every_frame_once_with_its_time() -> None:
    frames = [make_frame(16, 12, pts=pts, seed=abs(pts)) for pts in (0, 7, 9, 100, -4)]
    results = list(Upscaler("bicubic", scale=2, backend="nearest").stream(iter(frames)))
    assert [frame.pts for frame in results] == [0, 7, 9, 100, -4]
    assert {(frame.time_base, frame.duration) for frame in results} == {(Fraction(1, 90000), 3003)}
    for source, result in zip(frames, results, strict=True):
        assert np.array_equal(result.planes[0][::2, ::2], source.planes[0])


def test_batches_keep_order_and_equal_single_frames(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [make_frame(24, 16, pts=n, seed=n) for n in range(5)] + [make_frame(20, 16, pts=5)]
    with Upscaler(weights, scale=2, backend="cpu") as upscaler:
        single = [upscaler.upscale(frame, upscaler.canvas(frame, size=(48, 32))) for frame in frames]
        monkeypatch.setattr(Upscaler, "batch_size", lambda *_: 3)
        calls: list[int] = []
        run = upscaler.enlarger._tiled
        monkeypatch.setattr(
            upscaler.enlarger, "_tiled", lambda batch, by, once: calls.append(len(batch)) or run(batch, by, once=once)
        )
        batched = list(upscaler.stream(frames))
    assert calls == [3, 3, 1]  # what is not full is filled up: another size would be compiled anew
    assert [frame.pts for frame in batched] == [0, 1, 2, 3, 4, 5]
    for a, b in zip(single, batched, strict=True):
        assert all(np.abs(x.astype(int) - y).max() <= 1 for x, y in zip(a.planes, b.planes, strict=True))


@pytest.mark.parametrize(("height", "width"), [(61, 83), (40, 127), (33, 19)])
@pytest.mark.parametrize("backend", ["cpu", "auto"])
def test_tiled_equals_whole(weights: Path, height: int, width: int, backend: str) -> None:
    rgb = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))
    with Upscaler(weights, scale=2, backend=backend, precision="fp32", tile="off") as whole:
        expected = whole.enlarger(rgb.clone())
    with Upscaler(weights, scale=2, backend=backend, precision="fp32", tile=28) as tiled:
        calls: list[tuple[int, ...]] = []
        run = tiled.backend
        tiled.enlarger.backend = _Spy(run, calls)  # type: ignore[assignment]
        result = tiled.enlarger(rgb.clone())
    assert len(calls) > 1 or height * width <= 28**2
    assert len(set(calls)) == 1
    assert float((result - expected).abs().max()) < 1e-5


class _Spy:
    def __init__(self, backend: object, calls: list[tuple[int, ...]]) -> None:
        self._backend, self._calls = backend, calls

    def __getattr__(self, name: str) -> object:
        return getattr(self._backend, name)

    def __call__(self, batch: Tensor) -> Tensor:
        self._calls.append(tuple(batch.shape))
        return self._backend(batch)  # type: ignore[operator]


def test_the_automatic_tile_obeys_the_backend() -> None:
    calls: list[tuple[int, ...]] = []
    backend = NearestBackend(4)
    backend.max_pixels = 1000
    upscaler = Upscaler("bicubic", backend=backend)
    upscaler.enlarger.backend = _Spy(backend, calls)  # type: ignore[assignment]
    frame = make_frame(70, 50)
    result = upscaler.upscale(frame)
    assert len(calls) > 1
    assert all(shape[2] * shape[3] <= 1000 for shape in calls)
    assert np.array_equal(result.planes[0][::4, ::4], frame.planes[0])


@pytest.mark.parametrize("scale", [1, 1.5, 2, 3, 4])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "yuv444p12le", "gray", "gbrp", "gbrp10le", "yuva420p"])
def test_constant_pictures_stay_constant(name: str, full_range: bool, scale: float) -> None:
    format = PixelFormat.parse(name)
    colour = Colour(Matrix.RGB if format.model == "rgb" else Matrix.BT709, full_range=full_range)
    values = tuple(value << (format.bits - 8) for value in (100, 140, 110, 77)[: len(format.plane_shapes(2, 2))])
    result = Upscaler("bicubic", scale=scale, backend="cpu").upscale(constant_frame(format, colour, values, (19, 13)))
    assert (result.format, result.colour) == (format, colour)
    for plane, value in zip(result.planes, values, strict=True):
        assert np.abs(plane.astype(int) - value).max() <= 1


def test_super_whites_pass_where_there_is_no_network(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = constant_frame(YUV420, Colour(), (250, 128, 128), (16, 16))
    assert np.abs(Upscaler("bicubic", scale=2).upscale(frame).planes[0].astype(int) - 250).max() <= 1
    seen: list[float] = []
    with Upscaler(weights, scale=2, backend="cpu") as upscaler:
        real = upscaler.enlarger._tiled

        def tiled(batch: torch.Tensor, by: Arrays, *, once: bool) -> torch.Tensor:
            seen.append(float(batch.max()))
            made: torch.Tensor = real(batch, by, once=once)
            return made

        monkeypatch.setattr(upscaler.enlarger, "_tiled", tiled)
        upscaler.upscale(frame)
    assert seen == [1.0]


@pytest.mark.parametrize("backend", ["cpu", "auto"])
def test_the_same_frame_gives_the_same_bytes(weights: Path, backend: str) -> None:
    frame, results = make_frame(50, 38), []
    for threads in (1, 2, None):
        with Upscaler(weights, scale=2, backend=backend, precision="fp32", threads=threads) as upscaler:
            results += [upscaler.upscale(frame), upscaler.upscale(frame)]
    for result in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(result.planes, results[0].planes, strict=True))


class _Broken(NearestBackend):
    def run(self, batch: Pictures) -> Pictures:
        result = super().run(batch)
        result[0, 0, 0, 0] = math.nan
        return result


def test_an_output_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(BackendError, match="not numbers"):
        Upscaler("bicubic", scale=4, backend=_Broken(4)).upscale(make_frame(16, 16))


def test_cancel_ends_a_stream() -> None:
    upscaler = Upscaler("bicubic", scale=4, backend=NearestBackend(4, delay=3600))
    threading.Timer(0.05, upscaler.cancel).start()
    with pytest.raises(Cancelled):
        list(upscaler.stream([make_frame(16, 16)] * 3))


def test_close_frees_the_backend() -> None:
    with Upscaler("bicubic", scale=4) as upscaler:
        upscaler.upscale(make_frame(16, 16))
    upscaler.close()
    with pytest.raises(BackendError, match="closed"):
        upscaler.upscale(make_frame(16, 16))


@pytest.mark.parametrize(("free", "expected"), [(80 << 30, 2), (2 << 30, 2), ((2 << 30) - 1, 1), (0, 1)])
def test_batches_on_their_way_follow_the_free_memory(monkeypatch: pytest.MonkeyPatch, free: int, expected: int) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free // 2, 80 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: free - free // 2 + 1000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 1000)
    backend = NearestBackend(2)
    renderer = DeviceRenderer(Enlarger(registry.load("bicubic", 2), backend))
    assert (renderer.depth, HostRenderer(renderer.enlarger).depth) == (0, 1)
    backend.device = torch.device("cuda", 0)
    assert renderer.depth == expected


def test_a_stream_reads_no_further_than_it_must() -> None:
    read: list[int] = []

    def source() -> Iterator[Frame]:
        for pts in range(10):
            read.append(pts)
            yield make_frame(16, 16, pts=pts)

    stream = Upscaler("bicubic", scale=2, backend="nearest").stream(source())
    assert next(stream).pts == 0
    assert read == [0, 1]  # the network makes the second while the first becomes a frame


def test_reason_and_identity() -> None:
    upscaler = Upscaler("bicubic", scale=3, backend="cpu")
    assert upscaler.model.scale == 4
    assert "bicubic x4: as asked." in upscaler.reason
    assert "cpu: as asked" in upscaler.reason
    assert json.loads(json.dumps(upscaler.identity()))["backend"] == "cpu"
    assert upscaler.identity() != Upscaler("bicubic", scale=4, backend="cpu").identity()
    assert Upscaler("bicubic", scale=1.5).model.scale == 2


def test_the_reason_for_a_model_knows_what_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "has_nvidia", lambda: True)
    found = {device: _choose_model("auto", 4, "auto", Unit.of(device))[1] for device in ("auto", "1", "cpu", "npu")}
    assert found == {name: f"the default on a {'G' if name in ('auto', '1') else 'C'}PU" for name in found}


def test_torch_on_the_cpu_is_known_by_its_threads() -> None:
    """They change the last bits of a network; what has none is the same on any number."""
    two, three = (Upscaler("fast", scale=2, backend="cpu", threads=n).identity() for n in (2, 3))
    assert (two["network threads"], three["network threads"]) == (2, 3)
    assert Upscaler("fast", scale=2, backend="cpu").identity()["network threads"] == torch.get_num_threads()
    assert "network threads" not in Upscaler("bicubic", scale=2, backend="cpu", threads=2).identity()


@pytest.mark.parametrize("batch", [1, 4])
def test_repeated_frames_are_not_computed_again(weights: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """Held drawings, slides, stopped video: the same bytes with fewer calls of the network."""
    monkeypatch.setattr(Upscaler, "batch_size", lambda *_: batch)
    rng = np.random.default_rng(7)
    drawn = [rng.integers(16, 236, (24, 32), dtype=np.uint8) for _ in range(3)]
    held = [0, 0, 0, 1, 0, 2, 2, 1]
    grey = PixelFormat("grey")
    clip = [Frame((drawn[k].copy(),), grey, Colour(), pts, Fraction(1, 24), 1) for pts, k in enumerate(held)]
    with (
        Upscaler(weights, scale=2, backend="cpu") as quick,
        Upscaler(weights, scale=2, backend="cpu", reuse=False) as slow,
    ):
        calls = count_calls(quick, monkeypatch)
        fast, plain = list(quick.stream(clip)), list(slow.stream(clip))
    assert [frame.pts for frame in fast] == list(range(8))
    assert all(np.array_equal(a.planes[0], b.planes[0]) for a, b in zip(fast, plain, strict=True))
    assert (quick.num_reused, slow.num_reused) == (3, 0)
    assert sum(calls) == 5


def count_calls(upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of pictures in each call of the network from now on."""
    calls: list[int] = []
    real = upscaler.enlarger._tiled

    def counted(pictures: torch.Tensor, by: Arrays, *, once: bool) -> torch.Tensor:
        calls.append(pictures.shape[0])
        made: torch.Tensor = real(pictures, by, once=once)
        return made

    monkeypatch.setattr(upscaler.enlarger, "_tiled", counted)
    return calls


@pytest.mark.parametrize(
    ("model", "steady"),
    [
        ("fast-video", 0.5),
        ("fast-video@0.5", 0.5),
        ("tiny-video", 0.5),
        ("srgan-video", 0.5),
        ("fast", 0),
        ("bicubic", 0),
    ],
)
def test_video_models_hold_films_still_where_the_host_blends(model: str, steady: float) -> None:
    with Upscaler(model, backend="openvino", steady=None) as upscaler:
        assert upscaler.reach == (REACH if steady else 0)
        assert upscaler.identity().get("steady", 0) == steady
    with Upscaler(model, backend="openvino") as upscaler:
        assert upscaler.reach == 0
    elsewhere = NearestBackend(4)
    elsewhere.needs_torch, elsewhere.device = True, torch.device("cuda", 0)
    assert _usual_steady(registry.load(model, 4), elsewhere) == 0


def test_an_error_of_the_source_comes_behind_the_frames_before_it() -> None:
    def source() -> Iterator[Frame]:
        yield from (make_frame(16, 16, pts=pts) for pts in range(5))
        raise MediaError("a disc that is scratched")

    for grain in (0, 0.5):
        found: list[int] = []
        with (
            Upscaler("bicubic", scale=2, backend="nearest", grain=grain) as upscaler,
            pytest.raises(MediaError, match="scratched"),
        ):
            found.extend(frame.pts for frame in upscaler.stream(source()))
        assert found == [0, 1, 2, 3, 4]
