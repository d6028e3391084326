"""Feature networks for the perceptual loss: the convolutions of a VGG, up to a named layer.

``vgg19`` is the paper's, with the weights that torchvision publishes. ``vgg16`` comes from a file, named as there.
``stlpips-vgg16`` is the trunk of the shift-tolerant LPIPS (arXiv:2207.13686), which the PyPI package
``stlpips-pytorch`` carries whole. Layers are named ``conv5_4`` (before the activation) or ``relu5_4``; ``conv4_3+``
takes the last convolutions of the blocks before it, too. ``stlpips-vgg16:lpips3`` is the distance itself, of the
first three of its five stages.
"""

import importlib.util
import pickle
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from train import losses
from vidsr import perceptual
from vidsr.errors import BackendError, ModelError, UsageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
VGG19_ADDRESS = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
STLPIPS_WEIGHTS = "weights/vST0.0/vgg_shift_tolerant.pth"


class FeatureLoss(nn.Module):
    """A frozen network; called with (N, 3, H, W) RGB in [0, 1] it gives its features."""

    def distance(self, sr: Tensor, hr: Tensor) -> Tensor:
        """How far two (N, 3, H, W) are apart in the features: a scalar in FP32, 0 for equal pictures."""
        raise NotImplementedError


@dataclass(frozen=True)
class Network:
    """One VGG: convolutions per block, how its weights are named, and whether its pooling blurs before it reduces."""

    depths: tuple[int, ...]
    key: str  # a pattern whose group is the number of the layer
    blurred: bool


NETWORKS = {
    "vgg19": Network((2, 2, 4, 4, 4), r"features\.(\d+)", blurred=False),
    "vgg16": Network((2, 2, 3, 3, 3), r"features\.(\d+)", blurred=False),
    "stlpips-vgg16": Network((2, 2, 3, 3, 3), r"net\.slice\d\.(\d+)", blurred=True),
}


STACKED = (0.1, 0.25, 1.0, 1.0, 1.0)  # weight of each block's last convolution in ``conv4_3+``


class TrunkLoss(FeatureLoss):
    """Frozen layers of a VGG; `name` is the recipe's ``network:layer``, without weights until `fill`."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, name: str) -> None:
        super().__init__()
        self.network, block, conv, activated = parse_trunk(name.removesuffix("+"))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION)[:, None, None], persistent=False)
        layers = perceptual.vgg_layers((*self.network.depths[: block - 1], conv), blurred=self.network.blurred)
        self.layers = nn.Sequential(*(layers if activated else layers[:-1]))
        self.taps = _ends(self.layers) if name.endswith("+") else [len(self.layers) - 1]
        self.requires_grad_(False).eval()

    def fill(self, weights: dict[str, Tensor]) -> "TrunkLoss":
        """Take the weights of these layers out of a state dict of the whole network.

        Raises:
            ModelError: they are not in it.
        """
        own = {}
        for key, value in weights.items():
            if found := re.fullmatch(rf"{self.network.key}\.(weight|bias)", key):
                own[f"{found[1]}.{found[2]}"] = value
        needed = self.layers.state_dict()
        if any(key not in own or own[key].shape != needed[key].shape for key in needed):
            raise ModelError("The weights of the feature network are not those of this VGG; check losses.trunk_file.")
        self.layers.load_state_dict({key: own[key] for key in needed})
        return self

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in [0, 1] -> (N, C, h, w)."""
        return self.tapped(x)[-1]

    def tapped(self, x: Tensor) -> list[Tensor]:
        """The features (N, C, h, w) of every layer that counts, the last one's last."""
        with torch.autocast(x.device.type, enabled=False):  # bf16 would round the picture to whole codes
            x = self.layers[0]((x.float() - self.mean) / self.deviation)
        found = [x] if 0 in self.taps else []
        for index, layer in list(enumerate(self.layers))[1:]:
            x = layer(x)
            if index in self.taps:
                found.append(x)
        return found

    def distance(self, sr: Tensor, hr: Tensor) -> Tensor:
        """See `FeatureLoss`: the mean absolute difference of the features.

        Of several layers the weighted sum (STACKED), each divided by the mean size of the original's features.
        """
        with torch.no_grad():
            wanted = self.tapped(hr)
        if len(self.taps) == 1:
            return losses.perceptual_loss(self(sr).float(), wanted[0].float())
        parts = [
            weight * losses.perceptual_loss(one.float(), other.float()) / other.float().abs().mean()
            for weight, one, other in zip(STACKED, self.tapped(sr), wanted, strict=False)
        ]
        return torch.stack(parts).sum()


def _ends(layers: nn.Sequential) -> list[int]:
    """The last convolution of each block, by its place."""
    kinds = [isinstance(layer, nn.Conv2d) for layer in layers]
    pools = [index for index, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    return [max(index for index in range(end) if kinds[index]) for end in (*pools, len(layers))]


class Lpips(FeatureLoss):
    """LPIPS with the heads of the shift-tolerant VGG16, of its first `stages` stages (1 to 5).

    Raises:
        ModelError: its package is not installed.
    """

    def __init__(self, stages: int) -> None:
        super().__init__()
        try:
            self.lpips = perceptual.load("stlpips-vgg").first(stages)
        except BackendError as error:
            raise ModelError(str(error)) from error

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) RGB in [0, 1] -> one (N, C, h, w) per stage."""
        return self.lpips.trunk(self.lpips.normalise(x * 255))  # type: ignore[no-any-return]

    def distance(self, sr: Tensor, hr: Tensor) -> Tensor:
        """See `FeatureLoss`: the distance's mean over the batch."""
        return self.lpips(sr * 255, hr * 255).float().mean()  # type: ignore[no-any-return]


def parse_trunk(name: str) -> tuple[Network, int, int, bool]:
    """``network:layer`` -> the network, block and convolution counted from 1, and whether its activation belongs to it.

    Raises:
        UsageError: there is no such network or layer.
    """
    network, _, layer = name.partition(":")
    found = re.fullmatch(r"(conv|relu)(\d)_(\d)", layer)
    if network in NETWORKS and found:
        depths, block, conv = NETWORKS[network].depths, int(found[2]), int(found[3])
        if 1 <= block <= len(depths) and 1 <= conv <= depths[block - 1]:
            return NETWORKS[network], block, conv, found[1] == "relu"
    raise UsageError(f"Unknown losses.trunk {name!r}; write for example vgg19:conv5_4 or stlpips-vgg16:relu3_3.")


def open_loss(name: str, file: str, device: torch.device) -> FeatureLoss:
    """The loss that a recipe's `trunk` and `trunk_file` name, in channels_last.

    Raises:
        UsageError: there is no such network or layer.
        ModelError: the weights cannot be had, or are others.
    """
    if found := re.fullmatch(r"stlpips-vgg16:lpips([1-5])", name):
        lpips: Lpips = Lpips(int(found[1])).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return lpips
    trunk: TrunkLoss = open_trunk(name, file, device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return trunk


def open_trunk(name: str, file: str, device: torch.device) -> TrunkLoss:
    """The trunk `name` with its weights: of `file` where given, of the installed package, or downloaded for ``vgg19``.

    Raises:
        UsageError: there is no such network or layer.
        ModelError: the weights cannot be had, or are others.
    """
    trunk = TrunkLoss(name)
    if file:
        return trunk.fill(_read(Path(file))).to(device)
    if trunk.network.blurred:
        return trunk.fill(_read(_packaged())).to(device)
    if name.startswith("vgg19"):
        return trunk.fill(_download()).to(device)
    raise ModelError("The trunk vgg16 comes from no package; give the file of its weights as losses.trunk_file.")


def _read(path: Path) -> dict[str, Tensor]:
    try:
        weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(f"The feature network {path} cannot be read; check losses.trunk_file.") from error
    return weights


def _packaged() -> Path:
    found = importlib.util.find_spec("stlpips_pytorch")  # the package itself is never imported: it needs torchvision
    if found is None or not found.submodule_search_locations:
        raise ModelError("The trunk stlpips-vgg16 is not installed; run: pip install --no-deps stlpips-pytorch")
    return Path(found.submodule_search_locations[0]) / STLPIPS_WEIGHTS


def _download() -> dict[str, Tensor]:
    try:
        weights: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
            VGG19_ADDRESS, map_location="cpu", weights_only=True, check_hash=True, progress=False
        )
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"VGG19 cannot be downloaded from {VGG19_ADDRESS}; put it there as losses.trunk_file, "
            'or use losses.trunk = "stlpips-vgg16:relu3_3".'
        ) from error
    return weights
