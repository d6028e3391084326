"""Small files with the faults of files from the field, made by FFmpeg's and Matroska's programs and, where those write
no such box, by bytes put in by hand. What each file is called and made of stands in `recipes.py`.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import av
from PIL import Image, ImageCms

Recipe: TypeAlias = Callable[[Path], object]

TIMEOUT = 60  # seconds
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-threads", "1")
MPEG2 = ("-c:v", "mpeg2video", "-q:v", "4", "-g", "12")
BITEXACT = ("-fflags", "+bitexact")
LAYOUTS = {  # name, and how many channels
    "mono": 1,
    "stereo": 2,
    "2.1": 3,
    "3.0": 3,
    "3.0(back)": 3,
    "4.0": 4,
    "quad": 4,
    "quad(side)": 4,
    "5.0": 5,
    "5.0(side)": 5,
    "5.1": 6,
    "5.1(side)": 6,
    "6.0": 6,
    "hexagonal": 6,
    "6.1": 7,
    "7.0": 7,
    "7.1": 8,
    "7.1(wide)": 8,
    "hexadecagonal": 16,
}
MKV_SOUND = ("pcm_mulaw", "pcm_alaw", "adpcm_ms", "adpcm_ima_wav", "adpcm_yamaha", "wmav1", "wmav2", "g726")
MKV_PICTURES = (
    "png huffyuv ffvhuff utvideo dvvideo wmv1 wmv2 h263 flv msmpeg4v2 msmpeg4 mjpeg mpeg1video mpeg2video mpeg4 ffv1"
    " libvpx prores theora rawvideo"
)
"""FFmpeg's encoders of a second picture stream, and of sounds, that FFmpeg's own muxer takes into Matroska."""


def run(*command: object) -> str:
    """What a program prints; RuntimeError with its complaint where it fails."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, errors="replace", timeout=TIMEOUT)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def ffmpeg(*arguments: object) -> None:
    """FFmpeg's command line, quiet; it overwrites."""
    run("ffmpeg", "-v", "error", "-nostdin", "-y", *arguments)


def source(*graphs: str) -> list[str]:
    """Inputs made by filters, one for each of `graphs`."""
    return [word for graph in graphs for word in ("-f", "lavfi", "-i", graph)]


def pictures(seconds: float = 2, rate: str = "25", size: str = "96x64") -> str:
    """A moving test pattern."""
    return f"testsrc2=s={size}:r={rate}:d={seconds}"


def tone(seconds: float = 2, layout: str = "mono", rate: int = 48000) -> str:
    """The same note on every channel."""
    notes = "|".join(["0.3*sin(2*PI*440*t)"] * LAYOUTS[layout])
    return f"aevalsrc={notes}:c={layout}:s={rate}:d={seconds}"


def film(path: Path, *more: object, graphs: Sequence[str] = (), codec: Sequence[str] = H264) -> None:
    """Encode `graphs` (by default two seconds of pictures) to `path`, whose suffix chooses the container."""
    ffmpeg(*source(*(graphs or (pictures(),))), *codec, *more, *BITEXACT, path)


def flashes(seconds: float, size: str = "96x64") -> str:
    """Black, white for two pictures at each full second."""
    box = "drawbox=c=white:t=fill:enable='lt(mod(t,1),0.079)'"
    return f"color=c=black:s={size}:r=25:d={seconds},{box}"


def beeps(seconds: float, until: float) -> str:
    """Silence, a high note at each full second before `until`."""
    return f"aevalsrc='if(lt(mod(t,1),0.08)*lt(t,{until}),0.8*sin(2*PI*1000*t),0)':s=48000:d={seconds}"


def synchronous(path: Path, *more: object, video: float = 3, sound: float | None = None) -> None:
    """A flash and a beep at each full second; the sound lasts `sound` seconds, and is silent behind the pictures."""
    codecs: tuple[str, ...] = (*MPEG2, "-c:a", "mp2")
    if path.suffix in (".flv", ".mp4", ".mkv"):
        codecs = (*H264, "-c:a", "aac")
    film(path, *more, graphs=(flashes(video), beeps(video if sound is None else sound, video)), codec=codecs)


def joined(path: Path, parts: Iterable[Recipe]) -> None:
    """Files one behind the other, byte by byte."""
    with TemporaryDirectory() as folder:
        files = []
        for number, part in enumerate(parts):
            files.append(Path(folder) / f"{number}{path.suffix}")
            part(files[-1])
        header = 13 if path.suffix == ".flv" else 0  # without which a live stream goes on
        path.write_bytes(b"".join(file.read_bytes()[header if n else 0 :] for n, file in enumerate(files)))


def recordings(path: Path, *lengths: tuple[float, float]) -> None:
    """Recordings of (picture, sound) seconds, joined; each clock begins anew."""
    joined(path, [lambda p, v=v, a=a: synchronous(p, video=v, sound=a) for v, a in lengths])


def plainly_joined(path: Path, *lengths: tuple[float, float]) -> None:
    """The same, each with the header of its file."""
    with TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}{path.suffix}" for number, _ in enumerate(lengths)]
        for file, (video, sound) in zip(files, lengths, strict=True):
            synchronous(file, video=video, sound=sound)
        path.write_bytes(b"".join(file.read_bytes() for file in files))


def with_marks(path: Path, *lengths: tuple[float, float]) -> None:
    """The same with a track of Blu-ray subtitles whose packets stand at the full seconds."""

    def part(target: Path, video: float, sound: float) -> None:
        marks = target.with_suffix(".sup")
        marks.write_bytes(b"".join(_mark(second) for second in range(int(video))))
        plain = target.with_suffix(".ts")
        synchronous(plain, video=video, sound=sound)
        ffmpeg("-i", plain, "-i", marks, "-map", 0, "-map", 1, "-c", "copy", "-mpegts_m2ts_mode", 1, target)

    joined(path, [lambda p, v=v, a=a: part(p, v, a) for v, a in lengths])


def _mark(second: int) -> bytes:
    """A Blu-ray subtitle that shows nothing, and its end."""
    return _segment(second, 0x16, _composition(second, 0)) + _segment(second, 0x80, b"")


def bitmap_text(path: Path) -> None:
    """A Blu-ray subtitle stream (.sup) with one white square of 8 pixels a side, for half a second."""
    square = (b"\x00\x88\x01" + b"\x00\x00") * 8  # eight pixels of colour 1, end of line
    shown = struct.pack(">HBBHH", 0, 0, 0, 8, 8)
    window = struct.pack(">BBHHHH", 1, 0, 8, 8, 8, 8)
    palette = struct.pack(">BBBBBBB", 0, 0, 1, 235, 128, 128, 255)
    picture = struct.pack(">HBB", 0, 0, 0xC0) + (len(square) + 4).to_bytes(3, "big") + struct.pack(">HH", 8, 8) + square
    begin = [(0x16, _composition(0, 1) + shown), (0x17, window), (0x14, palette), (0x15, picture), (0x80, b"")]
    end = [(0x16, _composition(1, 0)), (0x17, window), (0x80, b"")]
    path.write_bytes(b"".join(_segment(t, k, body) for t, part in ((0, begin), (0.5, end)) for k, body in part))


def _segment(second: float, kind: int, body: bytes) -> bytes:
    return b"PG" + struct.pack(">IIBH", round(second * 90000), 0, kind, len(body)) + body


def _composition(number: int, objects: int) -> bytes:
    return struct.pack(">HHBHBBBB", 96, 64, 0x10, number, 0x80, 0, 0, objects)


def sparse(path: Path) -> None:
    """H.264 in a program stream: only the first picture of a packet has a time."""
    graphs = (flashes(4), beeps(4, 4))
    film(path, "-c:a", "mp2", graphs=graphs, codec=("-c:v", "libx264", "-preset", "fast", "-g", "50", "-threads", "1"))


def with_profile(path: Path) -> None:
    """Pictures in PNG or JPEG that say which screen they are for."""
    suffix = "png" if path.suffix == ".mkv" else "jpg"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with TemporaryDirectory() as folder:
        for number in range(5):
            picture = Image.new("RGB", (96, 64), (40 * number, 80, 0))
            picture.save(Path(folder) / f"{number}.{suffix}", icc_profile=profile)
        ffmpeg("-framerate", 25, "-i", f"{folder}/%d.{suffix}", "-c", "copy", path)


def moving(rate: int, seconds: float) -> str:
    """Waves that run to the right by 150 pixels a second."""
    step = 150 / rate
    return f"nullsrc=s=128x96:r={rate}:d={seconds},geq=lum='128+90*sin((X-{step}*N)/5)*cos(Y/15)':cb=128:cr=128"


def combed(path: Path, *more: object, seconds: float = 1, codec: Sequence[str] = H264) -> None:
    """Two fields of different times in each picture, top first; what is said of them is up to `more`."""
    graph = f"{moving(50, seconds)},tinterlace=interleave_top,format=yuv420p"
    film(path, *more, graphs=(graph,), codec=codec)


def plain_scan(path: Path, *more: object, seconds: float = 1, codec: Sequence[str] = MPEG2) -> None:
    """The same film without fields."""
    film(path, *more, graphs=(f"{moving(25, seconds)},format=yuv420p",), codec=codec)


INTERLACED = ("-flags", "+ilme+ildct", "-top", 1)


def hybrid(path: Path, order: str, codec: Sequence[str] = MPEG2) -> None:
    """Scans one after the other, "p" and "i"; the pictures of an "i" say so."""
    flags = INTERLACED if codec is MPEG2 else ("-x264-params", "tff=1")
    kinds = {
        "p": lambda p: plain_scan(p, codec=codec),
        "i": lambda p: combed(p, *flags, "-field_order", "tt", codec=codec),
    }
    concatenated(path, [kinds[letter] for letter in order])


def concatenated(path: Path, parts: Sequence[Recipe]) -> None:
    """Films one after the other on one clock, their packets as they are."""
    with TemporaryDirectory() as folder:
        names = [Path(folder) / f"{number}.ts" for number, _ in enumerate(parts)]
        for part, name in zip(parts, names, strict=True):
            part(name)
        listed = Path(folder) / "list"
        listed.write_text("".join(f"file '{name}'\n" for name in names))
        raw = ("-bsf:v", "dump_extra") if path.suffix == ".mkv" else ()
        ffmpeg("-f", "concat", "-safe", 0, "-i", listed, "-map", 0, "-c", "copy", *raw, path)


def container_says(path: Path, **properties: object) -> None:
    """A combed film whose pictures call themselves progressive; Matroska's header says what `properties` do."""
    combed(path)
    words = [word for key, value in properties.items() for word in ("--set", f"{key.replace('_', '-')}={value}")]
    run("mkvpropedit", path, "--edit", "track:v1", *words)


def one_colour(path: Path, rgb: str, tags: str, *more: object, full: bool = False) -> None:
    """Pictures of one colour, converted by a matrix and tagged with it."""
    matrix, primaries, transfer = {
        "709": ("bt709", "bt709", "bt709"),
        "601": ("smpte170m", "smpte170m", "smpte170m"),
        "601 in 709": ("smpte170m", "bt709", "bt709"),
        "2020": ("bt2020nc", "bt2020", "bt2020-10"),
    }[tags]
    scale = f"scale=out_color_matrix={matrix.replace('nc', '')}:out_range={'pc' if full else 'tv'}"
    words: tuple[str, ...] = ("-colorspace", matrix, "-color_primaries", primaries, "-color_trc", transfer)
    words += ("-color_range", "pc" if full else "tv")
    film(path, *words, *more, graphs=(f"color=c={rgb}:s=96x64:r=25:d=1,{scale},format=yuv420p",))


def changing(path: Path, *parts: Recipe) -> None:
    """Different pictures on one clock."""
    concatenated(path, parts)


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


def two_sounds(path: Path, *lengths: tuple[str, int], codec: str = "ac3") -> None:
    """Sound whose layout or rate changes: (layout, rate) a second and a half each."""
    parts: list[Recipe] = [
        lambda p, layout=layout, rate=rate: film(
            p, "-c:a", codec, "-ar", rate, graphs=(pictures(1.5), tone(1.5, layout, rate))
        )
        for layout, rate in lengths
    ]
    concatenated(path, parts)


def without_keyframe(path: Path, codec: Sequence[str] = H264) -> None:
    """The end of one long group of pictures, then one that begins with a keyframe."""
    rate, group = 50, 680 if codec is H264 else 600  # the most that MPEG-2's encoder takes
    options = ("-g", group, "-sc_threshold", 0 if codec is H264 else 1000000000, "-bf", 0)
    with TemporaryDirectory() as folder:
        whole = Path(folder) / f"whole{path.suffix}"
        codec = [c for c in codec if c not in ("-g", "25", "12")]
        film(whole, *options, graphs=(pictures((group + 25) / rate, rate=str(rate), size="64x48"),), codec=codec)
        data = whole.read_bytes()
        with av.open(str(whole)) as opened:
            second = [p.pos for p in opened.demux(video=0) if p.size and p.pos is not None][20]
    unit = 188 if path.suffix == ".ts" else 2048
    path.write_bytes(data[second // unit * unit :])


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


def wrapping(path: Path) -> None:
    """A transport stream whose clock of 33 bits begins anew after a second and a half."""
    synchronous(path, "-output_ts_offset", 2**33 / 90000 - 1.5, "-muxdelay", 0, "-muxpreload", 0)


def middle_dropped(path: Path) -> None:
    """Text of a kind that FFmpeg does not read back, between pictures and sound."""
    with TemporaryDirectory() as folder:
        words = Path(folder) / "words.srt"
        words.write_text("1\n00:00:00,200 --> 00:00:01,500\nA line.\n")
        inputs = [*source(pictures()), "-i", words, *source(tone())]
        ffmpeg(*inputs, "-map", 0, "-map", 1, "-map", 2, *H264, "-c:s", "ttml", "-c:a", "aac", *BITEXACT, path)


def variable(path: Path) -> None:
    """Pictures of which a quarter are left out, so that no two neighbours tell the rate."""
    film(path, "-fps_mode", "vfr", graphs=(pictures(3) + ",select='not(mod(n,5))+not(mod(n,7))+not(mod(n,3))'",))


def sound(codec: str, layout: str = "mono", rate: int = 48000, *more: object) -> Recipe:
    """Pictures with a sound."""
    return lambda p: film(p, "-c:a", codec, *more, graphs=(pictures(1), tone(1, layout, rate)))


def second_pictures(encoder: str) -> Recipe:
    """H.264, and a second picture stream by `encoder`."""
    size = {"dvvideo": "720x576", "h263": "176x144"}.get(encoder, "96x64")
    layout = {"png": "rgb24", "huffyuv": "yuv422p", "prores": "yuv422p10le", "mjpeg": "yuvj420p"}.get(
        encoder, "yuv420p"
    )
    graphs = (pictures(0.5), f"testsrc2=s={size}:r=25:d=0.5,format={layout}")
    return lambda p: film(p, "-map", 0, "-map", 1, "-c:v:1", encoder, "-disposition:v:0", "default", graphs=graphs)


def mkv_sound(codec: str) -> Recipe:
    """At a rate that the codec takes."""
    rate = {"g726": 8000, "pcm_mulaw": 8000, "pcm_alaw": 8000}.get(codec, 44100)
    return sound(codec, "mono", rate, *(("-b:a", "32k") if codec == "g726" else ()))


def still(path: Path, graph: str, *more: object) -> None:
    """One and a half seconds of `graph`."""
    film(path, *more, graphs=(graph,))
