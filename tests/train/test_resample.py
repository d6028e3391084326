"""Downscaling against a straightforward implementation, and against the benchmarks' own LR pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch

from train.evaluate import read_benchmark
from train.resample import downscale, downscale_matrix

BENCHMARKS = Path(__file__).parents[3] / "shared" / "data" / "benchmarks"


def cubic(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def shrink_line(line: np.ndarray, scale: int) -> np.ndarray:
    """One line of code values, pixel by pixel: widened cubic, edge repeated, rounded half up to 8 bit."""
    out = []
    for i in range(-(-len(line) // scale)):
        centre = (i + 0.5) * scale - 0.5
        taps = range(int(centre) - 2 * scale - 1, int(centre) + 2 * scale + 3)
        weights = [cubic((centre - t) / scale) for t in taps]
        values = [line[min(max(t, 0), len(line) - 1)] for t in taps]
        out.append(np.dot(weights, values) / sum(weights))
    return np.clip(np.floor(np.array(out) + 0.5), 0, 255)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("shape", [(24, 36), (25, 31)])
def test_downscale_against_the_slow_one(scale: int, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(scale).integers(0, 256, shape).astype(np.float64)
    columns = np.stack([shrink_line(column, scale) for column in image.T]).T
    expected = np.stack([shrink_line(row, scale) for row in columns])
    out = downscale(torch.from_numpy(image).float() / 255, scale) * 255
    assert out.shape == expected.shape
    off = np.abs(out.numpy() - expected)
    if scale != 3:
        assert off.max() < 1e-3
    assert off.max() < 1.001  # thirds are not exact: a tie of rounding may fall the other way
    assert (off > 0.001).mean() < 0.01


@pytest.mark.parametrize(("size", "scale"), [(16, 2), (17, 4), (3, 4), (144, 4)])
def test_rows_sum_to_one_and_flat_stays_flat(size: int, scale: int) -> None:
    assert torch.allclose(downscale_matrix(size, scale).sum(1), torch.ones(-(-size // scale)), atol=1e-6)
    flat = torch.full((2, 3, size, size), 77 / 255)
    assert torch.allclose(downscale(flat, scale), torch.tensor(77 / 255))


def test_result_is_8_bit() -> None:
    out = downscale(torch.rand(3, 20, 20), 2) * 255
    assert (out - out.round()).abs().max() < 1e-4
    assert 0 <= out.min() <= out.max() <= 255


@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not part of the project")
@pytest.mark.parametrize("scale", [2, 4])
def test_downscale_reproduces_the_benchmark(scale: int) -> None:
    for pair in read_benchmark(BENCHMARKS / "Set5", scale):
        assert torch.equal((downscale(pair.hr / 255, scale) * 255).round(), pair.lr)
