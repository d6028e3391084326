"""What is said of a reading once it is over."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class ReadReport:
    """What happened while reading; complete once the reader is exhausted."""

    num_frames: int = 0  # yielded
    num_packets: int = 0  # of the picture stream
    num_discarded: int = 0  # packets that the container's edit list cuts away
    num_corrupt: int = 0  # pictures that the decoder knows to be damaged and has concealed
    num_errors: int = 0
    errors: list[str] = field(default_factory=list)  # the first of them: where in seconds, and what
    notes: list[str] = field(default_factory=list)  # not damage, but worth saying
