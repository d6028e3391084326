"""Every error that vidsr raises on purpose.

::

    VidsrError                 one sentence: what, which file, what to do; exit code 1
    ├── UsageError             an option has an impossible value; exit code 2
    ├── MediaError             a source cannot be read, or holds nothing to upscale
    │   └── DamagedError       a source breaks off or fails part of the way through
    ├── OutputError            a target cannot be written, or exists
    │   ├── ExistsError        something stands under its name
    │   ├── TooSmallError      a size in bytes cannot be reached
    │   └── UnfitError         a container or codec cannot hold what was asked; exit code 2
    ├── VerifyError            a finished output differs from what its source promised
    ├── ModelError             weights are not what they claim, or do not fit
    │   └── UnknownModelError  no such model, or not at this scale; exit code 2
    └── BackendError           a runtime is missing, or failed
        ├── OutOfMemoryError   a batch did not fit: try a smaller one
        └── Cancelled          `Backend.cancel` stopped a call in progress
"""

import difflib
from collections.abc import Iterable


class VidsrError(Exception):
    """Base of every error that vidsr raises on purpose; its text is meant for the user."""

    exit_code = 1


class UsageError(VidsrError):
    """An option has an impossible value."""

    exit_code = 2

    @classmethod
    def of_keywords(cls, function: str, given: Iterable[str], known: Iterable[str]) -> "UsageError | None":
        """What is wrong with a call of `function`: the first keyword that it does not know, and the nearest it does."""
        names = tuple(known)
        for name in given:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(names)}"
                return cls(f"{function} has no keyword {name!r}; {hint}")
        return None


class MediaError(VidsrError):
    """A source cannot be read, or holds nothing to upscale."""


class DamagedError(MediaError):
    """A source breaks off or fails part of the way through."""


class OutputError(VidsrError):
    """A target cannot be written."""


class ExistsError(OutputError):
    """Something stands under the output's name, and may not be replaced."""


class TooSmallError(OutputError):
    """A size in bytes that was asked for cannot be reached."""


class UnfitError(OutputError):
    """A container or codec cannot hold what was asked."""

    exit_code = 2


class VerifyError(VidsrError):
    """A finished output differs from what its source promised."""


class ModelError(VidsrError):
    """A model is unknown, or its weights are not what they claim."""


class UnknownModelError(ModelError):
    """No such model, or not at this scale."""

    exit_code = 2


class BackendError(VidsrError):
    """A runtime is missing, or failed."""


class OutOfMemoryError(BackendError):
    """A batch did not fit into the device's memory."""


class Cancelled(BackendError):  # noqa: N818  (not an error: what was asked for)
    """A call in progress was stopped by `Backend.cancel`."""
