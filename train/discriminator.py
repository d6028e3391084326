"""The discriminator of Ledig et al. (arXiv:1609.04802, figure 4), without batch norms, for patches of any size."""

import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2  # of LeakyReLU
STAGES = 4  # the width doubles from one to the next, and each ends with a stride of 2


class Discriminator(nn.Module):
    """Eight convolutions of 3x3, `channels` to 8 * `channels` wide, then two dense layers on their spatial mean.

    The mean keeps the first dense layer small: 5.2 M weights at 64 channels.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for stage in range(STAGES):
            out = channels << stage
            for stride, inner in ((1, width), (2, out)):
                layers += [nn.Conv2d(inner, out, 3, stride, padding=1), nn.LeakyReLU(SLOPE)]
            width = out
        self.features = nn.Sequential(*layers)
        self.dense = nn.Linear(width, 2 * width)
        self.judge = nn.Linear(2 * width, 1)
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in [0, 1] -> (N, 1) logits, above 0 for an original."""
        pooled = self.features(x * 2 - 1).mean((2, 3))
        return self.judge(F.leaky_relu(self.dense(pooled), SLOPE))  # type: ignore[no-any-return]
