"""Files whose container says what their pictures do not: by FFmpeg, Matroska's programs, and boxes put in by hand."""

from __future__ import annotations

import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av

from tests.field.making import MPEG2, Recipe, combed, ffmpeg, film, pictures, run, tone


def container_says(path: Path, **properties: object) -> None:
    """A combed film whose pictures call themselves progressive; Matroska's header says what `properties` do."""
    combed(path)
    words = [word for key, value in properties.items() for word in ("--set", f"{key.replace('_', '-')}={value}")]
    run("mkvpropedit", path, "--edit", "track:v1", *words)


def aspect(path: Path, sar: str) -> None:
    """MPEG-2 of standard definition."""
    film(path, "-aspect", {"16:15": "4:3", "64:45": "16:9"}[sar], graphs=(pictures(size="180x144"),), codec=MPEG2)


def into_sample_entry(path: Path, boxes: bytes) -> None:
    """Put `boxes` into the first sample entry of the first track of an mp4 whose index stands last."""
    data, position, chain = bytearray(path.read_bytes()), 0, []
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", None):
        size, found = struct.unpack_from(">I4s", data, position)
        while kind is not None and found != kind:
            position += size
            size, found = struct.unpack_from(">I4s", data, position)
        chain.append(position)
        position += 16 if kind == b"stsd" else 8
    end = chain[-1] + struct.unpack_from(">I", data, chain[-1])[0]
    for start in chain:
        struct.pack_into(">I", data, start, struct.unpack_from(">I", data, start)[0] + len(boxes))
    data[end:end] = boxes
    path.write_bytes(bytes(data))


def box(kind: bytes, body: bytes) -> bytes:
    """A box of mp4."""
    return struct.pack(">I4s", 8 + len(body), kind) + body


def spherical(path: Path) -> None:
    """A film around the viewer, for two eyes, top and bottom."""
    film(path, graphs=(pictures(1, size="192x96"),))
    header = box(b"prhd", bytes(16))
    projection = box(b"proj", header + box(b"equi", bytes(20)))
    around = box(b"sv3d", box(b"svhd", bytes(4) + b"x\0") + projection)
    into_sample_entry(path, box(b"st3d", bytes(4) + b"\1") + around)


def from_mp4(path: Path, recipe: Recipe, *more: object) -> None:
    """What `recipe` makes as mp4, in another container."""
    with TemporaryDirectory() as folder:
        made = Path(folder) / "made.mp4"
        recipe(made)
        ffmpeg("-i", made, "-map", 0, "-c", "copy", *more, path)


def aperture(path: Path) -> None:
    """Bars of 14 lines that a clean aperture cuts away."""
    barred(path)
    into_sample_entry(path, box(b"clap", struct.pack(">8I", 192, 1, 80, 1, 0, 1, 0, 1)))


def barred(path: Path) -> None:
    """Pictures of 192x80 between black bars."""
    film(path, graphs=(pictures(1, size="192x80") + ",pad=192:108:0:14",))


def through_mkvmerge(path: Path, recipe: Recipe, *options: object) -> None:
    """What `recipe` makes as mkv, with `options` for its track."""
    with TemporaryDirectory() as folder:
        made = Path(folder) / "made.mkv"
        recipe(made)
        run("mkvmerge", "-q", "-o", path, *options, made)


def turned(path: Path) -> None:
    """A phone held upright."""
    with TemporaryDirectory() as folder:
        made = Path(folder) / "made.mp4"
        film(made, graphs=(pictures(1),))
        ffmpeg("-i", made, "-c", "copy", "-metadata:s:v:0", "rotate=90", path)


def stereo(path: Path, mode: str) -> None:
    """Two pictures in one, of which Matroska's track tells; `mode` by its program's name."""

    def both(target: Path) -> None:
        film(target, graphs=(pictures(1, size="192x96") + ",setsar=2/1",))

    through_mkvmerge(path, both, "--stereo-mode", f"0:{mode}")


def unfinished_track(path: Path) -> None:
    """Pictures, an English sound of no packets, and one of no language."""
    with TemporaryDirectory() as folder:
        made = Path(folder) / "made.mp4"
        film(made, "-c:a", "aac", graphs=(pictures(1), tone(1)))
        flags = {"movflags": "empty_moov+default_base_moof+frag_keyframe"}
        with av.open(str(made)) as old, av.open(str(path), "w", options=flags) as new:
            video = new.add_stream_from_template(old.streams.video[0], opaque=True)
            empty: Any = new.add_stream("aac", rate=48000)
            empty.metadata["language"] = "eng"
            sound = new.add_stream_from_template(old.streams.audio[0], opaque=True)
            for packet in old.demux():
                if packet.size:
                    packet.stream = video if packet.stream_index == 0 else sound
                    new.mux(packet)
