"""The engine cache: nothing is used that differs from what is wanted, and the reason is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from tests.backends.tensorrt.making import make_key
from vidsr.backends.accuracy import Accuracy
from vidsr.backends.tensorrt.cache import BuiltEngine, EngineCache, engine_folder
from vidsr.backends.tensorrt.key import Key, Profile, differences
from vidsr.errors import BackendError

DATA = bytes(range(256)) * 8
CHANGES: dict[str, object] = {
    "weights": "b" * 64, "config": '{"blocks": 9}', "shapes": "64x50", "precision": "fp32", "converter": "onnx",
    "flavour": "rtx", "tensorrt": "11.1", "torch_tensorrt": "2.13.1", "torch": "2.13.2", "capability": "9.0",
    "gpu": "NVIDIA H100", "driver": "590.0", "platform": "win32-AMD64", "format": 2,
}  # fmt: skip


class Builder:
    """Counts builds; every build gives other bytes."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> BuiltEngine:
        self.count += 1
        return BuiltEngine(DATA + bytes([self.count]), {"convolution": 8})


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


def test_built_once_then_taken(cache: EngineCache) -> None:
    build = Builder()
    first, second = cache.open(make_key(), build), cache.open(make_key(), build)
    assert (first.built, second.built, build.count) == (True, False, 1)
    assert (first.reason, second.reason) == ("there was none", "in the cache")
    assert first.data == second.data == DATA + b"\1"
    assert cache.find(make_key().slot) == first.engine == second.engine
    assert cache.find(make_key(gpu="A").slot) is None
    assert not list(cache.folder.glob("*.part"))


def test_every_field_has_a_change() -> None:
    assert {field.name for field in fields(Key)} == {"model", "scale", *CHANGES}


@pytest.mark.parametrize("field", CHANGES)
def test_a_changed_field_builds_again_and_says_which(cache: EngineCache, field: str) -> None:
    build, old, new = Builder(), make_key(), make_key(**{field: CHANGES[field]})
    cache.open(old, build)
    opened = cache.open(new, build)
    assert opened.built
    assert build.count == 2
    other_place = old.slot != new.slot
    assert opened.reason == ("none yet: " if other_place else "") + differences(old, new)[0]
    assert field.replace("_", "-") in opened.reason
    if field not in ("weights", "config"):
        assert f"was {old.to_dict()[field]}, is {CHANGES[field]}" in opened.reason
    assert not cache.open(new, build).built


def test_one_of_the_others_is_as_good(cache: EngineCache) -> None:
    build, elsewhere = Builder(), make_key(converter="onnx", torch_tensorrt="")
    cache.open(elsewhere, build)
    opened = cache.open(make_key(), build, others=[elsewhere])
    assert (opened.built, opened.engine.key) == (False, elsewhere)
    assert cache.open(make_key(), build, others=[make_key(converter="onnx")]).built


def test_a_hostile_value_stays_in_the_folder(cache: EngineCache) -> None:
    for field in ("precision", "flavour", "capability", "shapes"):
        assert "/" not in make_key(**{field: "../../x"}).slot
        assert "." not in make_key(**{field: "../../x"}).slot


def test_another_model_or_scale_is_no_reason(cache: EngineCache) -> None:
    cache.open(make_key(), Builder())
    for other in (make_key(model="srgan"), make_key(scale=2)):
        assert cache.open(other, Builder()).reason == "there was none"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def tamper(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("suffix", "damage", "reason"),
    [
        (".engine", truncate, "its file holds 2048 bytes instead of 2049"),
        (".engine", tamper, "its file is not the one that was built"),
        (".json", truncate, "its manifest is missing or damaged"),
        (".json", Path.unlink, "its manifest is missing or damaged"),
        (".json", lambda path: path.write_text("[]"), "its manifest is missing or damaged"),
        (".json", lambda path: path.write_text('{"format": 1}'), "its manifest is missing or damaged"),
    ],
)
def test_a_damaged_engine_is_built_again(
    cache: EngineCache, suffix: str, damage: Callable[[Path], object], reason: str
) -> None:
    build = Builder()
    cache.open(make_key(), build)
    damage(cache.path(make_key().slot, suffix))
    (entry,) = cache.entries()
    assert entry.problem == reason
    opened = cache.open(make_key(), build)
    assert (opened.built, opened.reason, opened.data) == (True, reason, DATA + b"\2")
    assert cache.open(make_key(), build).data == opened.data
    assert [entry.problem for entry in cache.entries()] == [""]


def test_a_failed_build_leaves_the_old_engine(cache: EngineCache) -> None:
    first = cache.open(make_key(), Builder())

    def fail() -> BuiltEngine:
        raise BackendError("no")

    with pytest.raises(BackendError, match="no"):
        cache.open(make_key(), fail, force=True)
    assert cache.open(make_key(), fail).data == first.data
    assert cache.open(make_key(), Builder(), force=True).reason == "asked for"


def test_measurements_stay_with_the_engine_they_are_of(cache: EngineCache) -> None:
    build = Builder()
    old = cache.open(make_key(), build).engine
    cache.record(old, check=Accuracy(60.0, 0.5, True), ms=3.0)
    found = cache.find(make_key().slot)
    assert found is not None
    assert (found.check, found.ms) == (Accuracy(60.0, 0.5, True), 3.0)
    cache.open(make_key(), build, force=True)
    cache.record(old, check=Accuracy(60.0, 0.5, True))
    found = cache.find(make_key().slot)
    assert found is not None
    assert found.check is None


def test_removing_frees_what_it_says_and_spares_what_changed(cache: EngineCache) -> None:
    build = Builder()
    cache.open(make_key(), build)
    (entry,) = cache.entries()
    cache.open(make_key(), build, force=True)
    assert cache.remove(entry) == 0
    (entry,) = cache.entries()
    size = sum(path.stat().st_size for path in cache.folder.iterdir())
    assert cache.remove(entry) == size
    assert cache.entries() == []


def test_a_hostile_name_stays_in_the_folder(cache: EngineCache) -> None:
    key = make_key(model="../../etc/x y\x1b[0m" + "n" * 300, gpu="A/B")
    cache.open(key, Builder())
    assert all(path.parent == cache.folder for path in cache.folder.parent.rglob("*.engine"))
    assert len(key.slot) < 150
    assert not set(key.slot) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    assert cache.find(key.slot) is not None


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BackendError, match=r"Cannot write engines to .*file.*VIDSR_ENGINE_DIR"):
        EngineCache(tmp_path / "file").open(make_key(), Builder())


def test_the_folder_is_named_by_option_variable_or_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VIDSR_ENGINE_DIR", str(tmp_path / "a"))
    assert engine_folder(tmp_path / "b") == tmp_path / "b"
    assert engine_folder() == tmp_path / "a"
    monkeypatch.delenv("VIDSR_ENGINE_DIR")
    assert engine_folder().parts[-2:] == ("vidsr", "engines")


@pytest.mark.parametrize(
    "profile", [Profile.static((1, 540, 960)), Profile.static((4, 270, 480)), Profile((1, 2, 2), (1, 5, 6), (2, 8, 9))]
)
def test_profiles_are_written_and_read(profile: Profile) -> None:
    assert Profile.parse(str(profile)) == profile


def test_keys_are_written_and_read() -> None:
    key = make_key()
    assert Key.from_dict(json.loads(json.dumps(key.to_dict()))) == key
    for wrong in ({"scale": "4"}, {"more": 1}):
        with pytest.raises(ValueError, match="key"):
            make_key(**wrong)
