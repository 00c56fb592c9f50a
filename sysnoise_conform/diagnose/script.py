"""`repro.py`: a script that needs numpy and one runtime, and says by its exit code whether the difference is there."""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import Template
from typing import Any

import numpy as np

from sysnoise_conform.backends.ort import LEVELS, PROVIDERS
from sysnoise_conform.backends.tflite_convert import BESIDE, INSTALL
from sysnoise_conform.compare.ulp import unit_roundoff
from sysnoise_conform.diagnose.plain_model import Arrays, Plain
from sysnoise_conform.judge.departure import unit_of
from sysnoise_conform.outcome import RuntimeFacts, TensorDiff
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import Variant

# Where an error is less than this many times what correct arithmetic may be off, it can't be told from rounding.
_CLEAR = 4.0

Limits = tuple[float, float]  # rms, largest single error


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is reproduced: `op_type` is one that ONNX defines, or `operator`; `tensors` are the whole model's names."""

    op_type: str
    variant: Variant
    runtime: RuntimeFacts
    environment: Mapping[str, Any]
    limits: Mapping[str, Limits]
    tensors: Mapping[str, str]


def converter(backend: str) -> bool:
    """The runtime runs what a converter made of the model, and may lay tensors out in another order."""
    return backend == "tflite"


def limits(expected: Arrays, got: Arrays | None, diff: TensorDiff) -> Limits:
    """Rms and largest error from which on the difference is there: between rounding and what was measured.

    Half way on a logarithmic scale, so that neither another processor's rounding nor a smaller error of the same kind
    is taken for the other. Infinite where an error can't be told from rounding.
    """
    if got is None or got.shape != expected.shape:
        return math.inf, math.inf  # a shape of its own is told without numbers
    error = distance(got, expected)
    if not error.size:
        return math.inf, math.inf
    with np.errstate(all="ignore"):
        rms, most = float(np.sqrt(np.mean(error**2))), float(error.max())
    unit = _unit(expected, diff)
    peak = max(unit, diff.floor.max_abs, diff.floor.rounding_max, diff.floor.sigma_max)
    found = _between(unit, rms), _between(peak, most)
    # An output that departs in neither way, and yet is blamed: what was measured is taken at its word.
    return found if min(found) < math.inf or not rms else (rms / 2, math.inf)


def _unit(expected: Arrays, diff: TensorDiff) -> float:
    unit = unit_of(diff)
    roundoff = unit_roundoff(diff.dtype)
    if roundoff is None or expected.dtype.kind not in "fc":
        return 0.0
    finite = np.abs(expected[np.isfinite(expected)].astype(np.float64))
    size = float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0
    return max(unit, roundoff * size)


def _between(unit: float, measured: float) -> float:
    if not measured > _CLEAR * unit:
        return math.inf
    if not math.isfinite(measured):
        return 100 * unit  # NaN or Inf on one side only
    return math.sqrt(unit * measured) if unit > 0 else measured / 2


def distance(got: Arrays, expected: Arrays) -> np.ndarray[Any, np.dtype[np.float64]]:
    """How far each element is off; Inf where a NaN or Inf stands on one side only."""
    if expected.dtype.kind in "US":
        return np.asarray(got.astype(np.str_) != expected.astype(np.str_)).astype(np.float64)
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    with np.errstate(all="ignore"):
        error = np.abs(got.astype(wide) - expected.astype(wide))
        same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    return np.asarray(np.nan_to_num(np.where(same, 0.0, error), nan=np.inf, posinf=np.inf), np.float64)


def text(made: Plain, subject: Subject) -> str:
    """The whole script. What is not our own goes in as a plain word, or as a literal of JSON's, which is Python's."""
    make = _RUNTIMES.get(subject.variant.backend, _unknown)
    body = textwrap.indent(textwrap.dedent(make(made, subject)).strip(), "    ")
    modules = ["import sys", *(["import subprocess", "import tempfile"] if "tempfile" in body else [])]
    modules += ["import ctypes"] if "ctypes" in body else []
    told = [f"{json.dumps(name)}: ({_number(rms)}, {_number(most)})" for name, (rms, most) in subject.limits.items()]
    kinds = {each.dtype.kind for each in made.expected.values()}
    wide = "np.complex128" if "c" in kinds else "np.float64"
    return _SCRIPT.substitute(
        about=_about(subject),
        modules="\n".join(sorted(modules)),
        limits=f"{{{told[0]}}}" if len(told) == 1 else "\n".join(["{", *(f"    {each}," for each in told), "}"]),
        run=body,
        error=_TEXT if kinds & {"U", "S"} else Template(_NUMBERS).substitute(wide=wide),
        reshaped=_RESHAPED if subject.variant.backend in ("tflite", "mnn") else "",
    )


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


def _about(subject: Subject) -> str:
    where = subject.environment
    packages = where.get("packages")
    versions = packages if isinstance(packages, Mapping) else {}
    runtime = plain_words(f"{subject.runtime.name} {subject.runtime.version}", 100)
    told = ", ".join(
        plain_words(f"{label} {value}", 100)
        for label, value in (
            ("Python", where.get("python")),
            *((name, versions.get(name)) for name in ("numpy", "onnx", "torch")),
            ("on", where.get("cpu")),
        )
        if value
    )
    asked = plain_words(f"conform {where.get('conform', '')} diagnosed {subject.variant}.", 200)
    first = f"{subject.op_type} on {runtime} against PyTorch in float64."
    codes = "Exit code 1: the difference is there; 0: it is not; 2: this could not run."
    needs = f"Needs numpy and {package(subject) or 'the runtime'} alone."
    return "\n\n".join([first[:116], textwrap.fill(f"{codes} {needs} Measured with {told}. {asked}", 116)])


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else 'float("inf")'


def _threads(subject: Subject) -> int:
    asked = subject.environment.get("threads")
    return asked if isinstance(asked, int) and asked > 0 else 0


def _device(subject: Subject) -> tuple[str, str]:
    """The device's word and the number behind it: `cuda`, `0`."""
    word, _, number = (subject.variant.device or "cpu").lower().replace(":", ".").partition(".")
    return re.sub("[^a-z0-9]", "", word), re.sub("[^0-9]", "", number)


def _ort(made: Plain, subject: Subject) -> str:
    device, number = _device(subject)
    provider, _ = PROVIDERS.get(device, PROVIDERS["cpu"])
    level = LEVELS.get(subject.variant.option("opt") or "all", "ORT_ENABLE_ALL")
    options = {"device_id": number} if number else {}
    if device == "cuda" and subject.variant.precision != "auto":
        options["use_tf32"] = "0"
    threads = f"options.intra_op_num_threads = {_threads(subject)}\n" if _threads(subject) else ""
    return (
        "import onnxruntime\n\n"
        'print("onnxruntime", onnxruntime.__version__)\n'
        "options = onnxruntime.SessionOptions()\n"
        f"options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.{level}\n"
        f"{threads}"
        f"providers = [({json.dumps(provider)}, {json.dumps(options)})]\n"
        'session = onnxruntime.InferenceSession(str(HERE / "model.onnx"), options, providers=providers)\n'
        "names = [each.name for each in session.get_outputs()]\n"
        "return dict(zip(names, session.run(names, feeds)))\n"
    )


def _openvino(made: Plain, subject: Subject) -> str:
    device, number = _device(subject)
    config: dict[str, Any] = {}
    hint = subject.variant.option("hint")
    if hint is None and subject.variant.precision != "auto":
        kept = subject.runtime.options.get("hint")
        hint = kept if kept in ("f32", "f16", "bf16") else "f32"
        if device == "cpu":
            config = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "KV_CACHE_PRECISION": "f32"}
    if hint in ("f32", "f16", "bf16"):
        config["INFERENCE_PRECISION_HINT"] = hint
    if _threads(subject) and device == "cpu":
        config["INFERENCE_NUM_THREADS"] = _threads(subject)
    said = "  # its own choice of precision" if hint is None else ""
    place = f"{device.upper()}.{number}" if number else device.upper()
    return (
        "import openvino\n\n"
        'print("openvino", openvino.get_version())\n'
        "core = openvino.Core()\n"
        f"config = {_lined(config)}{said}\n"
        'model = core.read_model(str(HERE / "model.onnx"))\n'
        f"compiled = core.compile_model(model, {json.dumps(place)}, config)\n"
        'print("precision", compiled.get_property("INFERENCE_PRECISION_HINT"))\n'
        "results = compiled(feeds)\n"
        "return {name: results[name] for name in LIMITS}\n"
    )


def _lined(config: Mapping[str, Any]) -> str:
    """A literal of plain keys and values, a pair a line."""
    return json.dumps(config, indent=4) if len(config) > 1 else json.dumps(config)


def _tflite(made: Plain, subject: Subject) -> str:
    module = "tflite_runtime" if subject.runtime.name == "tflite-runtime" else "ai_edge_litert"
    resolver = "BUILTIN_WITHOUT_DEFAULT_DELEGATES" if subject.variant.option("delegate") == "none" else "AUTO"
    threads = f", num_threads={_threads(subject)}" if _threads(subject) else ""
    install = textwrap.wrap(f"{INSTALL} && pip install {' '.join(BESIDE)}", 90)
    needs = "".join(f"            {json.dumps(f'{each} ')}\n" for each in install)
    return (
        "from importlib.metadata import version\n\n"
        f"from {module}.interpreter import Interpreter, OpResolverType\n\n"
        f'print("{module}", version("{module.replace("_", "-")}"))\n'
        "with tempfile.TemporaryDirectory() as folder:\n"
        '    source, converted = Path(folder) / "model.onnx", Path(folder) / "converted"\n'
        '    source.write_bytes((HERE / "model.onnx").read_bytes())  # onnx2tf rewrites the file that it is given\n'
        '    command = [sys.executable, "-m", "onnx2tf", "-i", source, "-o", converted, "-nuo", "-n", "-kat", *feeds]\n'
        "    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)\n"
        "    if done.returncode:\n"
        f"        needs = (\n{needs}        )\n"
        '        raise RuntimeError(f"onnx2tf made no file; it is installed by: {needs}\\n{done.stderr[-2000:]}")\n'
        f"    resolver = OpResolverType.{resolver}\n"
        '    path = str(converted / "model_float32.tflite")\n'
        f"    interpreter = Interpreter(model_path=path, experimental_op_resolver_type=resolver{threads})\n"
        "    interpreter.allocate_tensors()\n"
        "for port in interpreter.get_input_details():\n"
        '    array = feeds[port["name"]].astype(port["dtype"]).reshape(port["shape"])\n'
        '    interpreter.set_tensor(port["index"], array)\n'
        "interpreter.invoke()\n"
        'return {port["name"]: interpreter.get_tensor(port["index"]) for port in interpreter.get_output_details()}\n'
    )


def _mnn(made: Plain, subject: Subject) -> str:
    auto = subject.variant.precision == "auto"
    winograd = subject.variant.option("winograd") or ("on" if auto else "off")
    word, mode = ("normal", "Normal") if auto else ("high", "High")
    threads = _threads(subject) or 1
    manager = ""
    if winograd == "off":
        manager = (
            f'    config = {{"precision": "{word}", "numThread": {threads}, "backend": "CPU"}}\n'
            '    modes["runtime_manager"] = nn.create_runtime_manager((config,))\n'
            '    modes["runtime_manager"].set_hint(3, 0)  # WINOGRAD_MEMORY_LEVEL 0: convolutions without Winograd\n'
        )
    return (
        "import MNN\n"
        "import MNN.expr as expr\n"
        "import MNN.nn as nn\n\n"
        'print("MNN", MNN.version())\n'
        "# The extension behind mnnconvert, by itself: the program around it installs a logging client.\n"
        "convert = \"import _tools, sys; _tools.mnnconvert(['mnnconvert', *sys.argv[1:]])\"\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        '    path = str(Path(folder) / "model.mnn")\n'
        '    options = ["-f", "ONNX", "--modelFile", HERE / "model.onnx", "--MNNModel", path, "--bizCode", "repro"]\n'
        '    subprocess.run([sys.executable, "-c", convert, *options], cwd=folder, check=True)\n'
        f'    modes = {{"backend": expr.Backend.CPU, "precision_mode": expr.PrecisionMode.{mode}, '
        f'"thread_num": {threads}}}\n'
        f"{manager}"
        "    module = nn.load_module_from_file(path, list(feeds), list(LIMITS), **modes)\n"
        '    ports = module.get_info()["inputs"]\n'
        "    kinds = {expr.dtype.float: np.float32, expr.dtype.int: np.int32, expr.dtype.uint8: np.uint8}\n"
        "    types = {str(kind): array for kind, array in kinds.items()}\n"
        "    given = []\n"
        "    for array, port in zip(feeds.values(), ports):\n"
        "        dense = np.ascontiguousarray(array, types[str(port.dtype)])\n"
        "        given.append(expr.const(dense, list(array.shape), expr.NCHW, port.dtype))\n"
        "    found = module.onForward(given)\n"
        "    return {name: np.array(expr.convert(each, expr.NCHW).read()) for name, each in zip(LIMITS, found)}\n"
    )


def _trt(made: Plain, subject: Subject) -> str:
    number = re.sub("[^0-9]", "", subject.variant.device or "") or "0"
    module = "tensorrt_rtx" if "RTX" in subject.runtime.name else "tensorrt"
    loose = subject.variant.precision == "auto"
    tf32 = "" if loose else "config.clear_flag(trt.BuilderFlag.TF32)  # on by default\n"
    return (
        f"import {module} as trt\n\n"
        f'print("{module}", trt.__version__)\n'
        'cuda = ctypes.CDLL("libcuda.so.1")\n'
        "context, device = ctypes.c_void_p(), ctypes.c_int()\n"
        f"if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), {number}):\n"
        '    raise RuntimeError("no NVIDIA GPU or no driver")\n'
        "cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)\n"
        "cuda.cuCtxSetCurrent(context)\n\n"
        "def shared(count):  # memory that the processor and the GPU both see\n"
        "    place = ctypes.c_void_p()\n"
        "    if cuda.cuMemAllocManaged(ctypes.byref(place), ctypes.c_size_t(max(count, 1)), 1):\n"
        '        raise RuntimeError("no memory on the GPU")\n'
        "    return place.value\n\n"
        "logger = trt.Logger(trt.Logger.WARNING)\n"
        "builder = trt.Builder(logger)\n"
        "network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))\n"
        "parser = trt.OnnxParser(network, logger)\n"
        'if not parser.parse_from_file(str(HERE / "model.onnx")):\n'
        "    raise RuntimeError(parser.get_error(0).desc())\n"
        "config = builder.create_builder_config()\n"
        f"{tf32}"
        "profile = builder.create_optimization_profile()\n"
        "for name, array in feeds.items():\n"
        "    profile.set_shape(name, array.shape, array.shape, array.shape)\n"
        "config.add_optimization_profile(profile)\n"
        "plan = builder.build_serialized_network(network, config)\n"
        "engine = trt.Runtime(logger).deserialize_cuda_engine(plan)\n"
        "run, places = engine.create_execution_context(), {}\n"
        "for name, array in feeds.items():\n"
        "    run.set_input_shape(name, array.shape)\n"
        "    place = shared(array.nbytes)\n"
        "    ctypes.memmove(place, np.ascontiguousarray(array).ctypes.data, array.nbytes)\n"
        "    run.set_tensor_address(name, place)\n"
        "for name in LIMITS:\n"
        "    shape, kind = tuple(run.get_tensor_shape(name)), np.dtype(trt.nptype(engine.get_tensor_dtype(name)))\n"
        "    places[name] = shared(int(np.prod(shape)) * kind.itemsize), shape, kind\n"
        "    run.set_tensor_address(name, places[name][0])\n"
        "if not run.execute_async_v3(0) or cuda.cuCtxSynchronize():\n"
        '    raise RuntimeError("TensorRT failed while it ran")\n'
        "return {\n"
        "    name: np.frombuffer(ctypes.string_at(place, int(np.prod(shape)) * kind.itemsize), kind).reshape(shape)\n"
        "    for name, (place, shape, kind) in places.items()\n"
        "}\n"
    )


def _unknown(made: Plain, subject: Subject) -> str:
    words = f"write here how {plain_words(subject.runtime.name, 80)} runs model.onnx on the feeds"
    return f"raise NotImplementedError({json.dumps(words)})"


_RUNTIMES: dict[str, Callable[[Plain, Subject], str]] = {
    "ort": _ort,
    "openvino": _openvino,
    "tflite": _tflite,
    "mnn": _mnn,
    "trt": _trt,
}

_NUMBERS = """\
            error = np.abs(have.astype($wide) - want.astype($wide))
            same = (have == want) | (np.isnan(have) & np.isnan(want))
            error = np.nan_to_num(np.where(same, 0.0, error), nan=np.inf, posinf=np.inf)
            relative = np.linalg.norm(error.ravel()) / np.linalg.norm(want.ravel().astype($wide))
"""
_TEXT = """\
            error = np.where(have.astype(str) == want.astype(str), 0.0, 1.0)
            relative = np.mean(error)
"""
_RESHAPED = """\
        if have.size == want.size:
            have = have.reshape(want.shape)  # converted models return vectors, or add dimensions of 1
"""
_SCRIPT = Template("""\
\"\"\"$about
\"\"\"

$modules
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
LIMITS = $limits  # rms and largest error: between rounding and what was measured


def run(feeds):
$run


def main():
    with np.load(HERE / "inputs.npz") as inputs, np.load(HERE / "expected.npz") as expected:
        feeds, answers = dict(inputs), dict(expected)
    got, differs = run(feeds), False
    for name, want in answers.items():
        have = np.asarray(got[name])
${reshaped}        print(f"{name}: {have.dtype} {list(have.shape)}, expected {list(want.shape)}")
        if have.shape != want.shape or not want.size:
            differs |= have.shape != want.shape
            continue
        with np.errstate(all="ignore"):
${error}            rms, most = np.sqrt(np.mean(error**2)), error.max()
        at = np.unravel_index(np.argmax(error), error.shape)
        print(f"  max abs difference {most:.6g}, rms {rms:.6g}, relative L2 {relative:.6g}")
        print(f"  worst index {list(map(int, at))}: expected {want[at]}, got {have[at]}")
        differs |= bool(rms > LIMITS[name][0] or most > LIMITS[name][1])
    print("the difference is there" if differs else "the difference is not there")
    return int(differs)


try:
    code = main()
except Exception as error:
    print(f"this could not run: {type(error).__name__}: {error}", file=sys.stderr)
    code = 2
sys.exit(code)
""")
