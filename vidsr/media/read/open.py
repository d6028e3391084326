"""The one way in: opens an input so that a hostile file cannot reach other files or exhaust the memory."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TypeVar, cast

import av
from av.codec.context import Flags
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from vidsr.errors import MediaError
from vidsr.media.read import webp
from vidsr.media.read.heads import first_recording

StreamT = TypeVar("StreamT", bound=Stream)

MAX_PIXELS = 16384 * 8192  # of one picture; a 16K frame fits, a header that claims 65535x65535 does not

# Demuxers that may open a source. A playlist (hls, concat, dash, sdp, image2) could name any other local
# file, and a protocol whitelist does not stop that. Sound-only formats and raw VVC are here for their sentence.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,mpegvideo,avi,flv,live_flv,asf,asf_o,wtv,mxf,mxf_d10,gxf,"
    "dv,ogg,rm,nut,ivf,gif,apng,h261,h263,h264,hevc,m4v,vc1,vc1test,av1,obu,dirac,vvc,yuv4mpegpipe,mjpeg,"
    "wav,mp3,flac,aac,ac3,eac3,aiff"
)
_SHOWN = 10  # hundredths of a second: what players make of a picture of a GIF that is to last one
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_WRAPPED = 1 << 31  # ticks: as which FFmpeg reads the length of a last packet in Ogg of which nothing is heard
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"styp")

_STILLS = {  # what the pictures are that FFmpeg refuses, or takes for film: of a HEIC of a phone, its first tile
    "HEIC": (b"ftypheic", b"ftypheix", b"ftypheim", b"ftypheis", b"ftypmif1"),
    "raw": (b"ftypcrx ", b"FUJIFILM", b"IIRO", b"IIU\0"),
    "raw or TIFF": (b"II*\0", b"MM\0*"),  # the second under a name that is not its own
    "JPEG XL": (b"\0\0\0\x0cJXL ", b"\xff\x0a"),
}


def open_input(path: Path, **options: str) -> InputContainer:
    """Open the media file `path` for reading; `options` go to the demuxer and override the safe defaults.

    A second recording that FFmpeg does not read on into is not there (`vidsr.media.read.heads`). Odd bytes in metadata
    are replaced, never an error.

    Raises:
        MediaError: the file is missing, a folder, empty, cut off, or not a video; one sentence says which.
    """
    _check_file(path)
    name, protocols = first_recording(path, local_name(path))
    safe = {"protocol_whitelist": protocols, "format_whitelist": _FORMATS, "max_pixels": str(MAX_PIXELS)}
    try:
        if webp.is_animated(path):
            return av.open(io.BytesIO(webp.as_png(path)), "r", format="apng", options=safe | options)
        return av.open(name, "r", options=safe | options, metadata_errors="replace")
    except av.PermissionError as error:
        raise MediaError(f"{path} cannot be read: permission denied; check the rights of the file.") from error
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(_why_refused(path, error)) from error


def demux(
    container: InputContainer, *streams: StreamT, clock: Callable[[Packet[Stream]], None] | None = None
) -> Generator[Packet[StreamT], None, None]:
    """The packets of `streams`, as PyAV gives them, at the times that `clock` sets.

    Close it before its container: touching that afterwards would crash the process.

    Where a stream appears half-way, as in a transport stream whose programs change or are damaged, PyAV fails with an
    IndexError: it is asked again, and passes over the new stream.
    """
    late = 0 if container.format.name == "gif" else None
    wraps = container.format.name == "ogg"
    while True:
        try:
            for packet in cast("Iterator[Packet[StreamT]]", container.demux(list(streams))):
                if late is not None:
                    late = _slowed(packet, late)
                if wraps and (packet.duration or 0) >= _WRAPPED:
                    continue
                if clock is not None:
                    clock(cast("Packet[Stream]", packet))
                yield packet
        except IndexError:
            continue
        return


def _slowed(packet: Packet[StreamT], late: int) -> int:
    """Show a picture of a GIF that is to last 0.01 s for 0.1 s, as players do; FFmpeg does so for those of 0 only.

    It comes `late`, in hundredths of a second; the next one as much as is returned.
    """
    if packet.pts is None or packet.dts is None:
        return late
    packet.pts, packet.dts = packet.pts + late, packet.dts + late
    if packet.duration != 1:
        return late
    packet.duration = _SHOWN
    return late + _SHOWN - 1


def gif_length(path: Path) -> tuple[int, Fraction]:
    """How many pictures a GIF holds, and for how many seconds they are shown."""
    num, end = 0, Fraction(0)
    with open_input(path) as container, suppress(av.FFmpegError):  # damage: what comes before it is shown
        for packet in demux(container, *container.streams.video):
            if packet.pts is not None and packet.size:
                num, end = num + 1, (packet.pts + (packet.duration or 0)) * packet.time_base
    return num, end


def limit_pixels(stream: Stream) -> None:
    """Let the decoder of `stream` refuse pictures above `MAX_PIXELS`; call it before the first packet is decoded.

    The same option on the container covers only what FFmpeg decodes while opening.
    """
    if stream.codec_context is not None and not stream.codec_context.is_open:
        stream.codec_context.options = {**stream.codec_context.options, "max_pixels": str(MAX_PIXELS)}


def decoder_of(stream: VideoStream) -> VideoCodecContext:
    """The decoder for `stream`: its own, but of VP8 and VP9 with alpha the one that sees it; FFmpeg's default does not.

    The alpha of these is a picture stream beside the packets, of which Matroska's header tells. It crops as the codec
    says, to the pixel.
    """
    own = stream.codec_context
    crop_exactly(own)
    tag = stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE"))
    if tag != "1" or own.codec.canonical_name not in _ALPHA_DECODERS:
        return own
    try:
        context = av.CodecContext.create(_ALPHA_DECODERS[own.codec.canonical_name], "r")
    except (av.FFmpegError, ValueError):
        return own  # a build of FFmpeg without it; `probe` says that the alpha is lost
    assert isinstance(context, VideoCodecContext)
    context.options = {"max_pixels": str(MAX_PIXELS)}
    return context


def crop_exactly(context: VideoCodecContext) -> None:
    """Let a decoder cut off on the left and above what its codec says; else it leaves there what is not aligned."""
    context.flags |= Flags.unaligned


def local_name(path: Path) -> str:
    """Absolute, so that a file called ``concat:a|b`` or ``http:x`` is never taken for a protocol."""
    return str(path.absolute())


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise MediaError(f"{path} does not exist; check the name.") from error
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error.strerror or error}.") from error
    if path.is_dir():
        raise MediaError(f"{path} is a folder, not a video; name a file in it.")
    if path.is_fifo() or path.is_char_device():  # to open one may take forever
        raise MediaError(f"{path} is a pipe or a device, not a file; y4m can be sent to vidsr upscale -.")
    if path.is_file() and size == 0:
        raise MediaError(f"{path} is empty (0 bytes); copy or download it again.")
    if kind := _still(path):
        raise MediaError(f"{path} is a {kind} picture, which vidsr does not read; convert it to PNG or JPEG first.")


def _still(path: Path) -> str | None:
    """Of which kind in `_STILLS` the file is, by its first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return None  # FFmpeg will say why
    head = head[4:] if head[4:8] == b"ftyp" else head  # behind the size of a box
    return next((kind for kind, marks in _STILLS.items() if head.startswith(marks)), None)


def _why_refused(path: Path, error: Exception) -> str:
    """One sentence for a file that FFmpeg would not open, from its first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as why:
        return f"{path} cannot be read: {why.strerror or why}."
    if head.startswith((b"#EXTM3U", b"ffconcat", b"v=0", b"<MPD")) or b"<MPD" in head[:512]:
        return f"{path} is a playlist; name the video files that it lists instead."
    if head[4:8] in _MP4_BOXES:
        return f"{path} is cut off: its index (the moov box) is missing, so nothing can be read; copy it again."
    if _is_text(head):
        return f"{path} is a text file, not a video; check the name."
    detail = "" if isinstance(error, av.InvalidDataError) else f" ({getattr(error, 'strerror', None) or error})"
    return f"{path} is not a video that vidsr can read{detail}; if it should be one, it is damaged."


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8", errors="strict" if len(head) < 4096 else "ignore")
    except UnicodeDecodeError:
        return False
    return bool(text) and all(c.isprintable() or c.isspace() for c in text)
