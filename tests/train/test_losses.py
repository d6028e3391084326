"""Every loss against a value worked out by hand."""

import math

import pytest
import torch

from train import losses


def picture(*values: float) -> torch.Tensor:
    """(N, 3, 1, 1): one grey pixel per value."""
    return torch.tensor(values)[:, None, None, None].expand(-1, 3, 1, 1)


def test_pixel_loss_is_the_mean_absolute_difference() -> None:
    assert losses.pixel_loss(picture(0.5, 0.2), picture(0.1, 0.4)) == pytest.approx(0.3)


def test_perceptual_loss_is_the_mean_absolute_difference_of_features() -> None:
    a, b = torch.tensor([[[[1.0, -2.0]]]]), torch.tensor([[[[0.0, 2.0]]]])
    assert losses.perceptual_loss(a, b) == pytest.approx((1 + 4) / 2)


def test_adversarial_losses_from_logits() -> None:
    fake, real = torch.tensor([[0.0], [math.log(3)]]), torch.tensor([[math.log(3)], [0.0]])
    # D = 1/2 and 3/4 on the fakes, 3/4 and 1/2 on the originals
    assert losses.generator_loss(fake) == pytest.approx((-math.log(1 / 2) - math.log(3 / 4)) / 2)
    on_real = (-math.log(3 / 4) - math.log(1 / 2)) / 2
    on_fake = (-math.log(1 - 1 / 2) - math.log(1 - 3 / 4)) / 2
    assert losses.discriminator_loss(real, fake) == pytest.approx(on_real + on_fake)


def test_relative_losses_compare_the_two_of_a_place() -> None:
    real, fake = torch.tensor([[math.log(3)], [0.0]]), torch.tensor([[0.0], [math.log(7)]])
    # the original is taken for itself with 3/4 and with 1/8
    assert losses.relative_discriminator_loss(real, fake) == pytest.approx(-math.log(3 / 4) - math.log(1 / 8))
    assert losses.relative_generator_loss(real, fake) == pytest.approx((-math.log(1 / 4) - math.log(7 / 8)) / 2)
    assert losses.relative_accuracy(real, fake) == 0.5


def test_what_is_judged_is_in_whole_codes_and_gradients_pass() -> None:
    sr = torch.tensor([0.1, 12.4 / 255, 254.6 / 255], requires_grad=True)
    codes = losses.coded(sr)
    assert torch.allclose(codes * 255, torch.tensor([26.0, 12.0, 255.0]), atol=1e-4)
    codes.square().sum().backward()
    assert sr.grad is not None
    assert torch.allclose(sr.grad, 2 * codes.detach())


def test_accuracy_counts_right_verdicts() -> None:
    real, fake = torch.tensor([[1.0], [2.0], [-1.0], [3.0]]), torch.tensor([[-1.0], [1.0], [2.0], [3.0]])
    assert losses.accuracy(real, fake) == pytest.approx((3 / 4 + 1 / 4) / 2)


def test_local_variance_of_a_single_bright_pixel() -> None:
    x = torch.zeros(1, 1, 15, 15)
    x[0, 0, 7, 7] = 49.0
    variance = losses.local_variance(x)
    # in a window of 49 pixels, one is 49 and the others 0: mean 1, sum of squared differences 48**2 + 48
    assert variance[0, 0, 7, 7] == pytest.approx((48**2 + 48) / 48)
    assert variance[0, 0, 4, 10] == pytest.approx((48**2 + 48) / 48)
    assert variance[0, 0, 3, 7] == 0


def test_artefact_map_knows_only_where_the_average_is_nearer() -> None:
    hr, averaged = torch.zeros(1, 3, 15, 15), torch.full((1, 3, 15, 15), 0.5)
    sr = torch.zeros(1, 3, 15, 15)
    sr[..., 7, 7] = 1.0  # a residual of 3 over the colours, of 1.5 in the averaged output
    found = losses.artefact_map(sr, averaged, hr)
    count = 15 * 15
    whole = (9 / count - (3 / count) ** 2) * count / (count - 1)
    local = (9 / 49 - (3 / 49) ** 2) * 49 / 48
    assert found[0, 0, 7, 7] == pytest.approx(whole**0.2 * local, rel=1e-4)
    assert found.count_nonzero() == 1  # elsewhere the average is farther off
    assert losses.artefact_loss(sr, averaged, hr) == pytest.approx(whole**0.2 * local / count, rel=1e-4)


def test_artefact_loss_moves_only_the_output() -> None:
    hr = torch.rand(1, 3, 9, 9)
    sr = torch.rand(1, 3, 9, 9, requires_grad=True)
    losses.artefact_loss(sr, hr, hr).backward()
    expected = losses.artefact_map(sr.detach(), hr, hr) * (sr.detach() - hr).sign() / sr.numel()
    assert sr.grad is not None
    assert torch.allclose(sr.grad, expected)


@pytest.mark.parametrize("shift", [(2, 3), (-1, 2), (5, -7), (0, 1)])
def test_shift_loss_of_crops_of_one_picture_is_nothing(shift: tuple[int, int]) -> None:
    whole = torch.rand(3, 40, 40)
    down, right = shift
    first, second = whole[:, 10:26, 10:26], whole[:, 10 + down : 26 + down, 10 + right : 26 + right]
    shifts = torch.tensor([shift])
    assert losses.shift_loss(first[None], second[None], shifts) == 0
    assert losses.shift_loss(first[None], second[None] + 0.25, shifts) == pytest.approx(0.25)
    assert losses.shift_loss(first[None], second[None], -shifts) > 0.1
    both = losses.shift_loss(torch.stack((first, first)), torch.stack((second, second + 0.5)), shifts.expand(2, 2))
    assert both == pytest.approx(0.25)


def test_colour_drift_has_a_sign_per_channel() -> None:
    hr = torch.rand(2, 3, 4, 4)
    sr = hr + torch.tensor([0.01, -0.02, 0.0])[:, None, None]
    assert losses.colour_drift(sr, hr).tolist() == pytest.approx([0.01, -0.02, 0.0], abs=1e-6)
