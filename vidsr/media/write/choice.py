"""Container, encoder and sample layout of the output: what was asked, what is chosen, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from vidsr.errors import OutputError, UnfitError, UsageError
from vidsr.frame import Colour, Matrix, PixelFormat, output_colour
from vidsr.media import containers, encoders, hdr, inside, side_data
from vidsr.media.containers import CONTAINERS, HOLDS_ALL, Container
from vidsr.media.encoders import CODECS, ENCODERS, Encoder
from vidsr.media.read.colour_tags import BT601, FULL, LIMITED, stated
from vidsr.media.read.probe import MediaInfo
from vidsr.media.write.encoder import VideoSpec, check_starts, why_not
from vidsr.media.write.layouts import choose_layout, named_layout

_USUAL, _DEEP = ENCODERS["libx264"], ENCODERS["libx265"]  # the second above 8 bits, and for large pictures
_SUCCESSORS = {"vp8": "libvpx-vp9", "vp9": "libvpx-vp9"}  # codec of a source with alpha -> the encoder that is nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """What is asked of the output: its size in pixels, its bits a sample, and what the user names.

    `container` (or the suffix of a named output, `out_suffix`) and `codec` are never replaced; but where NVENC does
    not start, the software encoder of its codec takes over, with a note.
    """

    width: int
    height: int
    bits: int
    container: str | None = None
    codec: str = "auto"
    pix_fmt: str | None = None
    out_suffix: str | None = None
    crf: int | None = None
    preset: str | None = None
    gpu: int | None = None  # on which NVENC has to start; None: any
    live: bool = False  # whether the output is written as it is made


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """What the output will be. `notes` are sentences for the user: each automatic choice that needs a reason."""

    container: str  # a key of CONTAINERS, and the suffix of the output
    codec: str
    encoder: str  # FFmpeg's name
    pix_fmt: PixelFormat  # the layout that the writer wants its frames in
    crf: int | None
    preset: str | None
    gpu: int | None = None  # on which it encodes, where a GPU does; None: the first that can
    dolby_vision: bool = False  # whether pictures carry it on
    notes: tuple[str, ...] = ()

    @property
    def part_encoder(self) -> str:
        """The encoder of one segment."""
        return encoders.encoder(self.encoder).parts or self.encoder

    @property
    def segment_container(self) -> str:
        """The container that one segment is written into."""
        row = encoders.encoder(self.part_encoder)
        return containers.segment_container(row.codec, row.name, alpha=self.pix_fmt.alpha)


def choose(source: MediaInfo, asked: Encoding) -> OutputFormat:
    """Container, codec and layout of the output; its encoder was opened once.

    Raises:
        UsageError: a name or a number that does not exist.
        OutputError: what was asked for does not fit together, or its encoder does not start on this machine.
    """
    made = _fitting(source, asked)
    try:
        _check(source, made, asked)
    except OutputError:
        row = encoders.encoder(made.encoder)
        if row.software is None:
            raise
        asked = replace(asked, codec=row.software, preset=None, gpu=None)  # the names of presets are NVENC's own
        made = _fitting(source, asked)
        _check(source, made, asked)
        reason = why_not(row, asked.width, asked.height)
        note = f"{row.software} encodes, since {row.name} does not start here: {reason}"
        made = replace(made, notes=(note, *made.notes))
    return made


def _fitting(source: MediaInfo, asked: Encoding) -> OutputFormat:
    """The choice, before anything is opened."""
    video, named = source.video, containers.named(asked.container, asked.out_suffix)
    notes: list[str] = []
    target, reason = (named, None) if named else containers.own(source.container, source.path, source.metadata)
    row = _encoder(source, asked, target or HOLDS_ALL, notes)
    if target is None or not (named or row.codec in target.pictures):
        notes.append(f"{HOLDS_ALL}: {reason or f'{target} cannot hold {row.codec}'}")
        target = HOLDS_ALL
    elif reason:
        notes.append(f"{target}: {reason}; --container webm (container) makes a smaller film")
    _check_held(target, row.codec)
    if asked.pix_fmt is not None:
        layout = named_layout(asked.pix_fmt, row)
    else:
        layout, losses = choose_layout(video.format, asked.bits, row, target)
        notes += losses
    gone = dict(inside.lost(video, row.codec, target, layout, live=asked.live))
    vision = video.dolby_vision is not None and "dolby_vision" not in gone
    if vision:
        notes.append(f"Dolby Vision is kept: profile 8.{video.dolby_vision}")
    return OutputFormat(
        container=target.name,
        codec=row.codec,
        encoder=row.name,
        pix_fmt=layout,
        crf=_quality(row, asked.crf),
        preset=_preset(row, asked.preset),
        gpu=asked.gpu if row.gpu_option else None,
        dolby_vision=vision,
        notes=(*notes, *_lost(source, row, target, layout, gone, live=asked.live)),
    )


def _check(source: MediaInfo, made: OutputFormat, asked: Encoding) -> None:
    """Open the encoder once, with the clock of `source`: some take few clocks, as MPEG-2's."""
    spec = VideoSpec(
        encoder=made.part_encoder,
        format=made.pix_fmt,
        colour=stated(Colour(), made.codec, made.pix_fmt),
        width=asked.width,
        height=asked.height,
        time_base=source.video.time_base,
        rate=source.video.rate,
        crf=made.crf,
        preset=made.preset,
        gpu=made.gpu,
    )
    check_starts(spec)


def _check_held(container: Container, codec: str) -> None:
    if codec in container.pictures:
        return
    if not (fitting := ", ".join(containers.offering(codec))):
        raise UsageError(f"vidsr does not write {codec}: use codec {', '.join(CODECS)}.")
    raise UnfitError(f"{container} cannot hold {codec}: choose another codec, or the container {fitting}.")


def _lost(
    source: MediaInfo,
    row: Encoder,
    container: Container,
    layout: PixelFormat,
    inside_gone: Mapping[str, str],
    *,
    live: bool,
) -> list[str]:
    """What stands in the source's pictures, and will not in those of this encoder, or beside them in `container`."""
    video = source.video
    lost = []
    if "ALPHA" in video.extras:
        lost.append("transparency is dropped: it is a picture stream of its own in this source")
    for kind, why in inside_gone.items():
        lost.append(f"{inside.NAMES[kind]} {'are' if kind == 'captions' else 'is'} dropped: {why}")
    if (video.mastering_display or video.light_level) and not (row.hdr if live else row.keeps_hdr10):
        lost.append(f"HDR10 mastering metadata is dropped: {row.codec} does not carry it")
    lost += _restated(output_colour(video.colour, video.format, layout), row.codec, layout)
    if container.srgb and video.colour.transfer in (hdr.PQ, hdr.HLG):
        lost.append(f"{container} has no HDR: its light is not converted, and looks flat")
    segment = None if live else CONTAINERS[containers.segment_container(row.codec, row.name, alpha=layout.alpha)]
    return [*lost, *side_data.told(video, row.codec, container, segment)]


def _restated(colour: Colour, codec: str, layout: PixelFormat) -> list[str]:
    """What `codec` has another rule for than the source, and only one."""
    said = []
    if codec in LIMITED and colour.full_range:
        said.append(f"full range becomes limited, shown as it was: {codec} has no other")
    if codec in FULL and layout.model == "yuv" and not colour.full_range:
        said.append(f"limited range becomes full, shown as it was: {codec} has no other")
    if codec in BT601 and layout.model == "yuv" and colour.matrix not in (Matrix.BT470BG, Matrix.SMPTE170M):
        said.append(f"colours are written by BT.601, shown as they were: {codec} has no other")
    return said


def _encoder(source: MediaInfo, asked: Encoding, container: Container, notes: list[str]) -> Encoder:
    """The encoder that is asked for, or the one that keeps most in `container`."""
    if asked.codec != "auto":
        return encoders.spoken(asked.codec)
    if source.video.format.alpha and container.alpha:
        nearest = _SUCCESSORS.get(source.video.codec)
        row = ENCODERS[nearest if nearest in container.alpha else container.alpha[0]]
        notes.append(f"{row.codec}: it keeps the transparency")
        return row
    if container.encoders is not None:
        usual, deep = (ENCODERS[name] for name in container.encoders)
        if asked.bits <= 8 or usual is deep:
            return usual
        notes.append(f"{deep.title}: this build of {usual.title} encodes 8 bits only")
        return deep
    longest = max(asked.width, asked.height)
    if asked.bits > 8 and asked.width < _DEEP.narrowest:
        what = f"its encoder takes pictures of {asked.width} pixels, that of {_DEEP.title} does not"
        notes.append(f"{_USUAL.title}: {what}")
        return _USUAL
    if asked.bits > 8:
        notes.append(f"{_DEEP.title}: {asked.bits} bits a sample")
        return _DEEP
    if _USUAL.widest and longest > _USUAL.widest:
        notes.append(f"{_DEEP.title}: {longest} pixels are more than {_USUAL.title} decoders take")
        return _DEEP
    return _USUAL


def _quality(row: Encoder, crf: int | None) -> int | None:
    if crf is None:
        return row.quality.default if row.quality else None
    if row.quality is None:
        raise UsageError(f"crf does not apply to {row.name}, which has no such scale.")
    if not 0 <= crf <= row.quality.worst:
        raise UsageError(f"crf {crf} is outside 0 to {row.quality.worst}, the scale of {row.name}.")
    return crf


def _preset(row: Encoder, preset: str | None) -> str | None:
    if preset is None:
        return row.presets.default if row.presets else None
    known = row.presets.names if row.presets else ()
    if preset not in known:
        raise UsageError(f"preset {preset} is unknown to {row.name}: {', '.join(known) or 'it has none'}.")
    return preset
