"""Small pictures out of what there is: photos reduced, frames of clips as they are, the small side of baked pairs."""

import logging
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from train.cache import HEADER, open_cache
from train.data import EXCLUDED, SUFFIXES, read_image
from train.resample import downscale
from vidsr.errors import MediaError, UsageError

log = logging.getLogger("train")

PER_CLIP = 6  # frames of one clip, all over its length

Read = Callable[[], Tensor]  # (3, h, w) in [0, 1]


def small_pictures(folders: Sequence[Path], scale: int, count: int, side: int) -> list[Tensor]:
    """At most `count` pictures, as many of each folder, as a network of that scale gets them: (3, h, w) in [0, 1].

    Each is a place of at most `side` pixels squared. The same files give the same pictures.

    Raises:
        MediaError: nothing usable in a folder, or a damaged file.
        UsageError: a cache of another scale.
    """
    random, found = np.random.default_rng(0), list[Tensor]()
    for number, folder in enumerate(folders):
        known = _baked(folder, scale) if (folder / HEADER).exists() else _files(folder, scale, side)
        share = (count - len(found)) // (len(folders) - number)
        chosen = sorted(random.permutation(len(known))[:share])
        found += [_place(known[index](), side, random) for index in chosen]
    return found


def _baked(folder: Path, scale: int) -> list[Read]:
    cache = open_cache(folder)
    if cache.scale != scale:
        raise UsageError(f"The cache {folder} is for x{cache.scale}, not for x{scale}; give another one to --data.")
    pictures = cache.lr.flatten(0, 1)
    return [partial(_unit, picture) for picture in pictures]


def _files(folder: Path, scale: int, side: int) -> list[Read]:
    if not folder.is_dir():
        raise MediaError(f"The folder {folder} does not exist; give one with photos or clips to --data.")
    paths = [
        path for path in sorted(folder.rglob("*")) if not EXCLUDED.intersection(path.relative_to(folder).parts[:-1])
    ]
    photos = [partial(_photo, path, scale, side) for path in paths if path.suffix.lower() in SUFFIXES]
    found: list[Read] = [*photos, *_frames(paths)]
    if not found:
        raise MediaError(f"{folder} holds neither a photo nor a clip; give a folder that does to --data.")
    return found


def _photo(path: Path, scale: int, side: int) -> Tensor:
    """Reduced; of a large one the middle."""
    photo = _unit(torch.from_numpy(read_image(path).copy()))
    top, left = (max(0, (have - side * scale) // 2) for have in photo.shape[1:])
    return downscale(photo[:, top : top + side * scale, left : left + side * scale], scale)


def _frames(paths: Sequence[Path]) -> Iterator[Read]:
    """A few of every clip that can be read."""
    try:
        from vidsr.media.containers import VIDEO_SUFFIXES
        from vidsr.media.read.probe import probe
    except ImportError:  # a machine without PyAV has photos and pairs
        return
    for path in paths:
        if path.suffix.lower() in VIDEO_SUFFIXES - SUFFIXES:
            try:
                length = probe(path).duration or Fraction(0)
            except MediaError as error:
                log.warning("left out: %s", error)
                continue
            yield from (partial(_frame, path, length * number / PER_CLIP) for number in range(PER_CLIP))


def _frame(path: Path, time: Fraction) -> Tensor:
    from vidsr.media.read.reader import Reader
    from vidsr.upscaling.colour import to_rgb

    with Reader(path, start=time) as reader:
        for frame in reader:
            return to_rgb(frame.planes, frame.format, frame.colour)[0].clamp(0, 1)
    raise MediaError(f"{path} has no picture at {float(time):.2f} s; take it out of the folder.")


def _unit(pixels: Tensor) -> Tensor:
    """(h, w, 3) uint8 -> (3, h, w) in [0, 1]."""
    return pixels.permute(2, 0, 1).float() / 255


def _place(picture: Tensor, side: int, random: np.random.Generator) -> Tensor:
    top, left = (int(random.integers(max(1, have - side + 1))) for have in picture.shape[1:])
    return picture[:, top : top + side, left : left + side].contiguous()
