"""What an image says beside its pixels, and how its upscaled copy comes to say it, too."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from vidsr.media.png_chunks import Chunk, have_colours, have_texts, read_chunks

EXIF_IFD, GPS_IFD = 0x8769, 0x8825
XMP, IPTC, ICC = 0x02BC, 0x83BB, 0x8773  # tags of TIFF
ORIENTATION = 0x0112
_WIDTH, _HEIGHT, _INTEROP = 0xA002, 0xA003, 0xA005
DESCRIBING = (
    *(0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C),  # what, camera, program, date, artist, computer
    *(0x4746, 0x4749, 0x8298, *range(0x9C9B, 0x9CA0)),  # rating, copyright, and Windows' own
)
"""The tags of EXIF's first list that describe the picture; a TIFF has those of its file in the same list."""
_UNWRITABLE = (struct.error, AttributeError, KeyError, OverflowError, TypeError, ValueError)  # by what Pillow raises
DAMAGED = (*_UNWRITABLE, IndexError, OSError, SyntaxError)
"""What Pillow raises of a file that is not as it should be, or of its EXIF."""
_TURNED = re.compile(rb"(tiff:Orientation(?:=[\"']|>))[2-8]")
_JPEGS = ("JPEG", "MPO")  # MPO: with more pictures behind it, as cameras and phones write them
_JPEG_BYTES = 65_500  # of one kind of metadata
_IPTC_RESOURCE = 0x0404
_MOST_DPI = 0xFFFF  # what a JPEG holds; more is damage, which a PNG does not hold either


@dataclass(frozen=True, slots=True)
class ImageMeta:
    """What goes from an image to its upscaled copy. The orientation has been applied, and is gone from here.

    `chunks` are a PNG's texts and what it says of its colours, `said` what is to be told of all this.
    """

    exif: bytes | None = None
    icc_profile: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    comment: bytes | None = None
    chunks: tuple[Chunk, ...] = ()
    dpi: tuple[float, float] | None = None
    mark: str | None = None  # ASCII, for formats without metadata
    said: tuple[str, ...] = ()

    def is_any(self) -> bool:
        """Whether there is more than pixels, their size and a mark."""
        beside = self.exif or self.icc_profile or self.xmp or self.iptc or self.comment
        return bool(beside or have_texts(self.chunks) or self.has_colours())

    def has_colours(self) -> bool:
        """Whether `chunks` says of the colours what no other field does."""
        return have_colours(self.chunks, profile=bool(self.icc_profile))


def read_meta(image: Image.Image, path: Path) -> ImageMeta:
    """Of `image`, which has been opened from `path`. Raises what Pillow raises."""
    exif, said = _exif(image)
    if image.mode in ("CMYK", "LAB"):
        said = (*said, f"its {image.mode} colours become RGB")
    if image.format == "MPO":
        said = (*said, "the pictures behind it (previews, a gain map) are left out")
    icc = image.info.get("icc_profile") or None
    clear = "A" in image.mode or "transparency" in image.info
    if icc and (image.mode in ("CMYK", "LAB") or (clear and icc[16:20] == b"GRAY")):
        icc = None  # the samples are RGB by now
    xmp, dpi = image.info.get("xmp"), image.info.get("dpi")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    return ImageMeta(
        exif=exif.tobytes() if len(exif) else None,
        icc_profile=icc,
        xmp=_TURNED.sub(rb"\g<1>1", xmp) if xmp else None,
        iptc=_iptc(image),
        comment=image.info.get("comment") if image.format in _JPEGS else None,
        chunks=tuple(read_chunks(path)) if image.format == "PNG" else (),
        dpi=(float(dpi[0]), float(dpi[1])) if dpi and all(1 <= each <= _MOST_DPI for each in dpi) else None,
        said=said,
    )


def orientation(image: Image.Image) -> int:
    """By EXIF 2.3, 4.6.4 A, from 1 (upright) to 8."""
    exif = _read_exif(image)
    found = 1 if exif is None else exif.get(ORIENTATION, 1)
    return found if isinstance(found, int) else 1


def _read_exif(image: Image.Image) -> Image.Exif | None:
    """What Pillow reads of it; None: even its head is damaged."""
    try:
        Image.Exif().load(image.info.get("exif", b""))  # of the image itself Pillow says it only once
        return image.getexif()
    except DAMAGED:
        return None


def _exif(image: Image.Image) -> tuple[Image.Exif, tuple[str, ...]]:
    """What describes the picture and can be written again, and what is to be said of the rest."""
    found = _read_exif(image)
    if found is None:
        return Image.Exif(), ("its EXIF is damaged, and left out",)
    kept, damaged = Image.Exif(), 0
    for tag, value in found.items():
        if tag in (EXIF_IFD, GPS_IFD):
            damaged += _take(found, kept, tag)
        elif tag != ORIENTATION and (image.format != "TIFF" or tag in DESCRIBING):
            one = Image.Exif()
            one[tag] = value
            if _is_writable(one):
                kept[tag] = value
            else:
                damaged += 1
    entries = "entry of its EXIF is" if damaged == 1 else "entries of its EXIF are"
    return kept, (f"{damaged} damaged {entries} left out",) if damaged else ()


def _take(found: Image.Exif, kept: Image.Exif, ifd: int) -> int:
    """Copy a list of tags that a tag names, and return how many of them are damaged."""
    try:
        entries: Mapping[int, object] = found.get_ifd(ifd)
    except _UNWRITABLE:
        return 1
    damaged = 0
    for tag, value in entries.items():
        one = Image.Exif()
        one.get_ifd(ifd)[tag] = value
        if tag == _INTEROP or _is_writable(one):
            kept.get_ifd(ifd)[tag] = value
        else:
            damaged += 1
    return damaged


def _is_writable(exif: Image.Exif) -> bool:
    try:
        exif.tobytes()
    except _UNWRITABLE:
        return False
    return True


def _iptc(image: Image.Image) -> bytes | None:
    if image.format == "TIFF":
        found = getattr(image, "tag_v2", {}).get(IPTC)
    else:
        found = image.info.get("photoshop", {}).get(_IPTC_RESOURCE) if image.format in _JPEGS else None
    return found if isinstance(found, bytes) else None


def what_is_lost(meta: ImageMeta, kind: str) -> list[str]:
    """What of `meta` an image of `kind`, by Pillow's name, has no place for."""
    short = kind == "JPEG"
    return [
        name
        for name, there, fits in (
            ("its text", have_texts(meta.chunks), kind == "PNG"),
            ("what it says of its colours", meta.has_colours(), kind == "PNG"),
            ("its comment", meta.comment, kind == "JPEG"),
            ("IPTC", meta.iptc, kind in ("JPEG", "TIFF")),
            ("EXIF of that length", short and len(meta.exif or b"") > _JPEG_BYTES, False),
            ("IPTC of that length", short and meta.iptc and not _photoshop(meta.iptc), False),
            ("XMP of that length", short and len(meta.xmp or b"") > _JPEG_BYTES, False),
        )
        if there and not fits
    ]


def options(meta: ImageMeta, kind: str, width: int, height: int) -> dict[str, object]:
    """The options by which Pillow writes `meta` into an image of `kind`."""
    room = _JPEG_BYTES if kind == "JPEG" else 1 << 32
    exif = resized_exif(meta.exif, width, height) if meta.exif and len(meta.exif) <= room else None
    xmp = meta.xmp if len(meta.xmp or b"") <= room else None
    found: dict[str, object] = {"exif": exif, "icc_profile": meta.icc_profile, "xmp": xmp, "dpi": meta.dpi}
    if kind == "JPEG":
        found |= {"comment": meta.comment, "extra": _photoshop(meta.iptc) if meta.iptc else None}
    return {name: value for name, value in found.items() if value}


def resized_exif(raw: bytes, width: int, height: int) -> bytes:
    """`raw` with the new size, where it names one, and without the thumbnail of the old picture."""
    exif = Image.Exif()
    exif.load(raw)
    details = exif.get_ifd(EXIF_IFD)
    details |= {tag: value for tag, value in ((_WIDTH, width), (_HEIGHT, height)) if tag in details}
    return exif.tobytes()


def _photoshop(iptc: bytes) -> bytes:
    """A JPEG's segment with one of Photoshop's resources (Adobe Photoshop File Formats, Image Resource Blocks)."""
    resource = b"8BIM" + struct.pack(">H2xI", _IPTC_RESOURCE, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)
    data = b"Photoshop 3.0\0" + resource
    return b"\xff\xed" + struct.pack(">H", len(data) + 2) + data if len(data) <= _JPEG_BYTES else b""


def chunks_beside(meta: ImageMeta) -> list[Chunk]:
    """What Pillow does not write of `meta` into a PNG."""
    xmp = [(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + meta.xmp)] if meta.xmp else []
    return [*xmp, *meta.chunks]


def all_chunks(meta: ImageMeta, width: int, height: int) -> Iterator[Chunk]:
    """All that a PNG of this size has of `meta`."""
    if meta.icc_profile:
        yield b"iCCP", b"ICC profile\0\0" + zlib.compress(meta.icc_profile)
    if meta.exif:
        yield b"eXIf", resized_exif(meta.exif, width, height).removeprefix(b"Exif\0\0")
    if meta.dpi:
        yield b"pHYs", struct.pack(">IIB", *(round(each / 0.0254) for each in meta.dpi), 1)
    yield from chunks_beside(meta)
