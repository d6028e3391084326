"""Compiling a kernel for a GPU that is not there."""

from __future__ import annotations

from typing import Any


def compiled(
    kernel: Any, capability: tuple[int, int], types: dict[str, str], constants: dict[str, object], **options: object
) -> Any:
    """`kernel` for a compute capability: `types` of its arguments (``i32`` where none is named), and its constants."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature = {name: types.get(name, "i32") for name in kernel.arg_names} | dict.fromkeys(constants, "constexpr")
    aligned = {
        (index,): [["tt.divisibility", 16]] for index, name in enumerate(signature) if signature[name].startswith("*")
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    major, minor = capability
    return triton.compile(source, target=GPUTarget("cuda", 10 * major + minor, 32), options=options)
