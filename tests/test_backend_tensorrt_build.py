"""TensorRT-RTX as it is: parsing and building need no GPU. What runs on one is in `make test-gpu`."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from graphs import build_of, graph
from onnx import numpy_helper
from precisions import network, sample

from sysnoise_conform.backends.tensorrt_build import serialize
from sysnoise_conform.errors import Unsupported

trt = pytest.importorskip("tensorrt_rtx_bindings", reason="no TensorRT-RTX: pip install 'sysnoise-conform[rtx]'")


@pytest.mark.parametrize("watch", [None, "outputs", "debug", "unfused"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_a_graph_of_every_precision_is_parsed_and_built(tmp_path: Path, precision: str, watch: str | None) -> None:
    taps = () if watch is None else ("c", "r", "no such tensor", "y")
    options = {} if watch is None else {"watch": watch}
    build = build_of(network(precision), tmp_path, {"x": sample()}, taps=taps, options=options)
    plan = serialize(trt, build, build.shapes)
    assert len(memoryview(plan.data)) > 1000
    assert plan.watched == (() if watch is None else ("c", "r"))
    assert plan.unwatched == (() if watch is None else ("no such tensor",))


def test_watching_tensors_makes_another_engine(tmp_path: Path) -> None:
    sizes = {}
    for watch in ("outputs", "debug"):
        build = build_of(network("fp32"), tmp_path / watch, {"x": sample()}, taps=("c",), options={"watch": watch})
        sizes[watch] = serialize(trt, build, build.shapes).sha256
    plain = build_of(network("fp32"), tmp_path, {"x": sample()})
    assert len({serialize(trt, plain, plain.shapes).sha256, *sizes.values()}) == 3


def test_open_sizes_are_built_for_the_shapes_at_hand(tmp_path: Path) -> None:
    build = build_of("g (float[n,3] x) => (float[n,3] y) { y = Relu(x) }", tmp_path)
    assert serialize(trt, build, {"x": (4, 3)}).data is not None
    with pytest.raises(Unsupported) as caught:
        serialize(trt, build, {})
    assert caught.value.stage == "compile"
    assert "\n" not in str(caught.value)


def test_an_operator_that_its_parser_does_not_know_is_named(tmp_path: Path) -> None:
    build = build_of("g (float[2] x) => (float[2] y) { a = Relu(x) [here] y = Nonsense(a) }", tmp_path)
    with pytest.raises(Unsupported) as caught:
        serialize(trt, build, {})
    assert (caught.value.stage, caught.value.op, caught.value.node) == ("convert", "Nonsense", "here")


def test_the_int32_biases_of_a_quantiser_are_refused_by_name(tmp_path: Path) -> None:
    # As ONNX Runtime's quantiser writes them; TensorRT wants float biases.
    model = graph("g (float[3] x) => (float[3] y) { [bias] d = DequantizeLinear(b, s) y = Add(x, d) }")
    for name, array in {"b": np.arange(3, dtype=np.int32), "s": np.array(0.1, np.float32)}.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    with pytest.raises(Unsupported, match="Int32") as caught:
        serialize(trt, build_of(model, tmp_path), {})
    assert (caught.value.stage, caught.value.op) == ("convert", "DequantizeLinear")
    assert ".cpp" not in caught.value.message
    assert "CUDA" not in caught.value.message


@pytest.mark.parametrize(("kind", "zero", "said"), [
    (np.uint8, 0, r"unsigned codes \(uint8\)"), (np.uint8, 128, "unsigned codes"), (np.int8, 5, "zero point other"),
])  # fmt: skip
def test_codes_that_it_does_not_have_are_refused_with_the_cure(
    tmp_path: Path, kind: type[np.integer], zero: int, said: str
) -> None:
    model = graph("g (float[3] x) => (float[3] y) { [here] q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }")
    for name, array in {"s": np.array(0.1, np.float32), "z": np.array(zero, kind)}.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    with pytest.raises(Unsupported, match=said) as caught:
        serialize(trt, build_of(model, tmp_path), {})
    assert (caught.value.stage, caught.value.op, caught.value.node) == ("convert", "QuantizeLinear", "here")
    assert "+preset=tensorrt" in str(caught.value)


def test_what_its_builder_refuses_is_told_in_its_own_words(tmp_path: Path) -> None:
    # An int16 tensor is no TensorRT type.
    build = build_of(graph("g (int16[2] x) => (int16[2] y) { y = Add(x, x) }"), tmp_path)
    with pytest.raises(Unsupported) as caught:
        serialize(trt, build, {})
    assert caught.value.stage in ("convert", "compile")
    assert len(caught.value.message) > 20


def test_a_collection_that_finds_old_builders_does_not_wait_for_ever(tmp_path: Path) -> None:
    """In a process of its own, for the deadlock that this once was holds the interpreter's lock."""
    build_of("g (float[2] x) => (float[2] y) { y = Nonsense(x) }", tmp_path)
    program = f"""
        import gc, sys
        from pathlib import Path
        import tensorrt_rtx_bindings as trt
        from sysnoise_conform.backend import Build
        from sysnoise_conform.backends.tensorrt_build import serialize

        class Busy:  # whoever prints makes enough objects for a collection to begin
            def write(self, text):
                self.made = [[] for _ in range(200_000)]
            def flush(self):
                pass

        def fail():
            try:
                serialize(trt, Build(model=Path({str(tmp_path / "model.onnx")!r})), {{}})
            except Exception as error:
                error.itself = error  # a cycle, which holds the frames until a collection finds it

        gc.set_threshold(100_000, 1000, 1000)
        fail()
        sys.stderr = Busy()
        fail()
        print("done")
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "done\n", done.stderr[-2000:]


@pytest.mark.parametrize("hint", ["fp16", "bf16"])
def test_rtx_has_no_flag_that_chooses_types(tmp_path: Path, hint: str) -> None:
    build = build_of(network("fp32"), tmp_path, {"x": sample()}, options={"hint": hint})
    with pytest.raises(Unsupported, match="strongly typed") as caught:
        serialize(trt, build, build.shapes)
    assert f"trt:{hint}" in str(caught.value.hint)
