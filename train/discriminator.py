"""Discriminators: networks that tell originals from upscaled pictures, for patches of any size."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.recipe import DiscriminatorConfig

SLOPE = 0.2  # of LeakyReLU
STAGES = 4  # the width doubles from one to the next, and each ends by halving the sides
GROUPS = 8  # of a group norm, where the width allows
CLOSER = 8.0  # differences between pixels are an eighth of their values
DETAILS = 16.0  # a code of 255 is then a sixteenth
BLUR = (1, 3, 3, 1)  # before a halving, so that a grid is not folded into a flat


class Discriminator(nn.Module):
    """The paper's (Ledig et al., arXiv:1609.04802, figure 4) without batch norms: one logit per picture.

    Eight convolutions of 3x3, `channels` to 8 * `channels` wide, then two dense layers on their spatial mean.
    The mean keeps the first dense layer small: 5.2 M weights at 64 channels.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stride, inner, out in _plan(channels):
            layers += [nn.Conv2d(inner, out, 3, stride, padding=1), nn.LeakyReLU(SLOPE)]
        self.features = nn.Sequential(*layers)
        width = channels << STAGES - 1
        self.dense = nn.Linear(width, 2 * width)
        self.judge = nn.Linear(2 * width, 1)
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in [0, 1] -> (N, 1) logits, above 0 for an original."""
        pooled = self.features(x * 2 - 1).mean((2, 3))
        return self.judge(F.leaky_relu(self.dense(pooled), SLOPE))  # type: ignore[no-any-return]


class PatchDiscriminator(nn.Module):
    """The same eight convolutions with group norms, and a logit for every place instead of one for the picture.

    Without the mean a grid in one corner counts where it is, and the norms keep the verdict from fading as the
    generator improves. `blurred` strides blur before they halve: whatever lies between the pixels kept is seen, too.
    With `details` it also sees what a small blur takes away, DETAILS times as strong: what is invented is a few codes.
    """

    def __init__(self, channels: int = 32, *, blurred: bool = False, details: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stride, inner, out in _plan(channels):
            if blurred and stride > 1:
                layers.append(BlurDown())
            seen = 2 * inner if details and inner == 3 else inner
            layers.append(nn.Conv2d(seen, out, 3, 1 if blurred else stride, padding=1))
            if inner != 3:
                layers.append(nn.GroupNorm(math.gcd(GROUPS, out), out))
            layers.append(nn.LeakyReLU(SLOPE))
        self.features = nn.Sequential(*layers)
        self.judge = nn.Conv2d(channels << STAGES - 1, 1, 3, padding=1)
        self.details = details
        if not details:
            self._look_closely()

    def _look_closely(self) -> None:
        """Begin with first filters that see differences only: what is invented is small beside the colours."""
        first = self.features[0].get_parameter("weight")
        with torch.no_grad():
            first.sub_(first.mean((2, 3), keepdim=True)).mul_(CLOSER)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in [0, 1] -> (N, 1, H/16, W/16) logits, above 0 for an original."""
        seen = x * 2 - 1
        if self.details:
            seen = torch.cat((seen, DETAILS * (x - _blurred(x))), 1)
        return self.judge(self.features(seen))  # type: ignore[no-any-return]


def _blurred(x: Tensor) -> Tensor:
    """(N, C, H, W) after a 3x3 binomial blur, the border mirrored."""
    wide = F.pad(x, [1, 1, 1, 1], mode="reflect")
    tall = (wide[..., :-2] + 2 * wide[..., 1:-1] + wide[..., 2:]) / 4
    return (tall[..., :-2, :] + 2 * tall[..., 1:-1, :] + tall[..., 2:, :]) / 4


class BlurDown(nn.Module):
    """Halves both sides after a 4x4 binomial blur; the border mirrored."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H/2, W/2)."""
        line = torch.tensor(BLUR, dtype=x.dtype, device=x.device) / sum(BLUR)
        kernel = torch.outer(line, line).expand(x.shape[1], 1, -1, -1)
        return F.conv2d(F.pad(x, [1, 1, 1, 1], mode="reflect"), kernel, stride=2, groups=x.shape[1])


def _plan(channels: int) -> Iterator[tuple[int, int, int]]:
    """Stride, input and output channels of the eight convolutions."""
    width = 3
    for stage in range(STAGES):
        yield 1, width, channels << stage
        width = channels << stage
        yield 2, width, width


def make_discriminator(config: DiscriminatorConfig) -> nn.Module:
    """The network that a recipe describes, freshly initialised."""
    if config.kind == "paper":
        return Discriminator(config.channels)
    return PatchDiscriminator(config.channels, blurred=config.kind == "blurred", details=config.details)
