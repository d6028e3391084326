"""Images: read and written with Pillow, and by FFmpeg where Pillow has only 8 bits (RGB of 16 bits)."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from vidsr import files
from vidsr.errors import MediaError, OutputError
from vidsr.frame import Samples
from vidsr.media.image_meta import (
    DAMAGED,
    ImageMeta,
    all_chunks,
    chunks_beside,
    options,
    orientation,
    read_meta,
    what_is_lost,
)
from vidsr.media.png_chunks import with_chunks
from vidsr.media.read.open import MAX_PIXELS
from vidsr.media.read.webp import is_animated
from vidsr.media.tiff import encode_tiff

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".avif"})
IMAGE_SUFFIXES |= {".jp2", ".ppm", ".pgm", ".tga"}
"""Suffixes, in lower case, of still images. A GIF or an animated PNG is a video, read by `Reader`."""

_UPRIGHT: dict[int, Callable[[Samples], Samples]] = {  # EXIF 2.3, 4.6.4 A: by its orientation tag
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}
_SAVE: dict[str, dict[str, object]] = {  # beyond Pillow's defaults: little of what the network made may be lost again
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95, "method": 4},
    "AVIF": {"quality": 90, "subsampling": "4:4:4"},
}
_DEEP = ("PNG", "TIFF")
_READ = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "JPEG2000", "PPM", "TGA")
_WITHOUT_ALPHA = ("JPEG", "BMP", "PPM")
_WITHOUT_METADATA = ("BMP", "PPM", "TGA", "JPEG2000")
_NOTED = {"TGA": "id_section", "JPEG2000": "comment"}  # where they have a place for a word after all
_MARK_BYTES = 64
WITHOUT_METADATA = frozenset([".bmp", ".ppm", ".pgm", ".tga", ".jp2"])
"""Suffixes of images that hold pixels and nothing else."""


def is_image(path: Path) -> bool:
    """Whether `path` is a still image rather than a video; an animated PNG or WebP is a video."""
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return False
    if path.suffix.lower() == ".webp":
        return not is_animated(path)
    if path.suffix.lower() != ".png":
        return True
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except OSError:
        return True  # reading it will say why
    return b"acTL" not in head[: max(head.find(b"IDAT"), 0)]


def open_image(path: Path) -> Image.Image:
    """Open `path` as one of the formats that vidsr reads, whatever its name says. Raises what Pillow raises.

    Pillow alone would take more, and for some of it (EPS) start other programs.
    """
    Image.init()
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # else one of 1 MB, as of a workflow, is refused
    return Image.open(path, formats=[name for name in _READ if name in Image.OPEN])


def read_image(path: Path) -> tuple[Samples, ImageMeta]:
    """The samples of `path`, upright, and what to keep of its metadata.

    Returns:
        (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGB with alpha; uint8, or uint16 where the file has 16 bits.
        Palettes, CMYK and grey with alpha become RGB or RGBA. AVIF and JPEG 2000 are read with 8 bits.

    Raises:
        MediaError: the file is missing, damaged, not an image, too large, or holds several pictures.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its size, which `_check_size` refuses, and of damage in metadata
            with open_image(path) as image:
                _check_size(image, path)
                samples = _deep_samples(path) if _is_deep_rgb(image, path) else _samples(image)
                meta, turned = read_meta(image, path), orientation(image)  # behind the samples: a TIFF is turned then
    except FileNotFoundError as error:
        raise MediaError(f"{path} does not exist; check the name.") from error
    except UnidentifiedImageError as error:
        if path.stat().st_size == 0:
            raise MediaError(f"{path} is empty (0 bytes); copy or download it again.") from error
        raise MediaError(f"{path} is not an image that vidsr can read.") from error
    except (*DAMAGED, Image.DecompressionBombError, av.FFmpegError) as error:
        raise MediaError(f"{path} cannot be read: {error}.") from error
    upright = _UPRIGHT[turned](samples) if turned in _UPRIGHT else samples
    return np.ascontiguousarray(upright), meta


def _check_size(image: Image.Image, path: Path) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise MediaError(f"{path} is {image.width}x{image.height}, above the limit of {MAX_PIXELS} pixels.")
    number = getattr(image, "n_frames", 1)
    if number > 1 and image.format != "MPO":  # MPO: a camera's JPEG with previews behind it
        way = (
            "split it into files of one page" if image.format == "TIFF" else "convert it to a video or to single images"
        )
        noun = "pages" if image.format == "TIFF" else "pictures"
        raise MediaError(f"{path} holds {number} {noun}; {way} first.")


def _is_deep_rgb(image: Image.Image, path: Path) -> bool:
    """16 bits for each of several components, which Pillow would cut to 8."""
    if image.format == "TIFF":
        depths: tuple[int, ...] = getattr(image, "tag_v2", {}).get(258, (8,))
        return len(depths) > 1 and max(depths) == 16
    with path.open("rb") as file:
        head = file.read(26)
    return image.format == "PNG" and head[24] == 16 and head[25] in (2, 4, 6)  # IHDR: depth, colour type


def _deep_samples(path: Path) -> Samples:
    data = path.read_bytes()
    demuxer = "png_pipe" if data.startswith(b"\x89PNG") else "tiff_pipe"
    with av.open(io.BytesIO(data), "r", format=demuxer, options={"protocol_whitelist": "none"}) as container:
        frame = next(container.decode(video=0))
        alpha = len(frame.format.components) in (2, 4)
        name, channels = ("rgba64le", 4) if alpha else ("rgb48le", 3)
        return (
            frame.reformat(format=name)
            .to_ndarray()
            .astype(np.uint16, copy=False)
            .reshape(frame.height, frame.width, channels)
        )


def _samples(image: Image.Image) -> Samples:
    mode = image.mode
    if mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if mode == "I":
        values = np.asarray(image)
        if values.min(initial=0) < 0 or values.max(initial=0) > 0xFFFF:
            raise ValueError("its samples have more than 16 bits")
        return values.astype(np.uint16)
    if mode == "F":
        raise ValueError("its samples are floating-point numbers")
    if mode in ("CMYK", "LAB") and (icc := image.info.get("icc_profile")):
        return _by_profile(image, icc)
    alpha = mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    target = "RGBA" if alpha else "L" if mode in ("L", "1") else "RGB"
    return np.asarray(image if mode == target else image.convert(target))


def _by_profile(image: Image.Image, icc: bytes) -> Samples:
    """RGB in sRGB, by the image's own profile if that can be read."""
    from PIL import ImageCms

    srgb = ImageCms.createProfile("sRGB")
    try:
        converted = ImageCms.profileToProfile(image, io.BytesIO(icc), srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        converted = None
    return np.asarray(image.convert("RGB") if converted is None else converted)


def write_image(path: Path, array: Samples, meta: ImageMeta | None = None) -> tuple[str, ...]:
    """Write `array`, as `read_image` returns it, to `path`, whose suffix chooses the format.

    It is written under another name first, so that `path` never holds half an image.

    Returns:
        What the format could not hold, in words: alpha, 16 bits, metadata.

    Raises:
        OutputError: the suffix is unknown, or the file cannot be written.
    """
    meta = ImageMeta() if meta is None else meta
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind is None or path.suffix.lower() not in IMAGE_SUFFIXES:
        raise OutputError(
            f"{path}: vidsr writes no {path.suffix or 'suffixless'} images; use .png, .jpg, .webp or .tif."
        )
    samples, lost = _fitted(array, kind)
    if kind in _WITHOUT_METADATA:
        lost += ["metadata and colour profile"] if meta.is_any() else []
    else:
        lost += what_is_lost(meta, kind)
    try:
        data = encode_tiff(samples, meta) if kind == "TIFF" else _encoded(samples, kind, meta)
        files.write(path, data, shared=True)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}.") from error
    return tuple(lost)


def _fitted(array: Samples, kind: str) -> tuple[Samples, list[str]]:
    """`array` as the format `kind` can hold it, and what that loses."""
    lost = []
    if array.ndim == 3 and array.shape[2] == 4 and kind in _WITHOUT_ALPHA:
        array, lost = _on_white(array), ["alpha (it lies on white now)"]
    if array.dtype == np.uint16 and kind not in _DEEP:
        array = ((array.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
        lost.append("16 bits")
    return np.ascontiguousarray(array), lost


def _on_white(array: Samples) -> Samples:
    """What viewers show of a transparent picture, without what stands under it where nothing is seen."""
    peak = np.uint32(np.iinfo(array.dtype).max)
    colours, alpha = array[:, :, :3].astype(np.uint32), array[:, :, 3:].astype(np.uint32)
    return ((colours * alpha + peak * (peak - alpha) + peak // 2) // peak).astype(array.dtype)


def _encoded(samples: Samples, kind: str, meta: ImageMeta) -> bytes:
    height, width = samples.shape[:2]
    if samples.dtype == np.uint16 and samples.ndim == 3:
        return with_chunks(_deep_png(samples), all_chunks(meta, width, height))
    chosen = _SAVE.get(kind, {}) | options(meta, kind, width, height)
    if meta.mark and kind in _NOTED:
        chosen[_NOTED[kind]] = meta.mark.encode()
    out = io.BytesIO()
    Image.fromarray(samples).save(out, kind, **chosen)
    if kind == "PNG":
        return with_chunks(out.getvalue(), chunks_beside(meta))
    return _marked(out.getvalue(), kind, meta.mark) if meta.mark else out.getvalue()


def _marked(data: bytes, kind: str, mark: str) -> bytes:
    """With the mark where readers look for nothing: behind a BMP, in a comment of a PPM."""
    if kind == "BMP":
        return data + mark.encode()
    if kind == "PPM":
        magic, line, rest = data.partition(b"\n")
        return magic + line + b"# " + mark.encode() + line + rest
    return data


def read_mark(path: Path) -> str:
    """The mark that `write_image` put into an image whose format has no metadata; whatever else stands there, or ''.

    Raises what Pillow raises.
    """
    with open_image(path) as image:
        kind, noted = image.format or "", image.info.get(_NOTED.get(image.format or "", ""), b"")
    if kind in _NOTED:
        return bytes(noted).decode("ascii", "replace")
    with path.open("rb") as file:
        head = file.read(_MARK_BYTES)
        file.seek(-min(_MARK_BYTES, file.seek(0, 2)), 2)
        behind = file.read()
    if kind == "PPM":
        return head.partition(b"\n# ")[2].partition(b"\n")[0].decode("ascii", "replace")
    return behind[behind.rfind(b"vidsr ") :].decode("ascii", "replace") if kind == "BMP" else ""


def _deep_png(samples: Samples) -> bytes:
    height, width, channels = samples.shape
    packed, name = ("rgba64le", "rgba64be") if channels == 4 else ("rgb48le", "rgb48be")
    context = av.CodecContext.create("png", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt, context.time_base = width, height, name, Fraction(1)
    frame = av.VideoFrame.from_ndarray(samples.astype(np.uint16, copy=False), format=packed).reformat(format=name)
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])
