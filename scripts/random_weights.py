"""A weights file of the right shape and no use: for measuring the speed of a generator that is not shipped yet.

python scripts/random_weights.py srgan 16 out.safetensors
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from vidsr.models import srgan


def main() -> None:
    """Write what the arguments say: graph, blocks, path. The scale is 4."""
    graph, blocks, path = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    torch.manual_seed(0)
    config = srgan.GeneratorConfig(graph, 4, blocks=blocks)
    header = {"format": "1", "name": f"{graph}-random", "scale": "4", "config": json.dumps(config.to_dict())}
    tensors = {name: value.half().contiguous() for name, value in srgan.build(config).state_dict().items()}
    save_file(tensors, path, header)


if __name__ == "__main__":
    main()
