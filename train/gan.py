"""The adversarial stage: the pixel stage's losses, the discriminator's verdict, and the discriminator's own step."""

import torch
from torch import Tensor

from train import losses
from train.crops import Sample
from train.processes import World
from train.recipe import WEIGHTS
from train.run import Run, round_moments
from train.stage import PreciseTail, Stage, Terms, quicken, tame
from vidsr.errors import UsageError

ALONE, RISEN = 0.1, 0.3  # shares of a clock's seconds by which those steps are over at the latest, however slow


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
        self.judge = quicken(run.discriminator, run.device)
        self.average = quicken(PreciseTail(run.ema), run.device)
        self.relative = run.recipe.discriminator.relative
        # Share of a clock's seconds after which the first step was over: compiling can take many.
        self.begun: float | None = None

    @property
    def gone(self) -> float:
        """Share of a clock's seconds that has gone since the first step; 0 without a clock."""
        return self.run.clock.gone - self.begun if self.run.clock and self.begun is not None else 0.0

    @property
    def alone(self) -> bool:
        """Whether the discriminator still learns by itself, on a generator that stands still."""
        late = self.gone > ALONE
        return self.run.step < self.run.recipe.discriminator.alone and not late

    def step(self, sample: Sample) -> Terms:
        """See `Stage.step`; while the discriminator is `alone` only it moves, and the generator's losses are 0."""
        if not self.alone:
            return super().step(sample)
        self.run.set_rates()
        with torch.no_grad(), self.autocast():
            sr = self.upscale(sample.lr.contiguous(memory_format=torch.channels_last))
        unseen = {name: torch.zeros((), device=sr.device) for name in WEIGHTS if getattr(self.weights, name)}
        return {"loss": torch.zeros((), device=sr.device), **unseen, **self.follow(sample, sr.float())}

    def terms(self, sample: Sample, sr: Tensor) -> Terms:
        """The pixel stage's losses, the adversarial one and the artefacts'."""
        terms = super().terms(sample, sr)
        self.discriminator.requires_grad_(False)
        terms["adversarial"] = self._convinced(sample, sr)
        self.discriminator.requires_grad_(True)
        if self.weights.artefact:
            with torch.no_grad(), self.autocast():
                averaged = self.average(sample.lr.contiguous(memory_format=torch.channels_last))
            terms["artefact"] = losses.artefact_loss(sr, averaged.float(), sample.hr)
        return terms

    def _convinced(self, sample: Sample, sr: Tensor) -> Tensor:
        """How little the discriminator takes the outputs for originals."""
        if not self.relative:
            with self.autocast():
                return losses.generator_loss(self.judge(*self.shown(losses.coded(sr))).float())
        hr, sr = self.shown(sample.hr, losses.coded(sr))
        with self.autocast():
            with torch.no_grad():
                real = self.judge(hr).float()
            return losses.relative_generator_loss(real, self.judge(sr).float())

    def weight(self, name: str) -> float:
        """As the recipe says; the adversarial weight rises over `ramp` steps, the artefacts' with it."""
        if name not in ("adversarial", "artefact") or not self.weights.ramp:
            return super().weight(name)
        risen = (self.run.step - self.run.recipe.discriminator.alone) / self.weights.ramp
        if self.run.clock:
            risen = max(risen, (self.gone - ALONE) / (RISEN - ALONE))
        return super().weight(name) * min(1.0, max(0.0, risen))

    def shown(self, *pictures: Tensor) -> list[Tensor]:
        """What the discriminator sees: all shifted together by up to `jitter` pixels, so that no grid stands still."""
        reach = self.run.recipe.discriminator.jitter
        if not reach:
            return list(pictures)
        random, device = self.run.random, pictures[0].device
        moved = torch.randint(reach + 1, (2,), generator=random, device=random.device).to(device)
        down, right = (torch.arange(side - reach, device=device) for side in pictures[0].shape[-2:])
        return [picture[..., (down + moved[0])[:, None], right + moved[1]] for picture in pictures]

    def follow(self, sample: Sample, sr: Tensor) -> Terms:
        """Move the discriminator, on the same originals and outputs."""
        both = torch.cat(self.shown(sample.hr, losses.coded(sr))).contiguous(memory_format=torch.channels_last)
        with self.autocast():
            real, fake = self.judge(both).float().chunk(2)
        loss = (losses.relative_discriminator_loss if self.relative else losses.discriminator_loss)(real, fake)
        loss.backward()  # type: ignore[no-untyped-call]
        self.world.mean_gradients(self.discriminator.parameters())
        tame(self.discriminator.parameters())
        self.critic.step()
        self.critic.zero_grad(set_to_none=True)
        round_moments(self.critic)
        if self.run.clock and self.begun is None:
            self.begun = self.run.clock.gone
        accuracy = (losses.relative_accuracy if self.relative else losses.accuracy)(real, fake)
        seen = {"discriminator": loss.detach(), "accuracy": accuracy.detach()}
        return {**super().follow(sample, sr), **seen}
