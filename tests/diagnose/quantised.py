"""A small residual network quantised by Q and DQ, as a quantiser writes it, with seeded random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Codes = tuple[str, str, str]  # tensor, scale, zero point


class _Draft:
    def __init__(self, seed: int, *, per_channel: bool) -> None:
        self.rng = np.random.default_rng(seed)
        self.per_channel = per_channel
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def constant(self, name: str, value: Any) -> str:
        self.constants[name] = np.asarray(value)
        return name

    def node(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=f"node_{output}", **attributes))
        return output

    def quantised(self, x: str, scale: float, zero: int) -> Codes:
        scale_name = self.constant(f"{x}_scale", np.float32(scale))
        zero_name = self.constant(f"{x}_zero", np.uint8(zero))
        return self.node("QuantizeLinear", [x, scale_name, zero_name], f"{x}_codes"), scale_name, zero_name

    def dequantised(self, codes: Codes, output: str) -> str:
        return self.node("DequantizeLinear", list(codes), output)

    def weights(self, name: str, *shape: int) -> tuple[str, np.ndarray]:
        channels = shape[0] if self.per_channel else ()
        scale = (self.rng.uniform(0.001, 0.003, channels)).astype(np.float32)
        codes = self.constant(f"{name}_codes", self.rng.integers(-127, 128, shape).astype(np.int8))
        parts = [codes, self.constant(f"{name}_scale", scale)]
        return self.node("DequantizeLinear", parts, name, **({"axis": 0} if self.per_channel else {})), scale

    def bias(self, name: str, scale: np.ndarray, size: int) -> str:
        codes = self.constant(f"{name}_codes", self.rng.integers(-2000, 2000, size).astype(np.int32))
        parts = [codes, self.constant(f"{name}_scale", scale)]
        return self.node("DequantizeLinear", parts, name, **({"axis": 0} if scale.ndim else {}))


def quantised_network(seed: int = 0, *, per_channel: bool = True, blocks: int = 2, width: int = 8) -> onnx.ModelProto:
    """Convolutions with Relu and shortcuts, a mean and a Gemm: (1, 3, 16, 16) to (1, 5)."""
    draft = _Draft(seed, per_channel=per_channel)
    codes, scale, channels = draft.quantised("x", 0.03, 128), 0.03, 3
    for at in range(blocks):
        weight, steps = draft.weights(f"w{at}", width, channels, 3, 3)
        bias = draft.bias(f"b{at}", (steps * np.float32(scale)).astype(np.float32), width)
        draft.node("Conv", [draft.dequantised(codes, f"x{at}"), weight, bias], f"conv{at}", pads=[1, 1, 1, 1])
        branch, scale = draft.quantised(draft.node("Relu", [f"conv{at}"], f"relu{at}"), 0.04, 0), 0.04
        if channels == width:
            parts = [draft.dequantised(branch, f"left{at}"), draft.dequantised(codes, f"right{at}")]
            branch, scale = draft.quantised(draft.node("Add", parts, f"add{at}"), 0.06, 10), 0.06
        codes, channels = branch, width
    mean = draft.node("GlobalAveragePool", [draft.dequantised(codes, "last")], "mean")
    flat = draft.node("Flatten", [draft.dequantised(draft.quantised(mean, 0.03, 0), "spread")], "flat")
    weight, _ = draft.weights("w", 5, width)
    draft.node("Gemm", [draft.dequantised(draft.quantised(flat, 0.03, 0), "row"), weight], "y", transB=1)
    graph = helper.make_graph(
        draft.nodes, "quantised",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(value, name) for name, value in draft.constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model
