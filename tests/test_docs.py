"""What the documents say is so: their commands run, their options exist, their figures are the measured ones."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.conftest import ROOT, Result
from tests.documents import DOCUMENTS, OPTION, Block, blocks, make_workspace

Cli = Callable[..., Result]
LANGUAGES = {"sh", "python", "json", "toml", "text"}
NOT_RUN = {  # document -> how many of its blocks are not run
    "README.md": 5,
    "train/README.md": 3,
    "docs/gpus.md": 5,
    "docs/index.md": 1,
    "docs/long-jobs.md": 1,
    "docs/media.md": 2,
    "docs/models.md": 2,
    "docs/performance-log.md": 1,
    "docs/scaling.md": 1,
    "docs/training.md": 3,
}
OF_OTHERS = {
    *("--from", "--target", "--index-url", "--rm", "-t"),  # of uvx, docker and pip
    "--rounds",  # of scripts/cpu.py
    "--group",
    "--generate",
    "--no-deps",
    "--nproc-per-node",
    "--logdir",
    "--head",
    "--address",
    "-e",
    "-m",
    "-i",
    "-f",
}
ONLY_IN_HELP = {"--show-completion", "--version", "--dynamic", "--no-dynamic"}
SMALL = {  # what a command gets besides its own options, so that it is quick here
    "upscale": ["--model", "bicubic", "--backend", "cpu"],
    "compare": ["--model", "bicubic", "--backend", "cpu"],
    "bench": ["--model", "bicubic", "--backends", "cpu", "--sizes", "32x24", "--seconds", "0.02"],
    "fit": ["--steps", "2"],
    "gan": ["--steps", "2"],
    "doctor": ["--measure", "1"],
    "bake": ["--crop", "16", "--frames", "2"],
    "evaluate": ["--perceptual", "none"],
}
SMALLER = {
    "--anneal": "2",
    "--count": "2",
    "--size": "120x90",
    "--seconds": "0.02",
}  # values that take hours with real files
TRUNK = 'trunk = "stlpips-vgg16:relu2_2"'  # the one that a package carries, for one that is to be made first
TINY = "steps = 2\nbatch = 1\npatch = 8\nevaluate_every = 100\n"  # of every recipe


def name_of(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("documents"))


@pytest.fixture
def workspace(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that the documents name, which is the current one and the home."""
    folder = Path(shutil.copytree(template, tmp_path / "work"))
    monkeypatch.chdir(folder)
    for variable, value in {"HOME": folder, "XDG_CACHE_HOME": folder / ".cache", "VIDSR_ENGINE_DIR": "engines"}.items():
        monkeypatch.setenv(variable, str(value))
    recipes = folder / ".recipes"
    recipes.mkdir()
    for path in (ROOT / "train" / "recipes").glob("*.toml"):
        kept = re.sub(r"^(steps|batch|patch|patches|alone|evaluate_every) = .*\n", "", path.read_text(), flags=re.M)
        kept = re.sub(r'^trunk = "vgg16:.*"\ntrunk_file = .*\n', f"{TRUNK}\n", kept, flags=re.M)
        (recipes / path.name).write_text(TINY + kept)
    monkeypatch.setattr("train.recipe.RECIPES", recipes)
    monkeypatch.setattr("vidsr.bench.speeds.CPU_SHAPE", (16, 16))  # of the pictures by which all models are timed
    return folder


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_and_snippets_run(document: Path, workspace: Path, vidsr: Cli) -> None:
    for block in blocks(document):
        assert block.language in LANGUAGES, f"{name_of(document)}:{block.line}: a block without a known language"
        if not block.why:
            try:
                run(block, vidsr)
            except Exception as error:
                error.add_note(f"in {name_of(document)}:{block.line}")
                raise


def run(block: Block, vidsr: Cli) -> None:
    if block.language == "python":
        exec(compile(block.text, str(block.document), "exec"), {"__name__": "__main__"})
    elif block.language == "json":
        assert all(isinstance(json.loads(line), dict) for line in block.text.splitlines())
    elif block.language == "toml":
        tomllib.loads(block.text)
    elif block.language == "sh":
        for words in block.commands:
            run_command([os.path.expanduser(word) for word in words], vidsr)  # noqa: PTH111  (~ alone, as a shell)


def run_command(words: list[str], vidsr: Cli) -> None:
    if words[:3] == ["python", "-m", "train"]:
        from train.__main__ import main

        assert main(small(words[3:])) == 0, words
        return
    assert words[0] == "vidsr", f"{words[0]} cannot be run by a test: mark its block with <!-- not run: reason -->"
    result = vidsr(*(words[1:] if words[1] == "doctor" else small(words[1:])))
    assert result.code == 0, (words, result.err)


def small(words: list[str]) -> list[str]:
    """The same command, cheap: see `SMALL` and `SMALLER`."""
    made = [SMALLER.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    two_films = words[0] == "compare" and not words[2].startswith("-")  # which no network enlarges
    extra = [] if two_films else SMALL.get(words[0], [])
    for option, value in zip(extra[::2], extra[1::2], strict=True):
        if option not in words and not (
            option == "--model" and "--denoise" in words
        ):  # which goes with a network alone
            made += [option, value]
    return made


def test_the_blocks_that_are_not_run_are_counted() -> None:
    counts = {name_of(document): sum(bool(block.why) for block in blocks(document)) for document in DOCUMENTS}
    assert {name: count for name, count in counts.items() if count} == NOT_RUN
    assert sum(not block.why for document in DOCUMENTS for block in blocks(document)) >= 25


def test_every_fence_is_found() -> None:
    for document in DOCUMENTS:
        fences = len(re.findall(r"^\s*```", document.read_text(), re.M))
        assert fences == 2 * len(blocks(document)), name_of(document)


def commands(command: Any = None, name: str = "") -> Iterator[tuple[str, Any]]:
    """All commands of the command line by their names, such as ``engine build``."""
    if command is None:
        from vidsr.cli.app import app

        command = typer.main.get_command(app)
    yield name, command
    for part, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{name} {part}".strip())


def options_of(command: Any) -> list[set[str]]:
    """The names of each option of a command, ``--quiet`` and ``-q`` together."""
    named = [{*parameter.opts, *parameter.secondary_opts} for parameter in command.params]
    return [names for names in [*named, {"--help", "-h"}] if any(name.startswith("-") for name in names)]


def options_of_vidsr() -> list[set[str]]:
    return [names for _, command in commands() for names in options_of(command)]


def options_of_training() -> set[str]:
    from train.__main__ import _parser

    found: set[str] = set()
    for action in _parser()._actions:
        for parser in (action.choices or {}).values() if isinstance(action.choices, dict) else ():
            found.update(text for inner in parser._actions for text in inner.option_strings)
    return found


def named_options(document: Path) -> set[str]:
    """Options in code: fenced, or in backticks."""
    text = document.read_text()
    code = [block.text for block in blocks(document)] + re.findall(r"`([^`\n]+)`", text)
    lines = [line.split("  #")[0] for part in code for line in part.splitlines()]
    return {option for line in lines for option in OPTION.findall(line.replace("-vv", "-v"))}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_option_that_is_named_exists(document: Path) -> None:
    known = set().union(*options_of_vidsr(), options_of_training(), OF_OTHERS)
    assert named_options(document) <= known


def test_commands_that_are_not_run_have_their_options() -> None:
    known = dict(commands())
    checked = 0
    for block in (block for document in DOCUMENTS for block in blocks(document) if block.why):
        for words in block.commands:
            if words[0] == "vidsr":
                name = " ".join(words[1:3]) if words[1] == "engine" else words[1]
                given = {word for word in words if word.startswith("-") and word != "-"}
                assert given <= set().union(*options_of(known[name])), words
                checked += 1
    assert checked >= 8


def test_every_option_is_documented_or_known_not_to_be() -> None:
    named = set().union(*map(named_options, DOCUMENTS))
    missing = [names for names in options_of_vidsr() if not names & named]
    assert set().union(*missing) == ONLY_IN_HELP
    assert named >= OF_OTHERS


def test_tables_of_figures_are_those_of_the_json() -> None:
    figures = script("figures")
    for document in figures.DOCUMENTS:
        text = document.read_text()
        assert text == figures.rendered(text), f"run python scripts/figures.py: {name_of(document)}"
    assert sum(document.read_text().count("<!-- figures: ") for document in figures.DOCUMENTS) >= 3


def test_figures_are_of_the_weights_that_are_shipped() -> None:
    from vidsr.models import registry

    reports = json.loads((ROOT / "docs" / "figures" / "models.json").read_text())
    measured = {(one["model"], one["scale"], one["weights"]) for one in reports}
    shipped = {registry.load(info.name, info.scale) for info in registry.available_models()}
    assert measured == {(model.name, model.scale, model.weights_hash) for model in shipped}


def test_a_benchmark_becomes_a_table(tmp_path: Path, vidsr: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = script("figures")
    result = vidsr("bench", *SMALL["bench"], "--json")
    (tmp_path / "bench.json").write_text(result.out)
    monkeypatch.setattr(figures, "FIGURES", tmp_path)
    lines = figures.rendered("<!-- figures: bench -->\n<!-- /figures -->\n").splitlines()
    assert lines[0] == "<!-- figures: bench -->"
    assert lines[-1] == "<!-- /figures -->"
    assert "`vidsr bench --model bicubic" in lines[2]
    assert [line.split(" | ")[1] for line in lines if line.startswith("| cpu")] == ["32x24", "32x24"]


def script(name: str) -> Any:
    """A script of the folder `scripts` as a module."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sentences() -> list[str]:
    """All texts of the program, with a NUL where something is filled in."""
    found = []
    for path in (*(ROOT / "vidsr").rglob("*.py"), *(ROOT / "train").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_every_sentence_of_troubleshooting_is_one_that_the_program_says() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    said = sentences()
    headings = re.findall(r"^### `(.+)`$", text, re.M)
    assert len(headings) > 30
    for heading in headings:
        words = re.sub(r"^vidsr: ", "", heading).removesuffix("...").removeprefix("...").split("...")
        pattern = re.compile(".*".join(map(re.escape, words)), re.S)
        assert any(pattern.search(sentence) for sentence in said), heading


def test_events_are_documented_with_their_fields() -> None:
    from vidsr.cli.json_show import JSON_NAMES
    from vidsr.jobs import events
    from vidsr.jobs.run import BatchReport

    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", (ROOT / "docs" / "json.md").read_text(), re.M)
    documented = {name: set(re.findall(r"`(\w+)`", fields.split(": `")[0])) for name, fields in rows}
    for kind in events.Event.__args__:
        name = JSON_NAMES.get(events.WORDS[kind], events.WORDS[kind])
        assert documented.pop(name) == {field.name for field in dataclasses.fields(kind)}, name
    counts = {word.replace(" ", "_") for word in BatchReport().counts}
    assert documented == {"summary": counts | {"failures"}}


def test_errors_are_one_sentence(vidsr: Cli, workspace: Path) -> None:
    for words in (
        ["upscale", "no.mp4"],
        ["upscale", "clip.mp4", "--model", "no"],
        ["probe", "photos"],
        ["verify", "a.mp4", "a.mp4"],
    ):
        result = vidsr(*words)
        assert result.code in (1, 2)
        assert [line for line in result.err.splitlines() if line.startswith("vidsr: ")], result.err
        assert max(len(line) for line in result.err.splitlines()) <= 160


def test_the_site_asks_nothing_of_other_hosts(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    pages = list(tmp_path.glob("*.html"))
    assert len(pages) > 12
    for page in (*pages, *tmp_path.rglob("*.svg")):
        assert not re.findall(
            r"""<(?!a\b)[^>]*?(?:src|href)=["']?(?:https?:)?//[^>]*>|url\(["']?http""", page.read_text()
        ), page


def test_pictures_are_small_and_described() -> None:
    shown = set()
    for document in DOCUMENTS:
        for words, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", document.read_text()):
            path = (document.parent / target).resolve()
            assert path.stat().st_size < 400_000
            assert len(words) > 30
            shown.add(path)
    assert shown == set((ROOT / "docs" / "pictures").iterdir())
