"""What may become of interlaced film. Loads nothing: the command line reads it."""

from __future__ import annotations

from typing import Literal, get_args

Deinterlace = Literal["auto", "off", "bwdif", "fields"]
"""``auto`` makes one picture of an interlaced one, ``bwdif`` one of any, ``fields`` one of each field."""
DEINTERLACE: tuple[Deinterlace, ...] = get_args(Deinterlace)
