"""Compiling a kernel for a GPU that is not there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest


def compiled(
    kernel: Any,
    capability: tuple[int, int],
    types: dict[str, str],
    constants: dict[str, object],
    source: Any = None,
    **options: object,
) -> Any:
    """`kernel` for a compute capability: `types` of its arguments (``i32`` where none is named), and its constants.

    `source` is the class of its language, `ASTSource` for Triton's own.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature = {name: types.get(name, "i32") for name in kernel.arg_names} | dict.fromkeys(constants, "constexpr")
    aligned = {
        (index,): [["tt.divisibility", 16]] for index, name in enumerate(signature) if signature[name].startswith("*")
    }
    written = (source or ASTSource)(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    major, minor = capability
    return triton.compile(written, target=GPUTarget("cuda", 10 * major + minor, 32), options=options)


def assembled(ptx: str, folder: Path, spilled: int = 0) -> str:
    """What the first of Triton's assemblers that takes `ptx` says of it; of a thread `spilled` bytes are, at most."""
    import triton

    target = re.search(r"\.target (sm_\w+)", ptx)
    assert target is not None
    (folder / "kernel.ptx").write_text(ptx)
    for assembler in sorted(Path(triton.__file__).parent.glob("backends/nvidia/bin/ptxas*")):
        command = [str(assembler), "-v", f"-arch={target[1]}", "kernel.ptx", "-o", "kernel.cubin"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            spills = re.search(r"(\d+) bytes spill stores", done.stderr)
            assert spills is not None
            assert int(spills[1]) <= spilled
            return done.stderr
    pytest.fail("none of Triton's assemblers takes its code")
