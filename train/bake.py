"""``python -m train bake``: LR/HR pairs with real codec round trips, made ahead into a cache that can travel.

Importing this module loads neither PyAV nor Pillow; `open_cache` needs neither.
"""

import argparse
import errno
import hashlib
import io
import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock, Timeout

from train.cache import HEADER, WINDOW_MARGIN, Cache, Header, num_shards, open_cache, pack, shard_path
from vidsr.errors import OutputError, UsageError
from vidsr.files import write

if TYPE_CHECKING:
    from train.data import Bank

log = logging.getLogger("train")

__all__ = ["BakePlan", "Cache", "add_parser", "bake", "open_cache"]

SCALES = (2, 4)
DEFAULT_CROPS = {4: 64, 2: 96}  # LR pixels
SHARD_BYTES = 14 << 20  # before packing, which only makes it smaller
MAX_SCENES = 32  # in a shard: what a killed run loses at most


@dataclass(frozen=True)
class BakePlan:
    """What to bake: `variants` LR pictures of `crop` LR pixels for each HR window, out of clips of `frames` frames.

    Raises:
        UsageError: a value is impossible.
    """

    scale: int = 4
    crop: int = 64
    variants: int = 4
    frames: int = 6
    seed: int = 0
    per_shard: int = 0  # scenes; 0: as many as fit into a shard

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise UsageError(f"The scale of a cache is 2 or 4, not {self.scale}.")
        if self.crop < 8 or self.crop % 2:
            raise UsageError(f"The crop must be an even number of LR pixels from 8, not {self.crop}.")
        if not 1 <= self.variants <= self.scale**2:
            raise UsageError(f"The variants of a scene must be from 1 to {self.scale**2}, not {self.variants}.")
        if not 1 <= self.frames <= 64:
            raise UsageError(f"A clip has from 1 to 64 frames, not {self.frames}.")
        if self.seed < 0 or self.per_shard < 0:
            raise UsageError("The seed and the scenes of a shard must not be negative.")

    @property
    def scene_bytes(self) -> int:
        """Of one scene, unpacked."""
        return 3 * (self.window**2 + self.variants * self.crop**2)

    @property
    def window(self) -> int:
        """Side of a scene's HR window in pixels."""
        return self.crop * self.scale + WINDOW_MARGIN

    @property
    def scenes(self) -> int:
        """In a shard."""
        return self.per_shard or max(1, min(MAX_SCENES, SHARD_BYTES // self.scene_bytes))


@dataclass(frozen=True)
class Limits:
    """When to stop: at `count` pairs, rounded up to a whole shard, after `seconds`, or before `max_bytes`."""

    count: int | None = None
    seconds: float = math.inf
    max_bytes: float = math.inf


def bake(
    plan: BakePlan, folders: Sequence[Path], out: Path, photo_cache: Path, limits: Limits, threads: int = 1
) -> int:
    """Add shards to the cache in `out` until one of `limits` is reached; how many pairs it has then.

    The scenes of a shard follow from the plan's seed and its number alone: a run that was killed goes on where it
    stopped, and ends with the same bytes as one that was not; so does one with more `threads`.

    Raises:
        MediaError: no photo, a damaged or too small one.
        UsageError: `out` holds a cache made by another plan, from other photos or with other versions.
        OutputError: `out` cannot be written, is full, or another process is baking there.
    """
    from train.data import find_photos, open_bank

    photos = find_photos(folders)
    bank = open_bank(photos, photo_cache, plan.window)
    header = _header(plan, folders, photos)
    began = time.monotonic()
    with _writing(out), _pool(threads) as pool:
        out.mkdir(parents=True, exist_ok=True)
        with FileLock(out / "bake.lock", timeout=0):
            _settle(header, out)
            old = done = num_shards(out)
            size = sum(shard_path(out, number).stat().st_size for number in range(done))
            while not _enough(plan, done, limits.count) and time.monotonic() - began < limits.seconds:
                content = _shard(pool, bank, header, done)
                if size + len(content) > limits.max_bytes:
                    break
                write(shard_path(out, done), content)
                done, size = done + 1, size + len(content)
                _report(plan, done, size, time.monotonic() - began, done - old)
    return done * plan.scenes * plan.variants


def _header(plan: BakePlan, folders: Sequence[Path], photos: Sequence[Path]) -> Header:
    import av

    from train.degrade import version
    from train.export import summarise_data

    names = json.dumps([(photo.name, photo.stat().st_size) for photo in photos])
    maker = f"av {av.__version__}, degradations {version()}"
    digest = hashlib.sha256(names.encode()).hexdigest()[:16]
    data = summarise_data(list(folders), list(photos))
    return Header(plan.scale, plan.crop, plan.variants, plan.frames, plan.scenes, plan.seed, digest, maker, data)


def _settle(header: Header, out: Path) -> None:
    """Write the header, or make sure that the one there is the same."""
    if not (out / HEADER).exists():
        write(out / HEADER, header.to_json().encode())
        return
    there, asked = asdict(Header.read(out)), asdict(header)
    if different := [name for name in asked if asked[name] != there[name]]:
        name = different[0]
        raise UsageError(
            f"The cache {out} was baked with {name} {there[name]!r}, not {asked[name]!r}; choose another --out, or the "
            "same options."
        )


def _enough(plan: BakePlan, shards: int, count: int | None) -> bool:
    return count is not None and shards * plan.scenes * plan.variants >= count


@contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    import torch

    # Each has one of torch's threads: operations this short on more wait for each other, beside other work without end.
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)  # for those that begin later


def _shard(pool: ThreadPoolExecutor, bank: "Bank", header: Header, number: int) -> bytes:
    from train.scene import make_scene

    first = number * header.per_shard
    scenes = list(pool.map(partial(make_scene, bank, header), range(first, first + header.per_shard)))
    hr, lr, offsets = (np.stack(arrays) for arrays in zip(*scenes, strict=True))
    file = io.BytesIO()
    np.savez_compressed(file, hr=pack(hr), lr=pack(lr), offsets=offsets.astype(np.uint8))
    return file.getvalue()


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except Timeout as error:
        raise OutputError(f"Another process is baking into {out}; wait for it, or choose another --out.") from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "make room and run again, it goes on where it stopped" if full else "choose another --out"
        raise OutputError(f"Cannot write the cache {out} ({error.strerror}); {advice}.") from error


def _report(plan: BakePlan, shards: int, size: int, seconds: float, new: int) -> None:
    pairs = plan.scenes * plan.variants
    log.info("%d pairs in %d MiB, %.1f pairs/s", shards * pairs, size >> 20, new * pairs / seconds)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``bake`` to the commands of ``python -m train``."""
    parser = commands.add_parser("bake", help="make LR/HR pairs with codec round trips ahead, into a cache")
    parser.add_argument("--data", type=Path, action="append", required=True, help="folder of photos; may be repeated")
    parser.add_argument("--out", type=Path, required=True, help="folder of the cache; a cache there is continued")
    parser.add_argument("--scale", type=int, default=4, choices=SCALES)
    parser.add_argument("--crop", type=int, help="side of an LR picture in pixels (default: 64 for x4, 96 for x2)")
    parser.add_argument("--variants", type=int, default=4, help="LR pictures of each HR window (default: 4)")
    parser.add_argument("--frames", type=int, default=6, help="how many of each clip are encoded (default: 6)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, help="stop at this many pairs, rounded up to a whole shard")
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after the shard that passes this time")
    parser.add_argument("--mib", type=float, default=math.inf, help="stop before the cache is larger than this")
    parser.add_argument("--cache", type=Path, help="folder for decoded photos (default: the user's cache folder)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from platformdirs import user_cache_path

    from vidsr.backends.hardware import num_threads

    if args.count is None and math.isinf(args.seconds) and math.isinf(args.mib):
        raise UsageError("Say when to stop: --count PAIRS, --seconds S or --mib MIB.")
    plan = BakePlan(args.scale, args.crop or DEFAULT_CROPS[args.scale], args.variants, args.frames, args.seed)
    limits = Limits(args.count, args.seconds, args.mib * 2**20)
    try:
        pairs = bake(
            plan, args.data, args.out, args.cache or user_cache_path("vidsr") / "photos", limits, num_threads()
        )
    except KeyboardInterrupt:
        log.info("stopped; the same command goes on from the last whole shard")
        return 130
    print(f"{args.out}: {pairs} pairs")
    return 0
