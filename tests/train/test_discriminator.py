"""The discriminators: the paper's shape, and a logit for every place."""

import pytest
import torch
from torch import nn

from train.discriminator import BlurDown, Discriminator, make_discriminator
from train.recipe import DiscriminatorConfig
from vidsr.errors import UsageError


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


@pytest.mark.parametrize("kind", ["patch", "blurred"])
def test_a_logit_for_every_place(kind: str) -> None:
    judge = make_discriminator(DiscriminatorConfig(channels=8, kind=kind))
    assert judge(torch.rand(2, 3, 48, 64)).shape == (2, 1, 3, 4)
    assert isinstance(make_discriminator(DiscriminatorConfig(channels=8)), Discriminator)
    assert sum(isinstance(layer, nn.GroupNorm) for layer in judge.modules()) == 7


def test_details_come_beside_the_picture_and_a_code_of_them_counts() -> None:
    judge = make_discriminator(DiscriminatorConfig(channels=8, kind="patch", details=True))
    seen: list[torch.Tensor] = []
    judge.get_submodule("features").register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    grid = (torch.arange(16) % 2).expand(1, 3, 16, 16) / 255  # of one code
    assert judge(0.5 + grid).shape == (1, 1, 1, 1)
    picture, details = seen[0].chunk(2, 1)
    assert torch.allclose(picture, 2 * grid, atol=1e-6)
    assert torch.allclose(details, (grid - grid.mean()) * 16, atol=1e-5)
    with pytest.raises(UsageError, match=r"discriminator\.details belongs to the kinds patch and blurred"):
        DiscriminatorConfig(details=True)


def test_blurred_strides_take_a_grid_out() -> None:
    x = torch.arange(32) % 2 + torch.zeros(1, 2, 32, 32)
    assert torch.allclose(BlurDown()(x), torch.full((1, 2, 16, 16), 0.5), atol=1e-6)


@pytest.mark.parametrize("kind", ["patch", "blurred"])
def test_it_learns_a_faint_grid(kind: str) -> None:
    """One code in ten up and down: what the mean over the picture averages away."""
    torch.manual_seed(0)
    judge = make_discriminator(DiscriminatorConfig(channels=8, kind=kind))
    optimiser = torch.optim.Adam(judge.parameters(), 2e-3)
    grid = (torch.arange(32) % 4 < 2).float() * 0.1
    for _ in range(40):
        smooth = torch.rand(6, 3, 1, 1).expand(6, 3, 32, 32)
        real, fake = judge(smooth), judge(smooth + grid)
        loss = nn.functional.softplus(-real).mean() + nn.functional.softplus(fake).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    shown = torch.full((1, 3, 32, 32), 0.4)
    assert (judge(shown) > 0).float().mean() > 0.7
    assert (judge(shown + grid) < 0).float().mean() > 0.7
