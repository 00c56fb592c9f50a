"""A stand-in with TensorRT's documented Python interface, as far as the backend uses it, that computes with numpy.

It behaves where the real one hurts: a debug tensor's memory is overwritten as soon as the callback returns, an
address that was freed is an error, two builds of one network differ in the last digits, and nothing runs whose
input shape, address or debug state was not set. "GPU memory" is host memory, see `driver`.
"""

from __future__ import annotations

import ctypes
import enum
import itertools
import json
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

__version__ = "10.3.0"


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class Logger(ILogger):
    def __init__(self, severity: int = 2) -> None:
        self.severity = severity


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class BuilderFlag(enum.IntEnum):
    TF32 = 1
    DISABLE_TIMING_CACHE = 2
    FP16 = 3
    BF16 = 4


class ProfilingVerbosity(enum.Enum):
    LAYER_NAMES_ONLY = 0
    DETAILED = 1


class LayerInformationFormat(enum.Enum):
    ONELINE = 0
    JSON = 1


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class TensorLocation(enum.Enum):
    DEVICE = 0
    HOST = 1


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    INT64 = 8
    BOOL = 4


class IDebugListener:
    pass


class Tensor:
    def __init__(self, name: str, shape: tuple[int, ...] = (), *, is_output: bool = False) -> None:
        self.name, self.shape = name, shape
        self.is_network_output, self.is_shape_tensor = is_output, False


class Layer:
    def __init__(self, outputs: list[Tensor]) -> None:
        self._outputs = outputs
        self.num_outputs = len(outputs)

    def get_output(self, index: int) -> Tensor:
        return self._outputs[index]


class Network:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.debug: list[str] = []
        self.unfused = False
        self.model = onnx.ModelProto()

    def take(self, model: onnx.ModelProto) -> None:
        self.model = model
        outputs = {each.name for each in model.graph.output}
        weights = {each.name for each in model.graph.initializer}
        self._inputs = [
            Tensor(each.name, tuple(d.dim_value or -1 for d in each.type.tensor_type.shape.dim))
            for each in model.graph.input
            if each.name not in weights
        ]
        self._layers = [
            Layer([Tensor(name, is_output=name in outputs) for name in node.output]) for node in model.graph.node
        ]

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    @property
    def num_outputs(self) -> int:
        return len(self.model.graph.output)

    def get_output(self, index: int) -> Tensor:
        return Tensor(self.model.graph.output[index].name, is_output=True)

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    def get_input(self, index: int) -> Tensor:
        return self._inputs[index]

    def get_layer(self, index: int) -> Layer:
        return self._layers[index]

    def mark_debug(self, tensor: Tensor) -> bool:
        self.debug.append(tensor.name)
        return True

    def mark_unfused_tensors_as_debug_tensors(self) -> bool:
        self.unfused = True
        return True

    def mark_output(self, tensor: Tensor) -> None:
        self.model.graph.output.append(onnx.ValueInfoProto(name=tensor.name))


class OnnxParser:
    num_errors = 0

    def __init__(self, network: Network, logger: ILogger) -> None:
        self._network = network

    def parse_from_file(self, path: str) -> bool:
        self._network.take(onnx.load(path))
        return True


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}

    def set_shape(self, name: str, least: tuple[int, ...], best: tuple[int, ...], most: tuple[int, ...]) -> None:
        assert least == best == most
        self.shapes[name] = best


class Config:
    def __init__(self) -> None:
        self.flags = {BuilderFlag.TF32}  # as the real one begins
        self.profiles: list[Profile] = []
        self.profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY

    def set_flag(self, flag: BuilderFlag) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags.discard(flag)

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile)
        return 0


class Builder:
    builds = itertools.count()

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def create_network(self, flags: int) -> Network:
        return Network(flags)

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes:
        assert config.profiling_verbosity is ProfilingVerbosity.DETAILED
        facts = {
            "flags": sorted(int(each) for each in config.flags),
            "network": network.flags,
            "debug": network.debug,
            "unfused": network.unfused,
            "profiles": [each.shapes for each in config.profiles],
            "build": next(self.builds),
        }
        return json.dumps(facts).encode() + b"\0" + network.model.SerializeToString()


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> Engine:
        facts, _, model = plan.partition(b"\0")
        return Engine(json.loads(facts), onnx.ModelProto.FromString(model))


class Engine:
    def __init__(self, facts: dict[str, Any], model: onnx.ModelProto) -> None:
        self.facts, self.model = facts, model
        weights = {each.name for each in model.graph.initializer}
        self.inputs = [each.name for each in model.graph.input if each.name not in weights]
        self.outputs = [each.name for each in model.graph.output]
        self.num_io_tensors = len(self.inputs) + len(self.outputs)

    def get_tensor_name(self, index: int) -> str:
        return [*self.inputs, *self.outputs][index]

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.FLOAT

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def is_shape_inference_io(self, name: str) -> bool:
        return False

    def create_engine_inspector(self) -> Inspector:
        return Inspector(self)

    def create_execution_context(self) -> Context:
        return Context(self)


class Inspector:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get_engine_information(self, form: LayerInformationFormat) -> str:
        half = BuilderFlag.FP16 in self._engine.facts["flags"]
        kind = "Row major linear FP16 format" if half else "Row major linear FP32"
        layers = [
            {"Name": node.op_type, "LayerType": "gemm", "Outputs": [{"Name": name, "Format/Datatype": kind}]}
            for node in self._engine.model.graph.node
            for name in node.output
        ]
        return json.dumps({"Layers": layers, "Bindings": self._engine.outputs})


class Context:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._listener: Any = None
        self._debug = False
        self.unfused_tensors_debug_state = False

    def set_debug_listener(self, listener: Any) -> bool:
        self._listener = listener
        return True

    def set_all_tensors_debug_state(self, state: bool) -> bool:
        self._debug = state
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._values()[name].shape

    def _values(self) -> dict[str, np.ndarray]:
        kinds = {each.name: each.type.tensor_type.elem_type for each in self._engine.model.graph.input}
        feeds = {}
        for name in self._engine.inputs:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(kinds[name])
            shape = self._shapes[name]
            raw = MEMORY.read(self._addresses[name], int(np.prod(shape)) * dtype.itemsize)
            feeds[name] = np.frombuffer(raw, dtype).reshape(shape)
        every = [name for node in self._engine.model.graph.node for name in node.output]
        wanted = onnx.ModelProto()
        wanted.CopyFrom(self._engine.model)
        del wanted.graph.output[:]
        wanted.graph.output.extend(onnx.ValueInfoProto(name=name) for name in every)
        values = dict(zip(every, ReferenceEvaluator(wanted).run(None, feeds), strict=True))
        drift = np.float32(1 + self._engine.facts["build"] % 4 * 2.0**-20)
        return {name: np.asarray(v * drift if v.dtype == np.float32 else v, v.dtype) for name, v in values.items()}

    def execute_async_v3(self, stream: int) -> bool:
        values = self._values()
        facts = self._engine.facts
        debug = list(facts["debug"]) if self._debug else []
        if facts["unfused"] and self.unfused_tensors_debug_state:
            debug += [name for name in values if name not in self._engine.outputs][::2]  # the rest is fused away
        for name in debug:
            array = np.ascontiguousarray(values[name]).copy()
            kind = {np.dtype(np.float32): DataType.FLOAT, np.dtype(np.int64): DataType.INT64}[array.dtype]
            MEMORY.lend(array)
            address = array.ctypes.data
            assert self._listener.process_debug_tensor(
                address, TensorLocation.DEVICE, kind, array.shape, name, stream
            )
            array.view(np.uint8)[...] = 0xFF
        for name in self._engine.outputs:
            MEMORY.write(self._addresses[name], np.ascontiguousarray(values[name]).tobytes())
        return True


class Memory:
    """What lies at which address; anything else is not ours to touch."""

    def __init__(self) -> None:
        self.blocks: dict[int, Any] = {}
        self.sizes: dict[int, int] = {}

    def allocate(self, size: int) -> int:
        block = ctypes.create_string_buffer(size)
        address = ctypes.addressof(block)
        self.blocks[address], self.sizes[address] = block, size
        return address

    def lend(self, array: np.ndarray) -> None:
        self.blocks[array.ctypes.data], self.sizes[array.ctypes.data] = array, array.nbytes

    def read(self, address: int, size: int) -> bytes:
        assert self.sizes[address] >= size
        return ctypes.string_at(address, size)

    def write(self, address: int, data: bytes) -> None:
        assert self.sizes[address] >= len(data)
        ctypes.memmove(address, data, len(data))


MEMORY = Memory()


class Driver:
    """libcuda's calls as the backend makes them, on host memory."""

    def cuDeviceGet(self, device: Any, index: int) -> int:
        return 0 if index == 0 else 101

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:
        return 0

    def cuCtxSetCurrent(self, context: Any) -> int:
        return 0

    def cuStreamCreate(self, stream: Any, flags: int) -> int:
        stream._obj.value = 7
        return 0

    def cuMemAlloc_v2(self, pointer: Any, size: Any) -> int:
        pointer._obj.value = MEMORY.allocate(size.value)
        return 0

    def cuMemFree_v2(self, pointer: Any) -> int:
        del MEMORY.blocks[pointer.value], MEMORY.sizes[pointer.value]
        return 0

    def cuMemcpyHtoD_v2(self, target: Any, source: Any, size: Any) -> int:
        MEMORY.write(target.value, ctypes.string_at(source.value, size.value))
        return 0

    def cuMemcpyDtoH_v2(self, target: Any, source: Any, size: Any) -> int:
        ctypes.memmove(target.value, MEMORY.read(source.value, size.value), size.value)
        return 0

    def cuStreamSynchronize(self, stream: Any) -> int:
        return 0 if stream.value == 7 else 400

    def cuStreamDestroy_v2(self, stream: Any) -> int:
        return 0

    def cuDevicePrimaryCtxRelease_v2(self, device: Any) -> int:
        return 0
