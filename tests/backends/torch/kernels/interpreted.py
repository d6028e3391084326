"""Triton's interpreter instead of its compiler, for a whole process: imported before the kernels."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import torch

os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined

import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle, interpreter_builder

# As compiled code does; or half of the time goes into the question whether a sum of whole numbers is beyond 32 bits,
# which those of places in pictures this small are not.
interpreter_builder.options = replace(interpreter_builder.options, sanitize_overflow=False)


def _wide(operand: Any) -> Any:
    """As FP32, where it is bf16: the interpreter keeps that as whole numbers, and would multiply those."""
    if operand.dtype.scalar != tl.bfloat16:
        return operand
    return TensorHandle((operand.data.astype(np.uint32) << 16).view(np.float32), tl.float32)


def _dot(builder: Any, a: Any, b: Any, *others: Any) -> Any:
    return _plain_dot(builder, _wide(a), _wide(b), *others)


def _trunc(builder: Any, value: Any, kind: Any) -> Any:
    """As GPUs round: the interpreter cuts bf16 off."""
    if kind.scalar != tl.bfloat16:
        return builder.cast_impl(value, kind)
    bits = torch.from_numpy(np.ascontiguousarray(value.data)).bfloat16().view(torch.int16)
    return TensorHandle(bits.numpy().view(np.uint16), tl.bfloat16)


_plain_dot = InterpreterBuilder.create_dot
InterpreterBuilder.create_dot, InterpreterBuilder.create_fp_trunc = _dot, _trunc
