"""`motion.find` in torch, for several neighbours at once, on the device that large pictures are blended on.

What it finds differs from that only where sums are rounded otherwise.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from vidsr.upscaling.motion import ALONE, AROUND, BAD, BLOCK, CROSS, REACH, SEARCH, STAY, STRAY, solved

Steps = tuple[tuple[int, int], ...]
_WAYS = range(-SEARCH, SEARCH + 1)
SEARCHED: Steps = tuple(
    sorted(((down, right) for down in _WAYS for right in _WAYS), key=lambda step: step[0] ** 2 + step[1] ** 2)
)


def find(picture: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """The motion from `picture`, (H, W) float32 of code values, to each of `others`, (N, H, W).

    Returns:
        The shifts of the blocks, (N, rows, columns, 2), and what is left of the difference, (N, H, W): see
        `motion.Field`.
    """
    height, width = picture.shape
    missing = (0, -width % BLOCK, 0, -height % BLOCK)
    fine, moved = _padded(picture[None].expand_as(others), missing), _padded(others, missing)
    half, moved_half = F.avg_pool2d(fine, 2), F.avg_pool2d(moved, 2)
    start = _coarse(F.avg_pool2d(half, 2), F.avg_pool2d(moved_half, 2))
    start = _refined(half, moved_half, 2 * start, BLOCK // 2, AROUND)
    whole = _refined(fine, moved, 2 * start, BLOCK, CROSS)
    shift, residual = _without_strays(fine, moved, *_fractions(fine, moved, whole))
    return shift, residual[:, :height, :width]


def box(values: Tensor) -> Tensor:
    """The mean of each value and its eight neighbours in the last two dimensions; edges repeat."""
    flat = values.flatten(0, -3)
    return F.avg_pool2d(_padded(flat, (1, 1, 1, 1)), 3, 1).view(values.shape)


def _padded(pictures: Tensor, sides: tuple[int, int, int, int]) -> Tensor:
    """(N, H, W) with its edges repeated: left, right, above and below."""
    return F.pad(pictures, sides, mode="replicate")


def _sums(values: Tensor, block: int) -> Tensor:
    """(..., H, W) over each block."""
    *others, height, width = values.shape
    return values.view(*others, height // block, block, width // block, block).sum((-3, -1))


def _coarse(pictures: Tensor, others: Tensor) -> Tensor:
    """As `motion._coarse`; (N, H, W) -> (N, H / 2, W / 2, 2)."""
    height, width = pictures.shape[1:]
    padded = _padded(others, (SEARCH,) * 4)
    places = padded.unfold(1, height, 1).unfold(2, width, 1)  # (N, 9, 9, H, W) of the same memory
    apart = (places - pictures[:, None, None]).abs_().flatten(0, 2)
    errors = box(F.avg_pool2d(apart, 2) * 4).view(len(pictures), -1, height // 2, width // 2)
    steps = _table(SEARCHED, pictures.device)
    errors = errors[:, (steps[:, 0] + SEARCH) * (2 * SEARCH + 1) + steps[:, 1] + SEARCH]
    errors[:, 0] -= STAY * 4
    return steps[errors.argmin(1)]


@lru_cache(maxsize=16)
def _table(steps: Steps, device: torch.device) -> Tensor:
    """(num, 2) on the device: to bring it there each time would be waited for."""
    return torch.tensor(steps, device=device)


def _gathered(padded: Tensor, shift: Tensor, block: int) -> Tensor:
    """As `moved.Moved`, of (N, H, W) with `REACH` around: (..., N, rows, columns, 2) -> (..., rows, columns, b, b)."""
    num, rows, columns, _ = shift.shape[-4:]
    device, (height, width) = padded.device, padded.shape[1:]
    down = torch.arange(rows, device=device)[:, None] * block + shift[..., 0] + REACH
    right = torch.arange(columns, device=device) * block + shift[..., 1] + REACH
    inner = torch.arange(block, device=device)
    y = down.clamp(0, height - block)[..., None, None] + inner[:, None]
    x = right.clamp(0, width - block)[..., None, None] + inner
    place = torch.arange(num, device=device)[:, None, None, None, None] * (height * width) + y * width + x
    return padded.flatten()[place]


def _blocks(pictures: Tensor, block: int) -> Tensor:
    num, height, width = pictures.shape
    return pictures.view(num, height // block, block, width // block, block).transpose(2, 3)


def _refined(pictures: Tensor, others: Tensor, start: Tensor, block: int, around: Steps) -> Tensor:
    """The best of the places around `start`, and of the same place."""
    own, padded = _blocks(pictures, block), _padded(others, (REACH,) * 4)
    places = start + _table(around, start.device)[:, None, None, None]
    places = torch.cat((torch.zeros_like(start)[None], places))
    errors = (_gathered(padded, places, block) - own).abs().sum((-2, -1))
    errors[0] -= STAY * block * block
    best = errors.argmin(0)[None, ..., None].expand(1, *start.shape)
    return places.gather(0, best)[0]


def _fractions(pictures: Tensor, others: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
    """`whole` with the fraction that least squares find, and what is left then."""
    change, down, right = _change(pictures, others, whole)
    trust = 1 / (1 + (_sums(change.abs(), BLOCK) / (BAD * BLOCK * BLOCK)) ** 2)
    pairs = torch.stack((down * down, right * right, down * right, down * change, right * change))
    yy, xx, xy, ty, tx = _sums(pairs, BLOCK) * trust
    place_y, place_x = whole.float().unbind(-1)
    found = torch.stack((yy, xx, xy, yy * place_y + xy * place_x - ty, xy * place_y + xx * place_x - tx))
    own, step = _solved(whole.float(), found), _solved(whole.float(), box(found))  # alone, and with those around
    left, left_own = (_along(change, down, right, one) for one in (step, own))
    return _better(whole + own, left_own, whole + step, left, ALONE)


def _better(own: Tensor, left_own: Tensor, shift: Tensor, left: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Of each block `shift` and what it leaves, or its `own` where that leaves less than this share of it."""
    alone = _sums(left_own.abs(), BLOCK) < share * _sums(left.abs(), BLOCK)
    return torch.where(alone[..., None], own, shift), torch.where(_wide(alone), left_own, left)


def _without_strays(pictures: Tensor, others: Tensor, own: Tensor, left_own: Tensor) -> tuple[Tensor, Tensor]:
    """The median of each block's shift and the eight around it, or its own if that fits far better; what is left."""
    padded = _padded(own.permute(0, 3, 1, 2).flatten(0, 1), (1, 1, 1, 1))
    middle = padded.unfold(1, 3, 1).unfold(2, 3, 1).flatten(-2).median(-1).values
    median = middle.view(len(own), 2, *own.shape[1:3]).permute(0, 2, 3, 1)
    return _better(own, left_own, median, _residual(pictures, others, median), STRAY)


def _residual(pictures: Tensor, others: Tensor, shift: Tensor) -> Tensor:
    whole = shift.round()
    return _along(*_change(pictures, others, whole.long()), shift - whole)


def _change(pictures: Tensor, others: Tensor, whole: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How `others`, moved by whole pixels, differ, and the slopes of what lies between the two."""
    blocks = _gathered(_padded(others, (REACH,) * 4), whole, BLOCK)
    moved = blocks.transpose(2, 3).reshape(pictures.shape)
    around = _padded((pictures + moved) * 0.5, (1, 1, 1, 1))
    down = (around[:, 2:, 1:-1] - around[:, :-2, 1:-1]) * 0.5
    right = (around[:, 1:-1, 2:] - around[:, 1:-1, :-2]) * 0.5
    return moved - pictures, down, right


def _along(change: Tensor, down: Tensor, right: Tensor, step: Tensor) -> Tensor:
    """What is left of the change a fraction of a pixel farther."""
    return change + down * _wide(step[..., 0]) + right * _wide(step[..., 1])


def _solved(whole: Tensor, found: Tensor) -> Tensor:
    """How far from the whole pixels least squares put each block, up to one."""
    return (torch.stack(solved(whole, *found), -1) - whole).clamp(-1, 1)


def _wide(blocks: Tensor) -> Tensor:
    """Of each block, for each of its pixels."""
    return blocks.repeat_interleave(BLOCK, -2).repeat_interleave(BLOCK, -1)
