"""A fixed video benchmark: short clips whose motion is known, and their compressed copies.

Seeded pans, zooms and shakes over photos, reduced by antialiased bicubic and compressed with H.264 at several
qualities; the lossless originals and the exact motion are kept beside. The same photos and the same PyAV give the
same bytes. A pan moves by whole HR pixels, never by a multiple of the scale in both directions, so that its frames can
be laid on each other without interpolation; zooms and shakes move by fractions.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypeVar

import av
import numpy as np
import torch
from av.video.stream import VideoStream
from torch import Tensor

from train.camera import Shot, render
from train.codec import X264_REPEATABLE, YUV420
from train.data import find_photos, read_image
from train.resample import downscale
from vidsr.errors import MediaError, UsageError
from vidsr.files import write
from vidsr.frame import Colour, Frame, Matrix, PixelFormat
from vidsr.media.read.reader import Reader
from vidsr.media.write.encoder import VideoSpec, configure, to_video_frame
from vidsr.media.write.writer import writing
from vidsr.upscaling.colour import from_rgb, to_rgb

T = TypeVar("T")

FORMAT = 1
INDEX = "benchmark.json"
KINDS: tuple[Literal["pan", "zoom", "shake"], ...] = ("pan", "zoom", "shake")
CRFS = (23, 28, 33)
MAX_STEP = 7  # HR pixels a frame that a pan moves along each side
MAX_PITCH = 1.3  # photo pixels per HR pixel at the far end of a zoom
MIN_LR_SIDE = 64  # pixels: of smaller ones a codec's blocks leave nothing to see
RATE = Fraction(25)
RGB = Colour(Matrix.RGB, full_range=True)


@dataclass(frozen=True)
class BenchPlan:
    """What the benchmark holds; `size` is the side of an HR frame in pixels.

    Raises:
        UsageError: a value is impossible.
    """

    scale: int = 4
    size: int = 384
    clips: int = 16
    frames: int = 12
    crfs: tuple[int, ...] = CRFS
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scale not in (2, 4):
            raise UsageError(f"The scale of the video benchmark is 2 or 4, not {self.scale}.")
        if self.size < MIN_LR_SIDE * self.scale or self.size % (2 * self.scale):
            least, step = MIN_LR_SIDE * self.scale, 2 * self.scale
            raise UsageError(f"The size must be a multiple of {step} from {least}, not {self.size}.")
        if self.clips < 1 or self.frames < 2:
            raise UsageError("The video benchmark needs at least 1 clip and 2 frames.")
        if not self.crfs or not all(0 <= crf <= 51 for crf in self.crfs):
            raise UsageError("The qualities of H.264 go from CRF 0 to 51; name at least one.")


@dataclass(frozen=True)
class Clip:
    """One clip: its name, the photo's file name, what the camera does, and where each HR frame looks."""

    name: str
    photo: str
    kind: str
    views: tuple[Shot, ...]

    def motion(self, first: int, second: int) -> Tensor:
        """(2, 3) float64: what stands at pixel (x, y) of frame `first` stands at ``motion @ (x, y, 1)`` of `second`."""
        return self.views[first].motion(self.views[second])


@dataclass(frozen=True)
class Benchmark:
    """A benchmark on disk; `digest` names its plan, motion and every byte of its clips."""

    folder: Path
    plan: BenchPlan
    clips: tuple[Clip, ...]
    digest: str

    def originals(self, clip: Clip, num: int) -> list[Tensor]:
        """The first `num` HR frames: (3, size, size) float32, whole code values."""
        return [frame.round() for frame in read_clip(_hr_path(self.folder, clip), num)]

    def decoded(self, clip: Clip, crf: int, num: int) -> list[Tensor]:
        """The first `num` LR frames at that quality, (3, h, w) code values, as the upscaler sees them: not rounded."""
        return list(read_clip(_lr_path(self.folder, clip, crf), num))


def plan_clips(plan: BenchPlan, photos: Sequence[tuple[str, tuple[int, int]]]) -> list[Clip]:
    """The clips over `photos` (file name and (height, width) of each), by the plan's seed alone.

    Raises:
        MediaError: a photo is too small to move over.
    """
    clips = []
    for number in range(plan.clips):
        name, shape = photos[number % len(photos)]
        kind = KINDS[number % len(KINDS)]
        room = [side - plan.size for side in shape]
        if min(room) < plan.frames:
            least = plan.size + plan.frames
            raise MediaError(
                f"The photo {name} is {shape[1]}x{shape[0]}, too small for clips of {plan.size} pixels: it needs "
                f"{least}x{least}; use a smaller --size, or other photos."
            )
        random = np.random.default_rng((plan.seed, number))
        views = tuple(_views(kind, random, plan, room, shape))
        clips.append(Clip(f"{number:02d}-{kind}", name, kind, views))
    return clips


def _views(
    kind: str, random: np.random.Generator, plan: BenchPlan, room: list[int], shape: tuple[int, int]
) -> Iterator[Shot]:
    times = range(plan.frames)
    if kind == "pan":
        (y, down), (x, right) = _pan(random, plan, room)
        return (Shot(float(x + right * k), float(y + down * k)) for k in times)
    if kind == "zoom":
        far = min(MAX_PITCH, min(shape) / plan.size)
        pitches = far ** np.linspace(0, 1, plan.frames)[:: random.choice([-1, 1])]
        focus = random.uniform(0, 1, 2)  # the point that stands still, as a share of the free room
        return (_zoomed(float(pitch), focus, plan.size, shape) for pitch in pitches)
    waves = random.uniform([0.5, 0.15, 0], [2.5, 0.9, 2 * math.pi], (2, 2, 3))  # amplitude, radians a frame, phase
    middle = [random.uniform(6, side - 6) if side > 12 else side / 2 for side in room]
    return (_shaken(k, waves, middle, room) for k in times)


def _pan(random: np.random.Generator, plan: BenchPlan, room: list[int]) -> list[tuple[int, int]]:
    """(start, step) down and right, in whole photo pixels, such that every frame lies in the photo."""
    limits = [min(MAX_STEP, side // (plan.frames - 1)) for side in room]
    steps = [0, 0]
    while all(step % plan.scale == 0 for step in steps):
        steps = [int(random.integers(-limit, limit + 1)) for limit in limits]
    found = []
    for step, side in zip(steps, room, strict=True):
        travel = abs(step) * (plan.frames - 1)
        start = int(random.integers(side - travel + 1))
        found.append((start + travel if step < 0 else start, step))
    return found


def _zoomed(pitch: float, focus: np.ndarray, size: int, shape: tuple[int, int]) -> Shot:
    top, left = (share * (side - pitch * size) for share, side in zip(focus.tolist(), shape, strict=True))
    return Shot(left, top, pitch)


def _shaken(frame: int, waves: np.ndarray, middle: list[float], room: list[int]) -> Shot:
    top, left = (
        min(max(centre + float((a * np.sin(rate * frame + phase)).sum()), 0.0), float(side))
        for (a, rate, phase), centre, side in zip(np.moveaxis(waves, -1, 1), middle, room, strict=True)
    )
    return Shot(left, top)


def make(plan: BenchPlan, folder: Path, out: Path) -> Benchmark:
    """Make the benchmark over the photos in `folder`, in their order by name, or find it already made in `out`.

    Raises:
        MediaError: no photo there, a damaged or too small one.
        UsageError: `out` holds another benchmark.
        OutputError: `out` cannot be written.
    """
    photos = find_photos([folder])[: plan.clips]
    pictures = {path.name: read_image(path) for path in photos}
    clips = plan_clips(plan, [(name, picture.shape[:2]) for name, picture in pictures.items()])
    if (out / INDEX).exists():
        return _same(open_benchmark(out), plan, clips)
    out.mkdir(parents=True, exist_ok=True)
    files: dict[str, str] = {}
    for clip in clips:
        photo = torch.from_numpy(pictures[clip.photo].copy()).permute(2, 0, 1).float()
        hr = [render(photo, view, (plan.size, plan.size), 1, "lanczos") for view in clip.views]
        paths = [write_hr(_hr_path(out, clip), hr)]
        lr = [downscale(frame / 255, plan.scale) for frame in hr]
        paths += [write_lr(_lr_path(out, clip, crf), lr, crf) for crf in plan.crfs]
        files |= {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    index = {"format": FORMAT, "plan": asdict(plan), "clips": [_to_dict(clip) for clip in clips], "files": files}
    write(out / INDEX, json.dumps(index, indent=1) + "\n")
    return open_benchmark(out)


def _same(found: Benchmark, plan: BenchPlan, clips: list[Clip]) -> Benchmark:
    if found.plan != plan or found.clips != tuple(clips):
        raise UsageError(f"{found.folder} holds another video benchmark; choose another --out, or leave --data out.")
    return found


def _to_dict(clip: Clip) -> dict[str, object]:
    return asdict(clip) | {"affines": [view.affine() for view in clip.views]}


def open_benchmark(folder: Path) -> Benchmark:
    """Read the index of a benchmark.

    Raises:
        MediaError: none in `folder`, a damaged one, or one of another format.
    """
    return Benchmark(folder, *read_index(folder / INDEX, "video benchmark", _clips))


def _clips(index: dict[str, Any]) -> tuple[Clip, ...]:
    return tuple(
        Clip(one["name"], one["photo"], one["kind"], tuple(Shot(**view) for view in one["views"]))
        for one in index["clips"]
    )


def read_index(path: Path, what: str, items: Callable[[dict[str, Any]], T]) -> tuple[BenchPlan, T, str]:
    """The plan of a benchmark, the `items` of its index, and the digest; `what` is it called?

    Raises:
        MediaError: there is none, a damaged one, or one of another format.
    """
    try:
        text = path.read_text(encoding="utf-8")
        index = json.loads(text)
        if index["format"] != FORMAT:
            raise MediaError(f"{path} has format {index['format']}, this version reads {FORMAT}; make it again.")
        plan = BenchPlan(**index["plan"] | {"crfs": tuple(index["plan"]["crfs"])})
        return plan, items(index), hashlib.sha256(text.encode()).hexdigest()[:12]
    except OSError as error:
        raise MediaError(
            f"{path.parent} holds no {what} ({error.strerror}); make it with --data PHOTOS --out {path.parent}."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise MediaError(f"{path} is damaged; delete the folder and make the benchmark again.") from error


def _hr_path(folder: Path, clip: Clip) -> Path:
    return folder / f"{clip.name}.hr.mkv"


def _lr_path(folder: Path, clip: Clip, crf: int) -> Path:
    return folder / f"{clip.name}.crf{crf}.mp4"


def write_hr(path: Path, frames: Sequence[Tensor]) -> Path:
    """FFV1 in RGB, lossless; code values."""
    height, width = frames[0].shape[-2:]
    spec = VideoSpec("ffv1", PixelFormat("rgb"), RGB, width, height, 1 / RATE, RATE, threads=1)
    pixels = (frame.to(torch.uint8).permute(1, 2, 0).contiguous().numpy() for frame in frames)
    pictures = (av.VideoFrame.from_ndarray(one, "rgb24").reformat(format="bgr0") for one in pixels)
    return _write(path, "matroska", spec, "bgr0", {}, pictures)  # its only 8-bit RGB


def write_lr(path: Path, frames: Sequence[Tensor], crf: int) -> Path:
    """H.264, 4:2:0, one thread; values in [0, 1]."""
    height, width = frames[0].shape[-2:]
    spec = VideoSpec("libx264", YUV420, Colour(), width, height, 1 / RATE, RATE, crf=crf, preset="medium", threads=1)
    planes = (from_rgb(frame[None], YUV420, Colour()) for frame in frames)
    pictures = (to_video_frame(Frame(one, YUV420, Colour(), 0, spec.time_base), spec) for one in planes)
    return _write(path, "mp4", spec, YUV420.name, X264_REPEATABLE, pictures)


def _write(
    path: Path,
    container: str,
    spec: VideoSpec,
    pix_fmt: str,
    options: dict[str, str],
    pictures: Iterable[av.VideoFrame],
) -> Path:
    """Encode pictures into a file whose bytes hold nothing random."""
    with writing(path), av.open(str(path), "w", format=container, options={"fflags": "+bitexact"}) as output:
        stream = output.add_stream(spec.encoder)
        if not isinstance(stream, VideoStream):
            raise TypeError(f"{spec.encoder} is no video encoder")
        context = stream.codec_context
        configure(context, spec)
        context.pix_fmt, context.options = pix_fmt, {**context.options, **options}
        for number, picture in enumerate(pictures):
            picture.pts, picture.time_base = number, spec.time_base
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return path


def read_clip(path: Path, num: int) -> Iterator[Tensor]:
    """The first `num` frames of a file: (3, H, W) code values, as the upscaler sees them: not rounded."""
    with Reader(path) as reader:
        for number, frame in enumerate(reader):
            if number == num:
                return
            yield to_rgb(frame.planes, frame.format, frame.colour)[0].clamp(0, 1) * 255
