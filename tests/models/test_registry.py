"""The registry: what is listed, what is loaded, and every sentence about weights that are not what they claim."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vidsr.errors import BackendError, ModelError
from vidsr.models import names, registry
from vidsr.models.srgan import GeneratorConfig, build

CONFIG = GeneratorConfig("fast", 4, channels=8, blocks=2)


def write(
    path: Path, generator: GeneratorConfig = CONFIG, stem: str = "fast", changes: dict[str, str | None] | None = None
) -> Path:
    """Weights as `train export` writes them; a change of None takes a header key away."""
    torch.manual_seed(5)
    tensors = {key: value.half() for key, value in build(generator).state_dict().items()}
    header: dict[str, str | None] = {
        "format": "1",
        "name": stem,
        "config": json.dumps(generator.to_dict()),
        "scale": str(generator.scale),
        "metrics": json.dumps({"Set5": {"psnr_y": 30.5}}),
        "licence": "MIT",
    }
    header |= changes or {}
    save_file(tensors, path, {key: value for key, value in header.items() if value is not None})
    return path


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of shipped weights."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(registry, "WEIGHTS", folder)
    return folder


def shelve(shelf: Path, *names: str) -> None:
    for name in names:
        stem, scale = name.split("-x")
        write(shelf / f"{name}.safetensors", GeneratorConfig("fast", int(scale), channels=4, blocks=1), stem)


def test_listing_holds_what_the_headers_say(shelf: Path) -> None:
    shelve(shelf, "fast-x4", "fast-x2")
    listed = registry.available_models()
    assert [(info.name, info.scale) for info in listed] == [("bicubic", 2), ("bicubic", 4), ("fast", 2), ("fast", 4)]
    assert listed[0].path is None
    assert listed[3].path == shelf / "fast-x4.safetensors"
    assert listed[3].metadata["metrics"] == {"Set5": {"psnr_y": 30.5}}
    assert listed[3].metadata["licence"] == "MIT"


def test_listing_loads_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from vidsr.models.registry import available_models, default_model, native_scale; "
        "available_models(); default_model(4.0); native_scale('bicubic', 3); "
        "print([name for name in ('torch', 'numpy', 'safetensors') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_loaded_weights_are_the_written_ones(shelf: Path) -> None:
    path = write(shelf / "fast-x4.safetensors")
    model = registry.load("fast", 4)
    torch.manual_seed(5)
    original = build(CONFIG).eval()
    x = torch.rand(1, 3, 9, 7)
    assert (model.module(x) - original(x)).abs().max() < 2e-3
    assert model.config == CONFIG
    assert (model.halo, model.multiple, model.scale, model.path) == (4, 1, 4, path)
    assert model.macs_per_pixel == 9 * (3 * 8 + 2 * 64 + 8 * 48)
    assert model.weights_hash == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not model.module.training
    assert {(p.dtype, p.requires_grad) for p in model.module.parameters()} == {(torch.float32, False)}


def test_a_path_works_wherever_a_name_does(shelf: Path, tmp_path: Path) -> None:
    path = str(write(tmp_path / "mine.safetensors", stem="mine"))
    assert registry.load(path, 4).name == "mine"
    assert registry.native_scale(path, 3.0) == 4
    assert registry.find(path, 4).metadata["licence"] == "MIT"


def test_bicubic_needs_no_file(shelf: Path) -> None:
    two, four = registry.load("bicubic", 2), registry.load("bicubic", 4)
    assert two.path is None
    assert two.weights_hash != four.weights_hash
    assert four.weights_hash == registry.load("bicubic", 4).weights_hash
    flat = torch.full((1, 3, 4, 5), 0.25)
    assert torch.allclose(four.module(flat), torch.full((1, 3, 16, 20), 0.25))


@pytest.mark.parametrize(("scale", "native"), [(1, 2), (1.5, 2), (2, 2), (2.01, 4), (4, 4)])
def test_native_scale_is_the_next_larger(scale: float, native: int) -> None:
    assert registry.native_scale("bicubic", scale) == native


def test_native_scale_of_a_model_that_lacks_one(shelf: Path) -> None:
    shelve(shelf, "only4-x4", "only2-x2")
    assert registry.native_scale("only4", 1.5) == 4
    with pytest.raises(ModelError, match="reaches x2 at most, not x3"):
        registry.native_scale("only2", 3)


@pytest.mark.parametrize(
    ("names", "scale", "gpu", "chosen", "reason"),
    [
        ((), 4, False, "bicubic", "no trained weights"),
        (("fast-x4", "fast-x2"), 4, False, "fast", "best shipped"),
        (("fast-x4",), 2, False, "fast", "best shipped"),
        (("fast-x2",), 4, False, "bicubic", "no trained weights are shipped for x4"),
        (("fast-x4", "srgan-x4"), 4, False, "fast", "best shipped"),
        (("fast-x4", "srgan-x4"), 4, True, "srgan", "best shipped"),
        (("srresnet-x4", "srgan-x4"), 4, True, "srresnet", "best shipped"),
        (("fast-video-x4", "srgan-video-x4"), 4, False, "fast-video", "the default on a CPU"),
        (("fast-video-x4", "srgan-video-x4"), 4, True, "fast-video", "the default on a GPU"),
        (("srgan-video-x4", "srresnet-x4"), 4, True, "srgan-video", "best shipped"),
        (("srresnet-x4",), 4, False, "srresnet", "best shipped"),
    ],
)
def test_default_follows_what_is_shipped(
    shelf: Path, names: tuple[str, ...], scale: float, gpu: bool, chosen: str, reason: str
) -> None:
    shelve(shelf, *names)
    name, why = registry.default_model(scale, gpu=gpu)
    assert name == chosen
    assert reason in why


def test_unknown_name_lists_what_exists(shelf: Path) -> None:
    shelve(shelf, "fast-x4")
    with pytest.raises(ModelError, match=r"Unknown model 'fats' \(did you mean fast\?\); choose one of bicubic, fast"):
        registry.load("fats", 4)


@pytest.mark.parametrize(
    ("asked", "meant"), [("FAST-video", "fast-video"), ("fast_video", "fast-video"), ("Bicubic", "bicubic")]
)
def test_the_model_that_was_meant_is_named(asked: str, meant: str) -> None:
    with pytest.raises(ModelError, match=rf"'{asked}' \(did you mean {meant}\?\)"):
        registry.find(asked, 2)
    with pytest.raises(ModelError, match=r"'nonesuch'; choose"):
        registry.find("nonesuch", 2)


def test_wrong_scale(shelf: Path) -> None:
    shelve(shelf, "fast-x4")
    with pytest.raises(ModelError, match="fast exists for x4, not for x2"):
        registry.load("fast", 2)
    with pytest.raises(ModelError, match="is a x4 model, not x2"):
        registry.load(str(shelf / "fast-x4.safetensors"), 2)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"Cannot read the weights file .*gone\.safetensors"):
        registry.load(str(tmp_path / "gone.safetensors"), 4)


@pytest.mark.parametrize(
    "content", [b"", b"PNG", b"not weights, just a long enough text file\n" * 4, b"\x02" + bytes(9)]
)
def test_not_safetensors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"odd\.safetensors is not a safetensors file"):
        registry.load(str(path), 4)


def test_foreign_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises((ModelError, BackendError), match=r"holds no network|need (spandrel|torchvision)"):
        registry.load(str(path), 4)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"config": None}, "has no 'config'"),
        ({"format": "9"}, "has format 9"),
        ({"config": "{"}, "damaged"),
        ({"config": "[1]"}, "damaged"),
        ({"scale": "four"}, "damaged"),
        ({"scale": "2"}, "is a x2 model"),
        ({"config": json.dumps({"graph": "fast", "scale": 4, "wings": 2})}, "'wings'"),
        ({"config": json.dumps({**CONFIG.to_dict(), "scale": 2})}, "contradicts itself"),
        ({"config": json.dumps({**CONFIG.to_dict(), "channels": 16})}, "do not fit the generator"),
        ({"config": json.dumps({**CONFIG.to_dict(), "blocks": 3})}, "do not fit the generator"),
    ],
)
def test_headers_that_claim_something_else(tmp_path: Path, changes: dict[str, str | None], sentence: str) -> None:
    path = write(tmp_path / "w.safetensors", changes=changes)
    with pytest.raises(ModelError, match=sentence):
        registry.load(str(path), 4)


def test_truncated_weights(tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="is damaged; get it again"):
        registry.load(str(path), 4)


def test_shipped_weights_hold_what_they_promise() -> None:
    """Every shipped model loads, keeps a flat picture flat, and holds what its name and header promise."""
    for info in registry.available_models():
        model = registry.load(info.name, info.scale)
        side = 2 * model.halo + 4
        edge = model.halo * model.scale
        inner = model.module(torch.full((1, 3, side, side), 0.5))[..., edge:-edge, edge:-edge]
        assert (inner - 0.5).abs().max() < 0.02
        if info.path is not None:
            assert info.path.name == f"{info.name}-x{info.scale}.safetensors"
            assert info.path.with_suffix(".md").exists()
            assert set(info.metadata) >= {"training_data", "metrics", "recipe", "steps", "licence"}


def shelve_random(path: Path, name: str) -> None:
    generator = GeneratorConfig("srgan", 4, channels=4, blocks=1)
    path.parent.mkdir(exist_ok=True)
    save_file({key: torch.randn(value.shape).half() for key, value in build(generator).state_dict().items()}, path, {
        "format": "1", "name": name, "config": json.dumps(generator.to_dict()), "scale": "4",
    })  # fmt: skip


def mixed_of(name: str) -> dict[str, torch.Tensor]:
    return registry.load(name, 4).module.state_dict()


def test_a_strength_mixes_the_weights_of_two_stages(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the earlier one is no model."""
    monkeypatch.setitem(names.STAGES, "srgan", (("detail", "origins/srgan"),))
    for path, name in (("srresnet", "srresnet"), ("srgan", "srgan"), ("origins/srgan", "srresnet")):
        shelve_random(shelf / f"{path}-x4.safetensors", name)
    origin = str(shelf / "origins" / "srgan-x4.safetensors")
    plain, sharp, mixed = mixed_of(origin), mixed_of("srgan"), registry.load("srgan@0.25", 4)
    for name, value in mixed.module.state_dict().items():
        assert torch.allclose(value, 0.75 * plain[name] + 0.25 * sharp[name], atol=1e-6), name
        assert torch.equal(mixed_of("srgan@0")[name], plain[name])
        assert torch.equal(mixed_of("srgan@detail=1")[name], sharp[name])
    assert (mixed.name, mixed.path, mixed.scale) == ("srgan@0.25", None, 4)
    chosen = ("srresnet", "srgan", "srgan@0.25", "srgan@0.5", "srgan@0.5@grain=1", origin)
    assert len({registry.load(name, 4).weights_hash for name in chosen}) == 5
    assert registry.native_scale("srgan@0.25", 3) == 4
    assert [info.name for info in registry.available_models() if info.path] == ["srgan", "srresnet"]


def test_a_model_of_several_stages_has_a_strength_for_each(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(names.STAGES, "srgan-video", (("detail", "origins/pixel"), ("denoise", "srresnet")))
    for path in ("srgan-video", "origins/pixel", "srresnet"):
        shelve_random(shelf / f"{path}-x4.safetensors", path)
    clean, video, sharp = (
        mixed_of("srresnet"),
        mixed_of(str(shelf / "origins" / "pixel-x4.safetensors")),
        mixed_of("srgan-video"),
    )
    for name, value in mixed_of("srgan-video@0.5@denoise=0.25").items():
        wanted = clean[name] + 0.25 * (video[name] - clean[name]) + 0.5 * (sharp[name] - video[name])
        assert torch.allclose(value, wanted, atol=1e-5), name
    for name, value in mixed_of("srgan-video@denoise=0@detail=0").items():
        assert torch.equal(value, clean[name])
        assert torch.equal(mixed_of("srgan-video@0")[name], video[name])
    assert registry.load("srgan-video@denoise=0.5", 4).name == "srgan-video@denoise=0.5"
    assert names.having("detail") == ["srgan-video", "srgan"]
    assert names.having("denoise", "detail") == ["srgan-video"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("srgan@1.5", "The detail of srgan is a number from 0 to 1, not '1.5'"),
        ("srgan@much", "The detail of srgan is a number from 0 to 1, not 'much'"),
        ("fast@0.5", "fast has no strength to choose; fast-video, srgan-video, srgan have"),
        ("srgan@denoise=0.5", "srgan has no denoise, which goes with fast-video and srgan-video; choose"),
        ("fast@grain=2", "The grain of fast is a number from 0 to 1, not '2'"),
    ],
)
def test_a_strength_that_cannot_be(shelf: Path, name: str, sentence: str) -> None:
    shelve(shelf, "fast-x4")
    with pytest.raises(ModelError, match=re.escape(sentence)):
        registry.load(name, 4)
