"""Containers, codecs and sample layouts of the output: what holds what, what is chosen by default, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache

from vidsr.errors import OutputError, UsageError
from vidsr.frame import Colour, PixelFormat
from vidsr.media import containers
from vidsr.media.captions import ENCODERS as CAPTIONED
from vidsr.media.containers import FOR_ALPHA, HOLDS_ALL, Container
from vidsr.media.read.probe import MediaInfo

_WIDEST_H264 = 4096  # pixels: beyond, few decoders take H.264
_NARROWEST_X265 = 64  # pixels: below, x265 4.1 writes past its buffers, and the process dies sooner or later

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

    container: str  # a key of CONTAINERS, and the suffix of the output
    codec: str
    encoder: str  # FFmpeg's name
    pix_fmt: PixelFormat  # the layout that the writer wants its frames in
    crf: int | None
    preset: str | None
    notes: tuple[str, ...] = ()

    @property
    def segment_container(self) -> str:
        """The container that one segment is written into."""
        return containers.segment_container(self.codec, self.encoder, alpha=self.pix_fmt.alpha)


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
    named = containers.named(container, out_suffix)
    notes: list[str] = []
    video = source.video
    target, reason = (named, None) if named else containers.own(source.container, source.path, source.metadata)
    if target is None and codec == "auto" and video.format.alpha and video.codec == "gif":
        target, reason = FOR_ALPHA, None
        notes.append(f"{target}: it keeps the transparency")
    encoder = _alpha_encoder(source, codec, target or HOLDS_ALL, notes) or _encoder(
        codec, target or HOLDS_ALL, width, height, bits, notes
    )
    made = codec_of(encoder)
    if target is None or not (named or made in target.pictures):
        notes.append(f"{HOLDS_ALL}: {reason or f'{target} cannot hold {made}'}")
        target = HOLDS_ALL
    if made not in target.pictures:
        if not (fitting := ", ".join(containers.offering(made))):
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
    return Choice(target.name, made, encoder, layout, quality, speed, tuple(notes))


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


def _encoder(codec: str, container: Container, width: int, height: int, bits: int, notes: list[str]) -> str:
    longest = max(width, height)
    if codec != "auto":
        return _BY_CODEC.get(codec.lower(), codec.lower())
    if container.encoders is not None:
        usual, deep = container.encoders
        if bits <= 8:
            return usual
        notes.append(f"{codec_of(deep).upper()}: this build of {codec_of(usual).upper()} encodes 8 bits only")
        return deep
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


def _alpha_encoder(source: MediaInfo, codec: str, container: Container, notes: list[str]) -> str | None:
    """The encoder that keeps the alpha of `source` in `container`; None: there is no alpha, or no such encoder."""
    if codec != "auto" or not source.video.format.alpha or not container.alpha:
        return None
    encoder = container.alpha[0]
    if source.video.codec in ("vp8", "vp9") and "libvpx-vp9" in container.alpha:
        encoder = "libvpx-vp9"
    notes.append(f"{codec_of(encoder)}: it keeps the transparency")
    return encoder


def _layout(
    source: PixelFormat, bits: int, encoder: str, container: Container, pix_fmt: str | None, notes: list[str]
) -> PixelFormat:
    layouts = encoder_layouts(encoder)
    if not layouts:
        raise OutputError(f"vidsr cannot feed the encoder {encoder}: use --codec {', '.join(_SAID)}.")
    if pix_fmt is not None:
        return _named_layout(pix_fmt, encoder, layouts)
    model = "yuv" if source.model == "rgb" else source.model
    wanted = PixelFormat(model, bits, source.chroma_shift, source.alpha and encoder in container.alpha)
    usable = [layout for layout in layouts if layout.model != "rgb"] or layouts
    chosen = nearest_layout(wanted, usable)
    if source.model == "rgb" and chosen.model == "yuv":
        notes.append(f"{chosen.name}: RGB is stored as YUV with its own primaries")
    if source.alpha and not chosen.alpha:
        able = containers.keeping_alpha()
        notes.append(f"transparency is dropped: {encoder} in {container} does not keep it ({able} can)")
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
