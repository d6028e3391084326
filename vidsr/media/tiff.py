"""Writes TIFF: of any depth with profile and metadata, which neither Pillow nor FFmpeg does."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vidsr.frame import Samples
from vidsr.media.image_meta import DESCRIBING, EXIF_IFD, GPS_IFD, ICC, IPTC, XMP, ImageMeta, resized_exif

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

_STRIP_BYTES = 1 << 20
_DEFLATE, _DIFFERENCES, _INCH = 8, 2, 2  # TIFF 6.0, sections 8 and 14, and its Technical Note on compression
_UNASSOCIATED = 2  # alpha: the colours are not multiplied by it


def encode_tiff(samples: Samples, meta: ImageMeta) -> bytes:
    """(H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, uint8 or uint16 -> the file.

    Raises:
        ValueError: it would be larger than 4 GiB.
    """
    height, width = samples.shape[:2]
    lines = samples.reshape(height, width, -1)
    lines = lines.astype(lines.dtype.newbyteorder("<"), copy=False)
    rows = max(_STRIP_BYTES // lines[0].nbytes, 1)
    strips = [_deflated(lines[top : top + rows]) for top in range(0, height, rows)]
    sizes = [len(strip) for strip in strips]
    channels = lines.shape[2]
    directory = _described(meta, width, height)
    fields: dict[int, object] = {
        256: width, 257: height, 258: (8 * lines.itemsize,) * channels, 259: _DEFLATE, 262: 2 if channels > 1 else 1,
        273: tuple(int(start) for start in np.cumsum([0, *sizes[:-1]])), 277: channels, 278: rows,
        279: tuple(sizes), 284: 1, 317: _DIFFERENCES,
    }  # fmt: skip
    if channels == 4:
        fields[338] = (_UNASSOCIATED,)
    for tag, value in fields.items():
        directory[tag] = value
    try:
        head = directory._get_ifh() + directory.tobytes(8)
    except struct.error as error:
        raise ValueError("a TIFF holds no more than 4 GiB") from error
    return head + b"".join(strips)


def _deflated(lines: Samples) -> bytes:
    return zlib.compress(np.diff(lines, axis=1, prepend=lines.dtype.type(0)).tobytes())


def _described(meta: ImageMeta, width: int, height: int) -> ImageFileDirectory_v2:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2  # milliseconds, which films do not have to wait for

    directory = ImageFileDirectory_v2()
    exif = Image.Exif()
    if meta.exif:
        exif.load(resized_exif(meta.exif, width, height))
    for tag in DESCRIBING:
        if tag in exif:
            directory[tag] = exif[tag]
    for tag in (EXIF_IFD, GPS_IFD):
        if tag in exif and (entries := dict(exif.get_ifd(tag))):
            directory[tag] = entries
    for tag, data in ((XMP, meta.xmp), (IPTC, meta.iptc), (ICC, meta.icc_profile)):
        if data:
            directory.tagtype[tag] = 7  # bytes
            directory[tag] = data
    if meta.dpi:
        directory[282], directory[283], directory[296] = *meta.dpi, _INCH
    return directory
