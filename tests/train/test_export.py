"""From a run to shipped weights, through the command line."""

import json
import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import warm
from tests.train.conftest import photo, save
from tests.train.test_evaluate import benchmark
from train import checkpoint, degrade, export
from train.__main__ import main
from train.card import card, purpose
from train.evaluate import COLUMNS
from train.recipe import Recipe
from train.trained import Trained
from vidsr import perceptual
from vidsr.errors import ModelError, OutputError
from vidsr.models import registry
from vidsr.models.srgan import GeneratorConfig, build
from vidsr.perceptual import Distance

RECIPE = """
name = "mine"
steps = 6
batch = 2
patch = 8
log_every = 3
evaluate_every = 3
precision = "fp32"
[generator]
graph = "fast"
scale = 2
channels = 8
blocks = 2
"""


@pytest.fixture
def folder(photos: Path, tmp_path: Path) -> Path:
    """A recipe, photos with an index of licences, and a benchmark."""
    (tmp_path / "mine.toml").write_text(RECIPE)
    lines = ["file\tsource\tlicence", "0.png\tme\tCC0", "1.png\tme\tCC0", "2.png\tme\tMIT"]
    (photos / "index.tsv").write_text("\n".join(lines))
    benchmark(tmp_path / "benchmarks" / "Set5" / "x2", 2)
    return tmp_path


def random_distance(name: str) -> Distance:
    """A perceptual network without its package."""
    torch.manual_seed(0)
    return Distance(name).eval().requires_grad_(False)


def fit_arguments(folder: Path, *more: str) -> list[str]:
    places = ["--data", str(folder / "photos"), "--out", str(folder / "run"), "--cache", str(folder / "cache")]
    return ["fit", str(folder / "mine.toml"), *places, "--benchmarks", str(folder / "benchmarks"), *more]


def export_arguments(folder: Path) -> list[str]:
    return ["export", str(folder / "run"), "-o", str(folder / "mine-x2.safetensors")]


def test_fit_anneal_export_evaluate(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perceptual, "load", random_distance)
    assert main(fit_arguments(folder)) == 0
    assert main(fit_arguments(folder, "--resume", "--steps", "9")) == 0
    assert main(fit_arguments(folder, "--anneal", "4")) == 0
    weights = folder / "mine-x2.safetensors"
    capsys.readouterr()
    assert main([*export_arguments(folder), "--benchmarks", str(folder / "benchmarks")]) == 0
    assert capsys.readouterr().out.strip() == str(weights)

    model = registry.load(str(weights), 2)
    saved = checkpoint.load(folder / "run" / "anneal" / "step-00000013")
    assert isinstance(model.config, GeneratorConfig)
    averaged = build(model.config)
    averaged.load_state_dict({name[4:]: t for name, t in saved.tensors.items() if name.startswith("ema.")})
    x = torch.rand(1, 3, 10, 11)
    assert (model.module(x) - averaged(x)).abs().max() < 2e-3
    assert model.metadata["steps"] == "9 steps at a constant rate, then 4 of 4 annealing it to zero"
    assert model.metadata["training_data"] == {"photos": 5, "licences": {"CC0": 2, "not stated": 2, "MIT": 1}}
    assert model.metadata["licence"] == "MIT"

    pictures = ["evaluate", "--benchmark", "Set5", "--benchmarks", str(folder / "benchmarks"), "--scale", "2"]
    assert main([*pictures, "--model", str(weights), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["mean"] | {"border": 2} == dict(model.metadata)["metrics"]["Set5"]  # type: ignore[index]
    assert measured["border"] == 2
    assert list(measured["pictures"]) == ["000", "001"]
    assert measured["mean"].keys() == COLUMNS.keys() - {"stlpips-vgg"}
    assert measured["weights"] == model.weights_hash
    assert main([*pictures, "--model", str(weights)]) == 0
    assert f"{measured['mean']['psnr_y']:.2f}" in capsys.readouterr().out

    card = weights.with_suffix(".md").read_text()
    assert f"| Set5 | {measured['mean']['psnr_y']:.2f} |" in card
    assert f"| {measured['mean']['stlpips-alex']:.3f} | {measured['mean']['squeezenet']:.3f} |" in card
    assert "Made for clean pictures, by a pixel loss." in card
    assert model.metadata["purpose"] == "clean pictures, by a pixel loss"
    assert model.metadata["loss"] == "L1"
    assert model.metadata["perceptual_loss"] == ""
    assert "- 2: CC0" in card
    assert "5 photos" in card
    assert str(folder) not in card


def test_weights_are_fp16_and_small(folder: Path) -> None:
    main(fit_arguments(folder))
    assert main(export_arguments(folder)) == 0
    data = (folder / "mine-x2.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__")
    assert {entry["dtype"] for entry in header.values()} == {"F16"}
    assert metadata["recipe"] == export.read_run(folder / "run").recipe.digest()
    assert str(folder) not in json.dumps(metadata)
    assert sorted(path.name for path in folder.glob("*mine-x2*")) == ["mine-x2.md", "mine-x2.safetensors"]
    assert "not annealed" in (folder / "mine-x2.md").read_text()


def test_two_exports_are_the_same_bytes(folder: Path) -> None:
    main(fit_arguments(folder))
    main(export_arguments(folder))
    first = (folder / "mine-x2.safetensors").read_bytes()
    main(export_arguments(folder))
    assert (folder / "mine-x2.safetensors").read_bytes() == first


SMALL = {"name": "tiny", "steps": 9, "generator": {"graph": "fast", "scale": 4, "channels": 8, "blocks": 2}}
LOSSES = {"perceptual": 0.5, "adversarial": 0.005, "artefact": 1.0, "shift": 1.0, "ramp": 700}


def test_weights_in_between(folder: Path) -> None:
    assert main(fit_arguments(folder)) == 0
    assert main(export_arguments(folder)) == 0
    weights, other = folder / "mine-x2.safetensors", folder / "other.safetensors"
    weights.rename(other)
    trained = export.read_run(folder / "run")
    run = {name.removeprefix("ema."): t for name, t in trained.saved.tensors.items() if name.startswith("ema.")}
    tensors = {f"ema.{name}": value + 1 for name, value in run.items()}
    moved = Trained(trained.recipe, checkpoint.Checkpoint(tensors, trained.saved.state), trained.notes)
    mixed = export.mix(moved, str(other), 0.25)
    for name, value in run.items():
        assert torch.allclose(mixed.saved.tensors[f"ema.{name}"], value + 0.25, atol=1e-3), name
    assert "; shipped are the weights 0.25 of the way there from mine (" in mixed.notes["mixed"]
    assert (moved.share, mixed.share) == (1, 0.25)
    assert main([*export_arguments(folder), "--mix", str(other), "--share", "1.5"]) == 2
    assert main([*export_arguments(folder), "--mix", "fast"]) == 1
    assert not weights.exists()
    assert main([*export_arguments(folder), "--mix", str(other), "--share", "0"]) == 0
    assert registry.load(str(weights), 2).module.state_dict().keys() == run.keys()


def card_of(
    folder: Path,
    metrics: dict[str, Any] | None = None,
    notes: dict[str, Any] | None = None,
    beside: dict[str, dict[str, Any]] | None = None,
    **more: Any,
) -> str:
    """The card of a run that never was; `more` goes into its recipe."""
    state = {"anneal": None, "step": 7, "origin": None, "seconds": 5400}
    saved = checkpoint.Checkpoint({}, state)
    weights = folder / "w.safetensors"
    weights.write_bytes(bytes(1234))
    return card(Trained(Recipe.from_dict(SMALL | more), saved, notes or {}), weights, metrics or {}, beside)


@pytest.mark.parametrize(
    ("trunk", "words"),
    [
        ("vgg19:conv5_4", "on VGG19 trained on ImageNet, as in the paper, layer conv5_4 (before its activation)"),
        (
            "stlpips-vgg16:relu3_3",
            "on the VGG16 trunk of ST-LPIPS, in place of the paper's VGG19, layer relu3_3 (after",
        ),
        ("vgg16:conv4_3+", "the last convolutions of its blocks up to conv4_3, before their activation"),
    ],
)
def test_a_card_names_the_network_that_the_weights_were_trained_on(tmp_path: Path, trunk: str, words: str) -> None:
    text = card_of(
        tmp_path, losses={"perceptual": 0.5, "adversarial": 0.005, "trunk": trunk}, discriminator={"channels": 32}
    )
    assert words in text
    assert "Made for clean pictures, by an adversarial loss." in text
    assert "8 convolutions of 32 to 256 channels, global pooling." in text
    assert "0.005 adversarial" in text
    assert "1.5 hours" in text
    assert "1,234 bytes" in text
    assert "Nothing on pictures" in text


def test_a_card_says_which_discriminator_and_what_stood_among_the_photos(tmp_path: Path) -> None:
    judge = {"channels": 16, "kind": "patch", "alone": 40}
    losses = {"adversarial": 0.01, "ramp": 0}
    text = card_of(tmp_path, batch=4, patches=1, losses=losses, discriminator=judge, notes={"history": "made before"})
    assert "16 to 128 channels, group norms and a logit per place; 40 steps of its own first." in text
    assert "nothing else; 1 of a batch constants, slow slopes and noise instead." in text
    assert "- Loss: L1 + 0.01 adversarial." in text


def test_a_card_of_a_video_model_says_what_its_input_went_through(tmp_path: Path) -> None:
    data = {
        "photos": 3,
        "licences": {"CC0": 3},
        "pairs": 4000,
        "degraded_by": f"av 1, degradations {degrade.version()}",
    }
    notes = {"data": data, "machine": "a GPU", "processes": 2}
    text = card_of(tmp_path, None, notes, data="baked", sharpen=0.5, losses=LOSSES | {"trunk": "vgg19:conv5_4"})
    assert "Targets: the originals sharpened by 0.5 (unsharp mask, sigma of 1 pixel)." in text
    assert "Made for real video, by an adversarial loss." in text
    assert "4,000 pairs" in text
    assert f"H.264 {degrade.CODECS['libx264']:.0%}" in text
    assert f"{degrade.CLEAN:.0%} only reduced" in text
    assert "clean pictures only" not in text
    assert "2 x a GPU" in text
    assert "difference of shifted outputs" in text
    older = card_of(tmp_path, None, {"data": data | {"degraded_by": "av 1, degradations 0"}}, data="baked")
    assert "sharpened" not in older
    assert "H.264" not in older  # made by another version than this one can speak of


def test_a_card_shows_the_video_benchmark(tmp_path: Path) -> None:
    rows = {"original": {"warp_error": 1.25}, "crf28": {"psnr_y": 27.5, "warp_error": 2.5, "flicker": 3.0}}
    video = {"benchmark": "abc", "scale": 4, "frames": 24, "rows": rows}
    text = card_of(tmp_path, {"Set5": {"psnr_y": 30.123, "checkerboard": 0.01, "border": 4}, "video": video})
    assert "| benchmark | PSNR Y (dB) | checkerboard | border cropped (pixels) |" in text
    assert "| Set5 | 30.12 | 0.010 | 4 |" in text
    assert "| video | warp_error | psnr_y | flicker |" in text
    assert "| original | 1.250 |  |  |" in text
    assert "| crf28 | 2.500 | 27.500 | 3.000 |" in text
    assert "24 frames" in text


def test_a_card_shows_other_models_beside_on_the_same_benchmarks_only(tmp_path: Path) -> None:
    video = {"benchmark": "abc", "frames": 24, "rows": {"original": {"flicker": 0.0}, "crf28": {"flicker": 3.0}}}
    theirs = video | {"rows": {"original": {"flicker": 0.0}, "crf28": {"flicker": 2.0}}}
    own = {"Set5": {"psnr_y": 30.0, "border": 4}, "video": video}
    others = {
        "fast-video": {"Set5": {"psnr_y": 31.0, "border": 4}, "Set14": {"psnr_y": 28.0, "border": 4}, "video": theirs},
        "older": {"Set5": {"psnr_y": 29.0, "border": 4}, "video": theirs | {"benchmark": "another"}},
    }
    text = card_of(tmp_path, own, beside=others)
    rows = [line for line in text.splitlines() if line.startswith(("| Set", "| crf", "| original"))]
    assert rows == [
        "| Set5 | 30.00 | 4 |",
        "| Set5 by fast-video | 31.00 | 4 |",
        "| Set5 by older | 29.00 | 4 |",
        "| original | 0.000 |",
        "| crf28 | 3.000 |",
        "| crf28 by fast-video | 2.000 |",
    ]


def test_purpose_is_that_of_the_recipe() -> None:
    found = {
        (data, gan): purpose(Recipe.from_dict(SMALL | {"data": data, "losses": {"adversarial": gan}}))
        for data in ("photos", "baked")
        for gan in (0.0, 0.1)
    }
    assert list(found.values()) == [
        "clean pictures, by a pixel loss",
        "clean pictures, by an adversarial loss",
        "real video, by a pixel loss",
        "real video, by an adversarial loss",
    ]
    gan = Recipe.from_dict(SMALL | {"data": "baked", "losses": {"adversarial": 0.1}})
    assert purpose(gan, 0.2) == "real video, 0.2 of the way to what an adversarial loss makes"


def test_purpose_of_a_run_that_keeps_details() -> None:
    """Its own, or those of a file: the end of an adversarial training. Another model's: named."""
    found = [
        purpose(Recipe.from_dict(SMALL | {"losses": {"pixel": 0.0, "kept": 1.0, "keeps": keeps}}))
        for keeps in (str(SMALL["name"]), "from-a-gpu.safetensors", "srgan")
    ]
    assert found[0] == found[1] == "clean pictures, by an adversarial loss"
    assert found[2] == "clean pictures, by what srgan draws"
    own = {"pixel": 0.0, "kept": 1.0, "keeps": str(SMALL["name"]), "ensemble": True}
    assert purpose(Recipe.from_dict(SMALL | {"losses": own})) == (
        "clean pictures, by what it drew on average in eight orientations"
    )


def test_export_finds_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no checkpoint"):
        export.read_run(tmp_path)


def test_export_refuses_tensors_of_another_generator(folder: Path) -> None:
    main(fit_arguments(folder))
    trained = export.read_run(folder / "run")
    other = build(GeneratorConfig("fast", 2, channels=4, blocks=2)).state_dict()
    wrong = checkpoint.Checkpoint({f"ema.{name}": t for name, t in other.items()}, trained.saved.state)
    with pytest.raises(ModelError, match="does not hold the generator of its own recipe"):
        export.write_weights(Trained(trained.recipe, wrong, {}), folder / "w.safetensors")


def test_export_into_a_file(folder: Path) -> None:
    main(fit_arguments(folder))
    with pytest.raises(OutputError, match="Cannot write the weights"):
        export.write_weights(export.read_run(folder / "run"), folder / "mine.toml" / "w.safetensors")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["fit", "mine.toml", "--data", "empty"], 1, "empty holds no image"),
        (["fit", "gone.toml", "--data", "photos"], 2, "Cannot read the recipe gone.toml"),
        (["fit", "mine.toml", "--data", "photos", "--anneal", "0"], 2, "--anneal needs at least 1 step"),
        (["fit", "mine.toml", "--data", "photos", "--steps", "0"], 2, "steps must be at least 1"),
        (["fit", "mine.toml", "--data", "photos", "--device", "abacus"], 2, "Unknown device 'abacus'"),
        (["fit", "mine.toml", "--data", "photos", "--resume", "--cache", "c"], 1, "no checkpoint to resume"),
        (["fit", "mine.toml", "--data", "photos", "--cache", "c", "--out", "mine.toml/x"], 1, "Not a directory"),
        (["evaluate", "--benchmark", "Set5", "--model", "fats"], 2, "Unknown model 'fats'"),
        (["evaluate", "--benchmark", "Set6"], 1, "Set6 holds no benchmark"),
        (["export", "empty", "-o", "w.safetensors"], 1, "empty holds no checkpoint"),
    ],
)
def test_an_error_is_one_sentence(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    sentence: str,
) -> None:
    (folder / "empty").mkdir()
    monkeypatch.chdir(folder)
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert sentence in captured.err
    assert captured.err.count("\n") == 1


def test_photos_smaller_than_a_patch(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(folder / "photos" / "small.png", photo(1, 20, 40))
    assert main(fit_arguments(folder)) == 1
    assert "small.png is 40x20, smaller than the 24 pixels of a training crop" in capsys.readouterr().err


def test_the_command_runs_as_a_program(folder: Path) -> None:
    command = [sys.executable, "-m", "train", *fit_arguments(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = warm.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "step 6/6" in done.stderr
    assert "Set5" in done.stderr
