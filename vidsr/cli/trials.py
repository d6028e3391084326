"""`vidsr doctor --check`: every backend on every device, and a whole job, really run on this machine."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

from vidsr.backends import LISTED, Runtime
from vidsr.errors import BackendError, VidsrError

SEND = "a report of a bug is all of the above, the command that failed and what it printed"
SHAPE = (96, 128)  # (H, W) of the film frame that every backend gets
FRAMES, WIDTH, HEIGHT = 10, 160, 120  # of the film that is upscaled


def trials() -> Iterator[tuple[str, Callable[[], str]]]:
    """What is to be tried, by name; each answers how far from FP32 and how fast it was, or in one sentence why not."""
    for row in LISTED:
        for unit in row.units:
            yield f"try {row.name} on {unit}", lambda row=row, unit=unit: _network(row, unit)  # type: ignore[misc]
    yield "try a film", _film
    yield "send", lambda: SEND


def _network(row: Runtime, unit: str) -> str:
    if not row.is_installed:
        return f"not installed: {row.package}"
    from vidsr.backends import accuracy
    from vidsr.backends.selection import open_backend
    from vidsr.models import registry

    model = registry.load("fast", 2)
    try:
        backend, _ = open_backend(row.name, model, device=unit)
    except BackendError as error:
        return f"no: {error}"
    try:
        found, run = accuracy.trial(backend, model, (1, *SHAPE))
        began = time.perf_counter()
        run()
        seconds = time.perf_counter() - began
    finally:
        backend.close()
    verdict = "works" if found.passed else "wrong"
    speed = f"{1000 * seconds:.0f} ms for {SHAPE[1]}x{SHAPE[0]}"
    return f"{verdict}: {backend.unit} in {backend.precision}, {found.psnr:g} dB from FP32, {speed}"


def _film() -> str:
    """A film made here, upscaled by what ``auto`` takes, and compared with its source."""
    from vidsr.api import upscale_video
    from vidsr.verify.comparison import compare

    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "film.mp4", Path(folder) / "large.mp4"
        _make(source)
        began = time.perf_counter()
        try:
            upscale_video(source, output, scale=2)
            seconds = time.perf_counter() - began
            report = compare(source, output)
        except VidsrError as error:  # of other trials this says what the machine lacks, but films it should have
            return f"wrong: {error}"
    wrong = "; ".join(f"{finding.name} {finding.detail}" for finding in report.differences)
    return f"wrong: {wrong}" if wrong else f"works: {FRAMES} frames in {seconds:.1f} s, and nothing was lost"


def _make(path: Path) -> None:
    """A film of ten pictures: a real one, that moves."""
    import av
    import numpy as np
    from av.video.stream import VideoStream
    from PIL import Image

    from vidsr.backends.accuracy import FRAME

    image = np.asarray(Image.open(FRAME).convert("RGB"))
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", Fraction(25))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(FRAMES):
            crop = image[index : index + HEIGHT, 2 * index : 2 * index + WIDTH]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(crop))))
        container.mux(stream.encode(None))
