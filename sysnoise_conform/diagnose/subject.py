"""What a reproducer is of: the operator, the target as it was asked for, and what of that goes into texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sysnoise_conform.backends.ort import PROVIDERS
from sysnoise_conform.diagnose.limits import Limits
from sysnoise_conform.outcome import RuntimeFacts
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import Variant

# What a converter made of the operator, as the runtime reads it: the file's name beside `repro.py`.
CONVERTED: Mapping[str, str] = {"tflite": "model.tflite", "mnn": "model.mnn"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is reproduced: `op_type` is one that ONNX defines, or `operator`; `tensors` are the whole model's names."""

    op_type: str
    variant: Variant
    runtime: RuntimeFacts
    environment: Mapping[str, Any]
    limits: Mapping[str, Limits]
    tensors: Mapping[str, str]


def package(subject: Subject) -> str:
    """What pip is told to install: `onnxruntime==1.31.1`."""
    version = re.match(r"\d+(\.\d+)+", subject.runtime.version)
    device = (subject.variant.device or "cpu").partition(":")[0].partition(".")[0]
    names = {
        "ort": PROVIDERS.get(device, PROVIDERS["cpu"])[1],
        "openvino": "openvino",
        "tflite": "ai-edge-litert" if subject.runtime.name != "tflite-runtime" else "tflite-runtime",
        "mnn": "MNN",
        "trt": "tensorrt",
    }
    name = names.get(subject.variant.backend, "")
    return f"{name}=={version[0]}" if name and version else name


def plain_words(value: object, limit: int = 160) -> str:
    """Text for a docstring: printable ASCII without a quote or a backslash."""
    said = one_line(value, limit).replace("\\", "/").replace('"', "'")
    return said.encode("ascii", "replace").decode("ascii")


def threads_of(subject: Subject) -> int:
    """The threads that were asked for; 0 for the runtime's own choice."""
    asked = subject.environment.get("threads")
    return asked if isinstance(asked, int) and asked > 0 else 0


def device_of(subject: Subject) -> tuple[str, str]:
    """The device's word and the number behind it: `cuda`, `0`."""
    word, _, number = (subject.variant.device or "cpu").lower().replace(":", ".").partition(".")
    return re.sub("[^a-z0-9]", "", word), re.sub("[^0-9]", "", number)
