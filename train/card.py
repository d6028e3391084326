"""The model card of shipped weights: what it is, how it was made, on what, and what it measures, out of the run."""

from collections.abc import Mapping
from pathlib import Path

from train.evaluate import COLUMNS, LEGEND, show
from train.filters import SHARPEN_SIGMA
from train.markdown import table
from train.recipe import Losses, Recipe
from train.trained import Notes, Trained
from vidsr.models.names import is_path
from vidsr.models.srgan import macs_per_pixel

LICENCE = "MIT"
NETWORKS = {
    "vgg19": "VGG19 trained on ImageNet, as in the paper",
    "vgg16": "the VGG16 that a file brought",
    "stlpips-vgg16": "the VGG16 trunk of ST-LPIPS, in place of the paper's VGG19",
}
DISCRIMINATORS = {
    "paper": "global pooling",
    "patch": "group norms and a logit per place",
    "blurred": "group norms, blurred strides and a logit per place",
}
CODECS = {"libx264": "H.264", "libx265": "HEVC", "libvpx-vp9": "VP9", "mpeg4": "MPEG-4", "mpeg2video": "MPEG-2"}


def purpose(recipe: Recipe, share: float = 1) -> str:
    """What a recipe's model is for, in a few words: the pictures that it knows, and what made it.

    One that keeps the details of a file, or of its own name, is the end of an adversarial training, unless it keeps
    those of its ensemble. `share` is how far from another model's weights to its own those are that are meant.
    """
    pictures, keeps = "real video" if recipe.data == "baked" else "clean pictures", recipe.losses.keeps
    if keeps and keeps != recipe.name and not is_path(keeps):
        return f"{pictures}, by what {keeps} draws"
    if recipe.losses.ensemble:
        return f"{pictures}, by what it drew on average in eight orientations"
    loss = "an adversarial loss" if recipe.losses.adversarial or keeps else "a pixel loss"
    return f"{pictures}, by {loss}" if share == 1 else f"{pictures}, {share:g} of the way to what {loss} makes"


def perceptual_trunk(losses: Losses) -> str:
    """The network and layer that the weights were trained on, as the recipe names it; empty without such a loss."""
    return losses.trunk if losses.perceptual else ""


def card(trained: Trained, weights: Path, metrics: Notes, beside: Mapping[str, Notes] | None = None) -> str:
    """The card as Markdown.

    Args:
        trained: the run's checkpoint and notes.
        weights: the file that was written.
        metrics: per benchmark its figures (`train.evaluate.COLUMNS`) and the border that was cropped; under ``video``
            those of the video benchmark (`train.videoscore.VideoScore`).
        beside: the same of other models, by their names, for whoever has to choose.
    """
    metrics = _with(metrics, beside or {})
    recipe, generator = trained.recipe, trained.recipe.generator
    data = trained.notes.get("data", {})
    pictures = {name: row for name, row in metrics.items() if name != "video"}
    lines = [
        f"# {recipe.name} x{generator.scale}",
        "",
        f"Upscales a picture by {generator.scale}. Made for {purpose(recipe, trained.share)}. "
        f"Licence of the weights: {LICENCE}. This card is written by `python -m train export`.",
        "",
        f"- Graph: `{generator.graph}`, {generator.channels} channels, {generator.blocks} blocks, "
        f"skip {generator.skip}; {macs_per_pixel(generator) / 1000:,.0f} k multiply-adds per input pixel.",
        f"- File: {weights.stat().st_size:,} bytes, FP16, averaged weights.",
        *_loss_lines(recipe),
        f"- Input in training: {_input_in_words(recipe, data)}.",
        f"- Recipe: {recipe.optimiser}, rate {recipe.rate:g}, batches of {recipe.batch} patches of "
        f"{recipe.patch}x{recipe.patch} LR pixels, averaged with {recipe.ema:g}; hash `{recipe.digest()[:16]}`.",
        f"- Length: {trained.phase}; {trained.saved.state['seconds'] / 3600:.1f} hours.",
        f"- Machine: {_machine(trained.notes)}.",
        "",
        _limits(recipe),
        "",
        "## Measured",
        "",
        *(_metrics_table(pictures) if pictures else ["Nothing on pictures: it was exported without `--benchmarks`."]),
        *(_video_table(metrics["video"]) if "video" in metrics else []),
        "",
        "## Trained on",
        "",
        *_data_list(data),
    ]
    return "\n".join(lines) + "\n"


def _with(metrics: Notes, beside: Mapping[str, Notes]) -> Notes:
    """`metrics` and those that others have of the same benchmarks, by title and name."""
    merged = {title: row for title, row in metrics.items() if title != "video"}
    video = metrics.get("video")
    for name, found in beside.items():
        merged |= {f"{title} by {name}": found[title] for title in metrics if title in found and title != "video"}
        theirs = found.get("video", {})
        if video and theirs.get("benchmark") == video["benchmark"]:
            rows = {f"{title} by {name}": row for title, row in theirs["rows"].items() if title != "original"}
            video = {**video, "rows": {**video["rows"], **rows}}
    return merged | ({"video": video} if video else {})


def _loss_lines(recipe: Recipe) -> list[str]:
    """The sum that training minimised; the network of its perceptual part by name."""
    losses = recipe.losses
    lines = [f"- Loss: {losses.in_words()}."]
    if recipe.sharpen:
        mask = f"unsharp mask, sigma of {SHARPEN_SIGMA:g} pixel"
        lines.append(f"- Targets: the originals sharpened by {recipe.sharpen:g} ({mask}).")
    if losses.perceptual:
        network, _, layer = losses.trunk.partition(":")
        lines.append(
            f"- Perceptual loss: on {NETWORKS.get(network, network)}, {_layer_in_words(layer)}. "
            "No figure below is measured with this network alone."
        )
    if losses.adversarial:
        first = recipe.discriminator.channels
        kind = DISCRIMINATORS[recipe.discriminator.kind]
        alone = f"; {recipe.discriminator.alone} steps of its own first" if recipe.discriminator.alone else ""
        paired = "; it compares the two pictures of a place" if recipe.discriminator.relative else ""
        lines.append(f"- Discriminator: 8 convolutions of {first} to {8 * first} channels, {kind}{paired}{alone}.")
    return lines


def _layer_in_words(layer: str) -> str:
    if layer.startswith("lpips"):
        return f"with its heads, the first {layer.removeprefix('lpips')} of 5 stages"
    if layer.endswith("+"):
        return f"the last convolutions of its blocks up to {layer.removesuffix('+')}, before their activation"
    return f"layer {layer} ({'before' if layer.startswith('conv') else 'after'} its activation)"


def _machine(notes: Notes) -> str:
    machine, count = notes.get("machine", "not noted"), notes.get("processes", 1)
    return f"{count} x {machine}" if count > 1 else str(machine)


def _input_in_words(recipe: Recipe, data: Notes) -> str:
    plain = f"; {recipe.patches} of a batch constants, slow slopes and noise instead" if recipe.patches else ""
    return f"{_pictures_in_words(recipe, data)}{plain}"


def _pictures_in_words(recipe: Recipe, data: Notes) -> str:
    if recipe.data != "baked":
        return "photos reduced by antialiased bicubic and rounded to 8 bit, nothing else"
    maker = data.get("degraded_by", "")
    count = f"{data['pairs']:,} pairs" if "pairs" in data else "pairs"
    made = f" ({maker})" if maker else ""
    return (
        f"{count} out of clips made by pan and zoom over photos, reduced and degraded ahead{made}{_degradations(maker)}"
    )


def _degradations(maker: str) -> str:
    """The distribution that the cache was drawn from; empty where this checkout's may be another one."""
    try:
        from train import degrade
    except ImportError:  # the cache came from a machine with PyAV, and this one has none
        return ""
    if degrade.version() not in maker:
        return ""
    codecs = ", ".join(f"{CODECS.get(name, name)} {share:.0%}" for name, share in degrade.CODECS.items())
    return (
        f": {degrade.CLEAN:.0%} only reduced; of the others {degrade.BLUR:.0%} blurred, {degrade.NOISE:.0%} noisy, "
        f"and all through a codec at several qualities: {codecs}"
    )


def _limits(recipe: Recipe) -> str:
    if recipe.data == "baked":
        return "It knows compressed, slightly soft and slightly noisy video; very poor sources stay poor."
    return "It knows clean pictures only: noise and compression blocks of its input are enlarged with everything else."


def _metrics_table(metrics: Notes) -> list[str]:
    names = [name for name in COLUMNS if any(name in row for row in metrics.values())]
    titles = ["benchmark", *(COLUMNS[name][0] for name in names), "border cropped (pixels)"]
    rows = [[title, *(show(name, row) for name in names), str(row["border"])] for title, row in metrics.items()]
    return [*table(titles, rows), "", "The FP16 weights as shipped, run in FP32; outputs rounded to 8 bit.", LEGEND]


def _video_table(video: Notes) -> list[str]:
    rows: Mapping[str, Mapping[str, float]] = video["rows"]
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    cells = [[title, *(f"{row[name]:.3f}" if name in row else "" for name in names)] for title, row in rows.items()]
    return [
        "",
        *table(["video", *names], cells),
        "",
        f"The video benchmark {video['benchmark']}, {video['frames']:,} frames, H.264 at the CRF named; `original` is "
        "the uncompressed original itself. Flicker, warp error and chroma error are in code values of 255.",
    ]


def _data_list(data: Notes) -> list[str]:
    if not data:
        return ["Not noted."]
    return [
        f"{data['photos']:,} photos; none of them is part of the package. Licences as their sources state them:",
        "",
        *(f"- {count}: {licence}" for licence, count in data["licences"].items()),
    ]
