"""Where engines are kept: a file and a JSON manifest for each, written under a lock.

The manifest holds the whole key and the file's SHA-256. An engine whose key or file differs from what is wanted is
built again, and the reason said; nothing is ever found by its name alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from vidsr import files
from vidsr.backends.accuracy import Accuracy
from vidsr.backends.tensorrt.key import Key, Profile, differences
from vidsr.errors import BackendError

FOLDER_VARIABLE = "VIDSR_ENGINE_DIR"
ENGINE, MANIFEST, LOCK, TIMING, KERNELS = ".engine", ".json", ".lock", ".timing", ".kernels"
FORMAT = 1  # of the manifest
POLL = 0.2  # seconds between two looks at a lock that another process holds


@dataclass(frozen=True)
class Engine:
    """An engine in the cache: `seconds` took its build, `ms` one call at its best shape where that was measured.

    `source` is what `--model` takes; `check` is None before the engine has run on its GPU.
    """

    key: Key
    num_bytes: int
    sha256: str
    built: str
    seconds: float
    source: str
    layers: dict[str, int]
    check: Accuracy | None = None
    ms: float | None = None


@dataclass(frozen=True)
class CacheEntry:
    """What stands in the cache under one name: an engine, or what is wrong with it."""

    slot: str
    engine: Engine | None
    problem: str = ""


@dataclass(frozen=True)
class Opened:
    """An engine with its bytes, whether it was built for this, and why (or why not)."""

    engine: Engine
    data: bytes
    built: bool
    reason: str


@dataclass(frozen=True)
class BuiltEngine:
    """What a build gives: the serialized engine, and how many layers the network has of each type."""

    data: bytes
    layers: dict[str, int] = field(default_factory=dict)


def engine_folder(folder: Path | None = None) -> Path:
    """Where engines are: `folder`, else ``VIDSR_ENGINE_DIR``, else below the user's cache directory."""
    if folder is None and (named := os.environ.get(FOLDER_VARIABLE)):
        folder = Path(named)
    if folder is not None:
        return folder
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("vidsr", appauthor=False)) / "engines"


class EngineCache:
    """The engines of one folder, which is made when the first one is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(
        self,
        key: Key,
        make: Callable[[], BuiltEngine],
        *,
        others: Sequence[Key] = (),
        source: str = "",
        force: bool = False,
        on_wait: Callable[[], None] = lambda: None,
    ) -> Opened:
        """The engine of that key, or of one of `others` in its place, built by `make` unless it is there and whole.

        One process builds at a time; the others wait for it, call `on_wait` again and again, and take its engine.

        Raises:
            BackendError: the folder cannot be written.
        """
        with self._locked(key.slot, on_wait):
            problem = "asked for" if force else self._problem(key, others)
            if not problem and (data := self._read(key.slot)) is not None:
                engine = self._load(key.slot)
                return Opened(engine, data, False, "in the cache")
            started = time.perf_counter()
            made = make()
            engine = Engine(
                key=key,
                num_bytes=len(made.data),
                sha256=hashlib.sha256(made.data).hexdigest(),
                built=datetime.now(UTC).isoformat(timespec="seconds"),
                seconds=time.perf_counter() - started,
                source=source or key.model,
                layers=made.layers,
            )
            self._write(engine, made.data)
            return Opened(engine, made.data, True, problem)

    def find(self, slot: str) -> Engine | None:
        """The engine of that name by its manifest, whatever its key; the file itself is examined by `open`."""
        try:
            return self._load(slot)
        except (OSError, ValueError):
            return None

    def record(self, engine: Engine, *, check: Accuracy | None = None, ms: float | None = None) -> Engine:
        """Note what was measured of an engine, unless another one has taken its place; returns it with that."""
        measured = replace(engine, check=check or engine.check, ms=ms or engine.ms)
        with self._locked(engine.key.slot, lambda: None):
            try:
                same = self._load(engine.key.slot).sha256 == engine.sha256
            except (OSError, ValueError):
                same = False
            if same:
                self._write_manifest(measured)
        return measured

    def engines(self) -> list[Engine]:
        """All engines by their manifests, sorted by name; files are not examined."""
        found = []
        for path in sorted(self.folder.glob(f"*{MANIFEST}")):
            with suppress(OSError, ValueError):
                found.append(self._load(path.stem))
        return found

    def entries(self) -> list[CacheEntry]:
        """All that stands in the folder, sorted by name; files are hashed."""
        slots = {path.stem for suffix in (ENGINE, MANIFEST) for path in self.folder.glob(f"*{suffix}")}
        return [self.entry(slot) for slot in sorted(slots)]

    def remove(self, entry: CacheEntry) -> int:
        """Delete an entry, unless it has changed since it was listed; returns the bytes that this freed."""
        with self._locked(entry.slot, lambda: None):
            if self.entry(entry.slot) != entry:
                return 0
            paths = [self.path(entry.slot, suffix) for suffix in (ENGINE, MANIFEST, KERNELS, ENGINE + files.PART)]
            freed = sum(path.stat().st_size for path in paths if path.exists())
            for path in paths:
                path.unlink(missing_ok=True)
        return freed

    def path(self, slot: str, suffix: str) -> Path:
        """The file of an entry."""
        return self.folder / f"{slot}{suffix}"

    def put(self, engine: Engine, data: bytes) -> None:
        """Write an engine that was built elsewhere, in the place of what stands under its name.

        Raises:
            BackendError: the folder cannot be written.
        """
        with self._locked(engine.key.slot, lambda: None):
            self._write(engine, data)

    def entry(self, slot: str) -> CacheEntry:
        """What stands under that name; the file is hashed."""
        try:
            engine = self._load(slot)
        except (OSError, ValueError):
            return CacheEntry(slot, None, "its manifest is missing or damaged")
        return CacheEntry(slot, engine, self._damage(engine))

    def _problem(self, key: Key, others: Sequence[Key]) -> str:
        """Why the engine of that key must be built; empty if it need not be."""
        if not self.path(key.slot, ENGINE).exists():
            return self._nearest(key)
        try:
            engine = self._load(key.slot)
        except (OSError, ValueError):
            return "its manifest is missing or damaged"
        changes = [] if engine.key in others else differences(engine.key, key)
        return "; ".join(changes) or self._damage(engine)

    def _nearest(self, key: Key) -> str:
        """What is new about a key for which nothing stands here: its difference from the most similar engine."""
        others = [engine.key for engine in self.engines()]
        found = [differences(old, key) for old in others if (old.model, old.scale) == (key.model, key.scale)]
        nearest: list[str] = min(found, key=len, default=[])
        return f"none yet: {'; '.join(nearest)}" if nearest else "there was none"

    def _damage(self, engine: Engine) -> str:
        """What is wrong with an engine's file; empty if it is the one that was built."""
        data = self._read(engine.key.slot)
        if data is None:
            return "its file is missing"
        if len(data) != engine.num_bytes:
            return f"its file holds {len(data)} bytes instead of {engine.num_bytes}"
        return "" if hashlib.sha256(data).hexdigest() == engine.sha256 else "its file is not the one that was built"

    def _read(self, slot: str) -> bytes | None:
        try:
            return self.path(slot, ENGINE).read_bytes()
        except OSError:
            return None

    def _load(self, slot: str) -> Engine:
        """The manifest.

        Raises:
            OSError, ValueError: it is missing or damaged.
        """
        return parse_manifest(self.path(slot, MANIFEST).read_bytes())

    def _write(self, engine: Engine, data: bytes) -> None:
        try:
            self.path(engine.key.slot, KERNELS).unlink(missing_ok=True)  # of the engine before
            files.write(self.path(engine.key.slot, ENGINE), data)
            self._write_manifest(engine)
        except OSError as error:
            raise self._unwritable(error) from error

    def _write_manifest(self, engine: Engine) -> None:
        values: dict[str, object] = {"format": FORMAT, **asdict(engine)}
        files.write(self.path(engine.key.slot, MANIFEST), json.dumps(values, indent=2))

    def _unwritable(self, error: OSError) -> BackendError:
        where = f"{self.folder} ({error.strerror})"
        return BackendError(f"Cannot write engines to {where}; name another folder in {FOLDER_VARIABLE}.")

    @contextmanager
    def _locked(self, slot: str, on_wait: Callable[[], None]) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path(slot, LOCK))
            while True:
                try:
                    lock.acquire(timeout=POLL)
                    break
                except Timeout:
                    on_wait()
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            yield
        finally:
            lock.release()


def parse_manifest(text: bytes) -> Engine:
    """An engine from its manifest, each value of its type.

    Raises:
        ValueError: something else.
    """
    try:
        values = json.loads(text)
        if values.pop("format") != FORMAT:
            raise ValueError("another format")
        key, check = Key.from_dict(values.pop("key")), values.pop("check")
        Profile.parse(key.shapes)
        engine = Engine(key=key, check=Accuracy(**check) if check is not None else None, **values)
        numbers = (engine.num_bytes, engine.seconds, 0 if engine.ms is None else engine.ms, *engine.layers.values())
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("not a manifest of an engine") from error
    words = (engine.sha256, engine.built, engine.source)
    if not all(type(word) is str for word in words) or not all(type(number) in (int, float) for number in numbers):
        raise ValueError("a value of another type")
    return engine
