"""``python -m train draw``: what a large model draws of a baked cache's pictures, made once, for others to learn from.

A student a fortieth of its teacher's work would wait for it at every step. `fit` finds what was drawn by the model that
its recipe keeps, beside the pairs: ``drawn-HASH-00000.npz`` and so on, one for each shard.
"""

import argparse
import io
import logging
import math
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from train.cache import Cache, Pixels, num_shards, open_cache, pack, unpack
from train.inference import upscale
from vidsr.errors import MediaError, OutputError, UsageError
from vidsr.files import write
from vidsr.models import registry
from vidsr.models.registry import Model

log = logging.getLogger("train")


@dataclass(frozen=True)
class Drawn:
    """What `model` draws of the pairs in `folder`, of the first `variants` pictures of a scene."""

    folder: Path
    model: Model
    variants: int = 1

    def path(self, number: int) -> Path:
        """The file of shard `number`."""
        return self.folder / f"drawn-{self.model.weights_hash[:12]}-{number:05d}.npz"

    def draw(self, seconds: float = math.inf) -> int:
        """Draw every shard that is not drawn yet, or until `seconds` have passed; how many are there in the end.

        Raises:
            MediaError, UsageError: no cache, or one of another scale, or with fewer variants.
            OutputError: a file cannot be written.
        """
        cache = open_cache(self.folder)
        _check(self, cache)
        began, per_shard = time.monotonic(), cache.header.per_shard
        for number in range(num_shards(self.folder)):
            if self.path(number).exists() and self.read(number, cache).shape[1] >= self.variants:
                continue
            if time.monotonic() - began > seconds:
                return number
            lr = cache.lr[number * per_shard : (number + 1) * per_shard, : self.variants]
            self._write(number, np.stack([np.stack([self._picture(one) for one in scene]) for scene in lr]))
            log.info("shard %d of %d drawn by %s", number + 1, num_shards(self.folder), self.model.name)
        return num_shards(self.folder)

    def _picture(self, lr: Tensor) -> Pixels:
        """(crop, crop, 3) -> (side, side, 3), uint8 both."""
        made = upscale(self.model.module, lr.permute(2, 0, 1).float())
        return made.permute(1, 2, 0).to(torch.uint8).numpy()

    def _write(self, number: int, pixels: Pixels) -> None:
        file = io.BytesIO()
        np.savez_compressed(file, drawn=pack(pixels))
        try:
            write(self.path(number), file.getvalue())
        except OSError as error:
            raise OutputError(
                f"Cannot write what was drawn into {self.folder} ({error.strerror}); make room."
            ) from error

    def read(self, number: int, cache: Cache) -> Pixels:
        """(scenes, variants, side, side, 3) uint8 of shard `number`.

        Raises:
            MediaError: it is damaged, or does not belong to `cache`.
        """
        side, header = cache.header.crop * cache.scale, cache.header
        try:
            with np.load(self.path(number), allow_pickle=False) as file:
                packed = file["drawn"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise MediaError(f"{self.path(number)} is damaged; delete it and draw again.") from error
        if packed.shape[:1] + packed.shape[2:] != (header.per_shard, side, side, 3):
            raise MediaError(f"{self.path(number)} does not belong to the pairs beside it; delete it and draw again.")
        return unpack(packed)

    def put_into(self, cache: Cache) -> Cache:
        """The part of `cache` that is drawn, with it; where nothing is, all of it as it is."""
        paths = (self.path(number) for number in range(num_shards(self.folder)))
        shards = []
        for number, path in enumerate(paths):
            if not path.exists():
                break
            shards.append(self.read(number, cache))
        if not shards:
            return cache
        variants = min(shard.shape[1] for shard in shards)
        taught = cache.taught(torch.from_numpy(np.concatenate([shard[:, :variants] for shard in shards])))
        log.info("%d of %d pairs, those that %s drew ahead", len(taught), len(cache), self.model.name)
        return taught


def _check(drawn: Drawn, cache: Cache) -> None:
    if cache.scale != drawn.model.scale:
        raise UsageError(f"The cache holds pairs for x{cache.scale}, {drawn.model.name} is for x{drawn.model.scale}.")
    if not 1 <= drawn.variants <= cache.header.variants:
        raise UsageError(f"--variants must be from 1 to the cache's {cache.header.variants}, not {drawn.variants}.")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``draw`` to the commands of ``python -m train``."""
    parser = commands.add_parser("draw", help="make ahead what a large model draws of baked pairs, to learn from")
    parser.add_argument("model", help="what recipes keep: a shipped model's name, or a file")
    parser.add_argument("--data", type=Path, required=True, help="folder of baked pairs; what is drawn is put beside")
    parser.add_argument("--variants", type=int, default=1, help="LR pictures of each scene (default: 1)")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no shard after this time")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    cache = open_cache(args.data)
    drawn = Drawn(args.data, registry.load(args.model, cache.scale), args.variants)
    print(f"{args.data}: {drawn.draw(args.seconds)} shards drawn by {args.model}")
    return 0
