"""What is exported: a checkpoint with what its run noted. A leaf."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from train.checkpoint import Checkpoint
from train.recipe import Recipe

Notes: TypeAlias = Mapping[str, Any]
"""What a run noted or measured, as its JSON has it."""


@dataclass(frozen=True)
class Trained:
    """A checkpoint about to be shipped, with what its run noted."""

    recipe: Recipe
    saved: Checkpoint
    notes: Notes

    @property
    def share(self) -> float:
        """How far from another model's weights to those of the run these are: 1 where they are the run's own."""
        return float(self.notes.get("share", 1))

    @property
    def phase(self) -> str:
        """Where the weights began, and how the learning rate stood at the end, in words."""
        anneal, step, origin = (self.saved.state[key] for key in ("anneal", "step", "origin"))
        began = f"from {origin}, " if origin else ""
        began += f"({history}), " if (history := self.notes.get("history")) else ""
        if not anneal:
            return f"{began}{step:,} steps at a constant rate, not annealed{self.notes.get('mixed', '')}"
        done = step - anneal["start"]
        piece = f"then {done:,} of {anneal['steps']:,} annealing it to zero"
        return f"{began}{anneal['start']:,} steps at a constant rate, {piece}{self.notes.get('mixed', '')}"
