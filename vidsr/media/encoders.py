"""Encoders: one row each, with all that is known of it here; a new one is a new row. Loads neither FFmpeg nor numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from vidsr.errors import UsageError

FEW, MANY = 4, 16
"""Encoder threads: never as many as the machine has, because the bytes of some encoders depend on their number."""


@dataclass(frozen=True, slots=True)
class Quality:
    """A scale from 0 to `worst` on which lower is better and larger, and the encoder's option that takes it.

    `own`: the ends of the encoder's own scale, best and worst, where it is another one; ours is stretched to it.
    """

    default: int
    worst: int
    option: str = "crf"
    step: float = 1  # between two that differ
    own: tuple[int, int] | None = None  # the encoder's best and worst, where it counts otherwise

    def value(self, crf: float) -> float:
        """What the encoder's option is given."""
        if self.own is None:
            return crf
        best, worst = self.own
        return round(best + (worst - best) * crf / self.worst)


@dataclass(frozen=True, slots=True)
class Presets:
    """Names of an encoder's presets, and its option that takes one."""

    default: str
    names: tuple[str, ...]
    option: str = "preset"


@dataclass(frozen=True, slots=True)
class HdrKeys:
    """Parameters that write HDR10's metadata into the bitstream; `decimal`: in units, not in HEVC's whole steps."""

    display: str
    light: str
    decimal: bool = False


@dataclass(frozen=True, slots=True)
class Encoder:
    """How one encoder is driven, what it takes and what it keeps. Sizes in pixels."""

    name: str  # FFmpeg's
    codec: str  # what it makes, by FFmpeg's name
    spoken: tuple[str, ...] = ()  # what --codec calls it; the first in help. None: it is named by FFmpeg's name alone
    title: str = ""  # in sentences
    quality: Quality | None = None
    presets: Presets | None = None
    options: Mapping[str, str] = field(default_factory=dict)  # always given
    alpha_options: Mapping[str, str] = field(default_factory=dict)  # and these where there is alpha
    threads: int = FEW
    rows_a_thread: int | None = None  # of the picture, at least, where more than a few threads cost quality
    params: str | None = None  # the option that takes a list of key=value
    fixed_params: tuple[str, ...] = ()
    thread_params: Mapping[str, int | None] = field(default_factory=dict)  # keys that take threads, each up to so many
    environment: Mapping[str, str] = field(default_factory=dict)
    parts: str | None = None  # encodes a job's parts, without loss, where this one has to see the whole film
    layouts: tuple[str, ...] = ()  # that it is fed; none: all planar ones that FFmpeg says it takes
    packed: Mapping[str, str] = field(default_factory=dict)  # layout -> how FFmpeg wants it stored
    alpha_layouts: tuple[str, ...] = ()  # the only ones with alpha that players know; none: all
    alpha_beside: bool = False  # a second picture beside each, for which only Matroska and WebM have a place
    hdr: HdrKeys | None = None
    keeps_hdr10: bool = True  # in its bitstream or its container
    narrowest: int = 1
    widest: int | None = None  # of either side
    wider: str | None = None  # the encoder that takes more
    opens_small: bool = False  # it takes seconds and gigabytes to open at 4K
    hardware: bool = False
    gpu_option: str | None = None  # that takes the number of a GPU
    needs: str = ""  # of a machine, in words, where it is hardware
    software: str | None = None  # takes over where this one does not start
    takes: str = ""  # of films, in words, where it is little

    @property
    def inside(self) -> frozenset[str]:
        """Fields of `frame.Inside` that `write.messages` puts into its packets: by the codec, whoever encodes it."""
        return _INSIDE.get(self.codec, frozenset())

    def num_threads(self, height: int) -> int:
        """For pictures that high: the same number on every machine."""
        return min(max(height // self.rows_a_thread, FEW), self.threads) if self.rows_a_thread else self.threads


_X26X = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
_NVENC = Presets("p5", tuple(f"p{k}" for k in range(1, 8)))
_NVENC_OPTIONS = {"rc": "vbr", "b": "0"}
_P010 = {"yuv420p10le": "p010le"}
_INSIDE = {  # codec -> fields of `frame.Inside`; of hardware encoders, none was tried
    "h264": frozenset({"captions"}),
    "hevc": frozenset({"captions", "hdr10_plus", "dolby_vision", "ambient"}),
    "av1": frozenset({"captions", "hdr10_plus"}),
    "mpeg2video": frozenset({"captions"}),
}
_FINE = {"flags": "+qscale", "global_quality": str(2 * 118)}  # quantiser 2; the default of these is 200 kbit/s

_QSV = Encoder(
    name="qsv",
    codec="",
    quality=Quality(19, 51, option="global_quality"),  # with no other option: constant quality, as it sees fit
    presets=Presets("medium", _X26X[2:-1]),
    needs="an Intel GPU and its driver",
)
_AMF = Encoder(
    name="amf",
    codec="",
    quality=Quality(19, 51, option="qvbr_quality_level"),
    presets=Presets("quality", ("speed", "balanced", "quality"), option="quality"),
    options={"rc": "qvbr"},
    needs="an AMD GPU and its driver with AMF",
)
_VIDEOTOOLBOX = Encoder(
    name="videotoolbox",
    codec="",
    quality=Quality(17, 51, option="global_quality", own=(100 * 118, 0)),  # 100 is its best, of FFmpeg's 118 a step
    options={"flags": "+qscale"},
    needs="a Mac with Apple's own processor",
)
_TITLES = {"h264": ("H.264", "libx264"), "hevc": ("HEVC", "libx265"), "av1": ("AV1", "libsvtav1")}


def _vendor(maker: str, codecs: tuple[str, ...], row: Encoder) -> list[Encoder]:
    """The rows of a maker's hardware: fed with 8-bit 4:2:0, and with 10 bits where the codec usually has them."""
    made = []
    for codec in codecs:
        name, (title, software) = f"{codec}_{maker}", _TITLES[codec]
        deep = codec != "h264"
        quality = row.quality
        if quality and codec == "av1":
            quality = replace(quality, default=26, worst=63, own=(1, 51))  # AV1's usual scale
        made.append(
            replace(
                row,
                name=name,
                codec=codec,
                spoken=(name,),
                title=title,
                quality=quality,
                layouts=("yuv420p", "yuv420p10le") if deep else ("yuv420p",),
                packed={"yuv420p": "nv12", **(_P010 if deep else {})},
                widest=None if deep else 4096,
                wider=None if deep else f"hevc_{maker}",
                hardware=True,
                software=software,
            )
        )
    return made


_ROWS = (
    Encoder(
        name="libx264",
        codec="h264",
        spoken=("h264", "avc"),
        title="H.264",
        quality=Quality(17, 51, step=0.05),
        presets=Presets("medium", _X26X),
        threads=MANY,
        rows_a_thread=128,
        params="x264-params",
        fixed_params=("sliced-threads=0",),  # PyAV asks for slices, one a thread: up to 7 % larger
        hdr=HdrKeys("mastering-display", "cll"),
        widest=4096,  # beyond, few decoders take H.264
        wider="libx265",
    ),
    Encoder(
        name="libx265",
        codec="hevc",
        spoken=("hevc", "h265"),
        title="HEVC",
        quality=Quality(18, 51, step=0.05),
        presets=Presets("medium", _X26X),
        threads=MANY,
        params="x265-params",
        thread_params={"pools": None, "frame-threads": 4},
        fixed_params=("log-level=error", "open-gop=0"),
        hdr=HdrKeys("master-display", "max-cll"),
        narrowest=64,  # below, x265 4.1 writes past its buffers, and the process dies sooner or later
    ),
    Encoder(
        name="libsvtav1",
        codec="av1",
        spoken=("av1",),
        title="AV1",
        quality=Quality(22, 63),
        presets=Presets("6", tuple(map(str, range(14)))),
        params="svtav1-params",
        thread_params={"lp": None},
        environment={"SVT_LOG": "1"},  # errors only: its banner goes to stderr, and is stopped by no other way
        hdr=HdrKeys("mastering-display", "content-light", decimal=True),
        opens_small=True,
    ),
    Encoder(
        name="libvpx-vp9",
        codec="vp9",
        spoken=("vp9",),
        title="VP9",
        quality=Quality(24, 63),
        presets=Presets("2", tuple(map(str, range(9))), option="cpu-used"),
        threads=MANY,
        options={"b": "0", "deadline": "good", "row-mt": "1"},
        alpha_options={"auto-alt-ref": "0"},  # pictures that are not shown have no place for the alpha
        alpha_layouts=("yuva420p",),
        alpha_beside=True,
    ),
    Encoder(
        name="ffv1",
        codec="ffv1",
        spoken=("ffv1",),
        title="FFV1",
        packed={"gbrp": "bgr0", "gbrap": "bgra"},
        options={"level": "3", "g": "1", "slicecrc": "1", "slices": "4"},
        keeps_hdr10=False,
    ),
    Encoder(
        name="prores_ks",
        codec="prores",
        spoken=("prores",),
        title="ProRes",
        presets=Presets("auto", ("auto", "proxy", "lt", "standard", "hq", "4444", "4444xq"), option="profile"),
        options={"vendor": "apl0"},
        threads=MANY,
    ),
    Encoder(
        name="h264_nvenc",
        codec="h264",
        spoken=("h264_nvenc",),
        title="H.264",
        quality=Quality(19, 51, option="cq", step=0.1),
        presets=_NVENC,
        options=_NVENC_OPTIONS,
        layouts=("yuv420p", "yuv444p"),
        widest=4096,
        wider="hevc_nvenc",
        hardware=True,
        gpu_option="gpu",
        software="libx264",
    ),
    Encoder(
        name="hevc_nvenc",
        codec="hevc",
        spoken=("hevc_nvenc",),
        title="HEVC",
        quality=Quality(20, 51, option="cq", step=0.1),
        presets=_NVENC,
        options=_NVENC_OPTIONS,
        layouts=("yuv420p", "yuv420p10le", "yuv444p"),
        packed=_P010,
        hardware=True,
        gpu_option="gpu",
        software="libx265",
    ),
    Encoder(
        name="av1_nvenc",
        codec="av1",
        spoken=("av1_nvenc",),
        title="AV1",
        quality=Quality(26, 63, option="cq", step=0.1),
        presets=_NVENC,
        options=_NVENC_OPTIONS,
        layouts=("yuv420p", "yuv420p10le"),
        packed=_P010,
        hardware=True,
        gpu_option="gpu",
        software="libsvtav1",
    ),
    *_vendor("qsv", ("h264", "hevc", "av1"), _QSV),
    *_vendor("amf", ("h264", "hevc", "av1"), _AMF),
    *_vendor("videotoolbox", ("h264", "hevc"), _VIDEOTOOLBOX),
    Encoder(
        name="gif",
        codec="gif",
        alpha_options={"gifflags": "0"},  # pictures that can be taken away: see `vidsr.media.animations.take_away`
        parts="ffv1",
        layouts=("gbrp", "gbrap"),
        packed={"gbrp": "pal8", "gbrap": "pal8"},
        keeps_hdr10=False,
    ),
    Encoder(
        name="apng",
        codec="apng",
        options={"pred": "mixed"},
        parts="ffv1",
        layouts=("gbrp", "gbrap"),
        packed={"gbrp": "rgb24", "gbrap": "rgba"},
        keeps_hdr10=False,
    ),
    Encoder(
        name="libvpx",
        codec="vp8",
        title="VP8",
        quality=Quality(10, 63),
        presets=Presets("2", tuple(map(str, range(17))), option="cpu-used"),
        options={"b": "200M", "qmin": "0", "deadline": "good"},  # a rate that it never needs: the quality decides
    ),
    Encoder(
        name="mpeg2video",
        codec="mpeg2video",
        options=_FINE,
        takes="films whose clock counts pictures, as in avi, and at a usual rate",
    ),
    Encoder("mpeg4", "mpeg4", options=_FINE),
    Encoder("mjpeg", "mjpeg", options=_FINE),
)
_HARDWARE = ("_nvenc", "_qsv", "_vaapi", "_amf", "_videotoolbox", "_mf", "_v4l2m2m")  # how FFmpeg's names of such end

HARDWARE_DECODERS = {
    "nvdec": ("cuda", "an NVIDIA GPU and its driver"),
    "vaapi": ("vaapi", "Linux, a GPU with VAAPI, and a build of FFmpeg that has it"),
    "d3d11va": ("d3d11va", "Windows"),
    "videotoolbox": ("videotoolbox", "a Mac"),
}
"""What ``--decoder`` calls hardware, with FFmpeg's name of it and what it needs."""

ENCODERS = {row.name: row for row in _ROWS}
OFFERED = tuple(row for row in _ROWS if row.spoken)
"""Encoders that help names, and that `vidsr doctor` tries."""
CODECS = tuple(row.spoken[0] for row in OFFERED if not row.hardware)
"""Codecs by the names that users know."""
CARRYING = {kind: tuple(codec for codec, kinds in _INSIDE.items() if kind in kinds) for kind in sorted(_INSIDE["hevc"])}
"""Fields of `frame.Inside`, and the codecs that carry each, as made here."""
WITHOUT_HDR10 = frozenset(row.codec for row in _ROWS if not row.keeps_hdr10)
WORST_QUALITY = max(row.quality.worst for row in _ROWS if row.quality)
_SPOKEN = {name: row for row in OFFERED for name in row.spoken}


def spoken(name: str) -> Encoder:
    """The encoder that a user means by `name`: a codec, or one of FFmpeg's encoders.

    Raises:
        UsageError: there is none, or it encodes no video.
    """
    return _SPOKEN.get(name.lower()) or encoder(name.lower())


@cache
def encoder(name: str) -> Encoder:
    """The row of FFmpeg's encoder `name`, made of what FFmpeg knows where the table has none.

    Raises:
        UsageError: there is none, or it encodes no video.
    """
    if name in ENCODERS:
        return ENCODERS[name]
    import av

    try:
        found = av.Codec(name, "w")
    except (av.FFmpegError, ValueError) as error:
        raise UsageError(f"There is no codec {name!r}: use {', '.join(CODECS)}, or an FFmpeg encoder.") from error
    if found.type != "video":
        raise UsageError(f"{name} encodes {found.type}, not video.")
    return Encoder(name, found.canonical_name, hardware=name.endswith(_HARDWARE))


def software_encoder(codec: str) -> Encoder:
    """An encoder of `codec` that needs no hardware; KeyError where the table has none."""
    return {row.codec: row for row in reversed(_ROWS) if not row.hardware}[codec]
