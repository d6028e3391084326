"""Hostile files from good ones: `mutate` damages bytes by a seed, `work` upscales what comes of it, one after another.

``python -m tests.security.mutate FOLDER FIRST LAST`` prints a line before and after each seed, so that whoever reads
them knows which one crashed the process or hung it.
"""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

SECONDS = 60  # for one file; they take a fraction of a second
_LENGTHS = (0, 1, 2, 7, 0x7F, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def mutate(data: bytes, seed: int) -> bytes:
    """`data` with one to three damages, the same for the same seed."""
    rng = random.Random(seed)
    made = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        rng.choice(_KINDS)(made, rng)
    return bytes(made)


def _flip_bits(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 24)):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randint(0, len(data)) :]


def _block(data: bytearray, rng: random.Random) -> tuple[int, int]:
    begin = rng.randint(0, len(data))
    return begin, min(len(data), begin + rng.randint(1, 512))


def _duplicate(data: bytearray, rng: random.Random) -> None:
    begin, end = _block(data, rng)
    at = rng.randint(0, len(data))
    data[at:at] = data[begin:end]


def _remove(data: bytearray, rng: random.Random) -> None:
    begin, end = _block(data, rng)
    del data[begin:end]


def _overwrite(data: bytearray, rng: random.Random) -> None:
    begin, end = _block(data, rng)
    data[begin:end] = rng.randbytes(end - begin) if rng.random() < 0.5 else bytes(end - begin)


def _length_field(data: bytearray, rng: random.Random) -> None:
    """Two or four bytes, of either order, become a length that is far off, or off by one."""
    size, order = rng.choice((2, 4)), rng.choice(("big", "little"))
    if len(data) < size:
        return
    at = rng.randrange(min(len(data) - size + 1, 4096 if rng.random() < 0.7 else len(data)))
    old = int.from_bytes(data[at : at + size], order)  # type: ignore[arg-type]
    new = rng.choice((*_LENGTHS, old + 1, old - 1, old * 2)) % (1 << 8 * size)
    data[at : at + size] = new.to_bytes(size, order)  # type: ignore[arg-type]


_KINDS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip_bits,
    _truncate,
    _duplicate,
    _remove,
    _overwrite,
    _length_field,
    _length_field,
)


def work(folder: Path, first: int, last: int) -> None:
    """Mutate and upscale the files of `folder` with the seeds `first` to `last`, and say how each ended."""
    import_module("vidsr.api")  # before the clock runs: a busy machine may take longer for torch than for a file
    import_module("torch")
    from vidsr.errors import VidsrError

    faulthandler.enable()
    sources = sorted(path for path in folder.iterdir() if path.is_file())
    place = folder / "work"
    for seed in range(first, last + 1):
        original = sources[seed % len(sources)]
        place.mkdir(exist_ok=True)
        source = place / f"in{original.suffix}"
        source.write_bytes(mutate(original.read_bytes(), seed))
        _say(f"seed {seed} {original.name}")
        signal.alarm(SECONDS)
        try:
            _upscale(source, place, keep_going=seed // len(sources) % 2 == 0)
            ended = "done"
        except VidsrError as error:
            ended = "refused" if "\n" not in str(error) else f"FAILED: not one sentence: {error!s}"
        except Exception:
            ended = "FAILED: " + traceback.format_exc().replace("\n", "\\n")
        signal.alarm(0)
        for path in sorted(place.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        _say(f"ended {seed} {ended} {_num_open()} {threading.active_count()} {_resident()}")


def _upscale(source: Path, place: Path, *, keep_going: bool) -> None:
    from vidsr.api import upscale_video

    output = place / f"out{source.suffix if source.suffix == '.png' else '.mkv'}"
    codec = "auto" if source.suffix == ".png" else "ffv1"
    upscale_video(source, output, model="bicubic", backend="cpu", scale=1.5, codec=codec, keep_going=keep_going)


def _num_open() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _resident() -> int:
    """Megabytes of memory in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
