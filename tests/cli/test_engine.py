"""`vidsr engine`: what it builds, shows and removes. The compiler is a stand-in; `test_build.py` has the real one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.backends.tensorrt.making import ADA, CPU, FULL, RTX, Emulated, write_weights
from tests.conftest import Result
from vidsr.backends.tensorrt import build as compiler
from vidsr.backends.tensorrt import engines, flavour, gpu, status
from vidsr.backends.tensorrt.cache import BuiltEngine, Engine, EngineCache, Opened
from vidsr.backends.tensorrt.flavour import Flavour
from vidsr.backends.tensorrt.gpu import Gpu
from vidsr.backends.tensorrt.key import Profile
from vidsr.cli import engine as command
from vidsr.cli import steps
from vidsr.errors import BackendError, OutOfMemoryError
from vidsr.models import registry

Cli = Callable[..., Result]


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty engine folder, a compiler that gives the profile's name, TensorRT-RTX, and no GPU."""
    monkeypatch.setenv("VIDSR_ENGINE_DIR", str(tmp_path / "engines"))

    def compile(_module: object, profile: Profile, **_: object) -> BuiltEngine:
        return BuiltEngine(str(profile).encode(), {"convolution": 1})

    monkeypatch.setattr(compiler, "build", compile)
    use(monkeypatch, RTX, None)
    return tmp_path / "engines"


def use(monkeypatch: pytest.MonkeyPatch, installed: Flavour | None, target: Gpu | None) -> None:
    """Say which TensorRT is installed, and which GPU this machine has."""

    monkeypatch.setattr(flavour, "installed", lambda: installed)
    monkeypatch.setattr(status, "installed", lambda: installed)
    monkeypatch.setattr(gpu, "here", lambda _: target)
    monkeypatch.setattr(status, "here", lambda _: target)


def emulate(monkeypatch: pytest.MonkeyPatch, loader: Emulated) -> None:
    """Let engines run on the CPU, emulated."""
    make = command._maker

    def on_cpu(*arguments: object) -> engines.Maker:
        made = make(*arguments)  # type: ignore[arg-type]
        made.device, made.loader = (CPU if made.device else None), loader
        return made

    monkeypatch.setattr(command, "_maker", on_cpu)


def test_a_named_recipe_builds_all_its_shapes(vidsr: Cli, folder: Path) -> None:
    result = vidsr("engine", "build", "rtx4090")
    assert result.code == 0
    name = f"{registry.default_model(4, gpu=True)[0]} x4 fp16"
    shapes = [engine.key.shapes for engine in EngineCache(folder).engines()]
    assert sorted(shapes) == sorted(
        ["854x480", "960x540", "1280x720", "1920x1080", "2x2 to 1920x1088, best at 960x540"]
    )
    for shape in shapes:
        assert f"{name} {shape} for NVIDIA GeForce RTX 4090: built in" in result.err
    assert "there was none" in result.err
    assert result.out == ""
    again = vidsr("engine", "build", "rtx4090", "--json")
    rows = json.loads(again.out)
    assert [row["built"] for row in rows] == [False] * 5
    assert again.err.count("in the cache") == 5
    forced = vidsr("engine", "build", "rtx4090", "--force", "--size", "960x540")
    assert "asked for" in forced.err


def test_sizes_models_and_precision_as_asked(vidsr: Cli, folder: Path, tmp_path: Path) -> None:
    mine = write_weights(tmp_path / "mine.safetensors", "fast", 2)
    arguments = ("--model", mine, "--scale", 2, "--size", "100x50", "--size", "64x64", "--precision", "fp32")
    assert vidsr("engine", "build", "t4", *arguments).code == 0
    engines = EngineCache(folder).engines()
    assert {(engine.key.model, engine.key.scale, engine.key.shapes, engine.key.precision) for engine in engines} == {
        ("mine", 2, "100x50", "fp32"), ("mine", 2, "64x64", "fp32"),
    }  # fmt: skip
    assert {engine.source for engine in engines} == {str(mine)}
    assert {engine.key.capability for engine in engines} == {"7.5"}


def test_what_cannot_be_built_is_said(vidsr: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, code, words in (
        (["rtx1"], 2, "no recipe for 'rtx1'"),
        ([], 1, "no NVIDIA GPU"),
        (["h100"], 1, "compute capability 9.0"),
        (["t4", "--size", "big"], 2, "like 960x540"),
        (["t4", "--precision", "int8"], 2, "not int8"),
        (["t4", "--precision", "auto"], 2, "not auto"),
        (["t4", "--scale", "0"], 2, "not 0"),
        (["t4", "--scale", "3", "--model", "all"], 2, "not 3"),
        (["t4", "--model", "srgan", "--size", "3000x3000"], 1, "2.10 megapixels"),
        (["t4", "--size", "1x1"], 2, "at least 2x2"),
        (["t4", "--model", "none"], 2, "none"),
    ):
        result = vidsr("engine", "build", *arguments)
        assert result.code == code, arguments
        assert words in result.err
        assert result.err.count("\n") == 1
    use(monkeypatch, FULL, ADA)
    result = vidsr("engine", "build", "h100")
    assert (result.code, "another GPU" in result.err) == (2, True)
    use(monkeypatch, None, ADA)
    assert "not installed" in vidsr("engine", "build").err
    use(monkeypatch, FULL, None)
    assert "torch-tensorrt-rtx builds for RTX GPUs anywhere" in vidsr("engine", "build", "rtx4090").err


def test_several_gpus_at_once(vidsr: Cli, folder: Path) -> None:
    assert vidsr("engine", "build", "t4", "rtx4090", "--model", "fast", "--size", "64x48", "--dynamic").code == 0
    found = {(engine.key.capability, engine.key.shapes) for engine in EngineCache(folder).engines()}
    assert found == {
        ("7.5", "64x48"), ("7.5", "2x2 to 1280x736, best at 960x540"),
        ("8.9", "64x48"), ("8.9", "2x2 to 1920x1088, best at 960x540"),
    }  # fmt: skip
    assert vidsr("engine", "build", "t4", "rtx1").code == 2


def test_one_that_fails_does_not_keep_the_others(vidsr: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compile(_module: object, profile: Profile, **_: object) -> BuiltEngine:
        if str(profile) == "64x48":
            raise BackendError("Too little memory.")
        return BuiltEngine(b"x", {})

    monkeypatch.setattr(compiler, "build", compile)
    result = vidsr("engine", "build", "rtx4090", "--model", "fast", "--size", "64x48", "--size", "80x60", "--json")
    assert result.code == 1
    failed, built = json.loads(result.out)
    assert (failed["usable"], failed["reason"], failed["engine"]) == (False, "Too little memory.", None)
    assert (built["built"], built["engine"]["key"]["shapes"]) == (True, "80x60")


def test_on_its_own_gpu_an_engine_is_checked(vidsr: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FULL, ADA)
    loader = Emulated(registry.load("fast", 4))
    emulate(monkeypatch, loader)
    result = vidsr("engine", "build", "--model", "fast", "--size", "64x48", "--json")
    assert result.code == 0, result.err
    (row,) = json.loads(result.out)
    assert row["usable"]
    assert row["engine"]["check"]["psnr"] > 55
    assert (row["engine"]["key"]["gpu"], row["engine"]["key"]["driver"]) == (ADA.name, ADA.driver)
    (listed,) = json.loads(vidsr("engine", "list", "--json").out)
    assert (listed["status"], listed["engine"]["check"]) == ("fits", row["engine"]["check"])
    loader.spoil = 0.02
    checked = vidsr("engine", "list", "--check")
    assert "REFUSED" in checked.out
    assert vidsr("engine", "build", "--model", "fast", "--size", "64x48").code == 1
    assert json.loads(vidsr("engine", "list", "--json").out)[0]["status"] == "refused"


def test_a_build_says_where_it_is_how_long_it_took_and_how_large_it_is(
    vidsr: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile(*_: object, on_progress: Callable[[str, float], None], **__: object) -> BuiltEngine:
        on_progress("tactics", 0.5)
        return BuiltEngine(bytes(2_500_000), {})

    monkeypatch.setattr(compiler, "build", compile)
    monkeypatch.setattr(steps, "LOG_SECONDS", 0.0)  # without a terminal there is a line every fifteen seconds
    said = vidsr("engine", "build", "rtx4090", "--model", "fast", "--size", "64x48").err
    assert "  fast x4 fp16 64x48: tactics, 50%" in said
    assert re.search(
        r"fast x4 fp16 64x48 for NVIDIA GeForce RTX 4090: built in \d+\.\d s \(there was none\), 2\.5 MB", said
    )


def test_a_gpu_that_is_not_there_is_bad_usage(vidsr: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vidsr("engine", "build", "rtx4090", "--model", "fast", "--size", "64x48")
    monkeypatch.undo()
    monkeypatch.setenv("VIDSR_ENGINE_DIR", str(folder))
    monkeypatch.setattr(flavour, "installed", lambda: RTX)
    monkeypatch.setattr(status, "installed", lambda: RTX)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for arguments in (
        ["build", "rtx4090", "--size", "32x32"],
        ["list"],
        ["list", "--check"],
        ["prune", "--other-gpus"],
    ):
        for device, words in ((7, "no GPU 7; this machine has 1"), (-1, "must not be negative")):
            result = vidsr("engine", *arguments, "--device", device)
            assert (result.code, result.err.count("\n"), words in result.err) == (2, 1, True), arguments
    assert [engine.key.shapes for engine in EngineCache(folder).engines()] == ["64x48"]


def test_one_that_cannot_be_checked_leaves_the_others(
    vidsr: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, FULL, ADA)
    emulate(monkeypatch, Emulated(registry.load("fast", 4)))
    assert vidsr("engine", "build", "--model", "fast", "--size", "64x48", "--size", "32x32").code == 0
    verify = engines.Maker.verify

    def full(self: engines.Maker, opened: Opened, *others: object) -> Engine:
        if opened.engine.key.shapes == "32x32":
            raise OutOfMemoryError("There is too little GPU memory.")
        return verify(self, opened, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(engines.Maker, "verify", full)
    result = vidsr("engine", "list", "--check", "--json")
    assert result.code == 0
    rows = {row["engine"]["key"]["shapes"]: (row["status"], row["why"]) for row in json.loads(result.out)}
    assert rows == {"64x48": ("fits", ""), "32x32": ("unknown", "There is too little GPU memory")}


def test_without_a_gpu_nothing_is_checked_and_that_is_said(vidsr: Cli, folder: Path) -> None:
    vidsr("engine", "build", "rtx4090", "--model", "fast", "--size", "64x48")
    assert vidsr("engine", "list", "--check").err == "nothing is compared: this torch finds no NVIDIA GPU\n"


def test_a_file_is_built_at_its_own_scale(vidsr: Cli, folder: Path, tmp_path: Path) -> None:
    mine = write_weights(tmp_path / "mine.safetensors", "fast", 2)
    assert vidsr("engine", "build", "rtx4090", "--model", mine, "--size", "64x48").code == 0
    assert [engine.key.scale for engine in EngineCache(folder).engines()] == [2]


def test_doctor_counts_what_is_damaged(vidsr: Cli, folder: Path) -> None:
    vidsr("engine", "build", "rtx4090", "--model", "fast", "--size", "64x48", "--size", "32x32")
    EngineCache(folder).path(EngineCache(folder).engines()[0].key.slot, ".engine").write_bytes(b"x")
    assert "2 in " in (said := json.loads(vidsr("doctor", "--json").out)["engines"])
    assert said.endswith(", 1 damaged (vidsr engine prune)")


def test_list_says_what_still_fits(vidsr: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert vidsr("engine", "list").out == "no engines\n"
    vidsr("engine", "build", "rtx4090", "--model", "fast", "--size", "64x48")
    table = vidsr("engine", "list").out
    for word in ("fast x4", "64x48", "fp16", "8.9", "5 B"):
        assert word in table

    def kind_and_why() -> tuple[str, str]:
        (row,) = json.loads(vidsr("engine", "list", "--json").out)
        return row["status"], row["why"]

    assert kind_and_why() == ("another GPU", "there is none here")
    use(monkeypatch, RTX, ADA)
    assert kind_and_why() == ("unchecked", "it fits, and is compared with FP32 when it is first opened")
    use(monkeypatch, RTX, replace(ADA, capability=(8, 6)))
    assert kind_and_why() == ("another GPU", "capability is 8.9, not 8.6")
    use(monkeypatch, replace(RTX, tensorrt="1.6"), ADA)
    assert kind_and_why() == ("stale", "tensorrt was 1.5, is 1.6")
    use(monkeypatch, None, ADA)
    assert kind_and_why()[0] == "unknown"


def test_the_driver_counts_for_the_full_flavour(vidsr: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FULL, ADA)
    emulate(monkeypatch, Emulated(registry.load("fast", 4)))
    vidsr("engine", "build", "--model", "fast", "--size", "64x48")
    use(monkeypatch, FULL, replace(ADA, driver="590.0"))
    (row,) = json.loads(vidsr("engine", "list", "--json").out)
    assert (row["status"], row["why"]) == ("stale", "driver was 580.1, is 590.0")


def test_prune_removes_what_fits_no_longer_alone(
    vidsr: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mine = write_weights(tmp_path / "mine.safetensors", "fast", 4)
    vidsr("engine", "build", "rtx4090", "--model", "fast", "--size", "64x48", "--size", "32x32")
    vidsr("engine", "build", "rtx4090", "--model", mine, "--size", "64x48")
    assert vidsr("engine", "prune").err == "nothing to remove\n"
    cache = EngineCache(folder)
    cache.path(cache.engines()[0].key.slot, ".engine").write_bytes(b"x")
    write_weights(mine, "fast", 2)
    removed = json.loads(vidsr("engine", "prune", "--json").out)
    assert len(removed) == 2
    assert "its file holds 1 bytes" in removed[0]["why"]
    assert "x2 model" in removed[1]["why"]
    assert [engine.key.shapes for engine in cache.engines()] == ["64x48"]
    assert "removed fast-x4" in vidsr("engine", "prune", "--other-gpus").err
    assert cache.entries() == []
    assert not list(folder.glob("*.engine"))


def test_weights_that_changed_make_an_engine_stale(vidsr: Cli, folder: Path, tmp_path: Path) -> None:
    mine = write_weights(tmp_path / "mine.safetensors", "fast", 4)
    vidsr("engine", "build", "rtx4090", "--model", mine, "--size", "64x48")
    torch.manual_seed(1)
    data = bytearray(mine.read_bytes())
    data[-1] ^= 1
    mine.write_bytes(data)
    (row,) = json.loads(vidsr("engine", "list", "--json").out)
    assert (row["status"], row["why"]) == ("stale", "weights changed")
    assert "weights changed" in vidsr("engine", "build", "rtx4090", "--model", mine, "--size", "64x48").err


def test_profiles_of_the_table_are_readable() -> None:
    assert str(Profile((1, 2, 2), (1, 540, 960), (1, 1088, 1920))) == "2x2 to 1920x1088, best at 960x540"
