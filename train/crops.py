"""What one step trains on. A leaf."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Sample:
    """lr: (N, 3, patch, patch), hr: (N, 3, patch*scale, patch*scale), float32 RGB in [0, 1].

    `hr` is what the output should be: the original, sharpened where the recipe says so.
    Where `shifts` is given, (N/2, 2) as `shift_loss` takes it, the second half of N shows the first half's places
    shifted by it. The last `made` crops, of shifted pairs both, are no photos (`train.patches`). `drawn` is what the
    model that the recipe keeps draws of `lr`, where that was made ahead (`train.draw`).
    """

    lr: Tensor
    hr: Tensor
    shifts: Tensor | None = None
    made: int = 0
    drawn: Tensor | None = None
