"""Bits of coded pictures, written in order."""

from __future__ import annotations


class Bits:
    """As ITU-T H.264, ETSI GS CCM 001 and SMPTE ST 2094-40 write their fields."""

    def __init__(self) -> None:
        self.text = ""

    def u(self, bits: int, *values: int) -> Bits:
        self.text += "".join(f"{value & (1 << bits) - 1:0{bits}b}" for value in values)
        return self

    def ue(self, *values: int) -> Bits:
        """By Exp-Golomb codes."""
        for value in values:
            bits = (value + 1).bit_length()
            self.text += "0" * (bits - 1) + f"{value + 1:b}"
        return self

    def aligned(self) -> bytes:
        self.text += "0" * (-len(self.text) % 8)
        return int(self.text, 2).to_bytes(len(self.text) // 8, "big")
