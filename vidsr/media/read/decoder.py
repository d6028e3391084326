"""The decoder of a picture stream: a GPU's where it is asked for and takes the stream, else software's."""

from __future__ import annotations

from fractions import Fraction

import av
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from vidsr.errors import MediaError
from vidsr.media.pyav import VideoPacket
from vidsr.media.read.nvdec import is_from_gpu, nvdec
from vidsr.media.read.open import decoder_of

NOT_TAKEN = "the GPU does not take this stream"


class Decoder:
    """Packets of `stream` to pictures. `gpu`: an NVIDIA GPU's index, one of `encoders.HARDWARE_DECODERS`, or None.

    Whether a GPU takes a stream shows at its first pictures: until then packets are kept, and software decodes them
    again where it does not. `notes` says so.
    """

    def __init__(self, stream: VideoStream, *, threads: int, gpu: int | str | None) -> None:
        self.notes: list[str] = []
        self._stream, self._threads = stream, threads
        self._untried: list[VideoPacket] | None = None  # what the GPU got before its first picture; None: it is settled
        if gpu is not None:
            try:
                self._context, self._untried = self._ready(nvdec(stream, gpu)), []
                return
            except MediaError as error:
                self._note(str(error))
        self._context = self._ready(decoder_of(stream))

    @property
    def aspect(self) -> Fraction | None:
        """The pixel aspect that the codec has told last."""
        return self._context.sample_aspect_ratio or None

    def decode(self, packet: VideoPacket | None) -> list[av.VideoFrame]:
        """What a packet gives, or with None the pictures that are left.

        Raises:
            av.FFmpegError: it cannot be decoded.
        """
        if self._untried is None or packet is None:
            return list(self._context.decode(packet))
        self._untried.append(packet)
        try:
            pictures = list(self._context.decode(packet))
        except av.FFmpegError:  # the GPU does not know the codec, or the packet is damaged: software can tell
            return self._again_in_software(self._untried)
        if pictures:
            self._untried = None
            if not is_from_gpu(pictures[0]):
                self._note(NOT_TAKEN)
        return pictures

    def _again_in_software(self, packets: list[VideoPacket]) -> list[av.VideoFrame]:
        self._note(NOT_TAKEN)
        self._context, self._untried = self._ready(decoder_of(self._stream)), None
        return [picture for packet in packets for picture in self._context.decode(packet)]

    def _ready(self, context: VideoCodecContext) -> VideoCodecContext:
        context.thread_count = self._threads
        context.thread_type = "SLICE"  # never FRAME: it loses pictures and errors of damaged files in silence
        if context.name == "libdav1d":
            context.options = {**context.options, "max_frame_delay": "1"}  # its way of saying the same
        return context

    def _note(self, why: str) -> None:
        self.notes.append(f"decoded in software: {why}")
