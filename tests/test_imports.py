"""The architecture, read from the imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "vidsr").rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, *, lazy: bool) -> set[str]:
    """Names of the modules that `path` imports: on import, or (`lazy`) in functions as well; never type-only ones."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not lazy:
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path, lazy=True)}


def below(*folders: str) -> list[Path]:
    return [path for path in MODULES if path.relative_to(ROOT / "vidsr").parts[0] in folders]


def test_no_import_cycle() -> None:
    names = {module_name(path) for path in MODULES}
    graph = {module_name(path): imports(path, lazy=False) & names for path in MODULES}
    while graph:
        leaves = {name for name, needs in graph.items() if not (needs & graph.keys()) - {name}}
        assert leaves, f"a cycle among {sorted(graph)}"
        graph = {name: needs for name, needs in graph.items() if name not in leaves}


@pytest.mark.parametrize(
    ("folders", "forbidden"),
    [(("media",), "torch"), (("backends", "models"), "av"), (("frame.py", "errors.py"), "torch")],
)
def test_layers_keep_to_their_libraries(folders: tuple[str, ...], forbidden: str) -> None:
    assert below(*folders)
    for path in below(*folders):
        assert forbidden not in roots(path), path


def test_only_the_command_line_knows_the_terminal() -> None:
    for path in MODULES:
        if "cli" not in path.parts:
            assert not roots(path) & {"typer", "rich", "click"}, path


def test_nothing_below_imports_what_stands_above() -> None:
    layers = ["cli", "jobs", "pipeline", "media", "frame"]
    for path in MODULES:
        part = path.relative_to(ROOT / "vidsr").parts[0].removesuffix(".py")
        if part in layers:
            above = layers[: layers.index(part)]
            used = {name.split(".")[1] for name in imports(path, lazy=True) if name.startswith("vidsr.")}
            assert not used & set(above), path


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
        "assert expected_colour(job.source.video, job.source.video) == job.spec.colour\n"
        "print([m for m in ('torch', 'openvino') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr
