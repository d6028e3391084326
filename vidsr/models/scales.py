"""How a network computes in INT8: the scales that stand in the header of its weights, a few kilobytes.

A convolution that has one takes 256 codes in place of numbers: what comes in is `step` times (code - `zero`), cut off
at both ends, times the `gain` of its channel, so that weak channels use as many codes as strong ones. Zero is a code
itself: the zeros around a picture stay exact. Gains go into the weights, which are whole numbers times a step of each
output channel, as they follow from the weights; what all that moves on average, the bias takes back.
`python -m train quantise` measures them. Weights keep their identity with and without: they compute the same in FP32.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vidsr.errors import ModelError
from vidsr.models.config import GeneratorConfig
from vidsr.models.graph import Array, shapes

KEY = "int8"  # of the header
FORMAT = 1
CODES = 256  # of what comes in: from 0 to 255
TOP = 127  # of a weight, either way
PAIR = 127.4  # codes of two neighbouring inputs' weights of one sign, together, before they are rounded
MAKE = "make them with `python -m train quantise`, or use precision auto"


@dataclass(frozen=True, eq=False)
class Scale:
    """Of one convolution: `step`, `zero` and (in,) `gain` of what comes in, (out,) to be added to its bias; float32."""

    step: float
    zero: int
    gain: Array
    bias: Array

    @property
    def low(self) -> float:
        """What code 0 stands for, before the gain."""
        return -self.zero * self.step

    @property
    def high(self) -> float:
        """What the last code stands for."""
        return (CODES - 1 - self.zero) * self.step


@dataclass(frozen=True)
class Scales:
    """Of a network, by its convolutions' names: those without one stay as they are. `digest` names all of it."""

    layers: Mapping[str, Scale]
    digest: str


def convolutions(config: GeneratorConfig) -> list[str]:
    """Those that may have a scale: the last one of ``srgan`` is drawn in another form."""
    wide = [name.removesuffix(".weight") for name, shape in shapes(config).items() if len(shape) == 4]
    return [name for name in wide if config.graph == "fast" or name != "tail"]


def read(model: str, text: object, config: object, weights_hash: str) -> Scales:
    """What `text` of a header says of weights of that hash; `model` is their name.

    Raises:
        ModelError: there are none, or they are damaged, or another model's.
    """
    if not isinstance(text, str) or not isinstance(config, GeneratorConfig):
        raise ModelError(f"{model} has no INT8 scales; {MAKE}.")
    try:
        found = json.loads(text)
        if found["format"] != FORMAT:
            raise ValueError(f"format {found['format']!r}")
        of, layers = found["of"], {name: _scale(name, values, config) for name, values in found["layers"].items()}
        if not layers:
            raise ValueError("no layers")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"The INT8 scales of {model} are damaged ({error}); {MAKE}.") from error
    if of != weights_hash:
        raise ModelError(f"The INT8 scales of {model} are those of other weights; {MAKE}.")
    return Scales(layers, hashlib.sha256(text.encode()).hexdigest())


def _scale(name: str, values: Mapping[str, Any], config: GeneratorConfig) -> Scale:
    if name not in convolutions(config):
        raise ValueError(f"no layer {name!r:.40}")
    step, zero = values["step"], values["zero"]
    gain, bias = (np.frombuffer(base64.b64decode(values[key], validate=True), "<f2") for key in ("gain", "bias"))
    right = isinstance(step, float) and math.isfinite(step) and 1e-9 < step < 1e6
    if not (right and type(zero) is int and 0 <= zero < CODES):
        raise ValueError(f"the range of {name}")
    out, inputs = shapes(config)[f"{name}.weight"][:2]
    if (bias.shape, gain.shape) != ((out,), (inputs,)) or not (np.isfinite(bias).all() and np.isfinite(gain).all()):
        raise ValueError(f"the channels of {name}")
    if not (gain > 0).all():
        raise ValueError(f"the gains of {name}")
    return Scale(step, zero, gain.astype(np.float32), bias.astype(np.float32))


def to_text(layers: Mapping[str, Scale], weights_hash: str) -> str:
    """What `read` takes, for the header of the weights of that hash."""
    made = {
        name: {
            "step": float(f"{one.step:.7g}"),
            "zero": one.zero,
            "gain": base64.b64encode(one.gain.astype("<f2").tobytes()).decode(),
            "bias": base64.b64encode(one.bias.astype("<f2").tobytes()).decode(),
        }
        for name, one in layers.items()
    }
    return json.dumps({"format": FORMAT, "of": weights_hash, "layers": made}, separators=(",", ":"))


def coded(weight: Array, gain: Array) -> tuple[Array, Array]:
    """(out, in, k, k), and (in,) -> codes as int8, and the step of each output channel, (out, 1, 1, 1) float32.

    A processor without VNNI adds the products of two neighbouring inputs in 16 bits, which 255 times both weights
    must not exceed: where they would, the step is larger. So every processor computes the same.
    """
    weight = weight * gain.reshape(1, -1, 1, 1)
    out, inputs, *kernel = weight.shape
    pairs = np.pad(weight, ((0, 0), (0, inputs % 2), (0, 0), (0, 0))).reshape(out, -1, 2, *kernel)
    of_one_sign = [np.maximum(sign * pairs, 0).sum(2) for sign in (1, -1)]
    most = np.maximum(np.abs(weight).reshape(out, -1).max(1) / TOP, np.max(of_one_sign, (0, 2, 3, 4)) / PAIR)
    steps = np.where(most > 0, most, 1).astype(np.float32).reshape(-1, 1, 1, 1)
    return np.rint(weight / steps).astype(np.int8), steps


def identity(data: bytes) -> str:
    """The SHA-256 of a weights file, as if it had no scales."""
    return hashlib.sha256(put(data, None)).hexdigest()


def put(data: bytes, text: str | None) -> bytes:
    """A safetensors file with `text` as the scales in its header, which is sorted then; None takes them out.

    A file that has none is left as it is by None.
    """
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    if header["__metadata__"].pop(KEY, None) is None and text is None:
        return data
    if text is not None:
        header["__metadata__"][KEY] = text
    return in_order(header) + data[8 + size :]


def in_order(header: Mapping[str, object]) -> bytes:
    """The header of a safetensors file with its keys sorted, and its length before: equal weights are equal bytes."""
    made = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    made += b" " * (-len(made) % 8)
    return len(made).to_bytes(8, "little") + made
