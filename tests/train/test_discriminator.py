"""The discriminator's shape."""

import torch
from torch import nn

from train.discriminator import Discriminator


def test_eight_convolutions_strided_where_the_paper_has_them() -> None:
    convolutions = [layer for layer in Discriminator().modules() if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.stride[0]) for c in convolutions] == [
        (3, 64, 1),
        (64, 64, 2),
        (64, 128, 1),
        (128, 128, 2),
        (128, 256, 1),
        (256, 256, 2),
        (256, 512, 1),
        (512, 512, 2),
    ]
    assert {c.kernel_size for c in convolutions} == {(3, 3)}
    slopes = [layer.negative_slope for layer in Discriminator().modules() if isinstance(layer, nn.LeakyReLU)]
    assert slopes == [0.2] * 8


def test_any_size_gives_one_logit_a_picture() -> None:
    judge = Discriminator(4)
    for height, width in ((16, 16), (33, 50)):
        assert judge(torch.rand(3, 3, height, width)).shape == (3, 1)


def test_it_learns_to_tell_noise_from_flat() -> None:
    torch.manual_seed(0)
    judge = Discriminator(4)
    optimiser = torch.optim.Adam(judge.parameters(), 5e-3)
    for _ in range(30):
        real, fake = judge(torch.rand(8, 1, 1, 1).expand(8, 3, 16, 16)), judge(torch.rand(8, 3, 16, 16))
        loss = nn.functional.softplus(-real).mean() + nn.functional.softplus(fake).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (judge(torch.full((1, 3, 16, 16), 0.4)) > 0).all()
    assert (judge(torch.rand(4, 3, 16, 16)) < 0).all()
