"""What other programs say of a file: FFmpeg's, Matroska's and MediaInfo. Nothing of vidsr is imported here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

PROGRAMS = ("ffmpeg", "ffprobe", "mkvmerge", "mkvinfo", "mkvpropedit", "mediainfo")
TIMEOUT = 60  # seconds
_BRIGHT = 150  # of 255: the mean of a flash
_LOUD = -20.0  # dB
_MATROSKA = (".mkv", ".webm")


@cache
def missing() -> tuple[str, ...]:
    """Those of the programs that are not installed."""
    return tuple(name for name in PROGRAMS if shutil.which(name) is None)


def run(*command: object) -> subprocess.CompletedProcess[str]:
    """A program to its end, whatever that is."""
    words = [str(c) for c in command]
    return subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=TIMEOUT)


@cache
def ffprobe(path: Path) -> dict[str, Any]:
    """Streams and format."""
    words = ("-v", "error", "-print_format", "json", "-show_streams", "-show_format", path)
    found: dict[str, Any] = json.loads(run("ffprobe", *words).stdout or "{}")
    return {"streams": [], "format": {}} | found


def streams(path: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """Of `kind`, or all."""
    return [s for s in ffprobe(path)["streams"] if kind in (None, s.get("codec_type"))]


@cache
def counted(path: Path) -> list[dict[str, Any]]:
    """Streams with the number of their packets; none of a file that ffprobe cannot read."""
    words = ("-v", "error", "-print_format", "json", "-show_streams", "-count_packets", path)
    done = run("ffprobe", *words)
    found: list[dict[str, Any]] = json.loads(done.stdout).get("streams", []) if done.returncode == 0 else []
    return found


def num_chapters(path: Path) -> int:
    """Of the file."""
    said = run("ffprobe", "-v", "error", "-print_format", "json", "-show_chapters", path).stdout
    return len(json.loads(said or "{}").get("chapters", ()))


@cache
def _tracks(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("mediainfo", "--Output=JSON", path).stdout)["media"]["track"]
    return found


def mediainfo(path: Path, kind: str) -> dict[str, Any]:
    """The first track of a kind: General, Video, Audio or Text."""
    return next((track for track in _tracks(path) if track["@type"] == kind), {})


def rates(path: Path) -> dict[str, float | None]:
    """Frames a second by every program that knows the container; None where it says that there is no such rate."""
    video = streams(path, "video")[0]
    found: dict[str, float | None] = {"ffprobe": ratio(video["avg_frame_rate"])}
    seen = mediainfo(path, "Video")
    found["mediainfo"] = float(seen["FrameRate"]) if "FrameRate" in seen else None
    if path.suffix in _MATROSKA:
        tracks = json.loads(run("mkvmerge", "-J", path).stdout)["tracks"]
        length = next(t for t in tracks if t["type"] == "video")["properties"].get("default_duration")
        found["mkvmerge"] = 1e9 / length if length else None
    return found


def duration(path: Path) -> dict[str, float]:
    """Seconds, by every program."""
    found = {"ffprobe": float(ffprobe(path)["format"].get("duration", 0))}
    general = mediainfo(path, "General")
    return found | ({"mediainfo": float(general["Duration"])} if "Duration" in general else {})


def layout(path: Path) -> list[str]:
    """Of every sound, by name, or its number of channels."""
    return [s.get("channel_layout") or f"{s['channels']} channels" for s in streams(path, "audio")]


def side_data(path: Path) -> set[str]:
    """Of the first picture stream, by FFmpeg's names."""
    return {item["side_data_type"] for item in streams(path, "video")[0].get("side_data_list", ())}


def shape(path: Path) -> tuple[int, int, float]:
    """Width, height and the aspect that a player shows, by ffprobe."""
    video = streams(path, "video")[0]
    sar = ratio(video.get("sample_aspect_ratio", "1:1").replace(":", "/")) or 1.0
    return video["width"], video["height"], video["width"] * sar / video["height"]


def crop_kept(path: Path) -> bool:
    """Whether Matroska's header has a crop."""
    return path.suffix in _MATROSKA and "Pixel crop" in run("mkvinfo", path).stdout


def has_bars(path: Path) -> bool:
    """Whether the first rows of a picture are black."""
    rows = _pixels(path, "crop=iw:ih/16:0:0,scale=1:1:flags=area,format=gray", 1)
    return max(rows) < 24


def colours(path: Path) -> list[tuple[int, ...]]:
    """The mean colour (red, green, blue) of every picture."""
    data = _pixels(path, "scale=8:8:flags=area,scale=1:1:flags=area,format=rgb24", None)
    return [tuple(data[k : k + 3]) for k in range(0, len(data), 3)]


def _pixels(path: Path, graph: str, number: int | None) -> bytes:
    most = () if number is None else ("-frames:v", str(number))
    words = ("-v", "error", "-i", str(path), "-map", "0:v:0", "-fps_mode", "passthrough", "-vf", graph, *most)
    return subprocess.run(["ffmpeg", *words, "-f", "rawvideo", "-"], capture_output=True, timeout=TIMEOUT).stdout


def combed(path: Path, width: int, height: int) -> list[bool]:
    """Of every picture, scaled back to the source's size, whether FFmpeg's idet takes it for two fields."""
    graph = f"scale={width}:{height}:flags=area,idet=intl_thres=1.3,metadata=print:key=lavfi.idet.single.current_frame"
    words = ("-map", "0:v:0", "-fps_mode", "passthrough", "-vf", graph, "-f", "null", "-")
    said = run("ffmpeg", "-hide_banner", "-i", path, *words).stderr
    return [word in ("tff", "bff") for word in re.findall(r"single\.current_frame=(\w+)", said)]


def picture_md5(path: Path) -> str:
    """Of the decoded pictures."""
    return run("ffmpeg", "-v", "error", "-i", path, "-map", "0:v:0", "-f", "md5", "-").stdout.strip()


def decodes(path: Path) -> str:
    """What FFmpeg complains of while it decodes everything; nothing where all is well."""
    done = run("ffmpeg", "-v", "error", "-xerror", "-i", path, "-map", "0:v", "-map", "0:a?", "-f", "null", "-")
    return done.stderr.strip() or ("" if done.returncode == 0 else f"ffmpeg ends with {done.returncode}")


def flashes(path: Path) -> list[float]:
    """When the pictures become bright, in seconds."""
    words = ("-copyts", "-i", path, "-map", "0:v:0", "-fps_mode", "passthrough", "-vf", "showinfo", "-f", "null", "-")
    said = run("ffmpeg", "-hide_banner", *words).stderr
    found = [(float(t), int(m) > _BRIGHT) for t, m in re.findall(r"pts_time:\s*([-\d.]+).*?mean:\[(\d+)", said)]
    return _beginnings(found)


def beeps(path: Path) -> list[float]:
    """When the first sound becomes loud, in seconds, to a hundredth."""
    graph = "asetnsamples=n=480:p=0,astats=metadata=1:reset=1,ametadata=print:key=lavfi.astats.Overall.RMS_level"
    words = ("-copyts", "-i", path, "-map", "0:a:0", "-af", graph, "-f", "null", "-")
    said = run("ffmpeg", "-hide_banner", *words).stderr
    found = re.findall(r"pts_time:\s*([-\d.]+).*?RMS_level=(\S+)", said, re.DOTALL)
    return _beginnings([(float(t), "inf" not in v and float(v) > _LOUD) for t, v in found])


def marks(path: Path) -> list[float]:
    """When the packets of the first subtitles begin that stand at a new time."""
    words = ("-v", "error", "-select_streams", "s:0", "-show_entries", "packet=pts_time", "-of", "csv=p=0", path)
    return sorted({float(t.strip(",")) for t in run("ffprobe", *words).stdout.split() if t.strip(",") != "N/A"})


def apart(flashing: list[float], other: list[float]) -> float | None:
    """Seconds, at worst, from one of `other` to the nearest flash; None where there are no two of either."""
    if min(len(flashing), len(other)) < 2:
        return None
    return max(min(abs(f - o) for f in flashing) for o in other)


def ratio(text: str) -> float:
    """``30000/1001``; 0 where it is none."""
    above, _, below = text.partition("/")
    return float(above) / float(below or 1) if float(below or 1) else 0.0


def _beginnings(found: list[tuple[float, bool]]) -> list[float]:
    return [now for k, (now, on) in enumerate(found) if on and not (k and found[k - 1][1])]
