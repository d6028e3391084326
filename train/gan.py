"""The adversarial stage: the pixel stage's losses, the discriminator's verdict, and the discriminator's own step."""

import torch
from torch import Tensor

from train import losses
from train.processes import World
from train.run import Run, round_moments
from train.sample import Sample
from train.stage import Stage, Terms
from vidsr.errors import UsageError


class Adversarial(Stage):
    """Moves generator and discriminator in turn.

    Raises:
        UsageError: the recipe does not weigh an adversarial loss, or a patch is too small for the artefact loss.
    """

    def __init__(self, run: Run, world: World | None = None) -> None:
        super().__init__(run, world)
        if not (run.discriminator and run.critic):
            raise UsageError(f"The recipe {run.recipe.name} has no losses.adversarial above 0; train it with fit.")
        self.discriminator, self.critic = run.discriminator, run.critic

    def terms(self, sample: Sample, sr: Tensor) -> Terms:
        """The pixel stage's losses, the adversarial one and the artefacts'."""
        terms = super().terms(sample, sr)
        self.discriminator.requires_grad_(False)
        with self.autocast():
            fake = self.discriminator(sr)
        self.discriminator.requires_grad_(True)
        terms["adversarial"] = losses.generator_loss(fake.float())
        if self.weights.artefact:
            with torch.no_grad(), self.autocast():
                averaged = self.run.ema(sample.lr.contiguous(memory_format=torch.channels_last))
            terms["artefact"] = losses.artefact_loss(sr, averaged.float(), sample.hr)
        return terms

    def weight(self, name: str) -> float:
        """As the recipe says; the adversarial weight rises over the first `ramp` steps, the artefacts' with it."""
        if name not in ("adversarial", "artefact") or not self.weights.ramp:
            return super().weight(name)
        return super().weight(name) * min(1.0, self.run.step / self.weights.ramp)

    def follow(self, sample: Sample, sr: Tensor) -> Terms:
        """Move the discriminator, on the same originals and outputs."""
        with self.autocast():
            real, fake = self.discriminator(sample.hr), self.discriminator(sr)
        real, fake = real.float(), fake.float()
        loss = losses.discriminator_loss(real, fake)
        loss.backward()  # type: ignore[no-untyped-call]
        self.world.mean_gradients(self.discriminator.parameters())
        self.critic.step()
        self.critic.zero_grad(set_to_none=True)
        round_moments(self.critic)
        seen = {"discriminator": loss.detach(), "accuracy": losses.accuracy(real, fake).detach()}
        return {**super().follow(sample, sr), **seen}
