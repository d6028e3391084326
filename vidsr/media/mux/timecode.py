"""Timecodes, as SMPTE 12M counts them: hours, minutes, seconds and pictures of the moment that a film begins with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

KEY = "timecode"  # of metadata, in any case: the muxers of mov and mp4 make a track of it
_TIMECODE = re.compile(r"(\d\d):([0-5]\d):([0-5]\d)([:;.])(\d\d)")
_DROPPING = (Fraction(30000, 1001), Fraction(60000, 1001))  # pictures a second at which numbers are left out


def timecode_of(metadata: Mapping[str, str]) -> str | None:
    """What `metadata` says."""
    return next((value for key, value in metadata.items() if key.lower() == KEY), None)


def fitting_rate(timecode: str, rate: Fraction | None) -> Fraction | None:
    """Pictures a second that FFmpeg counts `timecode` by, near `rate`; None where it would take it at none."""
    match = _TIMECODE.fullmatch(timecode)
    if match is None:
        return None
    near = min(max(rate or Fraction(25), Fraction(1)), Fraction(240))
    if match[4] != ":":
        near = min(_DROPPING, key=lambda dropping: abs(dropping - near))
    return near if int(match[5]) < round(near) else None


def later(timecode: str, seconds: Fraction, rate: Fraction | None) -> str:
    """`timecode` `seconds` later; as it is where it cannot be counted."""
    fitting, match = fitting_rate(timecode, rate), _TIMECODE.fullmatch(timecode)
    if fitting is None or match is None or not seconds:
        return timecode
    hours, minutes, secs, frames = (int(match[k]) for k in (1, 2, 3, 5))
    fps, left_out = round(fitting), round(fitting) // 15 if match[4] != ":" else 0
    whole = hours * 60 + minutes
    number = (whole * 60 + secs) * fps + frames - left_out * (whole - whole // 10) + round(seconds * fitting)
    number %= 24 * 60 * 60 * fps - left_out * 24 * 54
    if left_out:  # of every minute but each tenth, its first numbers
        tens, rest = divmod(number, 600 * fps - 9 * left_out)
        number += left_out * (9 * tens + max(rest - left_out, 0) // (60 * fps - left_out))
    secs, frames = divmod(number, fps)
    return f"{secs // 3600:02}:{secs // 60 % 60:02}:{secs % 60:02}{match[4]}{frames:02}"
