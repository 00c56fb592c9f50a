"""Named ways to quantise to 8 bits, each after the deployment that it imitates, and the observers that choose ranges.

Imported by the registry before anything else, in children too: plain Python 3.10, no numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

EVERYWHERE = "everywhere"  # every quantisable operator's inputs and outputs: whole-graph integer runtimes
INPUTS = "inputs"  # the inputs of operators with integer kernels alone: what is between stays float

OBSERVERS: Mapping[str, str] = {
    "minmax": "the lowest and the highest value of all samples",
    "mean": "the means of the samples' lowest and highest values; around zero that of their largest magnitudes (NNCF)",
    "moving_average": "the samples' extremes one after the other, each counting 0.1 (MQBench's EMAMinMax, ratio 0.9)",
    "percentile_99.9": "0.1 % of the values cut off, half at each end",
    "percentile_99.99": "0.01 % of the values cut off",
    "percentile_99.999": "0.001 % of the values cut off",
    "entropy": "the threshold with the least divergence of 128 levels from the histogram (TensorRT's calibrator)",
    "mse": "the range with the least mean squared error",
}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How weights and activations become integers.

    `activations` and `weights` are `int8` or `uint8`; activations may also be `by_sign`: uint8 with zero point 0 for
    what is never negative, int8 else. Symmetric means zero point 0 and scale amax/127. `fixed` gives ranges that the
    deployment doesn't calibrate, by operator.
    """

    about: str
    source: str
    activations: str
    symmetric_activations: bool
    weights: str
    symmetric_weights: bool
    per_channel: bool
    observer: str
    placement: str
    integer_bias: bool  # int32 with the scale of the product, else left in float
    power_of_two: bool = False
    fixed: Mapping[str, tuple[float, float]] = field(default_factory=dict)


_UNIT_256 = (0.0, 255 / 256)

PRESETS: Mapping[str, Preset] = {
    "ort": Preset(
        about="onnxruntime.quantization.quantize_static as it is called without options: int8, weights per tensor",
        source="onnxruntime 1.31, quantization/quantize.py",
        activations="int8", symmetric_activations=False, weights="int8", symmetric_weights=True, per_channel=False,
        observer="minmax", placement=EVERYWHERE, integer_bias=True, fixed={"Softmax": (0.0, 1.0)},
    ),
    "ort_per_channel": Preset(
        about="quantize_static(per_channel=True, activation_type=QUInt8), what its manual advises on x86-64",
        source="onnxruntime's manual, Quantize ONNX models",
        activations="uint8", symmetric_activations=False, weights="int8", symmetric_weights=True, per_channel=True,
        observer="minmax", placement=EVERYWHERE, integer_bias=True, fixed={"Softmax": (0.0, 1.0)},
    ),
    "tensorrt": Preset(
        about="symmetric weights per channel, symmetric activations per tensor, biases in float",
        source="TensorRT's manual, Working with quantized types; MQBench, prepare_by_platform.py",
        activations="int8", symmetric_activations=True, weights="int8", symmetric_weights=True, per_channel=True,
        observer="entropy", placement=INPUTS, integer_bias=False,
    ),
    "openvino": Preset(
        about="NNCF's preset 'performance': symmetric, activations that are never negative unsigned",
        source="nncf, quantization/algorithms/min_max/algorithm.py and quantization/fake_quantize.py",
        activations="by_sign", symmetric_activations=True, weights="int8", symmetric_weights=True, per_channel=True,
        observer="mean", placement=INPUTS, integer_bias=False,
    ),
    "tflite": Preset(
        about="full integer: asymmetric int8 activations, symmetric weights per channel, int32 biases",
        source="LiteRT's 8-bit quantization specification",
        activations="int8", symmetric_activations=False, weights="int8", symmetric_weights=True, per_channel=True,
        observer="minmax", placement=EVERYWHERE, integer_bias=True,
        fixed={"Softmax": _UNIT_256, "Sigmoid": _UNIT_256, "Tanh": (-1.0, 127 / 128)},
    ),
    "snpe": Preset(
        about="asymmetric uint8 throughout, per tensor, ranges by moving average",
        source="MQBench, prepare_by_platform.py (SNPE)",
        activations="uint8", symmetric_activations=False, weights="uint8", symmetric_weights=False, per_channel=False,
        observer="moving_average", placement=EVERYWHERE, integer_bias=True,
    ),
    "qnn": Preset(
        about="asymmetric uint8 throughout, per tensor, ranges by extremes",
        source="onnxruntime, quantization/execution_providers/qnn; MQBench (ONNX_QNN)",
        activations="uint8", symmetric_activations=False, weights="uint8", symmetric_weights=False, per_channel=False,
        observer="minmax", placement=EVERYWHERE, integer_bias=True, fixed={"Softmax": (0.0, 1.0)},
    ),
    "power_of_two": Preset(
        about="symmetric int8 with scales that are powers of two, per tensor: shifts in place of multiplications",
        source="MQBench (Vitis); AMD Vitis AI, power-of-two scale quantization",
        activations="int8", symmetric_activations=True, weights="int8", symmetric_weights=True, per_channel=False,
        observer="mse", placement=EVERYWHERE, integer_bias=True, power_of_two=True,
    ),
}  # fmt: skip

# What `:int8` means on a backend without `+preset=`: the preset that is named after it. MNN's own quantiser and the
# emulators of the golden have no preset of their own here.
OF_BACKEND: Mapping[str, str] = {
    "ort": "ort", "trt": "tensorrt", "openvino": "openvino", "tflite": "tflite", "mnn": "tensorrt", "torch": "ort",
}  # fmt: skip
DEFAULT = "ort"  # of a backend that is not ours


def preset_of(backend: str) -> str:
    """The preset that `backend:int8` means."""
    return OF_BACKEND.get(backend, DEFAULT)
