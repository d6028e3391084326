"""The models that exist: shipped weights by name, anyone's weights by path. Listing them loads no torch."""

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from vidsr.errors import BackendError, ModelError, UnknownModelError
from vidsr.models.names import GRAIN, STAGES, is_path, split_strengths

if TYPE_CHECKING:
    from torch import nn

    from vidsr.models.config import GeneratorConfig
    from vidsr.models.foreign import Foreign, ForeignConfig
    from vidsr.models.graph import Weights
    from vidsr.models.scales import Scales

WEIGHTS = Path(__file__).parent / "weights"
FORMAT = "1"  # of the header; a string, as all safetensors metadata is
MAX_HEADER = 1 << 20  # bytes; ours are a few thousand
STRUCTURED = ("config", "metrics", "training_data")  # header values that are JSON
OF_WEIGHTS = ("metrics", "int8")  # what holds for these weights alone, and not for a mixture
REQUIRED = ("format", "name", "config", "scale")

BICUBIC = "bicubic"
QUICKEST = "tiny-video"
QUICK = "auto quick"  # in place of ``auto``: where the usual network takes too long for a film (`vidsr.jobs.pace`)
BICUBIC_SCALES = (2, 4)
# What an srgan invents flickers: it is for those who ask for it. fast-video, an adversarial share and all, is nearer on
# films than srresnet, and steadier by tLP.
USES = {
    "fast-video": "films, phones, old recordings: steady and quick",
    QUICKEST: "films that fast-video takes too long for: a sixth of its work, softer; at x2 a quarter, and alike",
    "srgan-video": "real video that should look sharper; it invents texture, and is slow",
    "srresnet": "clean pictures, as near to the truth as can be; slow",
    "srgan": "clean pictures that should look sharp; it invents, --detail says how much",
    "fast": "clean pictures without traces of compression, quick",
    BICUBIC: "comparisons, and trying everything else: no network",
}
"""What to take a shipped model for; of others their header says what they were trained for."""
STEADY = {"fast-video": 0.5, QUICKEST: 0.5, "srgan-video": 0.5}
"""How far films are held still where nobody says, by model: what that costs stands in docs/models.md."""
PREFERRED_GPU = ("fast-video", "srgan-video", "srresnet", "srgan", "fast")
PREFERRED_CPU = ("fast-video", "fast", "srgan-video", "srresnet", "srgan")


@dataclass(frozen=True)
class ModelInfo:
    """What the header of a weights file says; `path` is None for ``bicubic``, which needs no file.

    `metadata` is the whole header: format, config, training data, metrics, recipe, steps, licence.
    """

    name: str
    scale: int
    path: Path | None
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Model:
    """A generator: its weights, or for other projects' networks the module that has them.

    It maps (N, 3, H, W) RGB in [0, 1] to (N, 3, H*scale, W*scale), not clamped. `halo` is the receptive radius in
    input pixels; input sides must be multiples of `multiple`; `macs_per_pixel` counts multiply-adds per input pixel.
    `weights_hash` is the SHA-256 of the weights file without its INT8 scales, a constant for ``bicubic``.
    """

    name: str
    scale: int
    config: "GeneratorConfig | ForeignConfig"
    given: "nn.Module | Weights"
    halo: int
    multiple: int
    macs_per_pixel: int
    weights_hash: str
    metadata: Mapping[str, object]
    path: Path | None

    @cached_property
    def module(self) -> "nn.Module":
        """The network in torch, which this loads: FP32, on the CPU, in evaluation mode, without gradients."""
        if not isinstance(self.given, Mapping):
            return self.given
        from vidsr.models.srgan import GeneratorConfig, restored

        assert isinstance(self.config, GeneratorConfig)
        return restored(self.config, self.given)

    @cached_property
    def weights(self) -> "Weights":
        """Of one of our own graphs, float32, without torch where they were read from a file."""
        if isinstance(self.given, Mapping):
            return self.given
        return {name: value.float().numpy() for name, value in self.given.state_dict().items()}

    @property
    def scales(self) -> "Scales":
        """How it computes in INT8.

        Raises:
            ModelError: nobody said so, or what is said is damaged or of other weights.
        """
        from vidsr.models import scales

        said = self.metadata.get(scales.KEY)
        return scales.read(f"{self.name} x{self.scale}", said, self.config, self.weights_hash)

    @property
    def is_network(self) -> bool:
        """Whether there are weights at all."""
        return bool(self.given) if isinstance(self.given, Mapping) else any(True for _ in self.given.parameters())


def use_of(info: ModelInfo) -> str:
    """What to take a model for."""
    return USES.get(info.name) or str(info.metadata.get("purpose", ""))


def available_models() -> list[ModelInfo]:
    """All shipped models, ``bicubic`` included, sorted by name and scale.

    Raises:
        ModelError: a shipped weights file is damaged.
    """
    shipped = [read_info(path) for path in WEIGHTS.glob("*.safetensors")]
    plain = [ModelInfo(BICUBIC, scale, None, {"purpose": "the baseline: no network"}) for scale in BICUBIC_SCALES]
    return sorted([*shipped, *plain], key=lambda info: (info.name, info.scale))


def read_info(path: Path) -> ModelInfo:
    """Read the header of a weights file; its tensors stay unread.

    Raises:
        ModelError: not a safetensors file, or one that vidsr did not write.
    """
    metadata = _read_header(path)
    if not metadata.keys() & {"name", "config", "scale"}:
        return _foreign_info(path)
    if missing := [key for key in REQUIRED if key not in metadata]:
        raise ModelError(f"{path} has no {missing[0]!r} in its header; make weights with `python -m train export`.")
    if metadata["format"] != FORMAT:
        raise ModelError(f"{path} has format {metadata['format']}, this version of vidsr reads format {FORMAT}.")
    try:
        values = {key: json.loads(text) if key in STRUCTURED else text for key, text in metadata.items()}
        return ModelInfo(metadata["name"], int(metadata["scale"]), path, values)
    except ValueError as error:
        raise ModelError(f"The header of {path} is damaged; export the weights again.") from error


def _foreign_info(path: Path) -> ModelInfo:
    """A file that vidsr did not write: what spandrel recognises in it."""
    _, config = _foreign(path)
    values = {"config": config.to_dict(), "purpose": f"a {config.graph} network of another project"}
    return ModelInfo(path.stem, config.scale, path, values)


def _read_header(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)) if 2 <= size <= MAX_HEADER else None
    except OSError as error:
        raise ModelError(f"Cannot read the weights file {path} ({error.strerror}); check the path.") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not a safetensors file; give weights made by `python -m train export`.") from error
    if not isinstance(header, dict):
        raise ModelError(f"{path} is not a safetensors file; give weights made by `python -m train export`.")
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ModelError(f"The header of {path} is damaged; export the weights again.")
    return metadata


def find(name_or_path: str, scale: int) -> ModelInfo:
    """The model of that name or file, at exactly the native `scale`.

    Raises:
        ModelError: no such model, not at this scale, or a damaged file.
    """
    if is_path(name_or_path):
        info = read_info(Path(name_or_path))
        if info.scale != scale:
            raise ModelError(f"{name_or_path} is a x{info.scale} model, not x{scale}; use scale {info.scale}.")
        return info
    for info in _named(name_or_path):
        if info.scale == scale:
            return info
    scales = " and ".join(f"x{info.scale}" for info in _named(name_or_path))
    raise UnknownModelError(
        f"The model {name_or_path} exists for {scales}, not for x{scale}; choose one of these scales."
    )


def _named(name_or_path: str) -> list[ModelInfo]:
    name, models = split_strengths(name_or_path)[0], available_models()
    found = [info for info in models if info.name == name]
    if not found:
        names = list(dict.fromkeys(info.name for info in models))
        near = difflib.get_close_matches(name.lower(), names, n=1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise UnknownModelError(
            f"Unknown model {name!r}{meant}; choose one of {', '.join(names)}, or give a .safetensors file."
        )
    return found


def native_scale(name_or_path: str, scale: float) -> int:
    """The smallest native scale of that model that is at least `scale`.

    Raises:
        ModelError: no such model, or it reaches less than `scale`.
    """
    found = [read_info(Path(name_or_path))] if is_path(name_or_path) else _named(name_or_path)
    if enough := [info.scale for info in found if info.scale >= scale]:
        return min(enough)
    largest = max(info.scale for info in found)
    raise UnknownModelError(
        f"The model {name_or_path} reaches x{largest} at most, not x{scale:g}; choose another model."
    )


def default_model(scale: float, *, gpu: bool = False, quick: bool = False) -> tuple[str, str]:
    """The best shipped model that reaches `scale`, and the reason for it in a few words.

    `quick`: the least one that is trained, where there is one of exactly that native scale.
    """
    models = available_models()
    if quick and (QUICKEST, scale) in {(info.name, info.scale) for info in models}:
        return QUICKEST, "the default for films that others take too long for"
    order = PREFERRED_GPU if gpu else PREFERRED_CPU
    reach = {info.name for info in models if info.scale >= scale}
    for rank, name in enumerate(order):
        if name in reach:
            place = "a GPU" if gpu else "a CPU"
            return name, f"the default on {place}" if rank == 0 else f"the best shipped weights for {place}"
    return BICUBIC, f"no trained weights are shipped for x{scale:g}"


def load(name_or_path: str, scale: int) -> Model:
    """Find a model and read its weights. Other projects' networks load torch.

    Args:
        name_or_path: a name of `available_models`, or a weights file.
        scale: its native scale, see `native_scale`.

    Raises:
        ModelError: no such model, not at this scale, or a file whose weights are not what its header claims.
    """
    from vidsr.models import config as configs
    from vidsr.models import graph, scales

    name, strengths = split_strengths(name_or_path)
    strengths.pop(GRAIN, None)
    if strengths:
        return _mixed(load(name, scale), strengths)
    info = find(name, scale)
    if info.path is None:
        config, weights_hash = configs.GeneratorConfig(BICUBIC, scale), f"{BICUBIC}-keys-x{scale}"
        weights: Weights = {}
    elif "format" not in info.metadata:
        return _load_foreign(info)
    else:
        config = configs.GeneratorConfig.from_dict(_config_values(info))
        if config.scale != info.scale:
            raise ModelError(f"The header of {info.path} contradicts itself about the scale; export the weights again.")
        weights_hash = scales.identity(info.path.read_bytes())
        weights = graph.read(info.path, config)
    return Model(
        name=info.name,
        scale=info.scale,
        config=config,
        given=weights,
        halo=configs.halo(config),
        multiple=config.multiple,
        macs_per_pixel=configs.macs_per_pixel(config),
        weights_hash=weights_hash,
        metadata=info.metadata,
        path=info.path,
    )


def _mixed(model: Model, strengths: Mapping[str, float]) -> Model:
    """`model` with the weights that stand so far on the ways that its training went (arXiv:1811.10515)."""
    stages = STAGES[model.name]
    known = [model, *(load(str(WEIGHTS / f"{stem}-x{model.scale}.safetensors"), model.scale) for _, stem in stages)]
    weights = [one.weights for one in known]
    chosen = [strengths.get(stage, 1.0) for stage, _ in stages]
    mixed = weights[-1]
    for number in reversed(range(len(stages))):
        after, before, strength = weights[number], weights[number + 1], chosen[number]
        moved = (
            {name: before[name] + strength * (after[name] - before[name]) for name in after} if strength < 1 else after
        )
        if mixed is not before:  # an earlier stage is not whole: what this one added comes on top of what there is
            moved = {name: mixed[name] + (moved[name] - before[name]) for name in after}
        mixed = moved
    identity = " ".join([*(one.weights_hash for one in known), *(f"{strength:g}" for strength in chosen)])
    said = [
        f"@{stage}={strengths[stage]:g}" if k else f"@{strengths[stage]:g}"
        for k, (stage, _) in enumerate(stages)
        if stage in strengths
    ]
    return replace(
        model,
        given=mixed,
        name=model.name + "".join(said),
        weights_hash=hashlib.sha256(identity.encode()).hexdigest(),
        metadata={key: value for key, value in model.metadata.items() if key not in OF_WEIGHTS},
        path=None,
    )


def _load_foreign(info: ModelInfo) -> Model:
    from vidsr.models import foreign

    assert info.path is not None
    module, config = _foreign(info.path)
    return Model(
        name=info.name,
        scale=info.scale,
        config=config,
        given=module,
        halo=foreign.halo(module, config.multiple),
        multiple=config.multiple,
        macs_per_pixel=foreign.macs_per_pixel(module, config.multiple),
        weights_hash=hashlib.sha256(info.path.read_bytes()).hexdigest(),
        metadata=info.metadata,
        path=info.path,
    )


def _foreign(path: Path) -> "tuple[Foreign, ForeignConfig]":
    try:
        from vidsr.models import foreign
    except ModuleNotFoundError as error:
        line = "pip install 'vidsr-upscaler[models]'"
        raise BackendError(f"Networks of other projects need {error.name}, which is missing: {line}.") from error
    return foreign.load(path)


def _config_values(info: ModelInfo) -> dict[str, object]:
    values = info.metadata["config"]
    if not isinstance(values, dict):
        raise ModelError(f"The header of {info.path} is damaged; export the weights again.")
    return values
