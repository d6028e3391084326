"""Which streams of a source an output container can hold, how each gets there, and why one does not."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.container import InputContainer
from av.stream import Discard, Stream
from av.video.codeccontext import VideoCodecContext

from vidsr.media.containers import CONTAINERS, HOLDS_ALL, KEEPS_IT, Container
from vidsr.media.mux import flags, languages
from vidsr.media.mux.sound import encoded_layout, layout_of, named_layout
from vidsr.media.mux.streams import NOT_COPIED, Dropped, KeptStream, codec_name, is_cover, no_place
from vidsr.media.mux.tracks import AnyPacket, add_like, add_track, own_metadata
from vidsr.media.read.matroska import head_of
from vidsr.media.read.open import demux, open_input
from vidsr.media.read.probe import MediaInfo
from vidsr.media.read.programs import Program, program_of, programs
from vidsr.media.read.tags import tags
from vidsr.media.read.undecoded import undecoded_codec
from vidsr.media.read.webvtt import has_styles
from vidsr.media.unchanged import while_unchanged

_TEXT_CODECS = frozenset({"subrip", "ass", "ssa", "mov_text", "webvtt", "text"})
_NOT_TAGS = frozenset({"language", "handler_name", "creation_time", "timecode", "stereo_mode", "rotate"})
"""Keys of streams that speak of the file, or of what is said elsewhere."""
_TRIED = 3  # packets of each stream
_MOST_READ = 64 << 20  # bytes that are read for them; of a stream that has none by then, only its header is tried


def plan_streams(source: MediaInfo, container: str, *, whole: bool = False) -> tuple[list[KeptStream], list[Dropped]]:
    """What becomes of every stream of `source` except the one that is upscaled, in an output `container`.

    `whole`: it is a file of all of the film, by the source's clock.
    """
    return decide(source.path, source.video.index, container, whole=whole)


def decide(path: Path, picture: int, container: str, *, whole: bool = False) -> tuple[list[KeptStream], list[Dropped]]:
    """The same for the file `path`, whose stream `picture` is upscaled. Every other one is tried with its packets.

    Raises:
        MediaError: it cannot be opened.
    """
    kept, dropped = _decided(path, picture, container, whole)
    return list(kept), list(dropped)


def own_chapters(path: Path, container: Container, *, whole: bool) -> bytes | None:
    """Matroska's section of chapters as it stands in the file `path`, where it can stand in the output as it is."""
    return head_of(path).chapters if whole and container.own_chapters else None


@while_unchanged  # a plan, its join and the verdict on it ask the same
def _decided(
    path: Path, picture: int, container: str, whole: bool
) -> tuple[tuple[KeptStream, ...], tuple[Dropped, ...]]:
    row = CONTAINERS[container]
    kept: list[KeptStream] = []
    dropped: list[Dropped] = []
    with open_input(path) as source:
        others = [stream for stream in source.streams if stream.index != picture]
        samples = _samples(source, others)
        for stream in others:
            verdict = _decide(source, stream, row, samples.get(stream.index, []))
            (kept if isinstance(verdict, KeptStream) else dropped).append(verdict)  # type: ignore[arg-type]
            dropped += _lost_styles(stream, verdict)
        there = [picture, *(item.index for item in kept if item.how != "rewritten")]
        exact = head_of(path).languages
        for stream in (source.streams[index] for index in there):
            dropped += _lost_flags(stream, row) + _lost_language(stream, row, exact.get(stream.index, ""))
            dropped += _lost_tags(stream, row)
        dropped += lost_programs(programs(path, source.format.name), source.streams[picture].id, row)
        dropped += _read_over(path, source, row, whole) if row.metadata else _without_place(path, source, row)
    return tuple(kept), tuple(dropped)


def _samples(source: InputContainer, streams: Sequence[Stream]) -> dict[int, list[AnyPacket]]:
    """The first packets of each of `streams`, of sound those that are heard."""
    found: dict[int, list[AnyPacket]] = {s.index: [] for s in streams if s.type in ("audio", "video", "subtitle")}
    for stream in source.streams:
        if stream.index not in found:
            stream.discard = Discard.all
    missing, read = set(found), 0
    packets = demux(source, *(source.streams[index] for index in found))
    with closing(packets), suppress(av.FFmpegError):  # damage: what came before it is enough
        for packet in packets if found else ():
            held = found.get(packet.stream_index, [])
            hidden = packet.is_discard and packet.stream.type == "audio"
            if packet.size and not hidden and len(held) < _TRIED:
                held.append(packet)
            if len(held) == _TRIED:
                missing.discard(packet.stream_index)
            read = max(read + packet.size, packet.pos or 0)  # not every demuxer tells the place
            if not missing or read > _MOST_READ:
                break
    return found


def _without_place(path: Path, source: InputContainer, container: Container) -> list[Dropped]:
    """What a container without metadata has no place for."""
    names = [key for key in tags(source, path) if key.lower() not in NOT_COPIED]
    num_chapters = len(source.chapters())
    parts = [("metadata", ", ".join(names))] if names else []
    parts += [("chapters", str(num_chapters))] if num_chapters else []
    return [Dropped(None, kind, what, no_place(container)) for kind, what in parts]


def lost_programs(found: Sequence[Program], picture: int, container: Container) -> list[Dropped]:
    """What becomes of a transport stream's programs; the picture that is upscaled is stream `picture` of it."""
    upscaled = program_of(found, picture)
    if container.stream_ids and len(found) > 1:
        why = f"all streams become one program{f', {upscaled}' if upscaled and upscaled.name else ''}"
    else:
        why = no_place(container, elsewhere=False)
    if len(found) > 1:
        return [Dropped(None, "programs", ", ".join(map(str, found)), why)]
    names = [program.name for program in found if program.name and not container.stream_ids]
    return [Dropped(None, "name of the program", name, why) for name in names]


def _read_over(path: Path, source: InputContainer, container: Container, whole: bool) -> list[Dropped]:
    """What FFmpeg does not read, or takes another thing for."""
    own_section = own_chapters(path, container, whole=whole) is not None
    unread = {} if own_section else head_of(path).unread_chapters
    found = [Dropped(None, kind, str(number), "FFmpeg does not read them") for kind, number in unread.items()]
    own, told = head_of(path).title, {key.lower(): value for key, value in source.metadata.items()}.get("title")
    if own and told and told != own:
        found.append(Dropped(None, "title in tags", told, "the film's own is kept"))
    return found


def _lost_flags(stream: Stream, container: Container) -> list[Dropped]:
    """One entry for all of them."""
    gone = flags.lost(stream, container)
    if not gone or is_cover(stream):
        return []
    reason = no_place(container, elsewhere=not flags.lost(stream, HOLDS_ALL))
    return [Dropped(stream.index, f"flag of {stream.type}", ", ".join(flags.names(gone)), reason)]


def _lost_styles(stream: Stream, verdict: KeptStream | Dropped) -> list[Dropped]:
    """Of text that is copied without them; that others may lose them is said where they are converted."""
    copied = isinstance(verdict, KeptStream) and verdict.how == "copied"
    lost = copied and has_styles(stream)
    return [Dropped(stream.index, "styles of subtitle", "webvtt", "FFmpeg does not write them")] if lost else []


def _lost_language(stream: Stream, container: Container, exact: str) -> list[Dropped]:
    """`exact` is the one that FFmpeg does not read."""
    language = stream.metadata.get("language", "")
    why = None if is_cover(stream) else languages.loss(language, stream.type, container)
    if languages.says_more(exact, language) and not container.ebml:
        why, language = why or languages.only(language, stream.type, container), exact
    return [Dropped(stream.index, f"language of {stream.type}", language, why)] if why else []


def _lost_tags(stream: Stream, container: Container) -> list[Dropped]:
    """Such as a title or ReplayGain."""
    if container.tags is None or is_cover(stream) or stream.type not in ("video", "audio", "subtitle"):
        return []
    names = [key for key in own_metadata(stream) if key.lower() not in container.tags | _NOT_TAGS]
    return [Dropped(stream.index, f"tags of {stream.type}", ", ".join(names), no_place(container))] if names else []


def _decide(
    source: InputContainer, stream: Stream, container: Container, packets: Sequence[AnyPacket]
) -> KeptStream | Dropped:
    index, codec = stream.index, codec_name(stream)
    kind: str = "cover" if is_cover(stream) else stream.type
    if kind == "data" and "mov" in source.format.name:
        rebuilt = _rebuilt(source, stream, container)
        if rebuilt:
            return rebuilt
    if kind == "cover" and container.cover == "attached":
        return KeptStream(index, kind, codec, "attached")
    why = refusal(stream, container) or (_unsaid(stream) if packets else None)
    if why is None:
        header = _canvas(stream) if codec == "dvd_subtitle" and container.ebml else _header(stream, packets)
        copied = KeptStream(index, kind, codec, header=header)
        if not packets or _goes(stream, copied, container, packets):
            return copied
        why = _cannot(stream, container)
    for plan in _made_anew(stream, container):
        if _goes(stream, plan, container, packets):
            return plan
        why += ", nor can it be encoded for it here"
    hint = f"; {KEEPS_IT}" if container != HOLDS_ALL and _kept_there(stream, kind, codec) else ""
    return Dropped(index, kind, codec, why + hint)


def _header(stream: Stream, packets: Sequence[AnyPacket]) -> bytes:
    """MPEG-4's header (ISO/IEC 14496-3, 1.6.2.1) of AAC whose packets have one each (1.A.3.2.1), as in ts."""
    context = stream.codec_context
    if codec_name(stream) != "aac" or context is None or context.extradata or not packets:
        return b""
    head = int.from_bytes(bytes(packets[0])[:4], "big")
    kind, rate, channels = (head >> 14 & 3) + 1, head >> 10 & 15, head >> 6 & 7
    if head >> 20 != 0xFFF or not channels:  # named in the packet, by an element of its own
        return b""
    return (kind << 11 | rate << 7 | channels << 3).to_bytes(2, "big")


def _canvas(stream: Stream) -> bytes:
    """Matroska's header of a DVD's subtitles that come without one, as in vob: the size that they are drawn for.

    It is that of the source's pictures. Without it players take that of the output's, and draw them small, at the top.
    """
    picture = next((s.codec_context for s in stream.container.streams.video if s.codec_context), None)
    context = stream.codec_context
    if context is None or context.extradata or picture is None or not picture.width:
        return b""
    return f"size: {picture.width}x{picture.height}\n".encode()


def _unsaid(stream: Stream) -> str | None:
    """Why a header cannot be written of a sound that a demuxer knows too little of."""
    context = stream.codec_context
    known = not isinstance(context, AudioCodecContext) or layout_of(context).nb_channels
    return None if known else "nothing says how many channels it has"


def _made_anew(stream: Stream, container: Container) -> Iterator[KeptStream]:
    """What a stream may become that is not copied."""
    codec = codec_name(stream)
    if stream.type == "subtitle" and codec in _TEXT_CODECS and container.text:
        yield KeptStream(stream.index, "subtitle", codec, "converted", container.text)
    if stream.type == "audio" and stream.codec_context is not None and container.sound is not None:
        context, encoder = cast(AudioCodecContext, stream.codec_context), container.sound[0]
        own = layout_of(context)
        layout = encoded_layout(named_layout(context), encoder) if own.nb_channels else "stereo"
        told = own.name if own.nb_channels else None
        yield KeptStream(stream.index, "audio", codec, "encoded", encoder, layout, told)


def _goes(stream: Stream, plan: KeptStream, container: Container, packets: Sequence[AnyPacket]) -> bool:
    """Whether a file in memory can be made of `packets` as `plan` says. Damaged ones tell nothing."""
    before = [(packet.pts, packet.dts, packet.duration, packet.time_base) for packet in packets]
    begin = min((time for pts, dts, _, _ in before for time in (pts, dts) if time is not None), default=0)
    memory = io.BytesIO()
    try:
        with av.open(memory, "w", format=container.muxer, container_options=dict(container.options)) as out:
            track = add_track(out, container, stream, plan, -begin * (stream.time_base or Fraction(1)))
            out.start_encoding()
            for made in chain(*(track.take(packet) for packet in packets), track.flush()):
                with suppress(av.InvalidDataError):
                    out.mux(made)
        told = container.ebml or container.boxes  # a transport stream of three packets may be taken for anything
        return plan.how != "copied" or not told or _is_found(memory, codec_name(stream), container)
    except (av.InvalidDataError, OverflowError):
        return True
    except (av.FFmpegError, ValueError):
        return False
    finally:
        for packet, (pts, dts, duration, base) in zip(packets, before, strict=True):
            packet.stream, packet.time_base = stream, base
            packet.pts, packet.dts, packet.duration = pts, dts, duration


def _is_found(memory: io.BytesIO, codec: str, container: Container) -> bool:
    """Whether what was written is read as the same codec."""
    memory.seek(0)
    with av.open(memory, format=container.demuxer) as written:
        names = {codec_name(stream) for stream in written.streams}
    return codec in names or (codec == "mp2" and "mp3" in names)  # for which mp4 has one mark


def _rebuilt(source: InputContainer, stream: Stream, container: Container) -> KeptStream | Dropped | None:
    """Tracks of mov and mp4 that are written from what they say, never copied."""
    if "timecode" in stream.metadata:
        kind, codec = "timecode", "tmcd"
    elif codec_name(stream) == "bin_data" and source.chapters() and refusal(stream, container):
        kind, codec = "chapters", "text"
    else:
        return None
    if not container.metadata:
        return Dropped(stream.index, kind, codec, no_place(container))
    return KeptStream(stream.index, kind, codec, "rewritten")


def _kept_there(stream: Stream, kind: str, codec: str) -> bool:
    """Whether the container that holds all does hold it."""
    return kind == "cover" or (kind == "subtitle" and codec in _TEXT_CODECS) or refusal(stream, HOLDS_ALL) is None


def refusal(stream: Stream, container: Container) -> str | None:
    """Why `container` does not hold `stream` as it is; None where it does. Asks FFmpeg, by a header in memory."""
    codec = codec_name(stream)
    cannot = _cannot(stream, container)
    if stream.codec_context is None and stream.type not in ("data", "attachment") and not undecoded_codec(stream):
        return f"FFmpeg here knows no codec for this {stream.type}"
    if (container.keeps is not None and codec not in container.keeps) or codec in container.refuses:
        return cannot
    if is_cover(stream) and container.cover != "copied":
        return cannot
    try:
        with av.open(io.BytesIO(), "w", format=container.muxer) as trial:
            add_like(trial, stream).disposition = stream.disposition
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return cannot
    return None


def _cannot(stream: Stream, container: Container) -> str:
    codec, kind = codec_name(stream), "cover art" if is_cover(stream) else stream.type
    if isinstance(stream.codec_context, VideoCodecContext) and not stream.codec_context.width:
        return "nothing says how large its pictures are"
    return f"{container} cannot hold {codec if codec != 'none' else 'this kind of'} {kind}"
