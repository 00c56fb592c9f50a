"""Real runtimes with a planted fault: `planted_ort`, `planted_openvino`, `planted_tflite`, `planted_mnn`.

A weight of the graph is made a twentieth too large before the runtime sees it, as by a converter with a bug. They reach
children by `CONFORM_BACKENDS` (see `as_environment`).
"""

from __future__ import annotations

import numpy as np
import onnx

from sysnoise_conform.backend import Build, Effective, Session
from sysnoise_conform.backends.mnn import MNN
from sysnoise_conform.backends.openvino import OpenVINO
from sysnoise_conform.backends.ort import OnnxRuntime
from sysnoise_conform.backends.tflite import TFLite

WEIGHT = "v"  # and what conversions call it: v_quantized, v_fp16


def plant(build: Build) -> Build:
    model = onnx.load(build.model)
    planted = 0
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if tensor.name.partition("_")[0] == WEIGHT and values.ndim == 4:
            off = values.astype(np.float32) * 1.05
            if values.dtype.kind in "iu":
                info = np.iinfo(values.dtype)
                off = np.clip(np.rint(off), info.min, info.max)
            tensor.CopyFrom(onnx.numpy_helper.from_array(off.astype(values.dtype), tensor.name))
            planted += 1
    assert planted == 1, [each.name for each in model.graph.initializer]
    onnx.save(model, build.model)
    return build


class PlantedOrt(OnnxRuntime):
    name = "planted_ort"

    def compile(self, build: Build) -> Session:
        return super().compile(plant(build))


class PlantedOpenVINO(OpenVINO):
    name = "planted_openvino"

    def compile(self, build: Build) -> Session:
        return super().compile(plant(build))


class PlantedTFLite(TFLite):
    name = "planted_tflite"

    def compile(self, build: Build) -> Session:
        return super().compile(plant(build))


class PlantedMNN(MNN):
    name = "planted_mnn"

    def compile(self, build: Build) -> Session:
        return super().compile(plant(build))


class OnlyFloats(OnnxRuntime):
    """Computes right, and says of every graph that it ran in float32, as TensorRT does of one without int8 kernels."""

    name = "only_floats"

    def compile(self, build: Build) -> Session:
        session = super().compile(build)
        session.effective = Effective(device="cpu", precision="fp32")
        return session


def as_environment() -> dict[str, str]:
    kinds = (PlantedOrt, PlantedOpenVINO, PlantedTFLite, PlantedMNN, OnlyFloats)
    return {"CONFORM_BACKENDS": ",".join(f"{each.name}={__file__}:{each.__name__}" for each in kinds)}
