"""Small networks written as text, diagnosed in the children of one crew."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
from calibration.measure import LIMITS, LastingCrew

from sysnoise_conform.case import Case, Deployed
from sysnoise_conform.diagnose.course import diagnose
from sysnoise_conform.diagnose.facts import Diagnosis
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.variant import parse_variants


def network(text: str, weights: Mapping[str, Any], opset: int = 18) -> onnx.ModelProto:
    """The graph that onnx's own syntax describes; its nodes are called after the tensors that they make."""
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": {opset}]>\n{text}')
    for name, array in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array, np.float32), name))
    for node in model.graph.node:
        node.name = f"make_{node.output[0]}"
    return model


def diagnosed(
    model: onnx.ModelProto, backend: str, folder: Path, crew: LastingCrew, faulty: onnx.ModelProto | None = None,
    *, samples: int = 1, deployed: Deployed | None = None, **more: Any,
) -> Diagnosis:  # fmt: skip
    """The diagnosis of `model` on a backend, which gets `faulty` or the deployed file in its place."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    if faulty is not None:
        deployed = Deployed(path=folder / "faulty.onnx")
        onnx.save(faulty, deployed.path)
    case = Case(
        model=folder / "model.onnx", variants=parse_variants(backend), deployed=deployed, limits=LIMITS,
        samples=samples,
    )  # fmt: skip
    return diagnose(case, folder / "out", crew=crew, watch=lambda *_: None, policy=Policy(), **more)
