from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_oracle import Array, assert_agrees, run

from sysnoise_conform.errors import BadModel, UnsupportedOperator


def floats(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def ints(rng: np.random.Generator, low: int, high: int, count: int) -> list[int]:
    return [int(v) for v in rng.integers(low, high, count)]


@pytest.mark.parametrize("seed", range(40))
def test_conv_agrees_with_onnxruntime_whatever_its_attributes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axes, group, inputs, outputs = (int(v) for v in rng.integers(1, 4, 4))
    kernel, attributes = ints(rng, 1, 4, axes), dict[str, Any](group=group, strides=ints(rng, 1, 4, axes))
    match seed % 4:
        case 0:
            attributes |= {"pads": ints(rng, 0, 3, 2 * axes), "dilations": ints(rng, 1, 3, axes)}
        case 1:
            attributes |= {"pads": ints(rng, 0, 3, axes) * 2, "kernel_shape": kernel}
        case 2:
            attributes |= {"auto_pad": "SAME_LOWER" if seed % 8 == 2 else "SAME_UPPER"}
        case _:
            attributes |= {"auto_pad": "VALID"}
    feeds = {
        "x": floats(rng, 2, inputs * group, *ints(rng, 6, 12, axes)),
        "w": floats(rng, outputs * group, inputs, *kernel),
        "b": floats(rng, outputs * group),
    }
    assert_agrees("Conv", feeds, opset=(7, 11, 22)[seed % 3], **attributes)


@pytest.mark.parametrize("seed", range(40))
def test_conv_transpose_agrees_with_onnxruntime_whatever_its_attributes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axes, group, inputs, outputs = (int(v) for v in rng.integers(1, 4, 4))
    strides, dilations, kernel = ints(rng, 1, 4, axes), ints(rng, 1, 3, axes), ints(rng, 2, 5, axes)
    attributes = dict[str, Any](group=group, strides=strides)
    match seed % 4:
        case 0:
            extra = [int(rng.integers(0, stride)) for stride in strides]
            attributes |= {"pads": ints(rng, 0, 2, 2 * axes), "dilations": dilations, "output_padding": extra}
        case 1:
            attributes |= {"pads": ints(rng, 0, 2, axes) * 2}
        case 2:
            attributes |= {"auto_pad": "SAME_LOWER" if seed % 8 == 2 else "SAME_UPPER", "strides": [2] * axes}
        case _:
            attributes |= {"output_shape": [15] * axes, "auto_pad": "SAME_UPPER", "strides": [3] * axes}
            kernel = [3] * axes
    sizes = [5] * axes if seed % 4 == 3 else ints(rng, 3, 8, axes)
    feeds = {
        "x": floats(rng, 2, inputs * group, *sizes),
        "w": floats(rng, inputs * group, outputs, *kernel),
        "b": floats(rng, outputs * group),
    }
    assert_agrees("ConvTranspose", feeds, opset=(7, 11, 22)[seed % 3], **attributes)


def test_an_odd_output_shape_without_auto_pad_is_refused_because_the_texts_differ() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(UnsupportedOperator, match="odd"):
        run("ConvTranspose", {"x": floats(rng, 1, 1, 4), "w": floats(rng, 1, 1, 3)}, output_shape=[5])


def test_a_group_that_does_not_divide_the_channels_is_bad() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(BadModel, match="group 2"):
        run("Conv", {"x": floats(rng, 1, 3, 5, 5), "w": floats(rng, 4, 1, 3, 3)}, group=2)


@pytest.mark.parametrize("seed", range(10))
def test_col2im_agrees_with_onnxruntime_with_strides_dilations_and_uneven_pads(seed: int) -> None:
    rng = np.random.default_rng(seed)
    block, image, strides, dilations = (rng.integers(*span, 2) for span in ((1, 4), (5, 9), (1, 3), (1, 3)))
    pads = rng.integers(0, 2, 4)
    counts = (image + pads[:2] + pads[2:] - (block - 1) * dilations - 1) // strides + 1
    feeds = {"x": floats(rng, 2, 3 * int(block.prod()), int(counts.prod())), "i": image, "b": block}
    assert_agrees("Col2Im", feeds, strides=strides.tolist(), dilations=dilations.tolist(), pads=pads.tolist())


def test_causal_convolution_in_two_steps_is_the_convolution_in_one() -> None:
    rng = np.random.default_rng(0)
    x, w, b = floats(rng, 2, 3, 9), floats(rng, 3, 1, 4), floats(rng, 3)
    whole, _ = run("CausalConvWithState", {"x": x, "w": w, "b": b}, opset=27, outputs=2, activation="silu")
    first, state = run("CausalConvWithState", {"x": x[..., :5], "w": w, "b": b}, opset=27, outputs=2, activation="silu")
    second, _ = run(
        "CausalConvWithState", {"x": x[..., 5:], "w": w, "b": b, "s": state.astype(np.float32)},
        opset=27, outputs=2, activation="silu",
    )  # fmt: skip

    padded = F.pad(torch.from_numpy(x).double(), (3, 0))
    plain = F.silu(F.conv1d(padded, torch.from_numpy(w).double(), torch.from_numpy(b).double(), groups=3))
    np.testing.assert_allclose(whole, plain.numpy(), atol=1e-12)
    np.testing.assert_allclose(np.concatenate([first, second], -1), whole, atol=1e-12)
