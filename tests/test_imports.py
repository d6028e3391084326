"""The architecture, read from the imports."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "vidsr").rglob("*.py"))
ALL = [*MODULES, *sorted((ROOT / "train").rglob("*.py"))]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def imports(path: Path) -> frozenset[str]:
    """What `path` imports: see `imported`."""
    return imported(path.read_text(encoding="utf-8"))


def imported(source: str) -> frozenset[str]:
    """Names of the modules, and of what is taken from them, that a module imports: in functions and for types, too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found)


@cache
def graph() -> dict[str, frozenset[str]]:
    """Which of our modules each of them imports; the package's own version is no module."""
    names = {module_name(path) for path in ALL}
    made = {}
    for path in ALL:
        needs = {name if name in names else name.rpartition(".")[0] for name in imports(path) - {"vidsr.__version__"}}
        made[module_name(path)] = frozenset(needs & names - {module_name(path)})
    return made


def circles() -> list[set[str]]:
    """Modules that need each other, by any number of steps."""
    reach = dict(graph())
    while True:
        further = {name: needs.union(*(reach[need] for need in needs)) for name, needs in reach.items()}
        if further == reach:
            break
        reach = further
    round_trip = {name: frozenset(other for other in needs if name in reach[other]) for name, needs in reach.items()}
    return [set(members) for members in {members for members in round_trip.values() if members}]


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def below(*places: str) -> list[Path]:
    """The modules of folders and files."""
    return [path for path in MODULES if any(path.is_relative_to(ROOT / "vidsr" / place) for place in places)]


def test_no_import_goes_round_in_a_circle_not_even_hidden() -> None:
    assert circles() == []


def test_hidden_imports_are_seen() -> None:
    source = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import vidsr.a\n"
        "def f():\n    from vidsr import b\n    return lambda: __import__('c')\n"
    )
    assert imported(source) == {"typing.TYPE_CHECKING", "vidsr.a", "vidsr.b"}


def table() -> list[list[Path]]:
    """The rows of CONTRIBUTING.md's "Where things are": files and folders, from the top down."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("| to change |")[2].partition("\n\n")[0]
    rows = [line.split("|")[2] for line in text.splitlines()[2:]]
    return [[ROOT / name for name in re.findall(r"`((?:vidsr|train)/[\w/.]*)`", row)] for row in rows]


def level(path: Path) -> int:
    """The row that a module stands in: the one that names the most of its path."""
    ranked = [
        (len(place.parts), number)
        for number, places in enumerate(table())
        for place in places
        if path.is_relative_to(place)
    ]
    return max(ranked)[1] if ranked else -1


def test_the_table_says_where_everything_is() -> None:
    assert all(place.exists() for places in table() for place in places)
    package = {ROOT / "vidsr" / "__init__.py", ROOT / "vidsr" / "__main__.py"}
    assert [path for path in ALL if level(path) < 0 and path not in package] == []


def test_imports_point_downward_in_the_order_of_the_table() -> None:
    levels = {module_name(path): level(path) for path in ALL}
    upward = [
        f"{name} imports {need}"
        for name, needs in graph().items()
        for need in sorted(needs)
        if levels[name] > levels[need] and levels[name] >= 0
    ]
    assert upward == []


def test_a_public_class_has_its_name_alone() -> None:
    names = Counter(
        node.name
        for path in ALL
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    twice = {name for name, number in names.items() if number > 1}
    assert twice == set()


@pytest.mark.parametrize(
    ("places", "forbidden"),
    [
        (("media",), "torch"),
        (("backends", "models", "upscaling"), "av"),
        (("frame.py", "light.py", "errors.py", "files.py", "tiling.py", "backends/__init__.py"), "torch"),
    ],
)
def test_layers_keep_to_their_libraries(places: tuple[str, ...], forbidden: str) -> None:
    assert below(*places)
    for path in below(*places):
        assert forbidden not in roots(path), path


def test_what_is_called_on_a_backend_stands_in_its_class() -> None:
    """Nothing is looked up by its name where backends are opened or run."""
    for path in below("backends", "upscaling", "bench"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr"):
                assert not {"backend", "opened"} & set(re.findall(r"\w+", ast.unparse(node.args[0]))), path


def test_only_the_command_line_knows_the_terminal() -> None:
    for path in MODULES:
        if "cli" not in path.parts:
            assert not roots(path) & {"typer", "rich", "click"}, path


def test_the_product_does_not_import_training() -> None:
    assert not any("train" in roots(path) for path in MODULES)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["models"], ["probe", "samples/sintel.mp4"]])
def test_light_commands_load_no_network_library(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom vidsr.cli import main\n"
        "try:\n    main()\nfinally:\n    print([m for m in ('torch', 'openvino') if m in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.strip().endswith("[]"), result.stderr


def test_a_job_is_planned_and_a_source_compared_without_a_network_library() -> None:
    """The colour of the output follows from layouts alone."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom vidsr.jobs.inputs import Input, Target\n"
        "from vidsr.jobs.options import Options\nfrom vidsr.jobs.plan import plan\n"
        "from vidsr.verify.properties import expected_colour\n"
        "clip = Path('samples/sintel.mp4')\njob = plan(Input(clip, clip.parent, named=True), Target(), Options())\n"
        "assert expected_colour(job.source.video, job.source.video, 'mp4') == job.spec.colour\n"
        "print([m for m in ('torch', 'openvino') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr
