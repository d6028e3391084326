"""What callers give an upscaler, looked at before it is worked on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from vidsr.errors import UsageError
from vidsr.frame import Frame, Samples

_SWAPPED = "; numpy.moveaxis(image, 0, -1) puts the channels last"
_FLOATS = "; (image * 255).round().astype(numpy.uint8) makes them of numbers from 0 to 1"


def num_channels(image: Samples) -> int:
    """Of an image: (H, W) or (H, W, 1), (H, W, 3), (H, W, 4).

    Raises:
        UsageError: another shape or type, or nothing in it.
    """
    if not isinstance(image, np.ndarray):
        kind = type(image).__name__
        raise UsageError(f"An image is an array of numpy, not of type {kind}; numpy.asarray makes one of Pillow's.")
    channels = 1 if image.ndim == 2 else image.shape[2] if image.ndim == 3 else 0
    if channels in (1, 3, 4) and image.size and image.dtype in (np.uint8, np.uint16):
        return channels
    floats = np.issubdtype(image.dtype, np.floating)
    hint = _FLOATS if floats else _SWAPPED if image.ndim == 3 and image.shape[0] in (1, 3, 4) else ""
    raise UsageError(
        f"An image is (H, W), (H, W, 3) or (H, W, 4) of uint8 or uint16, not {image.shape} of {image.dtype}{hint}."
    )


def check_size(size: object) -> None:
    """Raises UsageError for what is neither None nor (width, height)."""
    if size is None:
        return
    sides = size if isinstance(size, tuple | list) else ()
    if len(sides) != 2 or not all(isinstance(side, int | np.integer) and side > 0 for side in sides):
        raise UsageError(f"A size is (width, height) in whole pixels, not {size!r}.")


def frames_of(frames: Iterable[Frame]) -> Iterator[Frame]:
    """`frames`, each of which is one, whose planes are as large as its layout says and of its type.

    Raises:
        UsageError: one is not, or `frames` is nothing to take frames from.
    """
    if not isinstance(frames, Iterable):
        raise UsageError(f"Frames come from a list, a reader or a generator of them, not from {type(frames).__name__}.")
    return map(_checked, frames)


def _checked(frame: Frame) -> Frame:
    if not isinstance(frame, Frame):
        kind = type(frame).__name__
        raise UsageError(
            f"A frame is a vidsr.frame.Frame, not of type {kind}; upscaler(image) takes an array of numpy."
        )
    layout, shapes = frame.format, [plane.shape for plane in frame.planes]
    height, width = shapes[0] if shapes and len(shapes[0]) == 2 else (0, 0)
    if not height or not width or shapes != layout.plane_shapes(width, height):
        raise UsageError(f"The planes of a frame in {layout.name} cannot be {', '.join(map(str, shapes)) or 'none'}.")
    if any(plane.dtype != layout.dtype for plane in frame.planes):
        found = ", ".join(str(plane.dtype) for plane in frame.planes)
        raise UsageError(f"The planes of a frame in {layout.name} are of {layout.dtype}, not {found}.")
    return frame
