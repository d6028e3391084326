"""What the name of a model says: a file or one that is shipped, and how strong it is to be.

``srgan@0.3`` names weights in between: 0.3 of the way from those that ``srgan`` was trained on from to its own. What
that stage of its training taught grows with the number: ``detail`` of one model, ``denoise`` of another.
``fast-video@denoise=0.3`` says which. ``@grain=0.5`` behind any model is for whoever runs it.
"""

from vidsr.errors import ModelError, UnknownModelError

PICKLED = (".pth", ".pt", ".ckpt", ".pkl", ".bin")

STAGES: dict[str, tuple[tuple[str, str], ...]] = {
    "fast-video": (("denoise", "fast"),),
    "srgan-video": (("detail", "origins/srgan-video"), ("denoise", "srresnet")),
    "srgan": (("detail", "srresnet"),),
}
"""What weights were trained on from, the last stage of their training first: its name, and the weights before it.

The model to prefer comes first. Weights are files in `registry.WEIGHTS`, of a model or, in origins, of what is none.
"""
GRAIN = "grain"


def is_path(name_or_path: str) -> bool:
    """Whether a model argument means a file, by its suffix or a folder separator in it.

    Raises:
        ModelError: a pickled checkpoint, which could run code.
    """
    if name_or_path.lower().endswith(PICKLED):
        raise ModelError(
            f"{name_or_path} is a pickled checkpoint, which could run code; turn it into .safetensors first, with "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), ...)."
        )
    return name_or_path.endswith(".safetensors") or "/" in name_or_path or "\\" in name_or_path


def split_strengths(name_or_path: str) -> tuple[str, dict[str, float]]:
    """``srgan@0.3`` -> ``srgan`` and ``{"detail": 0.3}``; any other model, as it is, and nothing.

    Raises:
        UnknownModelError: a strength is not a number from 0 to 1, or the model has none of that name.
    """
    name, *parts = name_or_path.split("@")
    if not parts or is_path(name_or_path):
        return name_or_path, {}
    own = [stage for stage, _ in STAGES.get(name, ())]
    found: dict[str, float] = {}
    for part in parts:
        stage, named, text = part.rpartition("=")
        stage = stage if named else next(iter(own), "strength")
        if stage not in (*own, GRAIN):
            fitting = having(stage)
            raise UnknownModelError(
                f"{name} has no {stage}, which goes with {' and '.join(fitting)}; choose one of these."
                if fitting
                else f"{name} has no strength to choose; {', '.join(STAGES)} have."
            )
        found[stage] = _strength(name, stage, text)
    return name, found


def _strength(name: str, stage: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UnknownModelError(f"The {stage} of {name} is a number from 0 to 1, not {text!r}.")
    return value


def having(*stages: str) -> list[str]:
    """The models whose strength can be chosen in all of `stages`, the one to prefer first."""
    return [name for name, known in STAGES.items() if {stage for stage, _ in known} >= set(stages)]
