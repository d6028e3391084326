"""Frames into larger frames: to RGB, through the network, resized, to the planes that come out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from vidsr.frame import Canvas, Frame, Plane
from vidsr.upscaling.enlarger import Enlarger
from vidsr.upscaling.steady import Steadier


class Rendering(Protocol):
    """Frames on their way to the host."""

    def wait(self) -> tuple[bool, list[tuple[Plane, ...]]]:
        """Whether the network's output is finite, and if so the planes of each frame; any number of times.

        Raises:
            BackendError: the device failed in the meantime.
        """


class Renderer(ABC):
    """Renders frames of one size and layout by `enlarger`: `host.HostRenderer` in numpy, or `device.DeviceRenderer`.

    On a GPU by one graph for all that is done to a batch, where there is one and `stepping` is true; `stepped` says
    whether the last batch was.
    """

    def __init__(self, enlarger: Enlarger) -> None:
        self.enlarger, self.stepping, self.stepped = enlarger, True, False

    @property
    def depth(self) -> int:
        """How many batches are on their way at a time while the next one is prepared; none where nothing overlaps."""
        return 0

    def prepare(self, num: int, height: int, width: int, num_frames: int | None) -> None:
        """Let a backend that compiles get ready for batches of `num` pictures, of which `num_frames` will come.

        Raises:
            BackendError: it cannot compile.
        """
        self.enlarger.prepare(num, height, width, num_frames)

    @abstractmethod
    def start(self, frames: Sequence[Frame], canvas: Canvas) -> Rendering:
        """Begin to make `frames`.

        Raises:
            OutOfMemoryError: not even the smallest tile fits, neither on the device nor on the CPU.
            Cancelled: the enlarger was cancelled.
            BackendError: the runtime failed.
        """

    def steadier(self, strength: float) -> Steadier:
        """What blends large pictures with their neighbours: here on the host."""
        return Steadier(strength)

    def forget(self) -> None:  # noqa: B027 -- most keep nothing
        """Let go of the last picture, kept to draw only what changes in the next: that is of another film."""

    def close(self) -> None:
        """Let nothing run any more, and free the backend; closing twice is fine."""
        self.enlarger.close()
