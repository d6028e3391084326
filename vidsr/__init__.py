"""vidsr upscales video with the SRGAN generator.

The names below load on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vidsr.api import upscale_video
    from vidsr.errors import VidsrError
    from vidsr.media.read.probe import probe
    from vidsr.models.registry import available_models
    from vidsr.upscaling.upscaler import Upscaler

__version__ = "0.4.0"
__all__ = ["Upscaler", "VidsrError", "available_models", "probe", "upscale_video"]

_HOMES = {
    "Upscaler": "vidsr.upscaling.upscaler",
    "VidsrError": "vidsr.errors",
    "available_models": "vidsr.models.registry",
    "probe": "vidsr.media.read.probe",
    "upscale_video": "vidsr.api",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'vidsr' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
