"""The containers that can be written, one row each, and what files of other kinds are read. Loads nothing but Python's.

A row says everything about its container that anything else goes by; another container is another row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

from vidsr.errors import UnfitError, UsageError
from vidsr.media.mux import finish, matroska
from vidsr.media.mux.finish import Written

FINEST_CLOCK = Fraction(1, 1_000_000)
"""Seconds: the finest clock that a container which takes any is written with."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Container:
    """One container, as FFmpeg 8 writes and reads it. Codecs, encoders, formats and flags have FFmpeg's names."""

    name: str  # as the user says it, and the suffix of outputs
    muxer: str
    demuxer: str  # the one that reads it; containers of one family share it
    brand: str = ""  # how the `major_brand` of such a file begins, where suffixes do not tell a family's members apart
    suffixes: tuple[str, ...] = ()  # other ones that mean it
    offered: bool = True  # in messages and help; not where it is another name for the same

    pictures: tuple[str, ...]  # codecs of an upscaled picture stream that players read in it
    encoders: tuple[str, str] | None = None  # its own default, for 8 bits and for more; None: H.264 or HEVC
    alpha: tuple[str, ...] = ()  # encoders whose alpha players see in it, the default first
    codec_tags: Mapping[str, str] = field(default_factory=dict)  # codec -> the only tag that some players take
    segments: bool = False  # whether parts of a job may be written in it: what is joined has the packets' exact order

    keeps: frozenset[str] | None = None  # codecs of other streams that are copied; None: those its muxer takes
    refuses: frozenset[str] = frozenset()  # codecs that its muxer takes, and players do not find in it
    cover: Literal["copied", "attached"] | None = None  # how a still that stands for the file is kept
    text: str | None = None  # the encoder that text subtitles are converted with
    sound: tuple[str, int] | None = ("aac", 96_000)  # the encoder of sound that is not kept; bits a second and channel

    clock: Fraction | None = None  # seconds; None: any
    before_zero: bool = True  # whether packets may have times below 0
    from_zero: bool = False  # whether its first picture stands at 0, whenever it came in the source
    lengths_only: bool = False  # whether it says how long pictures are, not when: a reader's rounding adds up
    fastest: int | None = None  # pictures a second, above which players slow down
    says_end: bool = True  # whether it says when the last picture ends
    annex_b: bool = False  # whether H.264 and HEVC have start codes in it, not lengths

    flags: frozenset[str] = frozenset()  # of streams
    text_flags: frozenset[str] = frozenset()  # of subtitles, besides
    implied_flags: frozenset[str] = frozenset()  # that need no place in it
    paired_flags: bool = False  # whether one mark says hearing_impaired and captions, another the same of seeing
    languages: Literal["any", "one", "several"] = "any"  # as said; or three letters: one, or several of sound and text
    metadata: bool = True  # whether it has a place for tags of the file, chapters and timecodes
    own_chapters: bool = False  # whether Matroska's section of chapters can stand in it as it is
    tags: frozenset[str] | None = None  # of streams, that it keeps; None: all
    dolby_vision: bool = False  # whether it says that pictures have an RPU, without which players do not look
    rotation: Literal["matrix", "turn"] | None = "matrix"  # a display matrix, or only its turn and mirror
    stereo_modes: frozenset[str] | None = None  # Matroska's names of those that it has; None: all
    stream_ids: bool = False  # whether streams have numbers that mean something
    srgb: bool = False  # whether its pictures are full-range RGB of the web, always
    square: bool = False  # whether its pixels are square, always

    options: Mapping[str, str] = field(default_factory=dict)  # of the muxer
    live: Mapping[str, str] | None = None  # and these, where it is written as it is made; None: it cannot be
    animated: Callable[[int, Fraction], dict[str, str]] | None = None  # and these, of a loop: plays, last length
    source_suffixes: tuple[str, ...] = ()  # those of sources that outputs take over
    placeholder: str | None = None  # title of a picture whose samples are not square, until `finish` comes
    finish: Callable[[Written], None] = lambda _: None  # its own repairs of a finished file

    def __str__(self) -> str:
        return self.name

    def tolerance(self, rounding: Fraction, num_pictures: int) -> Fraction:
        """By how much a picture's time may differ from what it was, where one length is rounded by so much."""
        return rounding * max(num_pictures, 1) if self.lengths_only else rounding

    @property
    def boxes(self) -> bool:
        """Whether it is of the mp4 family.

        Its files are boxes, with edit lists in a clock of their own; no stream is without packets, one of each kind is
        the default, and timecodes count pictures.
        """
        return self.demuxer == "mov"

    @property
    def ebml(self) -> bool:
        """Whether it is of the Matroska family: elements, and begins and lengths that are rounded each."""
        return self.demuxer == "matroska"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PLAIN = {"avoid_negative_ts": "disabled", "fflags": "+bitexact"}  # else Matroska draws random identifiers
_MP4 = Container(
    name="mp4",
    muxer="mp4",
    demuxer="mov",
    pictures=("h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video", "mjpeg"),
    dolby_vision=True,
    codec_tags={"hevc": "hvc1"},  # Apple's players take no other
    segments=True,
    live={"movflags": "+frag_keyframe+delay_moov+default_base_moof", "frag_duration": "1000000"},  # microseconds
    refuses=_words(
        "pcm_s24le pcm_s24be pcm_s32le pcm_s32be pcm_f32le pcm_f32be pcm_f64le pcm_f64be"
    ),  # FFmpeg 5: noise
    cover="copied",
    text="mov_text",
    flags=_words("default forced dub comment hearing_impaired visual_impaired"),
    paired_flags=True,
    languages="one",
    tags=_words("handler_name language title"),
    finish=finish.boxes,
)
_MKV = Container(
    name="mkv",
    muxer="matroska",
    demuxer="matroska",
    pictures=("h264", "hevc", "av1", "vp9", "ffv1", "prores", "mpeg4", "mpeg2video", "mjpeg", "vp8"),
    alpha=("ffv1", "prores_ks", "libvpx-vp9"),
    segments=True,
    dolby_vision=True,
    # Of qtrle its muxer forgets the depth, and nothing decodes it then; AMR it writes under other codecs' tags, and
    # ADPCM of Flash under one that it made up.
    refuses=_words("qtrle amr_nb amr_wb adpcm_swf"),
    cover="attached",
    text="srt",
    clock=Fraction(1, 1000),
    flags=_words("default forced dub comment hearing_impaired visual_impaired original"),
    text_flags=_words("descriptions"),
    rotation="turn",
    options=_PLAIN,
    live={"cluster_time_limit": "1000"},  # milliseconds
    placeholder=matroska.PLACEHOLDER,
    finish=finish.elements,
    own_chapters=True,
)
_GIF = Container(
    name="gif",
    muxer="gif",
    demuxer="gif",
    pictures=("gif",),
    encoders=("gif", "gif"),
    alpha=("gif",),
    keeps=frozenset(),
    sound=None,
    clock=Fraction(1, 100),
    before_zero=False,
    from_zero=True,
    fastest=50,  # players show what is to last 0.01 s for 0.1 s
    implied_flags=_words("default"),
    languages="one",
    metadata=False,
    tags=frozenset(),
    rotation=None,
    srgb=True,
    square=True,
    animated=finish.gif_loop,
    finish=finish.gif,
)
_ROWS = (
    _MP4,
    replace(_MP4, name="m4v", offered=False, segments=False),  # FFmpeg's own "ipod" muxer refuses HEVC
    replace(
        _MP4,
        name="mov",
        muxer="mov",
        brand="qt",
        suffixes=("qt",),
        pictures=("h264", "hevc", "prores", "mpeg4", "mpeg2video", "mjpeg", "dnxhd", "qtrle", "png"),
        alpha=("prores_ks",),
        refuses=_words("amr_nb amr_wb bin_data rawvideo"),
        cover=None,
        flags=_words("default"),
        paired_flags=False,
    ),
    _MKV,
    replace(
        _MKV,
        name="webm",
        muxer="webm",
        pictures=("vp9", "av1", "vp8"),
        encoders=("libvpx-vp9", "libsvtav1"),
        alpha=("libvpx-vp9",),
        segments=False,
        dolby_vision=False,
        keeps=_words("vp8 vp9 av1 opus vorbis webvtt"),  # its muxer takes what no player of it finds again
        cover=None,
        text="webvtt",
        sound=("libopus", 80_000),
        flags=_words("default forced"),
        text_flags=_words("captions descriptions metadata"),
        stereo_modes=_words("mono left_right right_left top_bottom bottom_top"),
    ),
    Container(
        name="ts",
        muxer="mpegts",
        demuxer="mpegts",
        suffixes=("m2ts", "mts"),
        pictures=("h264", "hevc", "mpeg2video", "mpeg4"),
        keeps=_words(  # its muxer takes everything, much of it as private data
            "h264 hevc mpeg1video mpeg2video mpeg4 vc1 aac aac_latm mp2 mp3 ac3 eac3 dts truehd opus s302m"
            " dvb_subtitle dvb_teletext scte_35 timed_id3 klv"
        ),
        clock=Fraction(1, 90000),
        before_zero=False,
        says_end=False,
        annex_b=True,
        flags=_words("hearing_impaired visual_impaired clean_effects"),
        implied_flags=_words("default"),  # a transport stream has none; its first streams are
        languages="several",
        metadata=False,
        tags=frozenset(),
        rotation=None,
        stream_ids=True,
        options=_PLAIN,
        live={},
        finish=finish.stream,
    ),
    _GIF,
    replace(
        _GIF,
        name="apng",
        muxer="apng",
        demuxer="apng",
        suffixes=("png",),
        source_suffixes=("png",),
        pictures=("apng",),
        encoders=("apng", "apng"),
        alpha=("apng",),
        clock=Fraction(1, 100_000),
        lengths_only=True,
        fastest=None,
        animated=finish.png_loop,
        finish=finish.png,
    ),
)
CONTAINERS = {row.name: row for row in _ROWS}
"""By name, in the order in which messages name them."""
HOLDS_ALL = CONTAINERS["mkv"]
"""The one that anything is written in which fits no other."""
KEEPS_IT = f"the container {HOLDS_ALL} keeps it"
"""What to do about something that another container does not hold."""
_SAME = {suffix: row.name for row in _ROWS for suffix in row.suffixes}
_READ = "avi mpg mpeg vob m2v wmv asf flv f4v 3gp 3g2 ogv mxf dv h264 264 h265 265 hevc y4m mj2"
VIDEO_SUFFIXES = frozenset("." + name for name in (*CONTAINERS, *_SAME, *_READ.split()))
"""Suffixes, in lower case, that count as video when a folder is searched."""


def suffix_of(container: str, source: Path) -> str:
    """Of an output in `container`: its name, or the suffix of its `source` where people know it by that."""
    own = source.suffix.lower()
    return own if own.lstrip(".") in CONTAINERS[container].source_suffixes else f".{container}"


def container_of(suffix: str) -> str:
    """The container that a file's suffix names, such as ``ts`` for ``.m2ts``; the suffix itself where it names none."""
    name = suffix.lower().lstrip(".")
    return _SAME.get(name, name)


def named(container: str | None, out_suffix: str | None) -> Container | None:
    """What the user has named: a `container`, else the suffix of an output; None where neither is given.

    Raises:
        UsageError: there is no such container.
        UnfitError: the suffix is that of a kind of video that is only read.
    """
    name = container_of(container or out_suffix or "")
    if name in CONTAINERS or (not name and container is None):
        return CONTAINERS.get(name)
    if container is None and "." + name in VIDEO_SUFFIXES:
        raise UnfitError(f"{name} cannot keep the times of all frames: name the output .{', .'.join(CONTAINERS)}.")
    raise UsageError(f"There is no output container {name!r}: use {', '.join(CONTAINERS)}.")


def recognised(demuxers: str, path: Path, metadata: Mapping[str, str]) -> Container | None:
    """What a file is that FFmpeg reads by `demuxers`: as its suffix says where that fits, else as its brand does."""
    family = [row for row in _ROWS if row.demuxer in demuxers.split(",")]
    brand, suffix = metadata.get("major_brand", ""), container_of(path.suffix)
    by_suffix = (row for row in family if row.name == suffix)
    by_brand = (row for row in family if row.brand and brand.startswith(row.brand))
    return next(by_suffix, None) or next(by_brand, None) or next(iter(family), None)


def own(demuxers: str, path: Path, metadata: Mapping[str, str]) -> tuple[Container | None, str | None]:
    """The container of a source where it can be written, else None with the reason; or another one, with the reason.

    A relative of mp4 that has a suffix of its own, such as 3gp, is none of these.
    """
    found, suffix = recognised(demuxers, path, metadata), container_of(path.suffix)
    relatives = [row.name for row in _ROWS if found is not None and row.demuxer == found.demuxer]
    if found is None or (found.boxes and suffix not in relatives and "." + suffix in VIDEO_SUFFIXES):
        return None, f"{suffix or demuxers.split(',')[0]} cannot keep the times of all frames or all streams"
    return found, "animated WebP is not written" if path.suffix.lower() == ".webp" else None


def segment_container(codec: str, encoder: str, *, alpha: bool) -> str:
    """What a part of a job is written in, by its picture's `codec`: the first that holds it, with its alpha if any."""
    holding = [row for row in _ROWS if row.segments and codec in row.pictures]
    keeping = [row for row in holding if alpha and encoder in row.alpha]
    return (keeping or holding or [HOLDS_ALL])[0].name


def offering(codec: str) -> list[str]:
    """Names of the containers that hold pictures of `codec`."""
    return [row.name for row in _ROWS if row.offered and codec in row.pictures]


def offered() -> list[str]:
    """Names of all containers, as help lists them."""
    return [row.name for row in _ROWS if row.offered]


def keeping_alpha() -> str:
    """Names of the containers of films that hold transparency, in words."""
    *most, last = sorted((row.name for row in _ROWS if row.alpha and not row.animated), reverse=True)
    return f"{', '.join(most)} and {last}" if most else last
