"""From photos and clips to INT8 scales in the header of weights, through the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.clips import make_clip
from tests.models.test_registry import write
from train import holding, quantise
from train.__main__ import main
from train.codes import emulated, measured, rounded
from train.holding import Figure
from train.small_pictures import small_pictures
from vidsr.backends.accuracy import Nearness
from vidsr.errors import MediaError
from vidsr.models import registry
from vidsr.models.scales import Scale
from vidsr.models.srgan import GeneratorConfig

CONFIG = GeneratorConfig("fast", 2, channels=8, blocks=5)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = write(tmp_path / "mine-x2.safetensors", CONFIG, "mine")
    path.with_suffix(".md").write_text(
        "# mine x2\n\n- File: 1 bytes, FP16, averaged weights.\n\n## Trained on\n\nNot noted.\n"
    )
    return path


def arguments(weights: Path, photos: Path, *more: str) -> list[str]:
    return ["quantise", str(weights), "--scale", "2", "--data", str(photos), "--pictures", "8", *more]


def test_scales_get_into_the_header_and_nothing_else_changes(
    weights: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = registry.load(str(weights), 2)
    for _ in range(2):
        assert main(arguments(weights, photos)) == 0
        written = weights.read_bytes()
    assert weights.read_bytes() == written  # measuring again gives the same bytes
    after = registry.load(str(weights), 2)
    assert all(np.array_equal(before.weights[name], after.weights[name]) for name in before.weights)
    found = after.scales.layers
    assert {f"body.{number}" for number in range(5)} >= set(found)
    assert len(found) >= 4  # three are 44 % of its multiply-adds
    assert all(one.low <= 0 < one.high and one.gain.max() == 1 for one in found.values())
    said = capsys.readouterr().out
    assert "kept back: 99.9th percentile, codes" in said
    card = weights.with_suffix(".md").read_text()
    assert card.count("## INT8") == card.count("## Trained on") == 1
    assert f"- File: {len(written):,} bytes" in card
    assert "| slopes: bands, codes | 0.0000 |" in card


def test_what_does_not_hold_is_not_written(
    weights: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = weights.read_bytes()
    monkeypatch.setattr(quantise, "INT8", Nearness(48.0, 1e-9))
    assert main(arguments(weights, photos)) == 1
    assert "mine x2 in INT8 is too far from FP32, so nothing was written." in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setattr(holding, "TINT", 0.0)
    monkeypatch.setattr(quantise, "choose", lambda model, seen, *_: measured(model.module, ["body.0"], seen))
    assert main(arguments(weights, photos)) == 1
    assert "INT8 does not hold (kept back: mean colour, codes" in capsys.readouterr().err
    assert weights.read_bytes() == before


def test_convolutions_are_left_out_until_constants_hold(
    weights: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    flats, asked = holding.flats, list[int]()

    def fail_once(both: holding.Both) -> list[Figure]:
        asked.append(1)
        return [Figure("constants: worst", 0.0, 1.0, 0.25)] if len(asked) == 1 else flats(both)

    monkeypatch.setattr(holding, "flats", fail_once)
    with caplog.at_level("INFO", logger="train"):
        assert main(arguments(weights, photos)) == 0
    assert len(registry.load(str(weights), 2).scales.layers) == 4  # of five
    assert "does not hold: constants: worst" in caplog.text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--pictures", "7"), "--pictures must be at least 8, not 7"),
        (("--off", "0"), "--off must be above 0, not 0"),
        (("--off", "1e-9"), "mine x2 in INT8 is too far from FP32, so nothing was written"),
        (("--data", "nowhere"), "The folder nowhere does not exist; give one with photos or clips to --data"),
    ],
)
def test_an_error_is_one_sentence(
    weights: Path, photos: Path, more: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(weights, photos, *more)) in (1, 2)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line


def test_a_model_without_a_file_is_refused(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quantise", "bicubic", "--data", str(photos)]) == 2
    assert "bicubic has no weights file of vidsr's own" in capsys.readouterr().err


def test_pictures_come_from_photos_and_clips_and_are_the_same_again(photos: Path, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    make_clip(clips / "clip.mp4", frames=12)
    (clips / "broken.mp4").write_bytes(b"nothing")
    (clips / "notes.txt").write_text("no picture")
    found = small_pictures([photos, clips], 2, 6, 32)
    assert len(found) == 6
    assert [tuple(one.shape) for one in found[:3]] == [(3, 32, 32)] * 3
    assert all(float(one.min()) >= 0 and float(one.max()) <= 1 and max(one.shape) <= 32 for one in found)
    again = small_pictures([photos, clips], 2, 6, 32)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="holds neither a photo nor a clip"):
        small_pictures([tmp_path / "empty"], 2, 6, 32)


def test_rounding_is_in_whole_steps_that_hold_zero_and_cut_off() -> None:
    scale = Scale(0.5, 100, np.array([1.0, 0.25], np.float32), np.zeros(1, np.float32))
    x = torch.tensor([[0.0, 0.6, 1000.0], [0.0, 0.1, -1000.0]]).reshape(1, 2, 1, 3)
    assert rounded(x, scale).reshape(2, 3).tolist() == [[0.0, 0.5, 77.5], [0.0, 0.5, -50.0]]


def test_biases_take_back_what_rounding_moves(weights: Path, photos: Path) -> None:
    module = registry.load(str(weights), 2).module
    pictures = small_pictures([photos], 2, 4, 32)
    found = measured(module, ["body.1"], pictures)
    seen: dict[bool, torch.Tensor] = {}
    for corrected in (False, True):
        bias = found["body.1"].bias * corrected
        made = emulated(
            module, {"body.1": Scale(found["body.1"].step, found["body.1"].zero, found["body.1"].gain, bias)}
        )
        outs: list[torch.Tensor] = []
        for one, into in ((module, outs), (made, outs)):
            hook = one.get_submodule("body.1").register_forward_hook(lambda _, __, y, into=into: into.append(y))
            for picture in pictures:
                one(picture[None])
            hook.remove()
        half = len(pictures)
        off = [(a - b).mean((0, 2, 3)) for a, b in zip(outs[:half], outs[half:], strict=True)]
        seen[corrected] = torch.stack(off).mean(0).abs().max()
    assert seen[True] < seen[False] / 2


def test_a_figure_holds_on_the_right_side_of_its_limit() -> None:
    assert Figure("psnr_y", 30.0, 29.96, 29.95).holds
    assert not Figure("psnr_y", 30.0, 29.94, 29.95).holds
    assert Figure("distance", 0.10, 0.101, 0.102).holds
    assert not Figure("distance", 0.10, 0.103, 0.102).holds
    assert "does not hold" in holding.table([Figure("distance", 0.10, 0.103, 0.102)])
