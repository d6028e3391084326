"""Frames encoded into segments: which encoder, how it is set, its packets and their times."""
