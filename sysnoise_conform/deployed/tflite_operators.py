"""What TensorFlow Lite's kernels take for granted of an operator: its own options, its operands, made before it.

The format's own verifier knows nothing of this, and some kernels don't either: ADD without operands ends the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sysnoise_conform.deployed.flatbuffer import FlatBufferError, Table
from sysnoise_conform.deployed.tflite_schema import SCHEMA
from sysnoise_conform.printable import one_line

NO_TENSOR = -1  # an optional operand that is not given

# Every BuiltinOperator in the order of its number, `name:operands:options:optional`: the least number of operands, the
# type of its options (`+` of the second union; none where it has none), and the first operand that may be left out.
_TABLE = """
    ADD:2:11 AVERAGE_POOL_2D:1:5 CONCATENATION:1:10 CONV_2D:2:1:2 DEPTHWISE_CONV_2D:2:2:2 DEPTH_TO_SPACE:1:94
    DEQUANTIZE:1:38 EMBEDDING_LOOKUP:2 FLOOR:1 FULLY_CONNECTED:2:8:2 HASHTABLE_LOOKUP:3 L2_NORMALIZATION:1:12
    L2_POOL_2D:1:5 LOCAL_RESPONSE_NORMALIZATION:1:13 LOGISTIC:1 LSH_PROJECTION:2:4:2 LSTM:5:14:1 MAX_POOL_2D:1:5
    MUL:2:21 RELU:1 RELU_N1_TO_1:1 RELU6:1 RESHAPE:1:17 RESIZE_BILINEAR:2:15 RNN:5:7:1 SOFTMAX:1:9 SPACE_TO_DEPTH:1:19
    SVDF:4:6:3 TANH:1 CONCAT_EMBEDDINGS:1:3 SKIP_GRAM:1:18 CALL:0:16:1 CUSTOM:0::1 EMBEDDING_LOOKUP_SPARSE:5:20
    PAD:2:22 UNIDIRECTIONAL_SEQUENCE_RNN:5:31:1 GATHER:2:23 BATCH_TO_SPACE_ND:3:24 SPACE_TO_BATCH_ND:3:25
    TRANSPOSE:2:26 MEAN:2:27 SUB:2:28 DIV:2:29 SQUEEZE:1:30 UNIDIRECTIONAL_SEQUENCE_LSTM:20:71:1 STRIDED_SLICE:4:32
    BIDIRECTIONAL_SEQUENCE_RNN:12:70:1 EXP:1:33 TOPK_V2:2:34 SPLIT:2:35 LOG_SOFTMAX:1:36 DELEGATE:0::1
    BIDIRECTIONAL_SEQUENCE_LSTM:39:69:1 CAST:1:37 PRELU:2 MAXIMUM:2:39 ARG_MAX:2:40 MINIMUM:2:39 LESS:2:41 NEG:1:42
    PADV2:3:43 GREATER:2:44 GREATER_EQUAL:2:45 LESS_EQUAL:2:46 SELECT:3:47 SLICE:3:48 SIN:1 TRANSPOSE_CONV:3:49:3
    SPARSE_TO_DENSE:4:50 TILE:2:51 EXPAND_DIMS:2:52 EQUAL:2:53 NOT_EQUAL:2:54 LOG:1 SUM:2:27 SQRT:1 RSQRT:1 SHAPE:1:55
    POW:2:56 ARG_MIN:2:57 FAKE_QUANT:1:58 REDUCE_PROD:2:27 REDUCE_MAX:2:27 PACK:1:59 LOGICAL_OR:2:60 ONE_HOT:4:61
    LOGICAL_AND:2:62 LOGICAL_NOT:1:63 UNPACK:1:64 REDUCE_MIN:2:27 FLOOR_DIV:2:65 REDUCE_ANY:2:27 SQUARE:1:66
    ZEROS_LIKE:1:67 FILL:2:68 FLOOR_MOD:2:72 RANGE:3:73 RESIZE_NEAREST_NEIGHBOR:2:74 LEAKY_RELU:1:75
    SQUARED_DIFFERENCE:2:76 MIRROR_PAD:2:77 ABS:1:78 SPLIT_V:3:79 UNIQUE:1:80 CEIL:1 REVERSE_V2:2:81 ADD_N:1:82
    GATHER_ND:2:83 COS:1:84 WHERE:1:85 RANK:1:86 ELU:1 REVERSE_SEQUENCE:2:87 MATRIX_DIAG:1:88 QUANTIZE:1:89
    MATRIX_SET_DIAG:2:90 ROUND:1 HARD_SWISH:1:91 IF:1:92 WHILE:0:93 NON_MAX_SUPPRESSION_V4:5:95
    NON_MAX_SUPPRESSION_V5:6:96 SCATTER_ND:3:97 SELECT_V2:3:98 DENSIFY:1:99 SEGMENT_SUM:2:100 BATCH_MATMUL:2:101
    PLACEHOLDER_FOR_GREATER_OP_CODES:0 CUMSUM:2:102 CALL_ONCE:0:103 BROADCAST_TO:2:104 RFFT2D:2:105 CONV_3D:2:106:2
    IMAG:1 REAL:1 COMPLEX_ABS:1 HASHTABLE:0:107 HASHTABLE_FIND:3:108 HASHTABLE_IMPORT:3:109 HASHTABLE_SIZE:1:110
    REDUCE_ALL:2:27 CONV_3D_TRANSPOSE:3:106:3 VAR_HANDLE:0:111 READ_VARIABLE:1:112 ASSIGN_VARIABLE:2:113
    BROADCAST_ARGS:2 RANDOM_STANDARD_NORMAL:1:114 BUCKETIZE:1:115 RANDOM_UNIFORM:1:114 MULTINOMIAL:2:114 GELU:1:116
    DYNAMIC_UPDATE_SLICE:3:117 RELU_0_TO_1:1 UNSORTED_SEGMENT_PROD:3:118 UNSORTED_SEGMENT_MAX:3:119
    UNSORTED_SEGMENT_SUM:3:121 ATAN2:2:122 UNSORTED_SEGMENT_MIN:3:120 SIGN:1:123 BITCAST:1:124 BITWISE_XOR:2:125
    RIGHT_SHIFT:2:126 STABLEHLO_LOGISTIC:1 STABLEHLO_ADD:2 STABLEHLO_DIVIDE:2 STABLEHLO_MULTIPLY:2 STABLEHLO_MAXIMUM:2
    STABLEHLO_RESHAPE:1 STABLEHLO_CLAMP:3 STABLEHLO_CONCATENATE:1:+1 STABLEHLO_BROADCAST_IN_DIM:1:+2
    STABLEHLO_CONVOLUTION:2:+4 STABLEHLO_SLICE:1:+3 STABLEHLO_CUSTOM_CALL:0:+5:1 STABLEHLO_REDUCE:2:+6 STABLEHLO_ABS:1
    STABLEHLO_AND:2 STABLEHLO_COSINE:1 STABLEHLO_EXPONENTIAL:1 STABLEHLO_FLOOR:1 STABLEHLO_LOG:1 STABLEHLO_MINIMUM:2
    STABLEHLO_NEGATE:1 STABLEHLO_OR:2 STABLEHLO_POWER:2 STABLEHLO_REMAINDER:2 STABLEHLO_RSQRT:1 STABLEHLO_SELECT:3
    STABLEHLO_SUBTRACT:2 STABLEHLO_TANH:1 STABLEHLO_SCATTER:3:+7 STABLEHLO_COMPARE:2:+8 STABLEHLO_CONVERT:1
    STABLEHLO_DYNAMIC_SLICE:2:+9 STABLEHLO_DYNAMIC_UPDATE_SLICE:3 STABLEHLO_PAD:2:+10 STABLEHLO_IOTA:0:+11
    STABLEHLO_DOT_GENERAL:2:+12 STABLEHLO_REDUCE_WINDOW:2:+13 STABLEHLO_SORT:1:+14 STABLEHLO_WHILE:1:+15
    STABLEHLO_GATHER:2:+16 STABLEHLO_TRANSPOSE:1:+17 DILATE:3:+18 STABLEHLO_RNG_BIT_GENERATOR:1:+19
    REDUCE_WINDOW:5:+20 STABLEHLO_COMPOSITE:0:+21:1 STABLEHLO_SHIFT_LEFT:2:+22 STABLEHLO_CBRT:1 STABLEHLO_CASE:1:+23
"""
# Those that may give nothing: they act on a variable or a table, or a graph of the file says what they give.
_WITHOUT_OUTPUTS = frozenset({
    "ASSIGN_VARIABLE", "CALL", "CALL_ONCE", "CUSTOM", "DELEGATE", "HASHTABLE_IMPORT", "IF", "WHILE", "STABLEHLO_CASE",
    "STABLEHLO_COMPOSITE", "STABLEHLO_CUSTOM_CALL", "STABLEHLO_WHILE", "PLACEHOLDER_FOR_GREATER_OP_CODES",
})  # fmt: skip
# A tensor with stored values can't be written to: the process ends. But these kernels compute what follows from shapes
# and constants alone once, before the first run, into memory of their own. Converters leave values in such tensors.
# Measured with LiteRT 2.3.0: each of these writes, ADD, SUB, PACK, CAST, SLICE and others end the process.
_OF_SHAPES = frozenset({"SHAPE", "RANK"})
_OF_CONSTANTS = frozenset({
    "BROADCAST_ARGS", "CONCATENATION", "GATHER", "MUL", "REDUCE_PROD", "RESHAPE", "STRIDED_SLICE",
})  # fmt: skip
# Fields of options that kernels divide by, or walk in steps of.
_STEPS = ("stride_", "filter_", "dilation_", "block_size")
_LISTS_OF_STEPS = ("strides", "dilation", "dilations")


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One row of the table; `optional` is None where every operand must be given."""

    name: str
    least: int
    options: int
    options2: int
    optional: int | None

    @property
    def has_steps(self) -> bool:
        """Whether its options hold steps, which without options would be 0."""
        return any(each.startswith(_STEPS) for each in SCHEMA.get(f"Options{self.options}", "").split())


def _kind(text: str) -> Kind:
    name, least, options, optional = (*text.split(":"), "", "")[:4]
    second = options.startswith("+")
    return Kind(
        name=name, least=int(least), options=0 if second else int(options or 0), options2=int(options) if second else 0,
        optional=int(optional) if optional else None,
    )  # fmt: skip


KINDS = tuple(_kind(each) for each in _TABLE.split())


def check(operator: Table, kind: Kind, made: np.ndarray, tensors: list[Table]) -> None:
    """Refuse an operator whose kernel could fall over it; `made` says for each tensor whether it has a value by now.

    Its indices must be in range already. Raises FlatBufferError.
    """
    _check_operands(operator, kind, made, tensors)
    for mine, options in ((kind.options, "options"), (kind.options2, "options2")):
        # An operator that takes no options may bring none, and one that takes some may leave them to their defaults.
        if operator[f"{options}_type"] not in (0, mine):
            raise FlatBufferError(f"{kind.name} has the options of another operator")
    if kind.has_steps and operator["options"] is None:
        raise FlatBufferError(f"{kind.name} has no options, so its strides would be 0")
    for name, value in _steps(operator):
        if value < 1:
            raise FlatBufferError(f"{kind.name} has {name} = {value}")


class Written:
    """Who writes which tensor of a graph, told operator by operator in the order of the file."""

    def __init__(self, stored: np.ndarray, given: np.ndarray) -> None:
        """`stored`: tensors with values in the file; `given`: those that the graph is fed."""
        self._stored = stored
        self._known = stored.copy()  # before the first run
        self._taken = given.copy()

    def add(self, operator: Table, kind: Kind) -> None:
        """Refuse an operator that writes to a constant, to an input of its graph, or to what another one wrote."""
        inputs: np.ndarray = operator["inputs"][operator["inputs"] != NO_TENSOR]
        outputs: np.ndarray = operator["outputs"]
        early = kind.name in _OF_SHAPES or (kind.name in _OF_CONSTANTS and bool(self._known[inputs].all()))
        if self._stored[outputs].any() and not early:
            raise FlatBufferError("an operator writes to a constant")
        if self._taken[outputs].any() or len(set(outputs.tolist())) < len(outputs):
            raise FlatBufferError(f"{kind.name} writes to a tensor that is an input, or that was written before")
        self._taken[outputs] = True
        self._known[outputs] |= early


def _check_operands(operator: Table, kind: Kind, made: np.ndarray, tensors: list[Table]) -> None:
    inputs: list[int] = operator["inputs"].tolist()
    if len(inputs) < kind.least:
        raise FlatBufferError(f"{kind.name} has {len(inputs)} operands, it takes {kind.least} at least")
    if not len(operator["outputs"]) and kind.name not in _WITHOUT_OUTPUTS:
        raise FlatBufferError(f"{kind.name} gives nothing")
    for position, index in enumerate(inputs):
        if index == NO_TENSOR:
            if kind.optional is None or position < kind.optional:
                raise FlatBufferError(f"{kind.name} is not given its operand {position}")
        # RESHAPE may have its new shape from the options: then its second operand is there for its shape alone.
        elif not made[index] and (kind.name, position) != ("RESHAPE", 1):
            name = one_line(tensors[index]["name"], 80)
            raise FlatBufferError(f"{kind.name} reads the tensor {name!r}, which nothing before it makes")


def _steps(operator: Table) -> Iterator[tuple[str, Any]]:
    for options in (operator["options"], operator["options2"]):
        for name, value in options.fields.items() if options is not None else ():
            if name.startswith(_STEPS):
                yield name, value
            elif name.endswith(_LISTS_OF_STEPS):
                yield name, min(np.atleast_1d(value).tolist(), default=1)
