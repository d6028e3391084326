"""Kernels written in Triton, for what torch does on a GPU in too many passes over memory."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec

import torch


def why_none(device: torch.device) -> str | None:
    """Why Triton cannot make kernels for `device`, in a few words; None where it can.

    It needs a C compiler for the small program that launches them. `torch.compile` makes its kernels by it, too.
    """
    if device.type != "cuda":
        return "only a GPU gains from it"
    if find_spec("triton") is None:
        return "triton is not installed"
    if torch.cuda.get_device_capability(device) < (7, 0):
        return "triton needs compute capability 7.0"
    names = [os.environ["CC"]] if os.environ.get("CC") else ["gcc", "clang"]
    return None if any(map(shutil.which, names)) else "there is no C compiler"
