"""Scenes as life films them, made of layers whose motion is known: what stands, what moves before it, and the noise.

A scene shows photos through a camera that stands, drifts, or is held in a hand; before them a person crosses, or words
stand still. Everything follows from a seed; the noise of a sensor or of film comes on top of the reduced picture.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from train.camera import Shot, render
from train.filters import Blur, blur

KINDS = ("tripod", "drift", "hand", "grain", "cut", "fade", "twos", "text")
WHOLE, PERSON, WORDS = "whole", "person", "words"
MIXED = 0  # in a map of layers: no layer alone
SURE = 0.995  # of a pixel, at least: then it shows that layer
WHITE = 235.0  # of words
SENSOR = (1.5, 0.03)  # variance in square codes of the reduced picture: at black, and for each code
HANDY = (0.5, 0.01)  # the same of a better light
GRAIN, GRAIN_SIGMA = 5.0, 0.7  # codes at middle grey, and its size in pixels of the reduced picture


@dataclass(frozen=True)
class Layer:
    """What one layer shows and where: `views` of each frame, None where the layer is not there; `photo` "" is white."""

    photo: str
    shape: str
    views: tuple[Shot | None, ...]

    def motion(self, first: int, second: int) -> Tensor | None:
        """(2, 3) float64: what it shows at (x, y) of `first` is at ``motion @ (x, y, 1)`` of `second`; None: not."""
        before, after = self.views[first], self.views[second]
        return before.motion(after) if before and after else None


@dataclass(frozen=True)
class Scene:
    """Layers from the back to the front, and the light of each frame from 0 to 1."""

    name: str
    kind: str
    layers: tuple[Layer, ...]
    light: tuple[float, ...]

    @property
    def cuts(self) -> frozenset[int]:
        """The frames that share no layer with the one before them."""
        there = [{number for number, layer in enumerate(self.layers) if layer.views[k]} for k in range(len(self.light))]
        return frozenset(k for k in range(1, len(there)) if not there[k - 1] & there[k])


def plan_scenes(
    num: int, frames: int, size: int, photos: Sequence[tuple[str, tuple[int, int]]], seed: int
) -> list[Scene]:
    """`num` scenes of `frames` frames, `size` pixels square, over `photos` (file name and (height, width) of each)."""
    scenes = []
    for number in range(num):
        kind, random = KINDS[number % len(KINDS)], np.random.default_rng((seed, number))
        chosen = [photos[(number + k) % len(photos)] for k in (0, len(photos) // 2)]
        light = _fade(frames) if kind == "fade" else (1.0,) * frames
        scenes.append(Scene(f"{number:02d}-{kind}", kind, tuple(_layers(kind, random, frames, size, chosen)), light))
    return scenes


def _layers(
    kind: str, random: np.random.Generator, frames: int, size: int, photos: Sequence[tuple[str, tuple[int, int]]]
) -> Iterator[Layer]:
    (name, shape), (other, second) = photos
    times = list(range(frames))
    if kind == "twos":
        times = [k // 2 * 2 for k in times]  # each drawing is shown twice
    middle = _middle(shape, size)
    if kind == "cut":
        half = frames // 2
        yield Layer(name, WHOLE, (*_drift(random, times, middle)[:half], *[None] * (frames - half)))
        yield Layer(other, WHOLE, (*[None] * half, *_drift(random, times, _middle(second, size))[half:]))
        return
    path = {"tripod": _still, "hand": _hand}.get(kind, _drift)
    yield Layer(name, WHOLE, path(random, times, middle))
    if kind in ("tripod", "hand", "twos"):
        yield Layer(other, PERSON, _crossing(random, times, _middle(second, size)))
    if kind == "text":
        yield Layer("", WORDS, _still(random, times, (0.0, 0.0)))


def _middle(shape: tuple[int, int], size: int) -> tuple[float, float]:
    """Left and top of a view in the middle of a photo, on whole pixels."""
    return float((shape[1] - size) // 2), float((shape[0] - size) // 2)


def _still(_: np.random.Generator, times: list[int], middle: tuple[float, float]) -> tuple[Shot, ...]:
    return tuple(Shot(*middle) for _ in times)


def _drift(random: np.random.Generator, times: list[int], middle: tuple[float, float]) -> tuple[Shot, ...]:
    """Evenly, by less than two pixels of the original: fractions of a reduced one."""
    angle, speed = random.uniform(0, 2 * math.pi), random.uniform(0.6, 1.9)
    x, y = speed * math.cos(angle), speed * math.sin(angle)
    return tuple(Shot(middle[0] + x * k, middle[1] + y * k) for k in times)


def _hand(random: np.random.Generator, times: list[int], middle: tuple[float, float]) -> tuple[Shot, ...]:
    """A slow sway, a quicker tremble, and a breath of zoom."""
    sway, tremble = random.uniform(3, 7, 2), random.uniform(0.3, 1.0, 2)
    slow, quick = random.uniform(0.15, 0.35, 2), random.uniform(1.2, 2.2, 2)
    phase = random.uniform(0, 2 * math.pi, (2, 2))
    found = []
    for k in times:
        x, y = (sway * np.sin(slow * k + phase[0]) + tremble * np.sin(quick * k + phase[1])).tolist()
        found.append(Shot(middle[0] + x, middle[1] + y, 1 + 0.004 * math.sin(0.3 * k)))
    return tuple(found)


def _crossing(random: np.random.Generator, times: list[int], middle: tuple[float, float]) -> tuple[Shot, ...]:
    """A person who walks across, and rises and falls with each step."""
    speed = random.uniform(2.5, 6.0) * random.choice([-1, 1])
    half, phase = times[-1] / 2, random.uniform(0, 2 * math.pi)
    return tuple(Shot(middle[0] + speed * (k - half), middle[1] + 1.5 * math.sin(0.8 * k + phase)) for k in times)


def _fade(frames: int) -> tuple[float, ...]:
    """From the full light to nearly black and a part of the way back."""
    return tuple(round(0.55 + 0.45 * math.cos(1.3 * math.pi * k / max(frames - 1, 1)), 4) for k in range(frames))


def shape_of(layer: Layer, height: int, width: int) -> Tensor | None:
    """(3, height, width) code values of what a layer covers of its own plane; None: all of it."""
    if layer.shape == WHOLE:
        return None
    image = Image.new("L", (width, height))
    draw = ImageDraw.Draw(image)
    if layer.shape == PERSON:
        x, y, unit = width / 2, height / 2, min(width, height) / 16
        draw.ellipse((x - unit, y - 4.2 * unit, x + unit, y - 1.6 * unit), fill=255)
        draw.rounded_rectangle((x - 2 * unit, y - 1.5 * unit, x + 2 * unit, y + 9 * unit), unit, fill=255)
    else:
        font = ImageFont.load_default(size=height / 12)
        draw.text((width * 0.08, height * 0.70), "Where nothing moves,", font=font, fill=255)
        draw.text((width * 0.08, height * 0.82), "nothing shall crawl 0123", font=font, fill=255)
    return torch.from_numpy(np.array(image)).float().expand(3, -1, -1)


def compose(scene: Scene, photos: Mapping[str, Tensor], size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Each frame: (3, size, size) whole code values, and (1, size, size) which layer each pixel shows.

    In the map a layer is its number from the back, from 1; `MIXED` where an edge runs through the pixel.
    """
    planes = [photos[layer.photo] if layer.photo else torch.full((3, size, size), WHITE) for layer in scene.layers]
    shapes = [shape_of(layer, *plane.shape[1:]) for layer, plane in zip(scene.layers, planes, strict=True)]
    for k, light in enumerate(scene.light):
        picture, seen = torch.zeros(3, size, size), torch.zeros(1, size, size)
        for number, (layer, plane, shape) in enumerate(zip(scene.layers, planes, shapes, strict=True), 1):
            if (view := layer.views[k]) is None:
                continue
            cover = torch.ones(3, size, size)
            if shape is not None:
                cover = render(shape, view, (size, size), 1, "bilinear") / 255
            picture = picture + (render(plane, view, (size, size), 1, "lanczos") - picture) * cover
            seen = torch.where(cover[:1] > SURE, float(number), torch.where(cover[:1] < 1 - SURE, seen, float(MIXED)))
        yield (picture * light).round(), seen


def noisy(scene: Scene, frames: Sequence[Tensor], random: np.random.Generator) -> list[Tensor]:
    """Reduced frames, (3, h, w) in [0, 1], with the noise of what filmed the scene; not rounded."""
    if scene.kind == "grain":
        return [_grainy(frame, random) for frame in frames]
    noise = {"tripod": SENSOR, "hand": HANDY}.get(scene.kind)
    return [frame if noise is None else _sensed(frame, noise, random) for frame in frames]


def _sensed(frame: Tensor, noise: tuple[float, float], random: np.random.Generator) -> Tensor:
    codes, drawn = frame * 255, torch.from_numpy(random.standard_normal(tuple(frame.shape))).float()
    return ((codes + drawn * (noise[0] + noise[1] * codes).sqrt()) / 255).clamp(0, 1)


def _grainy(frame: Tensor, random: np.random.Generator) -> Tensor:
    """The same for all colours, strongest at middle grey."""
    field = blur(
        torch.from_numpy(random.standard_normal((1, *frame.shape[1:]))).float(), Blur(GRAIN_SIGMA, GRAIN_SIGMA)
    )
    grey = frame.mean(0, keepdim=True)
    return (frame + field / field.std() * (GRAIN / 255) * 4 * grey * (1 - grey)).clamp(0, 1)
