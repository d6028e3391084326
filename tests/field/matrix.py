"""Every container to every container, with every kind of stream that FFmpeg can put into the first.

    python -m tests.field.matrix [WORD]      # print what is wrong, keep what is right in docs/figures/matrix.json
    python -m tests.field.matrix --missing   # only the rows that are not kept yet: a run that was stopped goes on

A cell is one run of `vidsr upscale` on a fifth of a second of pictures with one stream beside them. It is wrong if it
fails after pictures were made, takes the process with it, or if the stream is gone or another and nothing says so.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.conftest import Result
from tests.field import asking, making
from tests.field.making import H264, LAYOUTS, MPEG2, ffmpeg, pictures, source, tone
from tests.field.running import Case, Outcome, attempt, failures

KEPT = Path(__file__).parents[2] / "docs" / "figures" / "matrix.json"
OUTPUTS = ("mp4", "mov", "mkv", "webm", "ts")
_VP8 = ("-c:v", "libvpx", "-cpu-used", "8")
CONTAINERS: dict[str, tuple[str, ...]] = {  # suffix -> the pictures that are upscaled
    **dict.fromkeys(("mp4", "mov", "mkv", "ts", "m2ts", "avi", "flv", "f4v", "3gp", "nut"), H264),
    "webm": _VP8,
    "ogv": ("-c:v", "libtheora"),
    "wmv": ("-c:v", "wmv2"),
    **dict.fromkeys(("mpg", "vob", "mxf"), MPEG2),
}
SOUNDS = (
    "aac mp2 libmp3lame ac3 eac3 libopus libvorbis flac alac pcm_u8 pcm_s16le pcm_s16be pcm_s24le pcm_s32le pcm_f32le"
    " pcm_mulaw pcm_alaw adpcm_ms adpcm_ima_wav adpcm_ima_qt adpcm_swf adpcm_yamaha wmav1 wmav2 g726 dca truehd tta"
    " wavpack s302m pcm_bluray pcm_dvd libspeex nellymoser pcm_s8 pcm_u16le pcm_s24be pcm_f32be pcm_f64le pcm_vidc"
    " adpcm_ima_amv adpcm_ima_ssi g722 g723_1 libgsm libgsm_ms mlp aptx dfpwm real_144"
)
PICTURES = (
    "libx264 libx265 libvpx libvpx-vp9 libaom-av1 mpeg1video mpeg2video mpeg4 mjpeg png ffv1 prores dnxhd huffyuv"
    " ffvhuff utvideo dvvideo wmv1 wmv2 h263 flv msmpeg4v2 msmpeg4 libtheora rawvideo qtrle svq1 cinepak jpeg2000 v210 magicyuv gif"
)
TEXTS = ("subrip", "ass", "webvtt", "mov_text", "ttml", "dvdsub", "dvbsub", "pgs")
_RATES = {"g726": 8000, "nellymoser": 8000, "adpcm_swf": 44100, "libspeex": 16000, "adpcm_ima_qt": 44100}
_RATES |= {"adpcm_ima_amv": 22050, "g722": 16000, "g723_1": 8000, "libgsm": 8000, "libgsm_ms": 8000, "real_144": 8000}
_MISREAD = (("eac3", "nut"), ("dnxhd", "avi"), ("dfpwm", "mov"))  # what FFmpeg writes under another name
_SIZES = {"dvvideo": "720x576", "h263": "176x144", "h261": "176x144", "cfhd": "256x128", "dnxhd": "1280x720"}
_SHORT = 0.2  # seconds
_WORDS = "1\n00:00:00,000 --> 00:00:00,150\nA line.\n"


@dataclass(frozen=True)
class Thing:
    """A stream beside the pictures: how FFmpeg adds it (inputs, options), and which of the found ones it is."""

    name: str
    kind: str  # audio, video, subtitle, data, attachment, cover, chapters
    add: Callable[[Path], tuple[list[str], list[str]]]  # from a folder for what it needs
    only: tuple[str, ...] = tuple(CONTAINERS)  # source containers
    size: str = "96x64"  # of the pictures that are upscaled: the largest stream is


def things() -> Iterator[Thing]:
    """All rows."""
    for codec in SOUNDS.split():
        yield Thing(f"sound {codec.removeprefix('lib')}", "audio", partial(_sound, codec, "mono"), _told(codec))
    for layout in LAYOUTS:
        yield Thing(f"PCM, {layout}", "audio", partial(_sound, "pcm_s16le", layout), ("mkv", "mov"))
    for codec in PICTURES.split():
        name, size = f"second pictures, {codec.removeprefix('lib')}", _SIZES.get(codec, "96x64")
        yield Thing(name, "video", partial(_second, codec, size), _told(codec), size)
    for codec in TEXTS:
        yield Thing(f"subtitles {codec}", "subtitle", partial(_text, codec))
    yield Thing("timecode track", "data", lambda _: ([], ["-timecode", "01:00:00:00"]), ("mov", "mp4"))
    yield Thing("binary data", "data", _data, ("ts",))
    yield Thing("attached font", "attachment", _font, ("mkv",))
    yield Thing("cover", "cover", _cover, ("mp4", "mov", "mkv"))
    yield Thing("chapters", "chapters", _chapters, ("mp4", "mov", "mkv", "webm", "nut"))


def _told(codec: str) -> tuple[str, ...]:
    return tuple(c for c in CONTAINERS if (codec, c) not in _MISREAD)


def _sound(codec: str, layout: str, _: Path) -> tuple[list[str], list[str]]:
    rate = _RATES.get(codec, 48000)
    channels = ["-ac", "2"] if codec in ("s302m", "pcm_bluray", "pcm_dvd", "aptx") else []
    bits = ["-b:a", "32k"] if codec == "g726" else []
    seconds = 2 if codec == "truehd" else _SHORT  # else it is not recognised in a transport stream
    return source(tone(seconds, layout, rate)), ["-c:a", codec, "-strict", "-2", *channels, *bits]


def _second(codec: str, size: str, _: Path) -> tuple[list[str], list[str]]:
    named = {"png": "rgb24", "qtrle": "rgb24", "cinepak": "rgb24", "huffyuv": "yuv422p", "prores": "yuv422p10le"}
    named |= {"mjpeg": "yuvj420p", "dnxhd": "yuv422p", "svq1": "yuv410p"}
    fast = {"libx264": ["-preset:v:1", "ultrafast"], "libx265": ["-x265-params", "log-level=none"]}
    fast |= {"libaom-av1": ["-cpu-used:v:1", "8"], "dnxhd": ["-b:v:1", "60M"]}
    named |= {"v210": "yuv422p10le", "cfhd": "yuv422p10le", "flashsv": "bgr24", "zmbv": "bgr24", "msvideo1": "rgb555le"}
    named |= {"gif": "rgb8", "tiff": "rgb24", "rpza": "rgb555le", "libwebp": "yuv420p", "speedhq": "yuv422p"}
    graph = f"testsrc2=s={size}:r=25:d={_SHORT},format={named.get(codec, 'yuv420p')}"
    return source(graph), ["-c:v:1", codec, "-disposition:v:0", "default", *fast.get(codec, [])]


def _text(codec: str, folder: Path) -> tuple[list[str], list[str]]:
    if codec in ("pgs", "dvdsub", "dvbsub"):
        making.bitmap_text(folder / "text.sup")
        return ["-i", str(folder / "text.sup")], ["-c:s", "copy" if codec == "pgs" else codec]
    (folder / "text.srt").write_text(_WORDS)
    return ["-i", str(folder / "text.srt")], ["-c:s", codec]


def _data(folder: Path) -> tuple[list[str], list[str]]:
    (folder / "data.bin").write_bytes(bytes(range(256)) * 4)
    return ["-f", "data", "-i", str(folder / "data.bin")], ["-c:d", "copy"]


def _font(folder: Path) -> tuple[list[str], list[str]]:
    (folder / "font.ttf").write_bytes(bytes(300))
    return [], ["-attach", str(folder / "font.ttf"), "-metadata:s:t", "mimetype=application/x-truetype-font"]


def _cover(folder: Path) -> tuple[list[str], list[str]]:
    ffmpeg(*source("color=c=red:s=32x24"), "-frames:v", 1, folder / "cover.jpg")
    return ["-i", str(folder / "cover.jpg")], ["-c:v:1", "copy", "-disposition:v:1", "attached_pic"]


def _chapters(folder: Path) -> tuple[list[str], list[str]]:
    marks = "".join(f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={t}\nEND={t + 100}\ntitle={t}\n" for t in (0, 100))
    (folder / "marks").write_text(f";FFMETADATA1\n{marks}")
    return ["-i", str(folder / "marks")], ["-map_chapters", "1"]


def make(thing: Thing, container: str, folder: Path) -> Path | None:
    """The source of a cell, or None where FFmpeg does not put such a stream there and find it again."""
    path = folder / f"source.{container}"
    inputs, options = thing.add(folder)
    maps = ["-map", "0"] + (["-map", "1"] if inputs and thing.kind != "chapters" else [])
    try:
        ffmpeg(*source(pictures(_SHORT, size=thing.size)), *inputs, *maps, *CONTAINERS[container], *options, path)
    except RuntimeError:
        return None
    return path if _found(thing, path) else None


def _found(thing: Thing, path: Path) -> list[str]:
    """Codecs of the streams that are `thing`'s."""
    found = _held(path)
    if thing.kind == "chapters":
        return ["chapters"] * asking.num_chapters(path)
    if thing.name == "timecode track":
        return [text for s in found for key, text in s.get("tags", {}).items() if key.lower() == "timecode"][:1]
    covers = [s for s in found if s["disposition"]["attached_pic"]]
    if thing.kind == "cover":
        return [_codec(s) for s in covers]
    same = [s for s in found if s.get("codec_type") == thing.kind and s not in covers]
    return [_codec(s) for s in same][1 if thing.kind == "video" else 0 :]


def _held(path: Path) -> list[dict[str, Any]]:
    """Streams of which ffprobe finds packets."""
    return [s for s in asking.counted(path) if int(s.get("nb_read_packets", 0)) or s["codec_type"] == "attachment"]


def _codec(stream: dict[str, Any]) -> str:
    name = str(stream.get("codec_name", stream.get("codec_type")))
    return "mp3" if name == "mp2" else name  # mp4 has one mark for both


def verdict(thing: Thing, path: Path, outcome: Outcome) -> tuple[str, str]:
    """What became of the stream, in the words of the table, and what is wrong with that."""
    wrong = next(failures(outcome, outcome.code if outcome.code == 1 else 0), "")
    if outcome.code:
        return ("fails" if wrong else "refused"), wrong
    before, after = _found(thing, path), _found(thing, outcome.output)
    if len(after) < len(before):
        named = re.search(rf"({thing.kind}|timecode|cover).*dropped", outcome.said)
        return ("left out, said" if named else "lost"), "" if named else "nothing says that it is gone"
    if after == before:
        return "kept", wrong
    named = re.search(r"encoded as|converted as", outcome.said)
    return f"as {after[0]}", "" if named else f"{before[0]} becomes {after[0]}, and nothing says so"


def cell(thing: Thing, container: str, output: str, path: Path, vidsr: Callable[..., Result]) -> tuple[str, str]:
    """One run."""
    case = Case(0, container, output)
    with tempfile.TemporaryDirectory() as folder:
        return verdict(thing, path, attempt(vidsr, case, path, Path(folder) / "out"))


def row(name: str) -> dict[str, dict[str, tuple[str, str]]]:
    """All cells of the thing `name`: output, source, verdict and what is wrong; each in a process that may die."""
    thing = next(t for t in things() if t.name == name)
    found: dict[str, dict[str, tuple[str, str]]] = {output: {} for output in OUTPUTS}
    with tempfile.TemporaryDirectory() as place:
        for container in thing.only:
            folder = Path(place) / container
            folder.mkdir()
            if path := make(thing, container, folder):
                for output in OUTPUTS:
                    found[output][container] = _guarded(name, container, output, path)
    return {output: cells for output, cells in found.items() if cells}


_workers: list[ProcessPoolExecutor] = []  # at most one: it starts again only when a run has taken it with it


def _guarded(name: str, container: str, output: str, path: Path) -> tuple[str, str]:
    if not _workers:
        _workers.append(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
    try:
        return _workers[0].submit(_in_worker, name, container, output, path).result(timeout=120)
    except Exception as error:  # an edge: whatever it is, this cell is wrong and the next is tried
        _workers.pop().shutdown(wait=False, cancel_futures=True)
        return "fails", f"{type(error).__name__}: {error}"


def _in_worker(name: str, container: str, output: str, path: Path) -> tuple[str, str]:
    thing = next(t for t in things() if t.name == name)
    return cell(thing, container, output, path, called)


def called(*words: object) -> Result:
    """The command line, in this process."""
    import contextlib
    import io

    import typer.main

    from vidsr.cli import main

    if not hasattr(typer.main.get_command, "cache_info"):
        typer.main.get_command = cache(typer.main.get_command)  # to build it takes as long as to upscale five pictures
    out, err, code = io.StringIO(), io.StringIO(), 0
    sys.argv = ["vidsr", *map(str, words)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
    return Result(code, out.getvalue(), err.getvalue())


def kept(found: dict[str, dict[str, tuple[str, str]]]) -> dict[str, dict[str, list[str]]]:
    """`found` as it is written down: output, verdict, source containers."""
    return {
        output: {v: sorted(c for c, (w, _) in cells.items() if w == v) for v in sorted({w for w, _ in cells.values()})}
        for output, cells in found.items()
    }


def main(word: str = "") -> int:
    """Run the rows whose name holds `word`, or those that are missing; keep those of which no cell is wrong."""
    rows = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    num_wrong = 0
    for thing in things():
        if thing.name in rows if word == "--missing" else word not in thing.name:
            continue
        found = row(thing.name)
        wrong = [(c, o, w) for o, cells in found.items() for c, (_, w) in cells.items() if w]
        num_wrong += len(wrong)
        for container, output, why in wrong:
            print(f"{thing.name}: {container} to {output}: {why}", flush=True)
        rows.pop(thing.name, None)
        if not wrong:
            rows[thing.name] = kept(found)
            _keep(rows)
    print(f"{num_wrong} cells are wrong")
    return 1 if num_wrong else 0


def _keep(rows: dict[str, Any]) -> None:
    """Rows in the order of `things`, a line each; those that no container has are empty."""
    lines = [f"{json.dumps(t.name)}: {json.dumps(rows[t.name])}" for t in things() if t.name in rows]
    KEPT.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
