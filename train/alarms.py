"""What a running training shows: a CSV file, TensorBoard curves, grids of pictures, and alarms."""

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from vidsr.errors import OutputError
from vidsr.models.srgan import GeneratorConfig, build

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger("train")

ACCURACY_LIMIT = 0.95  # a discriminator that is right more often teaches little
ACCURACY_FLOOR = 0.55  # one that is right less often guesses, and teaches nothing
DRIFT_LIMIT = 1 / 255  # mean shift of a colour channel
CONSTANTS_LIMIT = 1.5  # codes by which the worst constant colour may be off (`train.probes.drift`)
SETTLED = 10  # reports before drift and accuracy mean something
FALLING = 40  # reports that are compared, half against half, to see whether the loss still falls
GRID_ROWS = 6


class Watch:
    """Writes into the run's folder `out`: log.csv, tensorboard/, grids/. `columns` are those of a new log.csv."""

    def __init__(self, out: Path, columns: Sequence[str], scale: int) -> None:
        self.out, self.scale = out, scale
        out.mkdir(parents=True, exist_ok=True)
        self.path = out / "log.csv"
        self.columns = _header(self.path) or list(columns)
        self.alarms = Alarms()
        self.board = _board(out / "tensorboard")

    def report(self, row: Mapping[str, float], falling: bool) -> None:
        """Note one row of figures, and warn of what they show; `falling`: the loss should still be going down.

        Raises:
            OutputError: log.csv cannot be written.
        """
        try:
            self._append(row)
        except OSError as error:
            raise OutputError(f"Cannot write {self.path} ({error.strerror}); check the free space.") from error
        if self.board:
            for name, value in row.items():
                if name != "step":
                    self.board.add_scalar(name, value, row["step"])
        for sentence in self.alarms.check(row, falling):
            log.warning("step %d: %s", row["step"], sentence)

    def _append(self, row: Mapping[str, float]) -> None:
        new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, restval="", extrasaction="ignore")
            if new:
                writer.writeheader()
            writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})

    def picture(self, step: int, module: nn.Module, lr: Tensor, hr: Tensor) -> Path:
        """Save a grid of the first pairs: LR, bicubic, SR, HR side by side."""
        grid = picture_grid(module, lr[:GRID_ROWS], hr[:GRID_ROWS], self.scale)
        path = self.out / "grids" / f"step-{step:08d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(grid.permute(1, 2, 0).numpy()).save(path)
        if self.board:
            self.board.add_image("LR, bicubic, SR, HR", grid, step)
        return path

    def close(self) -> None:
        """Write out what TensorBoard still holds back."""
        if self.board:
            self.board.close()


def _header(path: Path) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return next(csv.reader(file), [])
    except FileNotFoundError:
        return []


def _board(folder: Path) -> "SummaryWriter | None":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("no TensorBoard curves: pip install tensorboard")
        return None
    return SummaryWriter(str(folder))


@torch.no_grad()
def picture_grid(module: nn.Module, lr: Tensor, hr: Tensor, scale: int) -> Tensor:
    """(3, rows * H, 4 * W) uint8: one row per pair of (N, 3, h, w) and (N, 3, H, W): LR, bicubic, SR, HR."""
    bicubic = build(GeneratorConfig("bicubic", scale)).to(lr.device)
    columns = (F.interpolate(lr, scale_factor=float(scale)), bicubic(lr), module(lr), hr)
    wide = torch.cat([column.float().cpu().clamp(0, 1) for column in columns], 3)
    return torch.cat(list(wide), 1).mul(255).round().to(torch.uint8)


class Alarms:
    """Warns once of each trouble: a discriminator that always wins or guesses, drifting colours, a loss that stays."""

    def __init__(self) -> None:
        self.reports = 0
        self.losses: list[float] = []
        self.said: set[str] = set()

    def check(self, row: Mapping[str, float], falling: bool) -> list[str]:
        """Sentences that are due with this row of figures."""
        self.reports += 1
        self.losses = [*self.losses, float(row["loss"])][-FALLING:] if falling else []
        found = {}
        if self.reports > SETTLED:
            found = {"accuracy": self._accuracy(row), "drift": self._drift(row), "loss": self._loss()}
        found["constants"] = self._constants(row)
        due = {name: text for name, text in found.items() if text and name not in self.said}
        self.said |= due.keys()
        return list(due.values())

    def _accuracy(self, row: Mapping[str, float]) -> str:
        value = row.get("accuracy", 0.9)
        if value < ACCURACY_FLOOR:
            return f"the discriminator guesses (right on {value:.0%}); lower losses.adversarial, or let it learn alone."
        if value <= ACCURACY_LIMIT:
            return ""
        return (
            f"the discriminator is right on {value:.0%} of the pictures and teaches little; "
            "lower discriminator.rate, or raise losses.ramp."
        )

    def _drift(self, row: Mapping[str, float]) -> str:
        value = row.get("drift", 0.0)
        if value <= DRIFT_LIMIT:
            return ""
        return f"a colour drifts by {value * 255:.1f}/255; lower rate or losses.adversarial, or raise losses.pixel."

    def _constants(self, row: Mapping[str, float]) -> str:
        value = row.get("constants", 0.0)
        if value <= CONSTANTS_LIMIT:
            return ""
        return f"a constant colour comes out {value:.1f} codes off; set patches in the recipe, and anneal in FP32."

    def _loss(self) -> str:
        half = FALLING // 2
        if len(self.losses) < FALLING or sum(self.losses[half:]) < sum(self.losses[:half]):
            return ""
        return f"the loss has not fallen over {FALLING} reports; anneal now, or lower rate."
