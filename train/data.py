"""Photos, decoded once into one memory-mapped bank, and the random crops that training sees."""

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from train.resample import MARGIN, downscale, turned
from vidsr.errors import MediaError, OutputError
from vidsr.files import replacing, write

SUFFIXES = frozenset({".avif", ".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
UNREADABLE = (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError)
EXCLUDED = frozenset({"val", "benchmarks"})  # folders that are for measuring only


def find_photos(folders: Sequence[Path], excluded: Collection[str] = EXCLUDED) -> list[Path]:
    """All images below `folders`, sorted, leaving out folders inside them that are named as in `excluded`.

    Raises:
        MediaError: a folder does not exist, or holds no image.
    """
    found: set[Path] = set()
    for folder in folders:
        if not folder.is_dir():
            raise MediaError(f"The folder of photos {folder} does not exist; give an existing one to --data.")
        photos = {path.resolve() for path in folder.rglob("*") if _is_photo(path, folder, excluded)}
        if not photos:
            raise MediaError(f"The folder {folder} holds no image; give a folder with photos to --data.")
        found |= photos
    return sorted(found)


def _is_photo(path: Path, folder: Path, excluded: Collection[str]) -> bool:
    inside = path.relative_to(folder).parts[:-1]
    return path.suffix.lower() in SUFFIXES and not set(excluded).intersection(inside) and path.is_file()


def read_image(path: Path) -> np.ndarray:
    """One image file as (H, W, 3) uint8 RGB.

    Raises:
        MediaError: the file is no image, or a damaged one.
    """
    with _opened(path) as image:
        return np.asarray(image.convert("RGB"))


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    if ".avif" not in Image.registered_extensions():
        import pillow_avif  # noqa: F401
    try:
        with Image.open(path) as image:
            yield image
    except UNREADABLE as error:
        raise MediaError(f"The image {path} cannot be read ({error}); repair it or take it out.") from error


@dataclass(frozen=True)
class Bank:
    """Photos as one flat uint8 array; photo i is (H, W, 3) RGB at `offsets[i]`."""

    pixels: Tensor
    offsets: list[int]
    sizes: list[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.offsets)

    @cached_property
    def places(self) -> Tensor:
        """(photos, 3) int64 where the pixels lie: of each its first pixel's number, height and width."""
        rows = [(offset // 3, *size) for offset, size in zip(self.offsets, self.sizes, strict=True)]
        return torch.tensor(rows, device=self.pixels.device)

    def photo(self, index: int) -> Tensor:
        """(H, W, 3) uint8, a view of the bank."""
        height, width = self.sizes[index]
        return self.pixels.narrow(0, self.offsets[index], height * width * 3).view(height, width, 3)

    def near(self, device: torch.device) -> "Bank":
        """The same bank on `device` where it takes at most half of the free memory there, else as it is."""
        if device.type != "cuda" or self.pixels.numel() > torch.cuda.mem_get_info(device)[0] // 2:
            return self
        return Bank(self.pixels.to(device), self.offsets, self.sizes)


def open_bank(photos: Sequence[Path], cache: Path, smallest: int) -> Bank:
    """Open the bank of `photos`, decoding them into `cache` first unless that was done before.

    Args:
        photos: image files; the bank's file is named by their paths, sizes and times.
        cache: folder for banks, made when missing; several runs may share it.
        smallest: every photo's sides must be at least this many pixels.

    Raises:
        MediaError: an image cannot be read, or is smaller than `smallest`.
        OutputError: the cache cannot be written, or is full.
    """
    key = hashlib.sha256(json.dumps([_identity(path) for path in photos]).encode()).hexdigest()[:16]
    cache.mkdir(parents=True, exist_ok=True)
    target, index = cache / f"bank-{key}.npy", cache / f"bank-{key}.json"
    with FileLock(cache / f"bank-{key}.lock"):
        if not index.exists():
            _decode(photos, target, index)
    sizes = [(height, width) for height, width in json.loads(index.read_text())]
    for path, (height, width) in zip(photos, sizes, strict=True):
        if min(height, width) < smallest:
            raise MediaError(
                f"The image {path} is {width}x{height}, smaller than the {smallest} pixels of a training crop; "
                "take it out, or use a smaller patch."
            )
    ends = np.cumsum([height * width * 3 for height, width in sizes])
    pixels = torch.from_numpy(np.load(target, mmap_mode="c"))
    return Bank(pixels, [0, *ends[:-1].tolist()], sizes)


def _identity(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns


def _decode(photos: Sequence[Path], target: Path, index: Path) -> None:
    """Write all pixels to `target`, and then, as the sign of completion, all sizes to `index`."""
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        sizes = list(pool.map(_size, photos))
    total = sum(height * width * 3 for height, width in sizes)
    try:
        with replacing(target) as part, part.open("wb") as file:
            head = {"descr": "|u1", "fortran_order": False, "shape": (total,)}
            np.lib.format.write_array_header_1_0(file, head)
            with ThreadPoolExecutor(threads) as pool:
                for first in range(0, len(photos), 4 * threads):  # only so many pictures at a time in memory
                    some = slice(first, first + 4 * threads)
                    for pixels in pool.map(_pixels, photos[some], sizes[some]):
                        file.write(pixels)
        write(index, json.dumps(sizes))
    except OSError as error:
        message = f"Cannot write the decoded photos to {target} ({error.strerror}); they need {total >> 20} MiB there."
        raise OutputError(message) from error


def _pixels(path: Path, size: tuple[int, int]) -> bytes:
    image = read_image(path)
    if image.shape[:2] != size:
        raise MediaError(f"The image {path} changed while it was read; run again.")
    return image.tobytes()


def _size(path: Path) -> tuple[int, int]:
    with _opened(path) as image:
        return image.height, image.width


def batches(
    bank: Bank, batch: int, patch: int, scale: int, random: torch.Generator, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless pairs (lr, hr): (batch, 3, patch, patch) rounded to 8 bit, and (batch, 3, patch*scale, patch*scale).

    Both are float32 RGB in [0, 1] on `device`. Every crop is mirrored and rotated at random and downscaled
    with a margin around it that is cut off afterwards, so its border pixels are those of the whole downscaled photo.
    All choices come from `random`.
    """
    edge = MARGIN * scale
    while True:
        draws = torch.rand(batch, 4, generator=random, dtype=torch.float64, device=random.device)
        cut = crops(bank, crop_size(patch, scale), draws).to(device)
        hr = cut.permute(0, 3, 1, 2).float().div(255)
        lr = downscale(hr, scale)
        yield (lr[..., MARGIN:-MARGIN, MARGIN:-MARGIN].contiguous(), hr[..., edge:-edge, edge:-edge].contiguous())


def crop_size(patch: int, scale: int) -> int:
    """HR pixels of a training crop's side, its margin included."""
    return (patch + 2 * MARGIN) * scale


def crops(bank: Bank, size: int, draws: Tensor) -> Tensor:
    """(N, size, size, 3) uint8, where the bank lies, in one gather.

    A row of `draws`, (N, 4) float64 in [0, 1), chooses photo, top, left and orientation.
    """
    which, down, right, way = draws.to(bank.pixels.device).unbind(1)
    start, height, width = bank.places[(which * len(bank)).long()].unbind(1)
    top, left = ((draw * (side - size + 1)).long() for draw, side in ((down, height), (right, width)))
    first = start + top * width + left
    pixels = first[:, None, None] + turned(size, width, (way * 8).long())
    return bank.pixels.view(-1, 3).index_select(0, pixels.flatten()).view(len(draws), size, size, 3)
