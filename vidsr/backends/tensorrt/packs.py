"""Engines in one file, carried from the machine that built them to the one that has their GPU.

A pack is a zip archive without compression: the engine and the manifest of each, under the names that they have in a
cache. Nothing of a pack is believed: not its names, not its hashes, not that an engine was ever checked.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
import struct
import zipfile
from collections.abc import Iterator, Sequence, Set
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from vidsr import files
from vidsr.backends.tensorrt.cache import ENGINE, FORMAT, MANIFEST, CacheEntry, Engine, EngineCache, parse_manifest
from vidsr.backends.tensorrt.flavour import Flavour
from vidsr.backends.tensorrt.gpu import Gpu
from vidsr.backends.tensorrt.status import status
from vidsr.errors import BackendError, OutputError
from vidsr.models import registry

DAMAGE = (zipfile.BadZipFile, EOFError, struct.error, ValueError, OverflowError, NotImplementedError)  # of zipfile
MAX_MANIFEST = 1 << 20  # bytes; ours are about two thousand
HERE = "there is one already"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,200}\.(?:engine|json)")


@dataclass(frozen=True)
class Unpacked:
    """What became of one engine: taken, or why not; `there` says that this machine has one in its place."""

    slot: str
    taken: bool
    why: str = ""
    there: bool = False


def pack(cache: EngineCache, path: Path, capabilities: Set[tuple[int, int]] = frozenset()) -> list[Engine]:
    """Write the whole engines of a cache, or those for GPUs of these compute capabilities; returns them.

    The same engines give the same bytes. Neither paths of this machine nor what was measured on its GPU go along.

    Raises:
        BackendError: there is none.
        OutputError: the file cannot be written.
    """
    wanted = {f"{major}.{minor}" for major, minor in capabilities}
    found = [entry.engine for entry in cache.entries() if entry.engine is not None and not entry.problem]
    found = [engine for engine in found if not wanted or engine.key.capability in wanted]
    if not found:
        kind = f" for compute capability {' or '.join(sorted(wanted))}" if wanted else ""
        raise BackendError(f"There is no engine{kind} in {cache.folder}; build some with `vidsr engine build rtx4090`.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            for engine in found:
                plain = {"format": FORMAT, **asdict(replace(engine, source=engine.key.model, check=None, ms=None))}
                archive.writestr(zipfile.ZipInfo(engine.key.slot + MANIFEST), json.dumps(plain, indent=2))
                archive.writestr(
                    zipfile.ZipInfo(engine.key.slot + ENGINE), cache.path(engine.key.slot, ENGINE).read_bytes()
                )
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); choose another file.") from error
    return found


def unpack(
    cache: EngineCache,
    path: Path,
    flavour: Flavour,
    target: Gpu | None,
    *,
    weights: Sequence[Path] = (),
    overwrite: bool = False,
) -> list[Unpacked]:
    """Put the engines of a pack that fit `flavour` and `target` (None: any GPU) into a cache, not checked yet.

    A pack that is damaged in any place is refused whole. `weights` are files of models that are not shipped.

    Raises:
        BackendError: it is damaged, or no pack.
        ModelError: `weights` cannot be read.
    """
    own = {(model.weights_hash, model.scale): model for model in map(_weights, weights)}
    archive, engines = _opened(path)
    rows = []
    with archive:
        for engine in engines:
            model = own.get((engine.key.weights, engine.key.scale))
            source = str(model.path.resolve()) if model and model.path else engine.key.model
            found = replace(engine, source=source)
            row = _judged(cache, found, flavour, target, overwrite)
            if row.taken:
                cache.put(found, archive.read(engine.key.slot + ENGINE))
            rows.append(row)
    return rows


def _weights(path: Path) -> registry.Model:
    return registry.load(str(path), registry.read_info(path).scale)


def _judged(cache: EngineCache, engine: Engine, flavour: Flavour, target: Gpu | None, overwrite: bool) -> Unpacked:
    slot = engine.key.slot
    if engine.source == engine.key.model and not _is_shipped(engine):
        return Unpacked(slot, False, f"the weights of {engine.key.model} are not here; name their file with --model")
    found = status(CacheEntry(slot, engine), flavour, target)
    if found.kind not in ("unchecked", "another GPU") or (found.kind == "another GPU" and target is not None):
        return Unpacked(slot, False, str(found))
    there = cache.entry(slot)
    if there.engine is not None and not overwrite:
        kind = status(there, flavour, target).kind
        if kind in ("fits", "unchecked") or (kind == "another GPU" and target is None):
            return Unpacked(slot, False, HERE, there=True)
    return Unpacked(slot, True)


def _is_shipped(engine: Engine) -> bool:
    """Whether a name (never a path: it came with the pack) is one of a model that comes with vidsr."""
    name = engine.key.model.partition("@")[0]
    return (name, engine.key.scale) in {(info.name, info.scale) for info in registry.available_models()}


def _opened(path: Path) -> tuple[zipfile.ZipFile, list[Engine]]:
    """A pack, to be closed, and its engines, each of which has been read."""
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    except DAMAGE as error:
        raise _damaged(path, "it is no whole archive") from error
    try:
        return archive, list(_engines(path, archive))
    except BaseException as error:
        archive.close()
        if isinstance(error, DAMAGE) or (isinstance(error, OSError) and error.errno == errno.EINVAL):
            raise _damaged(path, "it is damaged") from error  # EINVAL: a place before the file's beginning
        if isinstance(error, OSError):
            raise _unreadable(path, error) from error
        raise


def _engines(path: Path, archive: zipfile.ZipFile) -> Iterator[Engine]:
    """The engines of a pack, each with its bytes as the manifest has them; nothing else may be in there."""
    sizes: dict[str, int] = {}
    for info in archive.infolist():
        plain = info.compress_type == zipfile.ZIP_STORED and info.file_size == info.compress_size
        if not _NAME.fullmatch(info.filename) or info.filename in sizes or not plain or info.flag_bits & 1:
            raise _damaged(path, f"it holds {info.filename[:80]!r}, which is not of a pack")
        sizes[info.filename] = info.file_size
    slots = {Path(name).stem for name in sizes}
    if not slots or len(sizes) != 2 * len(slots) or sum(sizes.values()) > path.stat().st_size:
        raise _damaged(path, "it does not hold engines with their manifests")
    for slot in sorted(slots):
        if sizes[slot + MANIFEST] > MAX_MANIFEST:
            raise _damaged(path, f"the manifest of {slot} is too large")
        try:
            engine = parse_manifest(archive.read(slot + MANIFEST))
        except ValueError as error:
            raise _damaged(path, f"the manifest of {slot} is damaged") from error
        if not all(str(value).isprintable() for value in engine.key.to_dict().values()):
            raise _damaged(path, f"the manifest of {slot} is damaged")
        if engine.key.slot != slot or engine.num_bytes != sizes[slot + ENGINE]:
            raise _damaged(path, f"{slot} is not what its manifest says")
        if hashlib.sha256(archive.read(slot + ENGINE)).hexdigest() != engine.sha256:
            raise _damaged(path, f"{slot} is not the engine that was packed")
        yield replace(engine, check=None, ms=None)


def _unreadable(path: Path, error: OSError) -> BackendError:
    return BackendError(f"Cannot read {path} ({error.strerror or error}); check the path.")


def _damaged(path: Path, why: str) -> BackendError:
    return BackendError(f"{path} cannot be unpacked: {why}; nothing was taken. Pack it again with `vidsr engine pack`.")
