"""Containers, codecs and sample layouts of the output: what holds what, what is chosen by default, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import Literal

from vidsr.errors import OutputError, UsageError
from vidsr.frame import Colour, PixelFormat
from vidsr.media.captions import ENCODERS as CAPTIONED
from vidsr.media.read.probe import MediaInfo

MUXERS = {  # container, named by its suffix -> FFmpeg's muxer
    "mp4": "mp4",
    "m4v": "mp4",  # the same file under another name; FFmpeg's own "ipod" muxer refuses HEVC
    "mov": "mov",
    "mkv": "matroska",
    "webm": "webm",
    "ts": "mpegts",
}
_SAME = {"m2ts": "ts", "mts": "ts", "qt": "mov"}  # suffixes of those containers
_HOLDS = {  # codecs that each container holds in a way that players read
    "mp4": ("h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video", "mjpeg"),
    "m4v": ("h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video", "mjpeg"),
    "mov": ("h264", "hevc", "prores", "mpeg4", "mpeg2video", "mjpeg", "dnxhd", "qtrle", "png"),
    "mkv": ("h264", "hevc", "av1", "vp9", "ffv1", "prores", "mpeg4", "mpeg2video", "mjpeg", "vp8"),
    "webm": ("vp9", "av1", "vp8"),
    "ts": ("h264", "hevc", "mpeg2video", "mpeg4"),
}
_WIDEST_H264 = 4096  # pixels: beyond, few decoders take H.264
_NARROWEST_X265 = 64  # pixels: below, x265 4.1 writes past its buffers, and the process dies sooner or later

_VIDEO = (
    "mp4 m4v mov qt mkv webm avi ts m2ts mts mpg mpeg vob m2v wmv asf flv f4v 3gp 3g2 ogv mxf dv gif"
    " h264 264 h265 265 hevc y4m mj2"
)
VIDEO_SUFFIXES = frozenset("." + name for name in _VIDEO.split())
"""Suffixes, in lower case, that count as video when a folder is searched."""

_X26X = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
_NVENC = tuple(f"p{k}" for k in range(1, 8))
DEFAULT_THREADS = 4
"""Encoder threads: a fixed number, because the bytes of x264 depend on it and should not depend on the machine."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """How one encoder is driven. Quality: lower is better; None: it has no such scale."""

    codec: str
    crf: int | None = None
    max_crf: int = 51
    preset: str | None = None
    presets: tuple[str, ...] = ()


ENCODERS = {
    "libx264": Encoder("h264", 17, 51, "medium", _X26X),
    "libx265": Encoder("hevc", 18, 51, "medium", _X26X),
    "libsvtav1": Encoder("av1", 22, 63, "6", tuple(map(str, range(14)))),
    "libvpx-vp9": Encoder("vp9", 24, 63, "2", tuple(map(str, range(9)))),
    "ffv1": Encoder("ffv1"),
    "prores_ks": Encoder("prores", preset="auto", presets=("auto", "proxy", "lt", "standard", "hq", "4444", "4444xq")),
    "h264_nvenc": Encoder("h264", 19, 51, "p5", _NVENC),
    "hevc_nvenc": Encoder("hevc", 20, 51, "p5", _NVENC),
    "av1_nvenc": Encoder("av1", 26, 63, "p5", _NVENC),
}
_BY_CODEC = {
    "h264": "libx264",
    "avc": "libx264",
    "hevc": "libx265",
    "h265": "libx265",
    "av1": "libsvtav1",
    "vp9": "libvpx-vp9",
    "ffv1": "ffv1",
    "prores": "prores_ks",
}
_ALPHA = {"ffv1": ("mkv",), "prores_ks": ("mov", "mkv"), "libvpx-vp9": ("webm", "mkv")}
"""Encoders that keep alpha in a way that players see, and the containers that they keep it in."""
_ALPHA_OF = {"webm": "libvpx-vp9", "mov": "prores_ks", "mkv": "ffv1"}  # the encoder of a source with alpha
_LOST = {  # side data of the source's pictures, by FFmpeg's name, that no encoder here takes
    "ALPHA": "transparency is dropped: it is a picture stream of its own in this source",
    "DOVI_METADATA": "Dolby Vision metadata is dropped: the output is its base layer",
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata is dropped: HDR10 stays",
}
_SAID = ("h264", "hevc", "av1", "vp9", "ffv1", "prores")  # codecs by the names that users know
_SOFTWARE = {"h264_nvenc": "libx264", "hevc_nvenc": "libx265", "av1_nvenc": "libsvtav1"}
_HARDWARE = ("_nvenc", "_qsv", "_vaapi", "_amf", "_videotoolbox", "_mf", "_v4l2m2m")


@dataclass(frozen=True, slots=True)
class Choice:
    """What the output will be. `notes` are sentences for the user: each automatic choice that needs a reason."""

    container: str  # a key of MUXERS, and the suffix of the output
    codec: str
    encoder: str  # FFmpeg's name
    pix_fmt: PixelFormat  # the layout that the writer wants its frames in
    crf: int | None
    preset: str | None
    notes: tuple[str, ...] = ()

    @property
    def segment_container(self) -> Literal["mp4", "mov", "mkv"]:
        """The container that one segment is written into: mp4, or what holds the codec."""
        if self.codec == "vp9" and self.pix_fmt.alpha:
            return "mkv"
        if self.codec in _HOLDS["mp4"]:
            return "mp4"
        return "mov" if self.codec in _HOLDS["mov"] else "mkv"


def choose(
    source: MediaInfo,
    *,
    width: int,
    height: int,
    bits: int,
    container: str | None = None,
    codec: str = "auto",
    pix_fmt: str | None = None,
    out_suffix: str | None = None,
    crf: int | None = None,
    preset: str | None = None,
    gpu: int | None = None,
) -> Choice:
    """Container, codec and layout for an output of `width` x `height` pixels at `bits` a sample.

    `container` (or the suffix of a named output, `out_suffix`) and `codec` come from the user and are never replaced;
    but where NVENC does not start, the software encoder of its codec takes over, with a note.
    `gpu` is the one on which NVENC has to start (None: any).

    Raises:
        UsageError: a name or a number that does not exist.
        OutputError: what was asked for does not fit together, or its encoder does not start on this machine.
    """
    named = _named_container(container, out_suffix)
    notes: list[str] = []
    target, reason = (named, None) if named else _source_container(source)
    if target is None and codec == "auto" and source.video.format.alpha and source.video.codec == "gif":
        target, reason = "webm", None
        notes.append("webm: it keeps the transparency")
    encoder = _alpha_encoder(source, codec, target or "mkv", notes) or _encoder(
        codec, target or "mkv", width, height, bits, notes
    )
    made = codec_of(encoder)
    if target is None or not (named or made in _HOLDS[target]):
        notes.append(f"mkv: {reason or f'{target} cannot hold {made}'}")
        target = "mkv"
    if made not in _HOLDS[target]:
        fitting = ", ".join(name for name, codecs in _HOLDS.items() if made in codecs and name != "m4v")
        if not fitting:
            raise UsageError(f"vidsr does not write {made}: use --codec {', '.join(_SAID)}.")
        raise OutputError(f"{target} cannot hold {made}: choose another --codec, or --container {fitting}.")
    layout = _layout(source.video.format, bits, encoder, target, pix_fmt, notes)
    notes += [note for name, note in _LOST.items() if name in source.video.extras]
    if "A53_CC" in source.video.extras and encoder not in CAPTIONED:
        notes.append(f"captions inside the pictures (CEA-608/708) are dropped: {made} does not carry them; h264 does")
    if encoder == "ffv1" and source.video.mastering_display:
        notes.append("HDR10 mastering metadata is dropped: ffv1 does not carry it")
    quality, speed = _quality(encoder, crf), _preset(encoder, preset)
    try:
        check_encoder(encoder, layout, width, height, quality, speed, gpu)
    except OutputError:
        if (software := _SOFTWARE.get(encoder)) is None:
            raise
        instead = choose(  # without the preset: the names are NVENC's own
            source,
            width=width,
            height=height,
            bits=bits,
            container=container,
            codec=software,
            pix_fmt=pix_fmt,
            out_suffix=out_suffix,
            crf=crf,
        )
        reason = f"{software} encodes, since {encoder} does not start here: {_hint(encoder, width, height)}"
        return replace(instead, notes=(reason, *instead.notes))
    return Choice(target, made, encoder, layout, quality, speed, tuple(notes))


def container_of(suffix: str) -> str:
    """The container that a file's suffix names, such as ``ts`` for ``.m2ts``; the suffix itself where it names none."""
    name = suffix.lower().lstrip(".")
    return _SAME.get(name, name)


def codec_of(encoder: str) -> str:
    """The codec that `encoder` makes, by FFmpeg's name; UsageError where it is no video encoder."""
    if encoder in ENCODERS:
        return ENCODERS[encoder].codec
    import av

    try:
        found = av.Codec(encoder, "w")
    except (av.FFmpegError, ValueError) as error:
        raise UsageError(f"There is no codec {encoder!r}: use {', '.join(_SAID)}, or an FFmpeg encoder.") from error
    if found.type != "video":
        raise UsageError(f"{encoder} encodes {found.type}, not video.")
    return found.canonical_name


def check_encoder(
    encoder: str,
    layout: PixelFormat | None = None,
    width: int = 256,
    height: int = 256,
    crf: int | None = None,
    preset: str | None = None,
    gpu: int | None = None,
) -> None:
    """Open `encoder` once, by default for a small picture in the first layout that it takes.

    Raises:
        OutputError: it does not start here, or does not take this size or layout.
    """
    import av

    from vidsr.media.write.encoder import VideoSpec, open_alone

    if encoder == "libx265" and width < _NARROWEST_X265:
        raise OutputError(f"{encoder} cannot encode pictures {width} pixels wide: choose another --codec or --size.")
    if encoder == "libsvtav1":  # takes seconds and gigabytes to open at 4K
        width, height = min(width, 256), min(height, 256)
    try:
        layout = layout or encoder_layouts(encoder)[0]
        clock, rate = Fraction(1, 25), Fraction(25)
        open_alone(VideoSpec(encoder, layout, Colour(), width, height, clock, rate, crf=crf, preset=preset, gpu=gpu))
    except (av.FFmpegError, ValueError, IndexError) as error:
        size = f"{width}x{height} {layout.name if layout else 'pictures'}"
        hint = _hint(encoder, width, height)
        raise OutputError(f"The encoder {encoder} does not start for {size} here: {hint}.") from error


def _hint(encoder: str, width: int, height: int) -> str:
    """Why an encoder may not have started, and what to do."""
    if encoder == "h264_nvenc" and max(width, height) > _WIDEST_H264:
        return f"its H.264 ends at {_WIDEST_H264} pixels; hevc_nvenc takes more"
    if encoder.endswith(_HARDWARE):
        return "it needs a GPU with a video encoder (an H100 has none) and its driver"
    return "choose another --codec, --pix-fmt or --size"


def nearest_layout(wanted: PixelFormat, available: Sequence[PixelFormat]) -> PixelFormat:
    """The layout in `available` that loses least of `wanted`, then the one that adds least.

    RGB counts as YUV 4:4:4, grey as YUV without chroma. ValueError where `available` is empty.
    """

    def cost(format: PixelFormat) -> tuple[bool, int, int, int, int, int]:
        want, have = _chroma(wanted), _chroma(format)
        lost = sum(max(h - w, 0) for w, h in zip(want, have, strict=True))
        added = sum(max(w - h, 0) for w, h in zip(want, have, strict=True))
        alpha = wanted.alpha - format.alpha
        return alpha > 0, lost, max(wanted.bits - format.bits, 0), added, max(format.bits - wanted.bits, 0), abs(alpha)

    return min(available, key=cost)


def encoder_layouts(encoder: str) -> list[PixelFormat]:
    """Layouts that the writer can hand to `encoder`, RGB among them only for those that the user may name."""
    import av

    if encoder.endswith("_nvenc"):
        names = ["yuv420p"] + (["yuv420p10le"] if "h264" not in encoder else [])
        return [PixelFormat.parse(name) for name in names + (["yuv444p"] if "av1" not in encoder else [])]
    formats = av.Codec(encoder, "w").video_formats or []
    layouts = [layout for layout in map(_planar, (f.name for f in formats)) if layout is not None]
    if encoder == "libvpx-vp9":  # players know its alpha beside 4:2:0 alone
        return [layout for layout in layouts if not layout.alpha or layout.name == "yuva420p"]
    return layouts


def _planar(name: str) -> PixelFormat | None:
    try:
        return PixelFormat.parse(name)
    except ValueError:
        return None


def _chroma(format: PixelFormat) -> tuple[int, int]:
    return (9, 9) if format.model == "grey" else format.chroma_shift


def _named_container(container: str | None, out_suffix: str | None) -> str | None:
    name = container_of(container or out_suffix or "")
    if not name or name in MUXERS:
        return name or None
    if container is None and "." + name in VIDEO_SUFFIXES:
        raise OutputError(f"{name} cannot keep the times of all frames: name the output .{', .'.join(MUXERS)}.")
    raise UsageError(f"There is no output container {name!r}: use {', '.join(MUXERS)}.")


def _source_container(source: MediaInfo) -> tuple[str | None, str | None]:
    """The source's own container where it can be written, or None with the reason."""
    names, suffix = source.container.split(","), source.path.suffix.lower().lstrip(".")
    suffix = _SAME.get(suffix, suffix)
    if "mpegts" in names:
        return "ts", None
    if "matroska" in names:
        return ("webm" if suffix == "webm" else "mkv"), None
    if "mov" in names and suffix in ("mp4", "m4v", "mov"):
        return suffix, None
    if "mov" in names and "." + suffix not in VIDEO_SUFFIXES:
        return ("mov" if source.metadata.get("major_brand", "").startswith("qt") else "mp4"), None
    return None, f"{suffix or names[0]} cannot keep the times of all frames or all streams"


def _encoder(codec: str, container: str, width: int, height: int, bits: int, notes: list[str]) -> str:
    longest = max(width, height)
    if codec != "auto":
        return _BY_CODEC.get(codec.lower(), codec.lower())
    if container == "webm":
        if bits <= 8:
            return "libvpx-vp9"
        notes.append("AV1: this build of VP9 encodes 8 bits only")
        return "libsvtav1"
    if bits > 8 and width < _NARROWEST_X265:
        notes.append(f"H.264: its encoder takes pictures of {width} pixels, that of HEVC does not")
        return "libx264"
    if bits > 8:
        notes.append(f"HEVC: {bits} bits a sample")
        return "libx265"
    if longest > _WIDEST_H264:
        notes.append(f"HEVC: {longest} pixels are more than H.264 decoders take")
        return "libx265"
    return "libx264"


def _alpha_encoder(source: MediaInfo, codec: str, container: str, notes: list[str]) -> str | None:
    """The encoder that keeps the alpha of `source` in `container`; None: there is no alpha, or no such encoder."""
    if codec != "auto" or not source.video.format.alpha or container not in _ALPHA_OF:
        return None
    encoder = _ALPHA_OF[container]
    if container == "mkv" and source.video.codec in ("vp8", "vp9"):
        encoder = "libvpx-vp9"
    notes.append(f"{codec_of(encoder)}: it keeps the transparency")
    return encoder


def _layout(
    source: PixelFormat, bits: int, encoder: str, container: str, pix_fmt: str | None, notes: list[str]
) -> PixelFormat:
    layouts = encoder_layouts(encoder)
    if not layouts:
        raise OutputError(f"vidsr cannot feed the encoder {encoder}: use --codec {', '.join(_SAID)}.")
    if pix_fmt is not None:
        return _named_layout(pix_fmt, encoder, layouts)
    model = "yuv" if source.model == "rgb" else source.model
    wanted = PixelFormat(model, bits, source.chroma_shift, source.alpha and container in _ALPHA.get(encoder, ()))
    usable = [layout for layout in layouts if layout.model != "rgb"] or layouts
    chosen = nearest_layout(wanted, usable)
    if source.model == "rgb" and chosen.model == "yuv":
        notes.append(f"{chosen.name}: RGB is stored as YUV with its own primaries")
    if source.alpha and not chosen.alpha:
        notes.append(f"transparency is dropped: {encoder} in {container} does not keep it (webm, mov and mkv can)")
    if chosen.bits < bits:
        notes.append(f"{bits} bits a sample become {chosen.bits}: {encoder} takes no more")
    if any(have > want for have, want in zip(_chroma(chosen), _chroma(wanted), strict=True)):
        notes.append(f"chroma is reduced to {chosen.name}: {encoder} takes no more")
    return chosen


def _named_layout(pix_fmt: str, encoder: str, layouts: list[PixelFormat]) -> PixelFormat:
    layout = _planar(pix_fmt)
    if layout is None:
        raise UsageError(f"--pix-fmt {pix_fmt} is not a planar sample layout: use one such as yuv420p or yuv444p10le.")
    if layout not in layouts:
        known = ", ".join(sorted(f.name for f in layouts))
        raise OutputError(f"{encoder} cannot encode {pix_fmt}: it takes {known}.")
    return layout


def _quality(encoder: str, crf: int | None) -> int | None:
    settings = ENCODERS.get(encoder, Encoder(encoder))
    if crf is None:
        return settings.crf
    if settings.crf is None:
        raise UsageError(f"--crf does not apply to {encoder}, which has no such scale.")
    if not 0 <= crf <= settings.max_crf:
        raise UsageError(f"--crf {crf} is outside 0 to {settings.max_crf}, the scale of {encoder}.")
    return crf


def _preset(encoder: str, preset: str | None) -> str | None:
    settings = ENCODERS.get(encoder, Encoder(encoder))
    if preset is None:
        return settings.preset
    if preset not in settings.presets:
        raise UsageError(f"--preset {preset} is unknown to {encoder}: {', '.join(settings.presets) or 'it has none'}.")
    return preset


@cache
def quality_option(encoder: str) -> str:
    """The encoder option that takes the quality number."""
    return "cq" if encoder.endswith("_nvenc") else "crf"
