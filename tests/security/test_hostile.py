"""A media file is hostile: nothing in it opens another file, reaches a path or the terminal, or takes the memory."""

from __future__ import annotations

import ctypes
import os
import pickle
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clips import make_clip
from tests.conftest import ROOT, Result
from vidsr.errors import ModelError, VidsrError
from vidsr.media.read.probe import probe
from vidsr.media.stills import read_image
from vidsr.models import registry
from vidsr.models.names import is_path

Cli = Callable[..., Result]
QUICK = ("--model", "bicubic", "--backend", "cpu", "--scale", "2")
EVIL = "[red]x[/red] %s%n {0} $(touch y) `touch y` ../../z \x1b[31m"


def test_names_and_words_of_a_file_are_only_words(vidsr: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "in" / "side"
    folder.mkdir(parents=True)
    source = make_clip(
        folder / "a.mkv",
        frames=2,
        metadata={"title": EVIL, "comment": EVIL},
        chapters=[(0, 0.05, EVIL)],
        attachments=[("../../evil.sh", "text/x-sh", b"touch y"), ("/tmp/evil", "[red]x[/red]/%s", b"x")],
    )
    for output in ("out.mkv", "out.mp4"):
        result = vidsr("upscale", source, "-v", *QUICK, "-o", folder / output)
        assert result.code == 0, result.err
        assert "\x1b" not in result.err
    assert "[red]x[/red]/%s" in result.err  # the type of an attachment that mp4 cannot hold, as it is
    shown = vidsr("probe", folder / "out.mkv")
    assert "[red]x[/red] %s%n {0} $(touch y) `touch y` ../../z ?[31m" in shown.out
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == [
        "in/side/a.mkv", "in/side/out.mkv", "in/side/out.mp4"
    ]  # fmt: skip
    assert not Path("/tmp/evil").exists()


class Watch:
    """Counts how often `path` is opened, by inotify(7)."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self._fd, os.fsencode(path), 0x20) >= 0  # IN_OPEN

    def opened(self) -> bool:
        try:
            return bool(os.read(self._fd, 4096))
        except BlockingIOError:
            return False


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{target}'\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    '<Representation id="1"><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "asx": '<asx version="3"><entry><ref href="{target}"/></entry></asx>',
    "smil": '<smil><body><video src="{target}"/></body></smil>',
}


@pytest.mark.skipif(sys.platform != "linux", reason="inotify")
@pytest.mark.parametrize("name", PLAYLISTS)
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".ts"])
def test_playlists_open_no_other_file_and_no_network(vidsr: Cli, tmp_path: Path, name: str, suffix: str) -> None:
    canary = make_clip(tmp_path / "canary.ts", frames=24)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        port = listener.getsockname()[1]
        watch = Watch(canary)
        for target in (
            canary,
            "canary.ts",
            f"file:{canary}",
            f"http://127.0.0.1:{port}/a.ts",
            f"tcp://127.0.0.1:{port}",
        ):
            source = tmp_path / f"list{suffix}"
            source.write_text(PLAYLISTS[name].format(target=target, port=port))
            with pytest.raises(VidsrError) as caught:
                probe(source)
            assert "\n" not in str(caught.value)
        result = vidsr("upscale", source, *QUICK)
        assert result.code == 1
        with pytest.raises(BlockingIOError):
            listener.accept()
        assert not watch.opened()


def test_the_watch_sees_an_open_file(tmp_path: Path) -> None:
    canary = make_clip(tmp_path / "canary.ts", frames=24)
    watch = Watch(canary)
    assert not watch.opened()
    probe(canary)
    assert watch.opened()


@pytest.mark.parametrize(
    "name", ["http://127.0.0.1:9/a.mp4", "concat:a.ts|b.ts", "file:a.mp4", "lavfi:testsrc", "data:x"]
)
def test_addresses_are_no_files(vidsr: Cli, tmp_path: Path, name: str) -> None:
    result = vidsr("upscale", name, *QUICK)
    code, words = (2, "not addresses") if "://" in name else (1, "does not exist")
    assert result.code == code
    assert words in result.err


def test_postscript_in_an_image_file_starts_no_program(tmp_path: Path) -> None:
    """Pillow hands EPS to Ghostscript."""
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(y) (w) file closefile\n%%EOF\n")
    with pytest.raises(VidsrError, match="not an image"):
        read_image(path)


def png_header(width: int, height: int) -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + b"\0\0\0\0IDAT"


def huge(folder: Path) -> list[Path]:
    """Files whose headers claim pictures of 65535 x 65535, or about that."""
    sides = (64).to_bytes(2, "little") + (48).to_bytes(2, "little")
    gif = make_gif(folder / "small.gif").replace(sides, b"\xff\xff\xff\xff")
    avi = make_clip(folder / "small.avi", frames=2, codec="rawvideo", pix_fmt="yuv420p").read_bytes()
    four = struct.pack("<II", 64, 48)
    bombs = {
        "a.gif": gif,
        "b.avi": avi.replace(four, struct.pack("<II", 65535, 65535)),
        "c.y4m": b"YUV4MPEG2 W65535 H65535 F25:1 C444\nFRAME\n" + bytes(4096),
        "d.png": png_header(65535, 65535),
        "e.png": png_header(30000, 30000),
        "f.bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 2**31, 0, 0, 54, 40, 65535, 65535, 1, 24, 0, 0, 0, 0, 0, 0),
        "g.ppm": b"P6\n65535 65535\n255\n" + bytes(512),
    }
    for name, data in bombs.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in bombs]


def make_gif(path: Path) -> bytes:
    from PIL import Image

    frames = [Image.new("P", (64, 48), k) for k in range(2)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path.read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_sizes_that_no_picture_has_take_no_memory(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from vidsr.errors import VidsrError\nfrom vidsr.media.read.probe import probe\n"
        "from vidsr.media.stills import is_image, read_image\n"
        "for name in sys.argv[1:]:\n"
        "    path = pathlib.Path(name)\n"
        "    try:\n        (read_image if is_image(path) else probe)(path)\n"
        "    except VidsrError as error: print('refused', error)\n"
        "    else: print('READ', path)\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(int(status.split('VmHWM:')[1].split()[0]) >> 10)\n"
    )
    command = [sys.executable, "-c", program, *map(str, huge(tmp_path))]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    *lines, peak = run.stdout.splitlines()
    assert [line for line in lines if not line.startswith("refused")] == []
    assert int(peak) < 200  # MB; one of these pictures would take 12 GB


class Payload:
    """Runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_by_another_name_is_refused_unread(vidsr: Cli, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    canary = tmp_path / "canary"
    plain, zipped = tmp_path / "plain.safetensors", tmp_path / "zipped.safetensors"
    plain.write_bytes(pickle.dumps(Payload(canary)))
    torch.save({"weight": Payload(canary)}, zipped)
    source = make_clip(tmp_path / "a.mp4", frames=2)
    for weights in (plain, zipped):
        with pytest.raises(ModelError, match="not a safetensors file"):
            registry.read_info(weights)
        result = vidsr("upscale", source, "--model", weights, "--backend", "cpu")
        assert result.code == 1
        assert "not a safetensors file" in result.err
    assert not canary.exists()


@pytest.mark.parametrize("name", ["..", "fast-x4", "weights", "fast\0", "%s", "fast-x4.safetensors.bak"])
def test_a_model_name_is_never_a_path(name: str) -> None:
    assert not is_path(name)
    with pytest.raises(ModelError, match="Unknown model"):
        registry.find(name, 4)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../b.safetensors"])
def test_a_model_path_is_read_as_weights_or_not_at_all(name: str) -> None:
    with pytest.raises(ModelError):
        registry.find(name, 4)
