"""Baked LR/HR pairs: the format of a cache, and the random crops that training sees of one. Needs numpy and torch only.

A cache is a folder: ``cache.json`` says how it was made, ``pairs-00000.npz`` and so on hold a fixed number of scenes
each. A scene is one HR window of a photo and several LR pictures of it, each degraded on its own and each at its own
offset of 0 to 7 HR pixels within the window. So every LR picture makes a pair with its part of the window, and any two
make a pair that is shifted by 1 to 7 HR pixels, never by a multiple of the scale. The pixels are stored as differences
to their neighbours, which deflate to half.
"""

import json
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidsr.errors import MediaError, UsageError

FORMAT = 1
HEADER = "cache.json"
MAX_SHIFT = 7  # HR pixels
WINDOW_MARGIN = 8  # HR pixels that a window is larger than one picture of it

Pixels = NDArray[np.uint8]
Crop = tuple[int, int, int, int, int]  # scene, variant, top, left (LR pixels), orientation 0..7


@dataclass(frozen=True)
class Header:
    """How a cache was made. `crop` is the side of an LR picture, `variants` their number in a scene.

    `photos` is a digest of the photos' names and sizes, `maker` names the versions that decide the pixels, `data` is
    what a model card says of the photos (`train.export.summarise_data`).
    """

    scale: int
    crop: int
    variants: int
    frames: int
    per_shard: int
    seed: int
    photos: str
    maker: str
    data: dict[str, object]
    format: int = FORMAT

    @property
    def window(self) -> int:
        """Side of a scene's HR window in pixels."""
        return self.crop * self.scale + WINDOW_MARGIN

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the header of the cache in `folder`.

        Raises:
            MediaError: there is none, or it is not ours.
            UsageError: it has another format.
        """
        try:
            values = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        except OSError as error:
            raise MediaError(f"{folder} is no cache of pairs ({HEADER}: {error.strerror}); bake one there.") from error
        except ValueError as error:
            raise MediaError(f"{folder / HEADER} is damaged; bake the cache again.") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise UsageError(f"The cache {folder} has another format than {FORMAT}, the one known here; bake it again.")
        if set(values) != {field.name for field in fields(cls)}:
            raise MediaError(f"{folder / HEADER} is damaged; bake the cache again.")
        return cls(**values)

    def to_json(self) -> str:
        """The text of ``cache.json``."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"


def shard_path(folder: Path, number: int) -> Path:
    """The file of shard `number`."""
    return folder / f"pairs-{number:05d}.npz"


def pack(pixels: Pixels) -> Pixels:
    """(..., H, W, 3) -> the same shape: differences to the left, to above, and of red and blue to green, modulo 256."""
    packed = pixels.copy()
    packed[..., 0] -= pixels[..., 1]
    packed[..., 2] -= pixels[..., 1]
    packed[..., 1:, :] -= packed[..., :-1, :].copy()
    packed[..., 1:, :, :] -= packed[..., :-1, :, :].copy()
    return packed


def unpack(packed: Pixels) -> Pixels:
    """Undo `pack`."""
    pixels = np.cumsum(packed, axis=-3, dtype=np.uint8)
    np.cumsum(pixels, axis=-2, dtype=np.uint8, out=pixels)
    pixels[..., 0] += pixels[..., 1]
    pixels[..., 2] += pixels[..., 1]
    return pixels


@dataclass(frozen=True, eq=False)
class Cache:
    """The scenes of a cache as uint8 tensors, all on one device.

    hr: (N, window, window, 3). lr: (N, variants, crop, crop, 3). offsets: where in the window the HR of a variant
    begins, [scene][variant] -> (top, left) in HR pixels.
    """

    header: Header
    hr: Tensor
    lr: Tensor
    offsets: list[list[tuple[int, int]]]

    def __len__(self) -> int:
        """The number of LR/HR pairs."""
        return self.lr.shape[0] * self.lr.shape[1]

    @property
    def scale(self) -> int:
        """HR pixels per LR pixel."""
        return self.header.scale

    def near(self, device: torch.device) -> "Cache":
        """The same cache on `device` where it takes at most half of the free memory there, else as it is."""
        size = self.hr.numel() + self.lr.numel()
        if device.type != "cuda" or size > torch.cuda.mem_get_info(device)[0] // 2:
            return self
        return Cache(self.header, self.hr.to(device), self.lr.to(device), self.offsets)

    def batches(
        self, batch: int, patch: int, random: torch.Generator, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless pairs (lr, hr): (batch, 3, patch, patch) and (batch, 3, patch*scale, patch*scale).

        Both are float32 RGB in [0, 1] on `device`, cropped, mirrored and rotated at random. All choices come from
        `random`, on the CPU.

        Raises:
            UsageError: the LR pictures are smaller than `patch`.
        """
        self._check(patch)
        while True:
            crops = self._draw(batch, patch, random)
            lr, hr = zip(*(self._cut(crop, patch) for crop in crops), strict=True)
            yield _unit(lr, device), _unit(hr, device)

    def shift_batches(
        self, batch: int, patch: int, random: torch.Generator, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
        """Endless shifted pairs (lr_a, lr_b, hr_a, hr_b, shifts) of the same scenes, degraded apart; as `batches`.

        shifts: (batch, 2) int64 on the CPU, (down, right) in HR pixels, from -7 to 7, not both multiples of the scale:
        ``hr_b[..., y, x] == hr_a[..., y + down, x + right]`` wherever both exist. a and b of a pair are mirrored and
        rotated alike, and their shift with them.

        Raises:
            UsageError: the LR pictures are smaller than `patch`, or a scene has a single one.
        """
        self._check(patch)
        if self.header.variants < 2:
            raise UsageError("A cache with one variant a scene has no shifted pairs; bake with --variants 4.")
        while True:
            crops = self._draw(batch, patch, random)
            others = torch.randint(1, self.header.variants, (batch,), generator=random).tolist()
            partners = [
                (scene, (variant + other) % self.header.variants, top, left, way)
                for (scene, variant, top, left, way), other in zip(crops, others, strict=True)
            ]
            lr_a, hr_a = zip(*(self._cut(crop, patch) for crop in crops), strict=True)
            lr_b, hr_b = zip(*(self._cut(crop, patch) for crop in partners), strict=True)
            shifts = [self._shift(a, b) for a, b in zip(crops, partners, strict=True)]
            a, b = (_unit(lr_a, device), _unit(hr_a, device)), (_unit(lr_b, device), _unit(hr_b, device))
            yield a[0], b[0], a[1], b[1], torch.tensor(shifts)

    def _check(self, patch: int) -> None:
        if patch > self.header.crop:
            raise UsageError(
                f"The cache holds LR pictures of {self.header.crop} pixels, too small for a patch of {patch}; use a "
                "smaller patch, or bake with a larger --crop."
            )

    def _draw(self, batch: int, patch: int, random: torch.Generator) -> list[Crop]:
        room = self.header.crop - patch + 1
        limits = (self.lr.shape[0], self.header.variants, room, room, 8)
        draws = torch.rand(batch, len(limits), generator=random, dtype=torch.float64).tolist()
        rows = [[int(value * limit) for value, limit in zip(draw, limits, strict=True)] for draw in draws]
        return [(scene, variant, top, left, way) for scene, variant, top, left, way in rows]

    def _cut(self, crop: Crop, patch: int) -> tuple[Tensor, Tensor]:
        scene, variant, top, left, way = crop
        down, right = self.offsets[scene][variant]
        s = self.scale
        lr = self.lr[scene, variant, top : top + patch, left : left + patch]
        y, x = down + s * top, right + s * left
        return _turn(lr, way), _turn(self.hr[scene, y : y + s * patch, x : x + s * patch], way)

    def _shift(self, a: Crop, b: Crop) -> tuple[int, int]:
        (top_a, left_a), (top_b, left_b) = self.offsets[a[0]][a[1]], self.offsets[b[0]][b[1]]
        down, right = top_b - top_a, left_b - left_a
        turns, mirrored = divmod(a[4], 2)
        for _ in range(turns):  # a quarter turn counter-clockwise takes right to up, and down to right
            down, right = -right, down
        return down, -right if mirrored else right


def _turn(crop: Tensor, way: int) -> Tensor:
    turns, mirrored = divmod(way, 2)
    turned = torch.rot90(crop, turns, (0, 1))
    return turned.flip(1) if mirrored else turned


def _unit(crops: tuple[Tensor, ...], device: torch.device) -> Tensor:
    return torch.stack(crops).to(device).permute(0, 3, 1, 2).float().div(255).contiguous()


def open_cache(path: Path) -> Cache:
    """Read the cache in the folder `path` into memory: its complete shards, in order.

    Raises:
        MediaError: no cache, an empty one, or a damaged shard.
        UsageError: a cache of another format.
    """
    header = Header.read(path)
    shards = [_read(shard_path(path, number), header) for number in range(num_shards(path))]
    if not shards:
        raise MediaError(f"The cache {path} holds no pairs yet; run the bake command again, it goes on by itself.")
    offsets = [[(int(y), int(x)) for y, x in scene] for shard in shards for scene in shard["offsets"]]
    hr, lr = (torch.from_numpy(np.concatenate([unpack(shard[name]) for shard in shards])) for name in ("hr", "lr"))
    return Cache(header, hr, lr, offsets)


def num_shards(path: Path) -> int:
    """How many shards of the cache in `path` are complete, counted up to the first that is missing."""
    number = 0
    while shard_path(path, number).exists():
        number += 1
    return number


def _read(path: Path, header: Header) -> dict[str, NDArray[np.uint8]]:
    expected = {
        "hr": (header.window, header.window, 3),
        "lr": (header.variants, header.crop, header.crop, 3),
        "offsets": (header.variants, 2),
    }
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in expected}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise MediaError(f"The shard {path} is damaged; delete it and bake again, which makes it anew.") from error
    if any(arrays[name].shape != (header.per_shard, *shape) for name, shape in expected.items()):
        raise MediaError(f"The shard {path} does not belong to its {HEADER}; delete it and bake again.")
    return arrays
