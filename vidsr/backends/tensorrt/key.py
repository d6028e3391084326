"""What identifies an engine: everything that decides what it computes, and where it runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from vidsr.errors import UsageError

Shape = tuple[int, int, int]  # frames, height, width
LOWERED, ONNX = CONVERTERS = ("torch-tensorrt", "onnx")  # who makes TensorRT's network of a generator
FORMAT = 1  # of what `build` makes of a network; a change of it makes all engines anew
MAX_NAME = 40  # characters of a model's name in a file name
_SIZE = re.compile(r"(\d+)x(\d+)")
_SHAPE = re.compile(r"(?:(\d+)\*)?(\d+)x(\d+)")


def parse_size(text: str) -> tuple[int, int]:
    """``960x540`` (width x height) -> (540, 960), as shapes have it.

    Raises:
        UsageError: something else, or a side below 2.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or min(int(side) for side in match.groups()) < 2:
        raise UsageError(f"A size is width x height in pixels, like 960x540, and at least 2x2, not {text!r}.")
    return int(match[2]), int(match[1])


@dataclass(frozen=True)
class Profile:
    """The shapes that an engine takes: a single one (static), or all between `min` and `max`, `opt` being fastest."""

    min: Shape
    opt: Shape
    max: Shape

    @classmethod
    def static(cls, shape: Shape) -> Self:
        """The one shape alone."""
        return cls(shape, shape, shape)

    @property
    def is_static(self) -> bool:
        """Whether this is one shape."""
        return self.min == self.max

    def covers(self, shape: Shape) -> bool:
        """Whether the engine takes that shape."""
        return all(low <= side <= high for low, side, high in zip(self.min, shape, self.max, strict=True))

    def __str__(self) -> str:
        """Width x height, as people and `parse_size` have it, after the number of frames where that is not 1."""
        if self.is_static:
            return _text(self.opt)
        return f"{_text(self.min)} to {_text(self.max)}, best at {_text(self.opt)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The profile that `str` wrote.

        Raises:
            ValueError: something else.
        """
        shapes = [(int(num or 1), int(height), int(width)) for num, width, height in _SHAPE.findall(text)]
        if len(shapes) == 1:
            return cls.static(shapes[0])
        low, high, best = shapes
        return cls(low, best, high)


def _text(shape: Shape) -> str:
    num, height, width = shape
    return f"{width}x{height}" if num == 1 else f"{num}*{width}x{height}"


@dataclass(frozen=True)
class Key:
    """All that must be equal for an engine to be used again.

    `converter` made TensorRT's network: one of `CONVERTERS`, ``onnx`` for a GPU that was not there; the latter knows
    no version of torch-tensorrt, nor a local one of torch. `gpu` and `driver` are empty for the RTX flavour, whose
    engines run on every GPU of their `capability`; its `platform` names no operating system, since they run on any.
    """

    model: str
    scale: int
    weights: str
    config: str
    shapes: str
    precision: str
    converter: str
    flavour: str
    tensorrt: str
    torch_tensorrt: str
    torch: str
    capability: str
    gpu: str
    driver: str
    platform: str
    format: int = FORMAT

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild a key from `to_dict`'s result.

        Raises:
            ValueError: a field is missing, unknown or of the wrong type.
        """
        known = {field.name: int if field.name in ("scale", "format") else str for field in fields(cls)}
        if values.keys() != known.keys() or not all(type(values[name]) is kind for name, kind in known.items()):
            raise ValueError("not the fields of an engine's key")
        return cls(**values)

    def to_dict(self) -> dict[str, object]:
        """All fields by name, as JSON can hold them."""
        return asdict(self)

    @property
    def slot(self) -> str:
        """The file name without a suffix: one for each use, so that what changed with time is built in its place."""
        capability = f"sm{self.capability.replace('.', '')}"
        others = (self.shapes, self.precision, self.flavour, capability, self.gpu)
        return "_".join([f"{_safe(self.model)}-x{self.scale}", *filter(None, map(_safe, others))])


def differences(old: Key, new: Key) -> list[str]:
    """What changed from `old` to `new`, in words; hashes are not spelled out."""
    before, after = old.to_dict(), new.to_dict()
    names = [name for name in after if before[name] != after[name]]
    return [_difference(name, before[name], after[name]) for name in names]


def _difference(name: str, old: object, new: object) -> str:
    words = name.replace("_", "-") if name == "torch_tensorrt" else name
    if name in ("weights", "config"):
        return f"{words} changed"
    return f"{words} was {old or 'unknown'}, is {new or 'unknown'}"


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:MAX_NAME]
