"""How each runtime runs a reproducer's model: the lines of `repro.py` that make `got` of `feeds`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sysnoise_conform.backends.ort import LEVELS, PROVIDERS
from sysnoise_conform.diagnose.plain_model import Arrays, Plain
from sysnoise_conform.diagnose.subject import Subject, device_of, plain_words, threads_of

_WIDTH = 116  # of a line, less the indent that it gets


def lines(made: Plain, subject: Subject) -> list[str]:
    """The lines, without an indent. They raise where the runtime is not there or refuses."""
    return _RUNTIMES.get(subject.variant.backend, _unknown)(made, subject)


def reshapes(backend: str) -> bool:
    """The runtime may give an output in another shape of as many elements: a vector, or with dimensions of 1 added."""
    return backend in ("tflite", "mnn")


def _call(head: str, arguments: list[str]) -> list[str]:
    """A call on one line, or with an argument a line."""
    whole = f"{head}({', '.join(arguments)})"
    return [whole] if len(whole) <= _WIDTH else [f"{head}(", *(f"    {each}," for each in arguments), ")"]


def _ort(made: Plain, subject: Subject) -> list[str]:
    device, number = device_of(subject)
    provider, _ = PROVIDERS.get(device, PROVIDERS["cpu"])
    level = LEVELS.get(subject.variant.option("opt") or "all", "ORT_ENABLE_ALL")
    options = {"device_id": number} if number else {}
    if device == "cuda" and subject.variant.precision != "auto":
        options["use_tf32"] = "1" if subject.variant.precision == "tf32" else "0"
    threads = threads_of(subject)
    providers = f"[({json.dumps(provider)}, {json.dumps(options)})]"
    return [
        "import onnxruntime",
        'print("onnxruntime", onnxruntime.__version__)',
        "options = onnxruntime.SessionOptions()",
        f"options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.{level}",
        *([f"options.intra_op_num_threads = {threads}"] if threads else []),
        *_call("session = onnxruntime.InferenceSession", ['"model.onnx"', "options", f"providers={providers}"]),
        "got = dict(zip(expected, session.run(list(expected), feeds)))",
    ]


def _openvino(made: Plain, subject: Subject) -> list[str]:
    device, number = device_of(subject)
    config: dict[str, Any] = {}
    hint = subject.variant.option("hint")
    if hint is None and subject.variant.precision != "auto":
        kept = subject.runtime.options.get("hint")
        hint = kept if kept in ("f32", "f16", "bf16") else "f32"
        if device == "cpu":
            config = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "KV_CACHE_PRECISION": "f32"}
    if hint in ("f32", "f16", "bf16"):
        config["INFERENCE_PRECISION_HINT"] = hint
    if threads_of(subject) and device == "cpu":
        config["INFERENCE_NUM_THREADS"] = threads_of(subject)
    said = "  # its own choice of precision" if hint is None else ""
    place = f"{device.upper()}.{number}" if number else device.upper()
    return [
        "import openvino",
        'print("openvino", openvino.get_version())',
        *_literal("config", config, said),
        f'compiled = openvino.Core().compile_model("model.onnx", {json.dumps(place)}, config)',
        'print("precision", compiled.get_property("INFERENCE_PRECISION_HINT"))',
        "results = compiled(feeds)",
        "got = {name: results[name] for name in expected}",
    ]


def _literal(name: str, value: Mapping[str, Any], said: str) -> list[str]:
    """A dict of plain keys and values, on as few lines as hold it."""
    found = [f"{name} = {{"]
    for key, each in value.items():
        part = f"{json.dumps(key)}: {json.dumps(each)}, "
        if len(found[-1]) + len(part) > _WIDTH:
            found[-1] = found[-1].rstrip()
            found.append("    ")
        found[-1] += part
    found[-1] = f"{found[-1].rstrip(', ')}}}{said}"
    return found


def _tflite(made: Plain, subject: Subject) -> list[str]:
    """`model.tflite` is what conform converted, whose tensors are called by their places, `t_in_0` and `t_out_0`."""
    module = "tflite_runtime" if subject.runtime.name == "tflite-runtime" else "ai_edge_litert"
    package = module.replace("_", "-")
    options = [f"num_threads={threads_of(subject)}"] if threads_of(subject) else []
    resolver = subject.variant.option("delegate") == "none"
    if resolver:
        options.append("experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES")
    return [
        "from importlib.metadata import version",
        f"from {module}.interpreter import Interpreter{', OpResolverType' if resolver else ''}",
        f'print("{package}", version("{package}"))',
        *_call("model = Interpreter", ['"model.tflite"', *options]),
        "model.allocate_tensors()",
        'ports = {port["name"]: port for port in model.get_input_details() + model.get_output_details()}',
        "for number, array in enumerate(feeds.values()):",
        '    port = ports[f"t_in_{number}"]',
        '    model.set_tensor(port["index"], array.astype(port["dtype"]).reshape(port["shape"]))',
        "model.invoke()",
        'got = {name: model.get_tensor(ports[f"t_out_{n}"]["index"]) for n, name in enumerate(expected)}',
    ]


def _mnn(made: Plain, subject: Subject) -> list[str]:
    """`model.mnn` is what conform converted, whose tensors are called by their places, `t_in_0` and `t_out_0`."""
    auto = subject.variant.precision == "auto"
    word = subject.variant.option("hint") or ("normal" if auto else "high")
    threads = threads_of(subject) or 1
    without_winograd = (subject.variant.option("winograd") or ("on" if auto else "off")) == "off"
    manager = [
        f'hints = {{"precision": "{word}", "numThread": {threads}, "backend": "CPU"}}',
        "manager = nn.create_runtime_manager((hints,))",
        "manager.set_hint(3, 0)  # WINOGRAD_MEMORY_LEVEL 0: convolutions without Winograd",
    ]
    managed = ["runtime_manager=manager"] if without_winograd else []
    mode = word.capitalize()
    modes = f'"backend": expr.Backend.CPU, "precision_mode": expr.PrecisionMode.{mode}, "thread_num": {threads}'
    inputs, outputs = (_places(f"t_{side}_", each) for side, each in _sides(made))
    return [
        "import MNN",
        "from MNN import expr, nn",
        'print("MNN", MNN.version())',
        *(manager if without_winograd else []),
        f"modes = {{{modes}}}",
        *_call("model = nn.load_module_from_file", ['"model.mnn"', inputs, outputs, "**modes", *managed]),
        *_mnn_feeds(made),
        "found = model.onForward(given)",
        *_mnn_results(made),
    ]


def _mnn_results(made: Plain) -> list[str]:
    if all(each.size for each in (*made.expected.values(), *made.got.values())):
        return ["got = {name: np.array(expr.convert(found[n], expr.NCHW).read()) for n, name in enumerate(expected)}"]
    return [
        "dense = [expr.convert(each, expr.NCHW) for each in found]  # it can't read what is empty",
        "values = [np.zeros(each.shape) if 0 in each.shape else np.array(each.read()) for each in dense]",
        "got = dict(zip(expected, values))",
    ]


def _places(word: str, arrays: Mapping[str, Arrays]) -> str:
    """The names of so many ports, as a list or as what makes one."""
    if len(arrays) <= 2:
        return json.dumps([f"{word}{n}" for n in range(len(arrays))])
    return f'[f"{word}{{n}}" for n in range({len(arrays)})]'


def _mnn_feeds(made: Plain) -> list[str]:
    if all(each.dtype == np.float32 for each in made.inputs.values()):
        return ["given = [expr.const(each, list(each.shape), expr.NCHW, expr.float) for each in feeds.values()]"]
    return [
        "kinds = {str(expr.float): np.float32, str(expr.int): np.int32, str(expr.uint8): np.uint8}",
        'ports = [each.dtype for each in model.get_info()["inputs"]]  # it has no int64, nor bool',
        "arrays = [np.ascontiguousarray(each, kinds[str(port)]) for each, port in zip(feeds.values(), ports)]",
        "given = [expr.const(each, list(each.shape), expr.NCHW, port) for each, port in zip(arrays, ports)]",
    ]


def _sides(made: Plain) -> tuple[tuple[str, Mapping[str, Arrays]], tuple[str, Mapping[str, Arrays]]]:
    return ("in", made.inputs), ("out", made.expected)


def _trt_import(subject: Subject) -> list[str]:
    if "RTX" not in subject.runtime.name:
        return ["import tensorrt as trt"]
    # The public index has its bindings under a name of their own.
    return ["try:", "    import tensorrt_rtx as trt", "except ImportError:", "    import tensorrt_rtx_bindings as trt"]


def _trt(made: Plain, subject: Subject) -> list[str]:
    number = re.sub("[^0-9]", "", subject.variant.device or "") or "0"
    flag = (subject.variant.option("hint") or "").upper()
    typed = "0" if flag else "1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)"
    pinned = subject.variant.precision not in ("auto", "tf32")
    return [
        "import ctypes",
        *_trt_import(subject),
        "print(trt.__name__, trt.__version__)",
        'cuda, context, device = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p(), ctypes.c_int()',
        f"if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), {number}):",
        '    raise RuntimeError("no NVIDIA GPU or no driver")',
        "cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)",
        "cuda.cuCtxSetCurrent(context)",
        "logger = trt.Logger(trt.Logger.WARNING)",
        "builder = trt.Builder(logger)",
        f"network = builder.create_network({typed})",
        "parser = trt.OnnxParser(network, logger)",
        'if not parser.parse_from_file("model.onnx"):',
        "    raise RuntimeError(parser.get_error(0).desc())",
        "config = builder.create_builder_config()",
        *(["config.clear_flag(trt.BuilderFlag.TF32)  # on by default"] if pinned else []),
        *([f"config.set_flag(trt.BuilderFlag.{flag})"] if flag in ("FP16", "BF16") else []),
        "plan = builder.build_serialized_network(network, config)",
        "engine = trt.Runtime(logger).deserialize_cuda_engine(plan)",
        "run, got = engine.create_execution_context(), {}",
        "for name in (*feeds, *expected):  # in memory that the processor and the GPU both see",
        "    shape, kind = tuple(run.get_tensor_shape(name)), np.dtype(trt.nptype(engine.get_tensor_dtype(name)))",
        "    place, count = ctypes.c_void_p(), int(np.prod(shape))",
        "    size = max(count * kind.itemsize, 1)",
        "    if cuda.cuMemAllocManaged(ctypes.byref(place), ctypes.c_size_t(size), 1):",
        '        raise RuntimeError("no memory on the GPU")',
        "    run.set_tensor_address(name, place.value)",
        "    memory = (ctypes.c_char * size).from_address(place.value)",
        "    got[name] = np.frombuffer(memory, kind, count).reshape(shape)",
        "for name, array in feeds.items():",
        "    got[name][...] = array",
        "if not run.execute_async_v3(0) or cuda.cuCtxSynchronize():",
        '    raise RuntimeError("TensorRT failed while it ran")',
    ]


def _unknown(made: Plain, subject: Subject) -> list[str]:
    words = f"write here how {plain_words(subject.runtime.name, 80)} makes got of model.onnx and the feeds"
    return [f"raise NotImplementedError({json.dumps(words)})"]


_RUNTIMES: Mapping[str, Callable[[Plain, Subject], list[str]]] = {
    "ort": _ort,
    "openvino": _openvino,
    "tflite": _tflite,
    "mnn": _mnn,
    "trt": _trt,
}
