"""The corpus: it covers what is known, each case is a sound model, and PyTorch agrees with each truth."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import pytest

from sysnoise_conform.errors import BadModel, UnsupportedOperator, UsageError
from sysnoise_conform.golden.executor import Executor, Mode, to_numpy
from sysnoise_conform.probe.case import Kind, ProbeCase, Property, Refusal, Values
from sysnoise_conform.probe.contrast import contrast
from sysnoise_conform.probe.corpus import chosen, corpus
from sysnoise_conform.probe.node import nodes_of
from sysnoise_conform.probe.result import Agrees

CASES = {each.name: each for each in corpus()}

# What is known to differ between runtimes, verified by running, and the cases that ask for it.
KNOWN = {
    "V1": ("conv-256", "matmul-512"),
    "V2": tuple(f"averagepool-ceil-include-pad-opset{opset}" for opset in (11, 19, 22)),
    "V3": tuple(f"maxpool-ceil-last-window-opset{opset}" for opset in (12, 22)),
    "V4": ("resize-nearest-tie-ceil",),
    "V5": ("resize-nearest-half-pixel-ceil",),
    "V6": ("resize-nearest-exact-coordinate",),
    "V7": ("resize-linear-asymmetric",),
    "V8": ("resize-linear-pytorch-to-one",),
    "V9": ("resize-linear-antialias", "resize-cubic-antialias"),
    "V10": ("resize-cubic-coefficient",),
    "V11": ("resize-half-pixel-symmetric", "pad-wrap", "dropout-training"),
    "V12": ("maxpool-nan",),
    "V13": ("relu-nan", "clip-nan", "max-nan"),
    "V14": ("reducemax-nan", "argmax-nan"),
    "V15": ("cast-int64-large", "cast-int64-nonfinite", "cast-bool"),
    "V16": ("add-uint8",),
    "V17": ("gather-out-of-bounds",),
    "V18": ("topk-ties",),
    "V19": ("instancenormalization-faint",),
    "V20": ("layernormalization-far",),
    "V21": ("layernormalization-constant",),
    "V22": ("gelu-tanh",),
    "V23": ("softmax-opset11", "logsoftmax-opset11"),
    "V24": ("lrn-even", "lrn-odd"),
    "V25": ("batchnormalization-training",),
    "V26": ("batchnormalization-training-shared",),
    "V27": ("dropout-training",),
    "V28": ("hardsigmoid-default", "depthtospace-dcr"),
    "V29": ("layernormalization-float16", "reducemean-float16"),
}
CONTROLS = (
    "gridsample-bicubic-reflection-edges", "resize-nearest-exact", "resize-linear-half-pixel", "resize-cubic",
    "resize-linear-align-corners", "resize-linear-to-one", "resize-linear-scale-up", "averagepool-ceil-exclude-pad",
    "maxpool-ceil", "conv-same-upper", "conv-same-lower", "convtranspose-output-padding",
    "convtranspose-dilated-groups", "convtranspose-same-upper", "add-int32", "div-int32", "mod-int32", "fmod-float",
    "round-ties", "quantizelinear-ties", "cast-int8", "gather-negative", "topk-few", "argmax-ties", "argmax-last",
    "nonmaxsuppression", "nonmaxsuppression-ties", "qdq-conv-uint8", "qdq-conv-int8-5", "matmulinteger-extremes",
    "pad-reflect", "pad-edge", "instancenormalization-default", "cumsum", "celu", "softsign", "sigmoid", "mish", "gelu",
    "exp", "softmax-extremes", "sqrt-negative", "reciprocal-zero", "pow-negative-base", "denormals",
    "reducel2-overflow", "reducelogsumexp", "reducesum-float16", "pow-float16-overflow",
)  # fmt: skip

# Where PyTorch, as the golden runs it, gives another answer than the case, or none.
DIFFERENT: dict[str, str] = {}


def test_everything_that_is_known_has_a_case() -> None:
    assert list(KNOWN) == [f"V{number}" for number in range(1, 30)]
    assert {name for names in KNOWN.values() for name in names} <= set(CASES)
    assert set(CONTROLS) <= {each.name for each in corpus() if each.kind is Kind.CONTROL}


def test_names_are_unique_and_say_what_they_are_about() -> None:
    assert len(CASES) == len(corpus())
    assert all(each.about and each.why and each.op_type for each in corpus())
    assert {each.kind for each in corpus()} == set(Kind)


@pytest.mark.parametrize("case", corpus(), ids=lambda each: each.name)
def test_a_case_is_a_sound_model_that_its_own_trigger_fits(case: ProbeCase) -> None:
    model = case.model()
    onnx.checker.check_model(model)
    (own,) = [each for each in nodes_of(model.graph, case.opset, {}) if each.name == "node"]

    assert case.trigger is None or case.matches(own)
    assert sum(array.nbytes for array in (*case.feeds.values(), *case.constants.values())) < 4 << 20


@pytest.mark.parametrize("case", corpus(), ids=lambda each: each.name)
def test_pytorch_agrees_with_the_truth(case: ProbeCase) -> None:
    if case.name in DIFFERENT:
        pytest.skip(DIFFERENT[case.name])
    match case.truth:
        case Values():
            assert isinstance(contrast(case, golden(case), None), Agrees), contrast(case, golden(case), None)
        case Refusal():
            with pytest.raises(BadModel):
                golden(case)
        case Property():
            with pytest.raises((BadModel, UnsupportedOperator)):
                golden(case)


def golden(case: ProbeCase) -> dict[str, np.ndarray[Any, Any]]:
    """The golden's answer, rounded to the declared types as a runtime would give it."""
    outputs = Executor(case.model(), Mode.FLOAT64).run(case.feeds)
    declared = {name: onnx.helper.tensor_dtype_to_np_dtype(kind) for name, kind in case.outputs.items()}
    with np.errstate(over="ignore"):
        return {name: to_numpy(value).astype(declared[name]) for name, value in outputs.items()}


def test_cases_are_chosen_by_name_or_operator() -> None:
    assert {each.op_type for each in chosen("averagepool*")} == {"AveragePool"}
    assert {each.op_type for each in chosen("AveragePool")} == {"AveragePool"}
    assert [each.name for each in chosen("relu-nan")] == ["relu-nan"]
    assert {each.op_type for each in chosen("AveragePool", "relu-*")} == {"AveragePool", "Relu"}
    assert chosen() == corpus()
    with pytest.raises(UsageError, match="AveragePool"):
        chosen("AveragePol")


def test_the_corpus_imports_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys; from sysnoise_conform.probe.corpus import corpus; corpus(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_what_a_user_reported_names_the_thread() -> None:
    threads = {each.reported for each in corpus()} - {""}

    assert len(threads) >= 6
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+#[0-9]+", each) for each in threads)


@pytest.mark.parametrize(
    ("text", "case", "fits"),
    [
        ("y = ReduceL1 <axes = [1], keepdims = 1> (x)", "reducel1-attribute", True),
        ("y = ReduceL1 <keepdims = 1> (x)", "reducel1-attribute", False),
        ('y = Einsum <equation = "iij->j"> (x)', "einsum-diagonal", True),
        ('y = Einsum <equation = "ijk->k"> (x)', "einsum-diagonal", False),
    ],
)
def test_a_trigger_of_what_was_reported_takes_what_makes_it(text: str, case: str, fits: bool) -> None:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 13]> g (float[3,3,4] x) => (y) {{ {text} }}')
    (node,) = nodes_of(model.graph, 13, {"x": onnx.TensorProto.FLOAT})

    assert CASES[case].matches(node) == fits
