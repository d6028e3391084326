"""Networks of other projects, built by spandrel with random weights, through vidsr's whole path."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import pytest
import torch
from safetensors.torch import save_file

from tests.clips import make_clip
from tests.conftest import Result
from vidsr.errors import ModelError
from vidsr.models import foreign, registry
from vidsr.upscaling.upscaler import Upscaler

Cli = Callable[..., Result]


def _stand_in() -> dict[str, ModuleType]:
    """What spandrel takes from torchvision on import, for networks that no test here uses."""
    functional: Any = ModuleType("torchvision.transforms.functional")
    functional.normalize = functional.rotate = functional.InterpolationMode = None
    return {
        "torchvision": ModuleType("torchvision"),
        "torchvision.transforms": ModuleType("torchvision.transforms"),
        "torchvision.transforms.functional": functional,
    }


@pytest.fixture(scope="module", autouse=True)
def _spandrel() -> Iterator[None]:
    if find_spec("spandrel") is None:
        pytest.skip("needs spandrel: pip install spandrel")
    added = {} if find_spec("torchvision") else _stand_in()
    sys.modules.update(added)
    yield
    for name in added:
        sys.modules.pop(name)


def compact() -> torch.nn.Module:
    from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact

    return SRVGGNetCompact(num_feat=8, num_conv=3, upscale=2)


def span() -> torch.nn.Module:
    from spandrel.architectures.SPAN import SPAN

    return SPAN(feature_channels=8, upscale=4, num_in_ch=3, num_out_ch=3)


def esrgan() -> torch.nn.Module:
    from spandrel.architectures.ESRGAN.__arch.RRDB import RRDBNet

    return RRDBNet(num_filters=8, num_blocks=1, scale=4, shuffle_factor=None)


def swinir() -> torch.nn.Module:
    from spandrel.architectures.SwinIR import SwinIR

    return SwinIR(embed_dim=12, depths=(2,), num_heads=(2,), window_size=8, upscale=2, upsampler="pixelshuffledirect")


def saved(network: torch.nn.Module, path: Path) -> Path:
    save_file({name: tensor.contiguous().clone() for name, tensor in network.state_dict().items()}, path)
    return path


@pytest.fixture
def net(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return saved(compact(), tmp_path / "compact.safetensors")


@pytest.mark.parametrize(
    ("make", "graph", "scale"),
    [(compact, "RealESRGAN Compact", 2), (span, "SPAN", 4), (esrgan, "ESRGAN", 4), (swinir, "SwinIR", 2)],
)
def test_architectures_are_recognised_and_compute_what_they_are(
    make: Callable[[], torch.nn.Module], graph: str, scale: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = make().eval()
    model = registry.load(str(saved(network, tmp_path / "net.safetensors")), scale)
    assert (model.config.graph, model.scale, model.name) == (graph, scale, "net")
    picture = torch.rand(1, 3, 24, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.module(picture), network(picture), atol=2e-5, rtol=0)


def test_the_halo_is_wide_enough_for_tiles(net: Path) -> None:
    model = registry.load(str(net), 2)
    assert model.halo == 8  # five convolutions of 3x3
    picture = (torch.rand(64, 80, 3, generator=torch.Generator().manual_seed(1)) * 255).byte().numpy()
    with (
        Upscaler(net, scale=2, backend="cpu", tile="off") as whole,
        Upscaler(net, scale=2, backend="cpu", tile=32) as tiled,
    ):
        assert abs(whole(picture).astype(int) - tiled(picture).astype(int)).max() <= 1


def test_a_network_that_sees_everything_gets_the_widest_halo() -> None:
    class Mean(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            wide = torch.nn.functional.interpolate(x, scale_factor=2.0)
            return wide + 10 * x.mean((2, 3), keepdim=True)

    module = foreign.Foreign(Mean(), foreign.ForeignConfig("mean", 2, 1, 1))
    assert foreign.halo(module, 1) == foreign.HALOS[-1]


def test_multiply_adds_are_counted(net: Path) -> None:
    # SRVGGNetCompact of 8 features and 3 inner convolutions at x2: head, inner ones, and one to 3 * 2 * 2 channels.
    assert registry.load(str(net), 2).macs_per_pixel == 9 * (3 * 8 + 3 * 8 * 8 + 8 * 12)


def test_sides_below_the_least_are_extended_and_cut(tmp_path: Path) -> None:
    seen: list[tuple[int, ...]] = []

    class Double(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(x.shape[2:]))
            return torch.nn.functional.interpolate(x, scale_factor=2.0)

    module = foreign.Foreign(Double(), foreign.ForeignConfig("double", 2, 1, 16))
    assert module(torch.rand(1, 3, 5, 40)).shape == (1, 3, 10, 80)
    assert seen == [(16, 40)]


def test_a_clip_is_upscaled_by_it(vidsr: Cli, net: Path, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=4)
    result = vidsr("upscale", clip, "--model", net, "--scale", "2", "--backend", "cpu")
    assert result.code == 0, result.err
    assert "compact x2" in result.err
    with av.open(str(tmp_path / "clip_x2.mp4")) as container:
        assert [(f.width, f.height) for f in container.decode(video=0)] == [(128, 96)] * 4


def test_a_pickled_checkpoint_is_never_opened(vidsr: Cli, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=1)
    for name in ("net.pth", "NET.PT", "net.ckpt"):
        (tmp_path / name).write_bytes(b"\x80\x04canary")
        result = vidsr("upscale", clip, "--model", tmp_path / name)
        assert result.code in (1, 2)
        assert "is a pickled checkpoint" in result.err


def test_weights_of_no_known_network_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3)}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match="holds no network"):
        registry.load(str(tmp_path / "a.safetensors"), 4)


def test_a_network_that_does_not_upscale_is_refused(tmp_path: Path) -> None:
    from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact

    path = saved(SRVGGNetCompact(num_feat=8, num_conv=3, upscale=1), tmp_path / "one.safetensors")
    with pytest.raises(ModelError, match="at x1"):
        registry.native_scale(str(path), 2)
