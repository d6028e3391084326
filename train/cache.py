"""Baked LR/HR pairs: the format of a cache, and the random crops that training sees of one. Needs numpy and torch only.

A cache is a folder: ``cache.json`` says how it was made, ``pairs-00000.npz`` and so on hold a fixed number of scenes
each. A scene is one HR window of a photo and several LR pictures of it, each degraded on its own and each at its own
offset of 0 to 7 HR pixels within the window. So every LR picture makes a pair with its part of the window, and any two
make a pair that is shifted by 1 to 7 HR pixels, never by a multiple of the scale. The pixels are stored as differences
to their neighbours, which deflate to half.
"""

import json
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.resample import turned
from vidsr.errors import MediaError, UsageError

FORMAT = 1
HEADER = "cache.json"
MAX_SHIFT = 7  # HR pixels
WINDOW_MARGIN = 8  # HR pixels that a window is larger than one picture of it

Pixels = NDArray[np.uint8]


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

    hr: (N, window, window, 3). lr: (N, variants, crop, crop, 3). offsets: (N, variants, 2) int64, where in the window
    the HR of a variant begins: top and left in HR pixels. drawn: (N, variants, crop*scale, crop*scale, 3), what a model
    draws of each LR picture, where that was made ahead (`train.draw`).
    """

    header: Header
    hr: Tensor
    lr: Tensor
    offsets: Tensor
    drawn: Tensor | None = None

    def __len__(self) -> int:
        """The number of LR/HR pairs."""
        return self.lr.shape[0] * self.lr.shape[1]

    @property
    def scale(self) -> int:
        """HR pixels per LR pixel."""
        return self.header.scale

    def near(self, device: torch.device) -> "Cache":
        """The same cache on `device` where it takes at most half of the free memory there, else as it is."""
        pixels = [self.hr, self.lr] if self.drawn is None else [self.hr, self.lr, self.drawn]
        size = sum(part.numel() for part in pixels)
        if device.type != "cuda" or size > torch.cuda.mem_get_info(device)[0] // 2:
            return self
        hr, lr, *drawn = (part.to(device) for part in pixels)
        return Cache(self.header, hr, lr, self.offsets.to(device), *drawn)

    def taught(self, drawn: Tensor) -> "Cache":
        """The first scenes and variants of this cache with what is `drawn` of them."""
        scenes, variants = drawn.shape[:2]
        lr, offsets = (part[:scenes, :variants].contiguous() for part in (self.lr, self.offsets))
        return Cache(replace(self.header, variants=variants), self.hr[:scenes], lr, offsets, drawn)

    def batches(
        self, batch: int, patch: int, random: torch.Generator, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless pairs (lr, hr): (batch, 3, patch, patch) and (batch, 3, patch*scale, patch*scale).

        Both are float32 RGB in [0, 1] on `device`, cropped, mirrored and rotated at random. All choices come from
        `random`.

        Raises:
            UsageError: the LR pictures are smaller than `patch`.
        """
        self._check(patch)
        while True:
            lr, hr = self._cut(self._draw(batch, patch, random), patch)
            yield _unit(lr, device), _unit(hr, device)

    def taught_batches(
        self, batch: int, patch: int, random: torch.Generator, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Endless (lr, hr, drawn) as `batches`, and what is drawn of the same places: of the shape of hr.

        Raises:
            UsageError: the LR pictures are smaller than `patch`.
        """
        self._check(patch)
        assert self.drawn is not None
        while True:
            places = self._draw(batch, patch, random)
            scene, variant, top, left, way = places.unbind(1)
            picture, s = scene * self.header.variants + variant, self.scale
            drawn = _gather(self.drawn.flatten(0, 1), picture, s * top, s * left, way, s * patch)
            lr, hr = self._cut(places, patch)
            yield _unit(lr, device), _unit(hr, device), _unit(drawn, device)

    def shift_batches(
        self, batch: int, patch: int, random: torch.Generator, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Endless shifted pairs (lr, hr, shifts) of the same scenes, degraded apart; as `batches`.

        The first half of lr and hr, 2*batch each, are a, the second b. shifts: (batch, 2) int64 on `device`, (down,
        right) in HR pixels, from -7 to 7, not both multiples of the scale: ``hr_b[..., y, x] == hr_a[..., y + down, x +
        right]`` wherever both exist. a and b of a pair are mirrored and rotated alike, and their shift with them.

        Raises:
            UsageError: the LR pictures are smaller than `patch`, or a scene has a single one.
        """
        self._check(patch)
        variants = self.header.variants
        if variants < 2:
            raise UsageError("A cache with one variant a scene has no shifted pairs; bake with --variants 4.")
        while True:
            first = self._draw(batch, patch, random)
            step = torch.randint(1, variants, (batch,), generator=random, device=random.device)
            second = first.clone()
            second[:, 1] = (first[:, 1] + step.to(first.device)) % variants
            lr, hr = self._cut(torch.cat((first, second)), patch)
            yield _unit(lr, device), _unit(hr, device), self._shift(first, second).to(device)

    def _check(self, patch: int) -> None:
        if patch > self.header.crop:
            raise UsageError(
                f"The cache holds LR pictures of {self.header.crop} pixels, too small for a patch of {patch}; use a "
                "smaller patch, or bake with a larger --crop."
            )

    def _draw(self, batch: int, patch: int, random: torch.Generator) -> Tensor:
        """(batch, 5) int64 where the pixels lie: scene, variant, top, left (LR pixels), orientation 0..7."""
        room = self.header.crop - patch + 1
        limits = (self.lr.shape[0], self.header.variants, room, room, 8)
        draws = torch.rand(batch, len(limits), generator=random, dtype=torch.float64, device=random.device)
        return torch.stack([draws[:, i] * limit for i, limit in enumerate(limits)], 1).long().to(self.lr.device)

    def _cut(self, places: Tensor, patch: int) -> tuple[Tensor, Tensor]:
        """LR and HR crops (N, side, side, 3) uint8 at `places`, as `_draw` makes them."""
        scene, variant, top, left, way = places.unbind(1)
        offset = self.offsets[scene, variant]
        lr = _gather(self.lr.flatten(0, 1), scene * self.header.variants + variant, top, left, way, patch)
        s = self.scale
        return lr, _gather(self.hr, scene, offset[:, 0] + s * top, offset[:, 1] + s * left, way, s * patch)

    def _shift(self, a: Tensor, b: Tensor) -> Tensor:
        """(N, 2): down and right from a's crops to b's, of which both are turned alike."""
        down, right = (self.offsets[b[:, 0], b[:, 1]] - self.offsets[a[:, 0], a[:, 1]]).unbind(1)
        turns = a[:, 4] // 2  # a quarter turn counter-clockwise takes right to up, and down to right
        odd = turns % 2 == 1
        y, x = torch.where(odd, right, down), torch.where(odd, down, right)
        y, x = torch.where((turns == 1) | (turns == 2), -y, y), torch.where(turns >= 2, -x, x)
        return torch.stack((y, torch.where(a[:, 4] % 2 == 1, -x, x)), 1)


def _gather(pictures: Tensor, which: Tensor, top: Tensor, left: Tensor, way: Tensor, size: int) -> Tensor:
    """(N, size, size, 3) out of (M, H, W, 3): of each picture its part at `top` and `left`, turned."""
    _, height, width, _ = pictures.shape
    first = (which * height + top) * width + left
    pixels = first[:, None, None] + turned(size, torch.full_like(first, width), way)
    return pictures.view(-1, 3).index_select(0, pixels.flatten()).view(len(which), size, size, 3)


def _unit(crops: Tensor, device: torch.device) -> Tensor:
    return crops.to(device).permute(0, 3, 1, 2).float().div(255).contiguous()


def open_cache(path: Path) -> Cache:
    """Read the cache in the folder `path` into memory: its complete shards, in order.

    Raises:
        MediaError: no cache, an empty one, or a damaged shard.
        UsageError: a cache of another format.
    """
    header = Header.read(path)
    paths = [shard_path(path, number) for number in range(num_shards(path))]
    with ThreadPoolExecutor() as pool:
        shards = list(pool.map(partial(_read, header=header), paths))
    if not shards:
        raise MediaError(f"The cache {path} holds no pairs yet; run the bake command again, it goes on by itself.")
    offsets = torch.from_numpy(np.concatenate([shard["offsets"] for shard in shards]).astype(np.int64))
    hr, lr = (torch.from_numpy(np.concatenate([shard[name] for shard in shards])) for name in ("hr", "lr"))
    return Cache(header, hr, lr, offsets)


def join(caches: Sequence[Cache]) -> Cache:
    """The scenes of several caches as one, which says of itself what the first one does; all are of one size."""
    parts = ((cache.hr, cache.lr, cache.offsets) for cache in caches)
    return Cache(caches[0].header, *(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


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
    return arrays | {name: unpack(arrays[name]) for name in ("hr", "lr")}
