"""`vidsr engine build|list|prune`: TensorRT engines, built ahead of the jobs that use them. `pack` has its own file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidsr.cli import complete, engine_pack
from vidsr.cli.engine_pack import Folder
from vidsr.cli.options import GpuNumber, Json
from vidsr.cli.output import print_json, print_table, table
from vidsr.errors import BackendError, Cancelled, ModelError, UsageError
from vidsr.words import num_bytes, printable

if TYPE_CHECKING:
    from vidsr.backends.tensorrt.build import Progress
    from vidsr.backends.tensorrt.cache import CacheEntry, Engine, EngineCache
    from vidsr.backends.tensorrt.engines import Maker
    from vidsr.backends.tensorrt.flavour import Flavour
    from vidsr.backends.tensorrt.gpu import Gpu
    from vidsr.backends.tensorrt.key import Profile
    from vidsr.backends.tensorrt.recipes import EngineRecipe
    from vidsr.backends.tensorrt.status import Status
    from vidsr.models.registry import Model

EXAMPLES = """\b
Examples:
  vidsr engine build                           for this GPU, by its recipe
  vidsr engine build rtx4090 t4 --model all    other GPUs: TensorRT-RTX only
  vidsr engine build --size 720x576 --scale 2  one size alone
"""  # \b: lines as they are
NAME_A_GPU = "name the one that the engines are for, like `vidsr engine build rtx4090`."
BUILDS_AHEAD = "TensorRT builds on the GPU that it is for; torch-tensorrt-rtx builds for RTX GPUs anywhere."
LIST_EXAMPLES = """\b
Examples:
  vidsr engine list          model, size, GPU, versions, and whether it fits
  vidsr engine list --check  and its error against FP32
"""
PRUNE_EXAMPLES = """\b
Examples:
  vidsr engine prune               what fits no longer
  vidsr engine prune --other-gpus  what was built for other GPUs, too
"""

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Build, list, carry and remove TensorRT engines.")
app.command("pack", epilog=engine_pack.EXAMPLES, short_help="Put engines into one file.")(engine_pack.pack)
app.command("unpack", epilog=engine_pack.UNPACK_EXAMPLES, short_help="Take engines out of such a file.")(
    engine_pack.unpack
)


@app.command("build", epilog=EXAMPLES, short_help="Build the engines of a recipe.")
def build(
    gpu: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="GPU",
            autocompletion=complete.gpu,
            help="rtx4090, h100, ... or a .toml file. Default: the one here.",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            autocompletion=complete.engine_model, help="A name, a .safetensors file, auto, or all: every shipped one."
        ),
    ] = "auto",
    scale: Annotated[
        int | None, typer.Option(help="2 or 4. Default: 4, or the file's; with --model all, both.")
    ] = None,
    size: Annotated[
        list[str] | None, typer.Option(help="Build for this input size alone, like 960x540. May be repeated.")
    ] = None,
    dynamic: Annotated[
        bool | None, typer.Option("--dynamic/--no-dynamic", help="The engine for any size. Default: unless --size.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="fp16 or fp32. Default: the recipe's.")] = None,
    device: GpuNumber = 0,
    folder: Folder = None,
    force: Annotated[bool, typer.Option("--force", help="Build even what is there already.")] = False,
    json: Json = False,
) -> None:
    """Build the engines of a recipe, and check them against FP32 where the GPU is in this machine.

    TensorRT-RTX builds for GPUs that are not there, too, on a machine without any: `pack` carries those.
    """
    from vidsr.backends.tensorrt import flavour as flavours
    from vidsr.backends.tensorrt.cache import EngineCache, engine_folder

    flavour = flavours.require()
    _check_scale_and_precision(scale, precision)
    names: list[str | None] = [*gpu] if gpu else [None]
    wanted = [_recipe(name, device, flavour) for name in names]
    profiles = [_profiles(recipe, size, dynamic) for recipe, _ in wanted]
    cache, done = EngineCache(engine_folder(folder)), []
    with _Display(quiet=json) as show:
        for loaded in _models(model, scale):
            graphs: dict[str, bytes] = {}
            makers = [
                _maker(loaded, precision or recipe.precision, target, flavour, cache, show, graphs)
                for recipe, target in wanted
            ]
            for maker, shapes in zip(makers, profiles, strict=True):
                done += [_tried(maker, profile, force, show) for profile in shapes]
    if json:
        print_json(done)
    if not all(row["usable"] for row in done):
        raise typer.Exit(1)


@app.command("list", epilog=LIST_EXAMPLES, short_help="List engines, and whether they fit this machine.")
def show_list(
    check: Annotated[bool, typer.Option("--check", help="Run each on its GPU and compare it with FP32.")] = False,
    device: GpuNumber = 0,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """List the engines that are there, and whether they still fit this machine."""
    from vidsr.backends.tensorrt import gpu as targets
    from vidsr.backends.tensorrt.cache import EngineCache, engine_folder
    from vidsr.backends.tensorrt.status import statuses

    cache = EngineCache(engine_folder(folder))
    rows = statuses(cache, device)
    if check:
        if targets.here(device) is None:
            typer.echo("nothing is compared: this torch finds no NVIDIA GPU", err=True)
        rows = [_checked(cache, row, device) for row in rows]
    if json:
        print_json([{"status": row.kind, "why": row.why, **vars(row.entry)} for row in rows])
        return
    _print_table(rows, check)


@app.command("prune", epilog=PRUNE_EXAMPLES, short_help="Remove engines that fit no longer.")
def prune(
    every: Annotated[bool, typer.Option("--all", help="Remove all engines, also those that fit.")] = False,
    other: Annotated[bool, typer.Option("--other-gpus", help="Remove engines for other GPUs, too.")] = False,
    device: GpuNumber = 0,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Remove engines that fit no longer: of other versions, of changed weights, or damaged."""
    from vidsr.backends.tensorrt.cache import EngineCache, engine_folder
    from vidsr.backends.tensorrt.status import statuses

    cache, removed = EngineCache(engine_folder(folder)), []
    for row in statuses(cache, device):
        if every or row.kind == "stale" or (other and row.kind == "another GPU"):
            slot, freed = row.entry.slot, cache.remove(row.entry)
            removed.append({"slot": slot, "status": row.kind, "why": row.why, "bytes": freed})
            if not json:
                typer.echo(f"removed {slot} ({num_bytes(freed)}): {row}", err=True)
    if json:
        print_json(removed)
    elif not removed:
        typer.echo("nothing to remove", err=True)


def _check_scale_and_precision(scale: int | None, precision: str | None) -> None:
    from vidsr.backends.tensorrt.recipes import PRECISIONS
    from vidsr.models.config import SCALES

    if scale is not None and scale not in SCALES:
        raise UsageError(f"Engines are for the native scales {' and '.join(map(str, SCALES))}, not {scale}.")
    if precision is not None and precision not in PRECISIONS:
        raise UsageError(f"Engines are built in {' or '.join(PRECISIONS)}, not {precision}.")


def _recipe(gpu: str | None, device: int, flavour: Flavour) -> tuple[EngineRecipe, Gpu]:
    """The recipe, and the GPU it is for: the one in this machine if it is of that kind."""
    from vidsr.backends.tensorrt import gpu as targets
    from vidsr.backends.tensorrt import recipes

    recipe, here = None if gpu is None else recipes.find(gpu), targets.here(device)
    if here is not None and (recipe is None or recipe.capability in (None, here.capability)):
        return recipe or recipes.for_target(here), here
    if recipe is None or recipe.capability is None or (here is None and flavour.name == "full"):
        raise BackendError(
            "This torch finds no NVIDIA GPU; " + (BUILDS_AHEAD if flavour.name == "full" else NAME_A_GPU)
        )
    if here is not None and flavour.name == "full":
        raise UsageError(
            f"The recipe {recipe.label} is for another GPU than the {here.name} in this machine, and only TensorRT-RTX "
            "builds ahead; run this on that GPU, or install torch-tensorrt-rtx."
        )
    return recipe, targets.Gpu(recipe.capability, recipe.name)


def _profiles(recipe: EngineRecipe, sizes: list[str] | None, dynamic: bool | None) -> list[Profile]:
    from vidsr.backends.tensorrt.key import Profile, parse_size

    static = [Profile.static((1, *parse_size(size))) for size in sizes] if sizes else list(recipe.static)
    with_dynamic = not sizes if dynamic is None else dynamic
    return [*static, *([recipe.dynamic] if with_dynamic else [])]


def _models(name: str, scale: int | None) -> Iterator[Model]:
    from vidsr.models import registry
    from vidsr.models.names import is_path

    if name != "all":
        if scale is None:
            scale = registry.read_info(Path(name)).scale if is_path(name) else 4
        yield registry.load(registry.default_model(scale, gpu=True)[0] if name == "auto" else name, scale)
        return
    for info in registry.available_models():
        if scale in (None, info.scale):
            yield registry.load(info.name, info.scale)


def _maker(
    model: Model,
    precision: str,
    target: Gpu,
    flavour: Flavour,
    cache: EngineCache,
    show: Progress | None = None,
    graphs: dict[str, bytes] | None = None,
) -> Maker:
    import torch

    from vidsr.backends.tensorrt.engines import Maker

    device = None if target.index is None else torch.device("cuda", target.index)
    maker = Maker(model, precision, target, flavour, cache, device, graphs={} if graphs is None else graphs)
    if show is not None:
        maker.on_progress = show
        maker.on_wait = lambda: show("waiting for another process", 0.0)
    return maker


def _tried(maker: Maker, profile: Profile, force: bool, show: _Display) -> dict[str, object]:
    """`_build`, after whose failure the other engines are still worth having."""
    try:
        return _build(maker, profile, force, show)
    except Cancelled:
        raise
    except (BackendError, ModelError) as error:
        show.say(f"{show.name}: {error}")
        return {"built": False, "reason": str(error), "usable": False, "engine": None}


def _build(maker: Maker, profile: Profile, force: bool, show: _Display) -> dict[str, object]:
    """Build one engine and say how it went; returns that for JSON."""
    show.name = f"{maker.model.name} x{maker.model.scale} {maker.precision} {profile}"
    profile = maker.fit(profile)
    show.name = name = f"{maker.model.name} x{maker.model.scale} {maker.precision} {profile}"
    show("looking", 0.0)
    opened = maker.obtain(profile, force=force)
    engine = opened.engine
    if engine.check is None and maker.device is not None:
        engine = maker.verify(opened)
    how = f"built in {engine.seconds:.1f} s ({opened.reason})" if opened.built else "in the cache"
    where = maker.target.name or maker.target.label
    show.say(f"{name} for {where}: {how}, {_size(engine)}; {_error(engine)}")
    usable = engine.check is None or engine.check.passed
    return {"built": opened.built, "reason": opened.reason, "usable": usable, "engine": engine}


def _checked(cache: EngineCache, found: Status, device: int) -> Status:
    """Run an engine that fits against FP32; others stay as they are, and so does one that cannot be run."""
    from vidsr.backends.tensorrt.flavour import require
    from vidsr.backends.tensorrt.gpu import of_device
    from vidsr.backends.tensorrt.key import Profile
    from vidsr.backends.tensorrt.status import status
    from vidsr.models import registry

    engine = found.entry.engine
    if engine is None or found.kind not in ("fits", "unchecked", "refused"):
        return found
    target, flavour = of_device(device), require()
    maker = _maker(registry.load(engine.source, engine.key.scale), engine.key.precision, target, flavour, cache)
    try:
        engine = maker.verify(maker.obtain(Profile.parse(engine.key.shapes)))
    except Cancelled:
        raise
    except BackendError as error:
        return replace(found, kind="unknown", why=str(error).rstrip("."))
    return status(replace(found.entry, engine=engine), flavour, target)


def _print_table(rows: list[Status], check: bool) -> None:
    error = "error|" if check else ""
    cells = (map(printable, (*_cells(row.entry, check), str(row))) for row in rows)
    made = table(f"model|input|precision|GPU|versions|size|built|{error}fits?", cells, right="size")
    print_table(made if rows else "no engines")


def _cells(entry: CacheEntry, check: bool) -> list[str]:
    engine = entry.engine
    if engine is None:
        return [entry.slot, *[""] * (6 + check)]
    from vidsr.backends.tensorrt.key import ONNX

    key = engine.key
    versions = f"{key.flavour} {key.tensorrt}, torch {key.torch}{', ' + key.converter if key.converter == ONNX else ''}"
    cells = [f"{key.model} x{key.scale}", key.shapes, key.precision, key.gpu or f"sm {key.capability}", versions]
    return [*cells, _size(engine), engine.built[:10], *([_error(engine)] if check else [])]


def _size(engine: Engine) -> str:
    return num_bytes(engine.num_bytes)


def _error(engine: Engine) -> str:
    if engine.check is None:
        return "not compared with FP32 yet: that needs its GPU"
    verdict = "" if engine.check.passed else ", REFUSED"
    return f"{engine.check.psnr:.1f} dB and {engine.check.p999:.2f} code values from FP32{verdict}"


class _Display:
    """Where a build has got to, and lines that stay."""

    def __init__(self, *, quiet: bool) -> None:
        from vidsr.cli.steps import Steps

        self._steps = Steps(quiet=quiet)
        self.say = self._steps.say
        self.name = ""

    def __enter__(self) -> _Display:
        self._steps.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._steps.__exit__(None, None, None)

    def __call__(self, phase: str, share: float) -> None:
        self._steps(f"{self.name}: {phase}", share)
