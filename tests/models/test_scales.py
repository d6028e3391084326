"""INT8 scales in a weights file: they change nothing else of it, and what is wrong with them is one sentence."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.test_registry import CONFIG, write
from vidsr.errors import ModelError
from vidsr.models import registry, scales
from vidsr.models.scales import Scale, coded


def halves(*values: float) -> str:
    return base64.b64encode(np.array(values, "<f2").tobytes()).decode()


def layer() -> dict[str, Any]:
    return {"step": 0.01, "zero": 7, "gain": halves(*[0.5] * 8), "bias": halves(*[0.25] * 8)}


def quantised(path: Path, text: str | None = None) -> registry.Model:
    """A weights file in order with scales, its own ones or `text`; loaded."""
    plain = scales.put(scales.put(write(path).read_bytes(), "{}"), None)
    one = Scale(0.01, 7, np.full(8, 0.5, np.float32), np.full(8, 0.25, np.float32))
    path.write_bytes(
        scales.put(plain, scales.to_text({"body.0": one}, scales.identity(plain)) if text is None else text)
    )
    return registry.load(str(path), 4)


def test_they_are_read_as_they_were_written_and_change_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "fast.safetensors"
    plain = scales.put(scales.put(write(path).read_bytes(), "{}"), None)
    path.write_bytes(plain)
    before = registry.load(str(path), 4)
    after = quantised(path)
    assert before.weights_hash == after.weights_hash == hashlib.sha256(plain).hexdigest()
    assert path.read_bytes() != plain
    assert scales.put(path.read_bytes(), None) == plain
    assert all(np.array_equal(before.weights[name], after.weights[name]) for name in before.weights)
    found = after.scales
    (one,) = found.layers.values()
    assert (one.step, one.zero, one.low, one.high) == (0.01, 7, -0.07, 2.48)
    assert (one.gain == 0.5).all()
    assert (one.bias == 0.25).all()
    assert len(found.digest) == 64


def test_a_file_without_them_keeps_its_name(tmp_path: Path) -> None:
    path = write(tmp_path / "fast.safetensors")
    model = registry.load(str(path), 4)
    assert model.weights_hash == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ModelError, match=r"^fast x4 has no INT8 scales; make them with `python -m train quantise`"):
        assert model.scales


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("body.0", {"step": 0.0}, "the range of body.0"),
        ("body.0", {"step": -1.0}, "the range"),
        ("body.0", {"step": float("nan")}, "the range"),
        ("body.0", {"step": float("inf")}, "the range"),
        ("body.0", {"step": 10**400}, "the range"),
        ("body.0", {"step": "0.1"}, "the range"),
        ("body.0", {"zero": 256}, "the range"),
        ("body.0", {"zero": -1}, "the range"),
        ("body.0", {"zero": True}, "the range"),
        ("body.0", {"zero": 1.5}, "the range"),
        ("body.0", {"bias": halves(*[0.0] * 9)}, "the channels"),
        ("body.0", {"bias": halves(*[0.0] * 7, float("inf"))}, "the channels"),
        ("body.0", {"bias": "=?"}, ""),
        ("body.0", {"bias": None}, ""),
        ("body.0", {"gain": halves(*[0.0] * 8)}, "the gains"),
        ("body.0", {"gain": halves(*[-1.0] * 8)}, "the gains"),
        ("body.0", {"gain": halves(1.0)}, "the channels"),
        ("body.0", {"gain": "AAA"}, ""),
        ("body.9", {}, "no layer 'body.9'"),
        ("acts.0", {}, "no layer 'acts.0'"),
    ],
)
def test_hostile_values_are_one_sentence(tmp_path: Path, name: str, change: dict[str, Any], said: str) -> None:
    weights_hash = quantised(tmp_path / "fast.safetensors").weights_hash
    text = json.dumps({"format": 1, "of": weights_hash, "layers": {name: layer() | change}})
    model = quantised(tmp_path / "fast.safetensors", text)
    with pytest.raises(ModelError, match=rf"^The INT8 scales of fast x4 are damaged \(.*{said}.*\); make them"):
        assert model.scales
    assert model.module is not None  # FP32 does not need them


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "7", "{}", "{" * 9, "[" * 100_000, '{"format": 1}', '{"format": 2, "of": "", "layers": {}}',
     '{"format": 1, "of": "", "layers": {}}', '{"format": 1, "of": "", "layers": []}',
     '{"format": 1, "of": "", "layers": {"body.0": 1}}'],
)  # fmt: skip
def test_what_is_no_scales_is_one_sentence(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelError, match=r"^The INT8 scales of fast x4 are damaged \(.*\); make them"):
        assert quantised(tmp_path / "fast.safetensors", text).scales


def test_those_of_other_weights_are_refused(tmp_path: Path) -> None:
    text = json.dumps({"format": 1, "of": "0" * 64, "layers": {"body.0": layer()}})
    with pytest.raises(ModelError, match="are those of other weights"):
        assert quantised(tmp_path / "fast.safetensors", text).scales


def test_a_mixture_has_none() -> None:
    assert scales.KEY in registry.OF_WEIGHTS
    with pytest.raises(ModelError, match=r"fast-video@0\.5 x4 has no INT8 scales"):
        assert registry.load("fast-video@0.5", 4).scales


def test_the_codes_of_weights_leave_room_for_sums_of_two_in_16_bits() -> None:
    random = np.random.default_rng(0)
    weight = random.normal(0, 1, (6, 8, 3, 3)).astype(np.float32)
    weight[0, 2:4] = 3.0  # two neighbours that would not fit
    weight[1] = 0.0
    gain = random.uniform(0.1, 1, 8).astype(np.float32)
    codes, steps = coded(weight, gain)
    assert codes.dtype == np.int8
    pairs = codes.reshape(6, 4, 2, 3, 3).astype(int)
    for sign in (1, -1):
        assert (255 * np.maximum(sign * pairs, 0).sum(2)).max() <= 32767
    wanted = weight * gain.reshape(1, -1, 1, 1)
    assert (abs(codes * steps - wanted) <= steps * 0.5001).all()
    assert abs(codes[2:]).max((1, 2, 3)).min() >= 64  # no more room than that
    assert not codes[1].any()
    assert np.array_equal(coded(weight[:, :3], gain[:3])[0].shape, (6, 3, 3, 3))


def test_convolutions_are_those_that_can_have_one() -> None:
    assert scales.convolutions(CONFIG) == ["head", "body.0", "body.1", "tail"]
    assert "tail" not in scales.convolutions(registry.load("srresnet", 4).config)  # type: ignore[arg-type]
