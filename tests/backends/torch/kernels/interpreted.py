"""Triton's interpreter instead of its compiler, for a whole process: imported before the kernels."""

from __future__ import annotations

import os
from dataclasses import replace

os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined

from triton.runtime.interpreter import interpreter_builder

# As compiled code does; or half of the time goes into the question whether a sum of whole numbers is beyond 32 bits,
# which those of places in pictures this small are not.
interpreter_builder.options = replace(interpreter_builder.options, sanitize_overflow=False)
