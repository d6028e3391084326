"""Feature networks: names of layers, weights from files, and the arithmetic of one layer."""

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from train import trunk
from train.trunk import TrunkLoss, open_loss, open_trunk
from vidsr import perceptual
from vidsr.errors import ModelError, UsageError

CPU = torch.device("cpu")


def vgg19_weights(last: int = 2) -> dict[str, torch.Tensor]:
    """A state dict as torchvision names it: convolutions 0 and 2 of the first block, 5 of the second."""
    random = torch.Generator().manual_seed(0)
    shapes = {0: (64, 3), 2: (64, 64), 5: (128, 64)}
    weights = {}
    for number, (out, inner) in shapes.items():
        if number <= last:
            weights[f"features.{number}.weight"] = torch.randn(out, inner, 3, 3, generator=random) * 0.05
            weights[f"features.{number}.bias"] = torch.randn(out, generator=random)
    return weights | {"classifier.0.weight": torch.zeros(4, 4)}


def test_vgg19_before_and_after_an_activation(tmp_path: Path) -> None:
    path = tmp_path / "vgg19.pth"
    weights = vgg19_weights(5)
    torch.save(weights, path)
    x = torch.rand(2, 3, 12, 12)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    y = (x - mean[:, None, None]) / deviation[:, None, None]
    y = F.relu(F.conv2d(y, weights["features.0.weight"], weights["features.0.bias"], padding=1))
    y = F.relu(F.conv2d(y, weights["features.2.weight"], weights["features.2.bias"], padding=1))
    y = F.conv2d(F.max_pool2d(y, 2), weights["features.5.weight"], weights["features.5.bias"], padding=1)
    assert torch.allclose(open_trunk("vgg19:conv2_1", str(path), CPU)(x), y, atol=1e-5)
    assert torch.allclose(open_trunk("vgg19:relu2_1", str(path), CPU)(x), F.relu(y), atol=1e-5)
    assert y.min() < 0


def test_the_papers_layer_is_the_sixteenth_convolution() -> None:
    layers = TrunkLoss("vgg19:conv5_4").layers
    assert isinstance(layers[-1], torch.nn.Conv2d)
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in layers) == 16
    assert len(layers) == 35  # features.34 is torchvision's last convolution
    assert not any(parameter.requires_grad for parameter in layers.parameters())


def test_blurred_pooling() -> None:
    x = torch.rand(1, 2, 8, 10)
    wide = F.pad(F.max_pool2d(x, 2, 1), [2, 2, 2, 2], mode="reflect")
    line = torch.tensor([0.25, 0.5, 0.25])
    expected = (wide[:, :, 2:5, 4:7] * torch.outer(line, line)).sum((2, 3))
    pooling = TrunkLoss("stlpips-vgg16:conv2_1").layers[4:6]
    out = pooling(x)
    assert out.shape == (1, 2, 5, 6)
    assert torch.allclose(out[:, :, 1, 2], expected)


@pytest.mark.skipif(importlib.util.find_spec("stlpips_pytorch") is None, reason="needs stlpips-pytorch")
def test_the_packaged_trunk_tells_sharp_from_soft() -> None:
    network = open_trunk("stlpips-vgg16:relu3_3", "", CPU)
    sharp = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    soft = F.avg_pool2d(F.pad(sharp, [1] * 4, mode="reflect"), 3, 1)
    features = network(sharp)
    assert features.shape == (1, 256, 9, 9)
    assert features.min() == 0
    assert (network(soft) - features).abs().mean() > 3 * (network(sharp + 0.01) - features).abs().mean()


@pytest.mark.skipif(importlib.util.find_spec("stlpips_pytorch") is None, reason="needs stlpips-pytorch")
def test_lpips_as_a_loss() -> None:
    sr, hr = torch.rand(2, 2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    whole = perceptual.load("stlpips-vgg")(sr * 255, hr * 255).mean()
    assert torch.allclose(open_loss("stlpips-vgg16:lpips5", "", CPU).distance(sr, hr), whole)
    loss = open_loss("stlpips-vgg16:lpips2", "", CPU)
    assert 0.5 * whole < loss.distance(sr, hr) < 0.99 * whole
    black = torch.zeros(1, 3, 40, 40, requires_grad=True)
    loss.distance(black, hr[:1]).backward()
    assert isinstance(black.grad, torch.Tensor)
    assert 0 < black.grad.abs().max() < 1


@pytest.mark.parametrize("name", ["vgg19", "vgg19:conv6_1", "vgg19:conv1_3", "vgg11:conv1_1", "vgg19:pool1", ""])
def test_unknown_layers_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"Unknown losses\.trunk"):
        open_trunk(name, "", CPU)


def test_weights_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"gone\.pth cannot be read"):
        open_trunk("vgg19:conv1_1", str(tmp_path / "gone.pth"), CPU)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(ModelError, match=r"text\.pth cannot be read"):
        open_trunk("vgg19:conv1_1", str(tmp_path / "text.pth"), CPU)
    torch.save(vgg19_weights(0), tmp_path / "short.pth")
    with pytest.raises(ModelError, match="not those of this VGG"):
        open_trunk("vgg19:conv1_2", str(tmp_path / "short.pth"), CPU)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install --no-deps stlpips-pytorch"):
        open_trunk("stlpips-vgg16:relu1_1", "", CPU)
    monkeypatch.setattr(trunk, "VGG19_ADDRESS", (tmp_path / "nothing.pth").as_uri())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    with pytest.raises(ModelError, match="VGG19 cannot be downloaded"):
        open_trunk("vgg19:conv1_1", "", CPU)


def test_the_last_layers_of_several_blocks(tmp_path: Path) -> None:
    """Each divided by the size of the original's features, weighted and added up."""
    path = tmp_path / "vgg16.pt"
    weights = vgg19_weights(5)
    torch.save(weights, path)
    sr, hr = torch.rand(2, 2, 3, 12, 12)
    first, second = (open_trunk(f"vgg16:conv{layer}", str(path), CPU) for layer in ("1_2", "2_1"))
    parts = [(network(sr) - network(hr)).abs().mean() / network(hr).abs().mean() for network in (first, second)]
    assert torch.allclose(
        open_loss("vgg16:conv2_1+", str(path), CPU).distance(sr, hr), 0.1 * parts[0] + 0.25 * parts[1]
    )
    with pytest.raises(ModelError, match="vgg16 comes from no package"):
        open_trunk("vgg16:conv1_2", "", CPU)


def test_the_first_layer_sees_codes_in_bf16_too(tmp_path: Path) -> None:
    """Half a code more is another picture; rounded to bf16 it was the same."""
    path = tmp_path / "vgg19.pth"
    torch.save(vgg19_weights(), path)
    network = open_trunk("vgg19:conv1_1", str(path), CPU)
    x = torch.rand(1, 3, 12, 12)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network(x), network.layers[0]((x - network.mean) / network.deviation).float()) is False
        found = network(x)
    assert torch.equal(found, network(x))
