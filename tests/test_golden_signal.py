from __future__ import annotations

import numpy as np
import pytest
from golden_oracle import assert_agrees, run

from sysnoise_conform.errors import BadModel, UnsupportedOperator


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("length", [None, 4, 9])
def test_dft_agrees_with_onnxruntime(parts: int, axis: int, length: int | None) -> None:
    x = np.random.default_rng(0).standard_normal((3, 5, 6, parts)).astype(np.float32)
    count = None if length is None else np.array(length)
    for flags in ({"inverse": 0}, {"inverse": 1}, {"onesided": 1}):
        if parts == 2 and "onesided" in flags:
            continue
        if length is not None:
            assert_agrees("DFT", {"x": x, "n": count}, opset=17, axis=axis, **flags)
        assert_agrees("DFT", {"x": x, "n": count, "a": np.array(axis)}, opset=20, **flags)


def test_a_one_sided_inverse_brings_the_signal_back() -> None:
    x = np.random.default_rng(0).standard_normal((2, 9, 1)).astype(np.float32)
    feeds = {"x": x, "n": None, "a": np.array(1)}
    (spectrum,) = run("DFT", feeds, opset=20, onesided=1)
    back = {"x": spectrum.astype(np.float32), "n": np.array(9), "a": np.array(1)}
    (y,) = run("DFT", back, opset=20, onesided=1, inverse=1)
    np.testing.assert_allclose(y, x, atol=1e-6)


def test_the_last_axis_holds_real_and_imaginary_parts_and_is_no_signal() -> None:
    with pytest.raises(BadModel, match="axis"):
        run("DFT", {"x": np.ones((2, 4, 1), np.float32), "n": None, "a": np.array(-1)}, opset=20)


@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize("windowed", [False, True])
def test_stft_agrees_with_onnxruntime(onesided: int, windowed: bool) -> None:
    rng = np.random.default_rng(0)
    window = rng.standard_normal(6).astype(np.float32) if windowed else None
    signal = rng.standard_normal((2, 20, 1)).astype(np.float32)
    feeds = {"x": signal, "s": np.array(3), "w": window, "n": np.array(6)}
    assert_agrees("STFT", feeds, opset=17, onesided=onesided)


@pytest.mark.parametrize("op", ["HannWindow", "HammingWindow", "BlackmanWindow"])
@pytest.mark.parametrize("periodic", [0, 1])
@pytest.mark.parametrize("size", [2, 9, 16])
def test_windows_agree_with_onnxruntime(op: str, periodic: int, size: int) -> None:
    for datatype in (1, 11):
        assert_agrees(op, {"n": np.array(size)}, opset=17, periodic=periodic, output_datatype=datatype)


def test_a_symmetric_window_of_one_sample_is_refused() -> None:
    with pytest.raises(UnsupportedOperator, match="one sample"):
        run("HannWindow", {"n": np.array(1)}, opset=17, periodic=0)


@pytest.mark.parametrize(("bins", "length", "low", "high"), [(8, 64, 0, 4096), (20, 128, 50, 3000), (3, 16, 10, 2000)])
def test_mel_weights_agree_with_onnxruntime(bins: int, length: int, low: float, high: float) -> None:
    feeds = {
        "b": np.array(bins), "n": np.array(length), "r": np.array(8192), "l": np.array(low, np.float32),
        "h": np.array(high, np.float32),
    }  # fmt: skip
    assert_agrees("MelWeightMatrix", feeds, opset=17)
