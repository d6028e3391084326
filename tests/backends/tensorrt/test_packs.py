"""Engines in one file: what fits is taken and marked unchecked, and nothing that the file says is believed."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.backends.tensorrt.making import ADA, RTX, write_weights
from tests.conftest import Result
from vidsr.backends.accuracy import Accuracy
from vidsr.backends.tensorrt import build as compiler
from vidsr.backends.tensorrt import flavour, gpu, packs
from vidsr.backends.tensorrt.cache import BuiltEngine, EngineCache
from vidsr.backends.tensorrt.engines import Maker
from vidsr.backends.tensorrt.gpu import Gpu
from vidsr.backends.tensorrt.key import Profile
from vidsr.errors import BackendError, OutputError
from vidsr.models import registry

Cli = Callable[..., Result]
STATIC, DYNAMIC = Profile.static((1, 48, 64)), Profile((1, 2, 2), (1, 48, 64), (1, 96, 128))
TURING = Gpu((7, 5), "Tesla T4")
SLOT = "fast-x4_64x48_fp16_rtx_sm89"


@pytest.fixture(autouse=True)
def _compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes do not matter here: a pack carries any."""

    def build(model: registry.Model, profile: Profile, *, capability: tuple[int, int], **_: object) -> BuiltEngine:
        return BuiltEngine(f"{model.name} {profile} {capability}".encode() * 100, {"convolution": 1})

    monkeypatch.setattr(compiler, "build", build)


def fill(folder: Path, model: str = "fast", *targets: Gpu, scale: int = 4) -> EngineCache:
    """A cache as a machine without a GPU makes it."""
    cache = EngineCache(folder)
    for target in targets or (replace(ADA, index=None), TURING):
        for profile in (STATIC, DYNAMIC):
            Maker(registry.load(model, scale), "fp16", target, RTX, cache).obtain(profile)
    return cache


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    packs.pack(fill(tmp_path / "away"), tmp_path / "pack.zip")
    return tmp_path / "pack.zip"


@pytest.fixture
def here(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "here")


def read(pack: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(pack) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(pack: Path, entries: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(pack, "w", how) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


def changed(pack: Path, slot: str = SLOT, **values: object) -> None:
    """Write other values into a manifest; those of `Key` go into its key."""
    entries = read(pack)
    manifest = json.loads(entries[f"{slot}.json"])
    for name, value in values.items():
        (manifest["key"] if name in manifest["key"] else manifest)[name] = value
    write(pack, {**entries, f"{slot}.json": json.dumps(manifest).encode()})


def test_what_fits_the_gpu_is_taken_unchecked(pack: Path, here: EngineCache, tmp_path: Path) -> None:
    changed(pack, check={"psnr": 99.0, "p999": 0.0, "passed": True}, ms=0.1)
    rows = packs.unpack(here, pack, RTX, ADA)
    assert sorted(row.slot for row in rows if row.taken) == sorted(engine.key.slot for engine in here.engines())
    assert {row.why for row in rows if not row.taken} == {"another GPU: capability is 7.5, not 8.9"}
    assert [entry.problem for entry in here.entries()] == ["", ""]
    away = EngineCache(tmp_path / "away")
    for engine in here.engines():
        assert (engine.check, engine.ms, engine.key.capability) == (None, None, "8.9")
        assert engine == away.find(engine.key.slot)
        assert here.path(engine.key.slot, ".engine").read_bytes() == away.path(engine.key.slot, ".engine").read_bytes()


def test_where_there_is_no_gpu_all_are_taken(pack: Path, here: EngineCache) -> None:
    assert [row.taken for row in packs.unpack(here, pack, RTX, None)] == [True] * 4


def test_the_backend_uses_what_was_unpacked(pack: Path, here: EngineCache) -> None:
    packs.unpack(here, pack, RTX, ADA)
    on_gpu = Maker(registry.load("fast", 4), "fp16", ADA, RTX, here, device=torch.device("cuda", 0))
    opened = on_gpu.obtain(STATIC)
    assert on_gpu.converter == "torch-tensorrt"
    assert (opened.built, opened.engine.key.converter, opened.engine.check) == (False, "onnx", None)


def test_a_pack_says_nothing_of_the_machine_that_made_it(tmp_path: Path) -> None:
    folder = tmp_path / "secret place"
    folder.mkdir()
    weights = write_weights(folder / "mine.safetensors", "fast", 2)
    cache = fill(tmp_path / "away", str(weights), scale=2)
    cache.record(cache.engines()[0], check=Accuracy(60.0, 0.1, True), ms=2.0)
    packs.pack(cache, tmp_path / "pack.zip")
    data = (tmp_path / "pack.zip").read_bytes()
    assert b"secret place" not in data
    assert b'"check": {' not in data
    packs.pack(cache, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == data


def test_weights_of_ones_own_are_named(tmp_path: Path, here: EngineCache) -> None:
    weights, pack = write_weights(tmp_path / "mine.safetensors", "fast", 2), tmp_path / "pack.zip"
    packs.pack(fill(tmp_path / "away", str(weights), ADA, scale=2), pack)
    (why,) = {row.why for row in packs.unpack(here, pack, RTX, ADA)}
    assert why == "the weights of mine are not here; name their file with --model"
    assert here.entries() == []
    moved = weights.rename(tmp_path / "moved.safetensors")
    assert all(row.taken for row in packs.unpack(here, pack, RTX, ADA, weights=[moved]))
    assert {engine.source for engine in here.engines()} == {str(moved)}


def test_other_versions_and_weights_are_left_out_with_the_reason(pack: Path, here: EngineCache) -> None:
    for there, words in (
        (replace(RTX, tensorrt="1.6"), "tensorrt was 1.5, is 1.6"),
        (flavour.Flavour("full", "tensorrt", "11.0", "2.13.0"), "flavour was rtx, is full"),
    ):
        rows = packs.unpack(here, pack, there, ADA)
        assert not any(row.taken for row in rows)
        assert all(words in row.why for row in rows if row.slot.endswith("sm89"))
    changed(pack, weights="f" * 64)
    (row,) = (row for row in packs.unpack(here, pack, RTX, ADA) if row.slot == SLOT)
    assert (row.taken, row.why) == (False, "stale: weights changed")


def test_what_is_here_stays_unless_asked(pack: Path, here: EngineCache) -> None:
    packs.unpack(here, pack, RTX, ADA)
    mine = here.record(here.engines()[0], check=Accuracy(60.0, 0.1, True))
    rows = packs.unpack(here, pack, RTX, ADA)
    assert [row.there for row in rows].count(True) == 2
    assert not any(row.taken for row in rows)
    assert here.find(mine.key.slot) == mine
    here.path(mine.key.slot, ".engine").write_bytes(b"x")  # damaged: it is not in the way
    assert [row.slot for row in packs.unpack(here, pack, RTX, ADA) if row.taken] == [mine.key.slot]
    assert sum(row.taken for row in packs.unpack(here, pack, RTX, ADA, overwrite=True)) == 2


def traversal(entries: dict[str, bytes]) -> dict[str, bytes]:
    return {**entries, "../evil.engine": b"x"}


def renamed(entries: dict[str, bytes]) -> dict[str, bytes]:
    return {name.replace(SLOT, "other"): data for name, data in entries.items()}


def without(suffix: str) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda entries: {name: data for name, data in entries.items() if name != SLOT + suffix}


def other_bytes(entries: dict[str, bytes]) -> dict[str, bytes]:
    return {**entries, f"{SLOT}.engine": entries[f"{SLOT}.engine"][::-1]}


def shorter(entries: dict[str, bytes]) -> dict[str, bytes]:
    return {**entries, f"{SLOT}.engine": entries[f"{SLOT}.engine"][:-1]}


def manifest(data: bytes) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda entries: {**entries, f"{SLOT}.json": data}


def escaped(entries: dict[str, bytes]) -> dict[str, bytes]:
    """A value that would write to the terminal, in a manifest whose name it does not change."""
    return {**entries, f"{SLOT}.json": entries[f"{SLOT}.json"].replace(b'"tensorrt": "', b'"tensorrt": "\\u001b[31m')}


HOSTILE: dict[str, tuple[Callable[[dict[str, bytes]], dict[str, bytes]], str]] = {
    "traversal": (traversal, "'../evil.engine', which is not of a pack"),
    "absolute": (lambda entries: {**entries, "/etc/evil.json": b"x"}, "'/etc/evil.json'"),
    "backslash": (lambda entries: {**entries, "..\\evil.json": b"x"}, "is not of a pack"),
    "folder": (lambda entries: {**entries, "a/b.json": b"x"}, "'a/b.json'"),
    "control": (lambda entries: {**entries, "\x1b[31m.json": b"x"}, "is not of a pack"),
    "stranger": (lambda entries: {**entries, "run.py": b"x"}, "'run.py'"),
    "renamed": (renamed, "other is not what its manifest says"),
    "no manifest": (without(".json"), "engines with their manifests"),
    "no engine": (without(".engine"), "engines with their manifests"),
    "nothing": (lambda _: {}, "engines with their manifests"),
    "other bytes": (other_bytes, "is not the engine that was packed"),
    "shorter": (shorter, "is not what its manifest says"),
    "no json": (manifest(b"{"), "the manifest of fast-x4_64x48_fp16_rtx_sm89 is damaged"),
    "a list": (manifest(b"[]"), "is damaged"),
    "deep": (manifest(b"[" * 100_000), "is damaged"),
    "escape": (escaped, "the manifest of fast-x4_64x48_fp16_rtx_sm89 is damaged"),
    "large": (manifest(b" " * (packs.MAX_MANIFEST + 1)), "is too large"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_pack_is_one_sentence_and_nothing_is_taken(
    vidsr: Cli, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    change, words = HOSTILE[case]
    write(pack, change(read(pack)))
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(flavour, "installed", lambda: RTX)
    monkeypatch.setattr(gpu, "here", lambda _: ADA)
    result = vidsr("engine", "unpack", pack, "--engine-dir", tmp_path / "here")
    assert (result.code, result.err.count("\n"), result.out) == (1, 1, "")
    assert words in result.err
    assert "\x1b" not in result.err
    assert sorted(tmp_path.rglob("*")) == before


def test_hostile_values_never_become_paths(pack: Path, here: EngineCache, tmp_path: Path) -> None:
    for values in (
        {"source": str(tmp_path / "x.safetensors")}, {"model": "../../fast.safetensors"}, {"capability": "../9"},
        {"precision": "/tmp/x"}, {"shapes": "../64x48"}, {"gpu": "../x"}, {"scale": 10**30}, {"flavour": "../rtx"},
        {"shapes": "9" * 5000 + "x48"}, {"model": "fast.pth"}, {"model": "fast@2"}, {"model": "a\nb"},
    ):  # fmt: skip
        packs.pack(EngineCache(tmp_path / "away"), pack)
        changed(pack, **values)
        with suppress(BackendError):  # a name that is not the key's
            (row,) = (row for row in packs.unpack(here, pack, RTX, None) if row.slot == SLOT)
            assert row.taken == ("source" in values)
    assert {path.parent for path in tmp_path.rglob("*.engine")} <= {tmp_path / "away", here.folder}
    assert {engine.source for engine in here.engines()} == {"fast"}


def test_compressed_entries_are_refused_since_they_may_grow_without_end(pack: Path, here: EngineCache) -> None:
    write(pack, read(pack), zipfile.ZIP_DEFLATED)
    with pytest.raises(BackendError, match="not of a pack"):
        packs.unpack(here, pack, RTX, ADA)


def test_a_pack_that_was_cut_anywhere_is_refused(pack: Path, here: EngineCache) -> None:
    data = pack.read_bytes()
    for length in (0, 1, 30, len(data) // 3, len(data) // 2, len(data) - 30, len(data) - 1):
        pack.write_bytes(data[:length])
        with pytest.raises(BackendError, match=r"cannot be unpacked: .*nothing was taken"):
            packs.unpack(here, pack, RTX, ADA)
    assert here.entries() == []


def test_a_directory_that_places_engines_before_the_file_is_refused(pack: Path, here: EngineCache) -> None:
    data = bytearray(pack.read_bytes())
    offset = len(data) - 22 + 16  # of the directory, in the record that ends an archive without a comment
    data[offset + 3] ^= 0x40  # 1 GiB further than it lies: every entry begins as much too early
    pack.write_bytes(data)
    with pytest.raises(BackendError, match=r"cannot be unpacked: .*nothing was taken"):
        packs.unpack(here, pack, RTX, ADA)
    assert here.entries() == []


def test_damage_anywhere_is_refused_or_does_not_matter(pack: Path, here: EngineCache) -> None:
    data, chance = pack.read_bytes(), random.Random(0)
    good = {engine.sha256 for engine in EngineCache(pack.parent / "away").engines()}
    refused = 0
    for _ in range(300):
        broken = bytearray(data)
        for _ in range(chance.choice((1, 1, 3))):
            broken[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        pack.write_bytes(broken)
        try:
            packs.unpack(here, pack, RTX, ADA, overwrite=True)
        except BackendError:
            refused += 1
        assert {engine.sha256 for engine in here.engines()} <= good
        assert all(entry.problem == "" for entry in here.entries())
    assert refused > 250


def test_what_is_no_file_is_said(vidsr: Cli, here: EngineCache, tmp_path: Path) -> None:
    for path in (tmp_path / "none.zip", tmp_path):
        with pytest.raises(BackendError, match="Cannot read"):
            packs.unpack(here, path, RTX, ADA)
    with pytest.raises(BackendError, match="There is no engine in"):
        packs.pack(here, tmp_path / "pack.zip")
    cache = fill(tmp_path / "away")
    with pytest.raises(BackendError, match=r"There is no engine for compute capability 12\.0 in"):
        packs.pack(cache, tmp_path / "pack.zip", {(12, 0)})
    with pytest.raises(OutputError, match="cannot be written"):
        packs.pack(cache, tmp_path / "away" / "x" / "y" / ("n" * 300))
    assert not list(tmp_path.glob("*.part"))


@pytest.fixture
def rtx4090(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flavour, "installed", lambda: RTX)
    monkeypatch.setattr(gpu, "here", lambda _: ADA)


@pytest.mark.usefixtures("rtx4090")
def test_the_commands_say_what_they_did(vidsr: Cli, tmp_path: Path) -> None:
    fill(tmp_path / "away")
    file, away, here = tmp_path / "p.zip", ("--engine-dir", tmp_path / "away"), ("--engine-dir", tmp_path / "here")
    packed = vidsr("engine", "pack", file, *away)
    assert packed.code == 0
    size = file.stat().st_size
    assert packed.err == f"{file}: 4 engines for sm 7.5, sm 8.9, {size / 1000:.1f} kB\n"
    assert vidsr("engine", "pack", file, *away).code == 2
    unpacked = vidsr("engine", "unpack", file, *here)
    assert unpacked.code == 0
    assert unpacked.err.splitlines() == [
        "left out 2 engines: another GPU: capability is 7.5, not 8.9",
        f"unpacked 2 engines for {ADA.name}; none is compared with FP32 yet",
    ]
    rows: list[dict[str, Any]] = json.loads(vidsr("engine", "unpack", file, *here, "--json").out)
    assert sorted((row["taken"], row["there"]) for row in rows) == [(False, False)] * 2 + [(False, True)] * 2
    assert vidsr("engine", "pack", file, *away, "-y", "--gpu", "t4").err.startswith(f"{file}: 2 engines for sm 7.5, ")
    nothing = vidsr("engine", "unpack", file, *here, "--json")
    assert not any(row["taken"] for row in json.loads(nothing.out)), "the one document, though it failed"
    assert nothing.code == 1
    assert nothing.err.endswith(f"vidsr: {file} holds no engine for this machine.\n")
