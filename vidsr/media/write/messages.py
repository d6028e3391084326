"""What stands inside pictures beside their samples, put into the packets of an encoder that knows nothing of it.

NAL units of ITU-T H.264 and H.265 (annexes B and D), user data of H.262 (6.2.2.2), OBUs of the AV1 specification (5.3,
5.8.3); captions are wrapped as in ATSC A/53 part 4.
"""

from __future__ import annotations

from collections.abc import Iterator

from av.packet import Packet

from vidsr.frame import NOTHING_INSIDE, Inside
from vidsr.media import encoders
from vidsr.media.nal import START, escaped, start_codes
from vidsr.media.pyav import AnyStream, with_data
from vidsr.media.write.encoder import VideoSpec

_T35, _AMBIENT = 4, 148  # types of SEI messages
_MAX_TRIPLES = 31  # in one message
_METADATA, _FRAME_HEADER, _FRAME = 5, 3, 6  # types of OBUs
_METADATA_T35 = 4


class Messages:
    """Keeps what stands inside pictures while an encoder has them, and puts it into their packets."""

    def __init__(self, spec: VideoSpec) -> None:
        self._spec, self._row = spec, encoders.encoder(spec.encoder)
        self._waiting: dict[int, Inside] = {}  # by the pts of their pictures

    def keep(self, pts: int, inside: Inside) -> None:
        """What is to stand in the picture that the encoder is given at `pts`, as far as its packets have a place."""
        carried, vision = self._row.inside, self._spec.dolby_vision
        if not inside or not carried:
            return
        self._waiting[pts] = Inside(
            captions=inside.captions if "captions" in carried else b"",
            hdr10_plus=inside.hdr10_plus if "hdr10_plus" in carried else b"",
            dolby_vision=vision.rpu(inside) if vision and inside.dolby_vision else b"",
            ambient=inside.ambient if "ambient" in carried else b"",
        )

    def put(self, packet: Packet[AnyStream]) -> Packet[AnyStream]:
        """`packet`, or one in its place that has them."""
        inside = self._waiting.pop(packet.pts or 0, NOTHING_INSIDE)
        if not inside:
            return packet
        data = bytes(packet)
        if self._row.codec == "av1":
            made = _in_obus(data, inside)
        elif self._row.codec == "mpeg2video":
            made = _in_user_data(data, inside)
        else:
            made = _in_nal_units(data, inside, hevc=self._row.codec == "hevc", key=packet.is_keyframe)
        if len(made) == len(data):
            return packet
        new = with_data(packet, made)
        if packet.stream is not None:  # that of no file has none
            new.stream = packet.stream
        return new


def _in_nal_units(data: bytes, inside: Inside, *, hevc: bool, key: bool) -> bytes:
    """Messages before the first slice, each in a unit of its own; an RPU behind the last."""
    messages = [(_T35, message) for message in _t35(inside)]
    if key and inside.ambient:
        messages.append((_AMBIENT, inside.ambient))
    start, body = next((code for code in start_codes(data) if _is_slice(data[code[1]], hevc=hevc)), (len(data), 0))
    if not body:
        return data
    header = bytes([0x4E, data[body + 1] & 7]) if hevc else b"\6"  # SEI, of the slice's temporal layer
    units = [START + header + escaped(_message(kind, message)) for kind, message in messages]
    behind = [START, b"\x7c\1", inside.dolby_vision] if inside.dolby_vision else []
    return b"".join([data[:start], *units, data[start:], *behind])


def _is_slice(header: int, *, hevc: bool) -> bool:
    return header >> 1 & 63 < 32 if hevc else header & 31 in (1, 2, 5)


def _message(kind: int, body: bytes) -> bytes:
    """An SEI message and the end of its unit."""
    sizes = b"".join(b"\xff" * (number // 255) + bytes([number % 255]) for number in (kind, len(body)))
    return sizes + body + b"\x80"


def _in_user_data(data: bytes, inside: Inside) -> bytes:
    """Before the first slice, behind the extension of the picture's header."""
    slices = (start for start, body in start_codes(data) if 1 <= data[body] <= 0xAF)
    start = next(slices, None)
    if start is None:
        return data
    return b"".join([data[:start], *(b"\0\0\1\xb2" + words for words in _atsc(inside.captions)), data[start:]])


def _in_obus(data: bytes, inside: Inside) -> bytes:
    """Before the last picture's header, which is the one that is shown."""
    place = 0
    for start, kind in _obus(data):
        place = start if kind in (_FRAME, _FRAME_HEADER) else place
    units = (bytes([_METADATA_T35]) + message + b"\x80" for message in _t35(inside))
    return b"".join([data[:place], *(bytes([_METADATA << 3 | 2]) + _leb128(len(u)) + u for u in units), data[place:]])


def _obus(data: bytes) -> Iterator[tuple[int, int]]:
    """Where each begins, and its type. All have their size, as encoders write them."""
    start = 0
    while start < len(data):
        header = data[start]
        yield start, header >> 3 & 15
        position = start + 2 if header & 4 else start + 1
        size = shift = 0
        while position < len(data):
            size |= (data[position] & 127) << shift
            shift, position = shift + 7, position + 1
            if not data[position - 1] & 128:
                break
        start = position + size


def _leb128(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _t35(inside: Inside) -> Iterator[bytes]:
    """Messages of ITU-T T.35, from their country code on."""
    for words in _atsc(inside.captions):
        yield b"\xb5\0\x31" + words
    if inside.hdr10_plus:
        yield inside.hdr10_plus


def _atsc(captions: bytes) -> Iterator[bytes]:
    """ATSC's wrapping of captions: at most 31 of three bytes in each."""
    for start in range(0, len(captions), 3 * _MAX_TRIPLES):
        triples = captions[start : start + 3 * _MAX_TRIPLES]
        yield b"GA94\3" + bytes([0xC0 | len(triples) // 3, 0xFF]) + triples + b"\xff"
