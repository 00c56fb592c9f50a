"""What TensorRT's quantisation can't express, refused by name before its parser sees it."""

from __future__ import annotations

import onnx
from onnx import TensorProto, numpy_helper

from sysnoise_conform.errors import Unsupported
from sysnoise_conform.printable import one_line

_CURE = "say trt:int8+preset=tensorrt: signed and symmetric, with biases in float"


def check(model: onnx.ModelProto) -> None:
    """Raise `Unsupported` for Q or DQ of unsigned codes, of a zero point that is not 0, or of int32.

    TensorRT's manual has signed, symmetric 8 bits alone. Its parser (TensorRT-RTX 1.7.1) refuses unsigned weights with
    an assertion, but takes unsigned activations, whose upper half signed codes can't hold.
    """
    stored = {each.name: each for each in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        codes = stored.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        zero = stored.get(node.input[2]) if len(node.input) > 2 else None
        kinds = {each.data_type for each in (codes, zero) if each is not None}
        why = ""
        if TensorProto.UINT8 in kinds:
            why = "unsigned codes (uint8): TensorRT quantises to signed ones alone"
        elif TensorProto.INT32 in kinds:
            why = "Int32 codes, a quantised bias: TensorRT takes biases in float"
        elif zero is not None and zero.data_type == TensorProto.INT8 and not zero.external_data:
            shifted = numpy_helper.to_array(zero).any()
            why = "a zero point other than 0: TensorRT quantises symmetrically" if shifted else ""
        if why:
            what = node.name or node.output[0]
            raise Unsupported(
                f"{node.op_type} {one_line(what, 80)!r} has {why}", stage="convert", op=node.op_type,
                node=node.name or None, hint=_CURE,
            )  # fmt: skip
