"""The type that a graph computes in: the graph itself is converted, the same one for every backend."""

from __future__ import annotations

from sysnoise_conform.noise.axis import Axis, Level, identity

# Levels of further presets, by the preset that quantises; `int8` is the preset `ort`. docs/precision.md has them all.
PRESETS = {
    "int8": "ort", "int8-ort_per_channel": "ort_per_channel", "int8-tensorrt": "tensorrt",
    "int8-openvino": "openvino", "int8-tflite": "tflite", "int8-snpe": "snpe", "int8-qnn": "qnn",
    "int8-power_of_two": "power_of_two",
}  # fmt: skip

AXIS = Axis(
    name="precision",
    stage="graph",
    about="the type of the arithmetic in the graph; inputs and outputs stay what they are",
    paper=True,
    rare=("bf16", *(each for each in PRESETS if each != "int8")),
    levels=(
        identity("as the graph says"),
        Level(name="fp16", about="float16, where an operator takes it", imitates="mobile and desktop GPUs, TensorRT",
              source="IEEE 754 binary16; docs/precision.md"),
        Level(name="bf16", about="bfloat16, where an operator takes it; opset 22; measured where it is named",
              imitates="recent processors, TPUs",
              source="the upper half of binary32; docs/precision.md"),
        Level(name="int8", about="8-bit integers, ONNX Runtime's preset; ranges from pictures that are not judged",
              imitates="integer units of processors and phones",
              source="SysNoise Eq. 9 and 10; quantize_static without options; docs/precision.md"),
        *(
            Level(name=name, about=f"the same with the preset {preset}; measured where it is named",
                  imitates=f"what the preset {preset} is named after", source="docs/precision.md")
            for name, preset in PRESETS.items() if name != "int8"
        ),
    ),
)  # fmt: skip
