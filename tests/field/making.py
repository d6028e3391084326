"""Small files with the faults of files from the field, made by FFmpeg. What each is made of stands in `recipes.py`."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import av
from PIL import Image, ImageCms

Recipe: TypeAlias = Callable[[Path], object]
TIMEOUT = 60  # seconds
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-threads", "1")
MPEG2 = ("-c:v", "mpeg2video", "-q:v", "4", "-g", "12")
BITEXACT = ("-fflags", "+bitexact")
LAYOUTS = {  # name, and how many channels
    "mono": 1, "stereo": 2, "2.1": 3, "3.0": 3, "3.0(back)": 3, "4.0": 4, "quad": 4, "quad(side)": 4, "5.0": 5,
    "5.0(side)": 5, "5.1": 6, "5.1(side)": 6, "6.0": 6, "hexagonal": 6, "6.1": 7, "7.0": 7, "7.1": 8, "7.1(wide)": 8,
    "hexadecagonal": 16,
}  # fmt: skip
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


def joined(path: Path, parts: Iterable[Recipe], *, whole: bool = False) -> None:
    """Files one behind the other, byte by byte; of flv only `whole` ones with their headers."""
    with TemporaryDirectory() as folder:
        files = []
        for number, part in enumerate(parts):
            files.append(Path(folder) / f"{number}{path.suffix}")
            part(files[-1])
        header = 13 if path.suffix == ".flv" and not whole else 0  # without which a live stream goes on
        path.write_bytes(b"".join(file.read_bytes()[header if n else 0 :] for n, file in enumerate(files)))


def recordings(path: Path, *lengths: tuple[float, float], whole: bool = False) -> None:
    """Recordings of (picture, sound) seconds, joined; each clock begins anew."""
    joined(path, [partial(synchronous, video=v, sound=a) for v, a in lengths], whole=whole)


def with_marks(path: Path, *lengths: tuple[float, float]) -> None:
    """The same with a track of Blu-ray subtitles whose packets stand at the full seconds."""

    def part(target: Path, video: float, sound: float) -> None:
        marks = target.with_suffix(".sup")
        marks.write_bytes(b"".join(_mark(second) for second in range(int(video))))
        plain = target.with_suffix(".ts")
        synchronous(plain, video=video, sound=sound)
        ffmpeg("-i", plain, "-i", marks, "-map", 0, "-map", 1, "-c", "copy", "-mpegts_m2ts_mode", 1, target)

    joined(path, [partial(part, video=v, sound=a) for v, a in lengths])


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


def flashing_fields(path: Path, seconds: float = 3) -> None:
    """A flash and a beep at each full second, by pictures of two fields."""
    pictures = f"{flashes(seconds).replace('r=25', 'r=50')},tinterlace=interleave_top,format=yuv420p"
    flags = INTERLACED if path.suffix == ".ts" else ("-flags", "+ilme+ildct", "-x264-params", "tff=1")
    codec = (*MPEG2, "-c:a", "mp2") if path.suffix == ".ts" else (*H264, "-c:a", "aac")
    film(path, *flags, graphs=(pictures, beeps(seconds, seconds)), codec=codec)


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


def two_sounds(path: Path, *lengths: tuple[str, int], codec: str = "ac3") -> None:
    """Sound whose layout or rate changes: (layout, rate) a second and a half each."""

    def part(target: Path, layout: str, rate: int) -> None:
        film(target, "-c:a", codec, "-ar", rate, graphs=(pictures(1.5), tone(1.5, layout, rate)))

    concatenated(path, [partial(part, layout=layout, rate=rate) for layout, rate in lengths])


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
