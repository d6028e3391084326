"""Data on stdout: dataclasses as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any


def print_json(value: Any) -> None:
    """Print one JSON document, indented."""
    print(json.dumps(plain(value), indent=2, ensure_ascii=False))


def plain(value: Any) -> Any:
    """`value` in JSON's types: dataclasses become objects, fractions "n/d", bytes hex, paths text, infinity null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
