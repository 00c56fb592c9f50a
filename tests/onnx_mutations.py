"""Valid little models, and seeded ways to break them: bytes, and fields of the message."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hostile_onnx import no_utf8
from onnx import AttributeProto, ModelProto, helper, parser
from onnx_files import external, model, node, port, stored

_TEXTS = (
    """g (float[1,3,8,8] x) => (float[1,4,8,8] y)
       <float[4,3,1,1] w = {1,2,3,4,5,6,7,8,9,10,11,12}> { c = Conv(x, w)  y = Relu(c) }""",
    """g (float[2] x, bool c) => (float[2] y) {
       a = Mul(x, x)
       y = If (c) <then_branch = t () => (float[2] p) { p = Add(a, x) },
                   else_branch = e () => (float[2] q) { q = Sub(a, x) }> }""",
    """g (float[2] x) => (float[2] y, float[?, 2] z) <int64 n = {3}, bool go = {1}> {
       y, z = Loop (n, go, x) <body = b (int64 i, bool keep, float[2] s) => (bool more, float[2] t, float[2] u) {
           more = Identity(keep)  t = Add(s, s)  u = Neg(t) }> }""",
    """g (float[2,6] x) => (float[3,4] y) <int64[2] to = {3, -1}, int64[1] at = {1}> {
       r = Reshape(x, to)  s = Shape(r)  k = Gather(s, at)  p = Concat<axis = 0>(at, k)  e = Expand(r, s)
       y = Add(r, e) }""",
    """g (float[1,1,4,4] x) => (float[1,1,8,8] y) <float[4] up = {1, 1, 2, 2}> {
       y = Resize <mode = "linear"> (x, , up) }""",
    """g (float[2,3] x) => (float[3,2] y, int64[2,1] i) {
       t = Transpose<perm = [1, 0]>(x)  y = Softmax<axis = 0>(t)
       k = Constant<value = int64[1] {1}>()  v, i = TopK(x, k) }""",
    """g (float[4] x) => (float[2] y) { s = SplitToSequence(x)  i = Constant<value_int = 1>()
       one = SequenceAt(s, i)  two = SequenceAt(s, i)  y = Concat<axis = 0>(one, two) }""",
    """g (float[3,2] x) => (float[2] s, float[3,2] y) <float[2] zero = {0, 0}> {
       s, y = Scan <num_scan_inputs = 1, body = b (float[2] a, float[2] r) => (float[2] n, float[2] o) {
           n = Add(a, r)  o = Identity(n) }> (zero, x) }""",
    """g (float[1,2,6,6] x) => (float[1,2,3,3] y) {
       p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x)
       y = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(p) }""",
    """g (float[2,3] x) => (uint8[2,3] y) <float s = {0.1}, uint8 z = {3}> {
       q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  y = QuantizeLinear(d, s, z) }""",
)

_FUNCTION = """<ir_version: 8, opset_import: ["": 18, "local": 1]>
g (float[2] x) => (float[2] y) { y = local.Twice<k = 2>(x) }
<domain: "local", opset_import: ["": 18]> Twice <k> (a) => (b) {
  c = Constant<value_int: int = @k>()  d = Cast<to = 1>(c)  b = Mul(a, d) }"""


_HEAD = """<ir_version: 9, opset_import: ["": 18, "local": 1]>"""
_TAKER = """<domain: "local", opset_import: ["": 18]> F <body> (a, c) => (b) {
  b = If (c) <then_branch = t () => (float[2] p) { p = Neg(a) }, else_branch = e () => (float[2] q) { q = Abs(a) }> }"""


def models() -> list[ModelProto]:
    """Well-formed models that between them have bodies, functions, sequences, shapes as data, stored tensors."""
    found = [parser.parse_model(f'<ir_version: 8, opset_import: ["": 18]> {text}') for text in _TEXTS]
    found.append(parser.parse_model(_FUNCTION))
    sparse = helper.make_sparse_tensor(stored("w", [1.0, 2.0]), stored("", [0, 3], np.int64), [4])
    found.append(model([node("Add", ["x", "w"], ["y"])], [port("x", (4,))], [port("y", (4,))]))
    found[-1].graph.sparse_initializer.append(sparse)
    data = external("w", [4], {"location": "w.bin", "offset": 0, "length": 16})
    found.append(model([node("Add", ["x", "w"], ["y"])], [port("x", (4,))], [port("y", (4,))], [data]))
    return found


def odd_models() -> list[ModelProto]:
    """Models with what only strangers write: bodies that a function takes or brings, and what must be refused."""
    taken = parser.parse_model(f"""{_HEAD} g (float[2] x, bool c) => (float[2] y) {{
        y = local.F <body = t () => (float[2] p) {{ p = Neg(x) }}> (x, c) }} {_TAKER}""")
    for attribute in taken.functions[0].node[0].attribute:
        attribute.ref_attr_name, attribute.type = "body", AttributeProto.GRAPH
        attribute.ClearField("g")
    brought = ModelProto()
    brought.CopyFrom(taken)
    default = brought.graph.node[0].attribute.pop()
    brought.functions[0].attribute.remove("body")
    brought.functions[0].attribute_proto.append(default)
    holding = ModelProto()
    holding.CopyFrom(brought)
    inner = holding.functions[0].attribute_proto[0].g
    inner.sparse_initializer.append(helper.make_sparse_tensor(stored("k", [1.0]), stored("", [1], np.int64), [2]))
    inner.node[0].CopyFrom(node("Mul", ["x", "k"], ["p"]))
    imports, texts = ModelProto(), ModelProto()
    imports.CopyFrom(brought)
    imports.opset_import.add(domain="ai.onnx.ml", version=1 << 40)
    imports.functions[0].opset_import.add(domain="com.microsoft", version=(1 << 63) - 1)
    texts.CopyFrom(taken)
    texts.producer_name = texts.doc_string = texts.graph.doc_string = "QQQQ"
    texts.metadata_props.add(key="QQQQ", value="v")
    return [taken, brought, holding, imports, ModelProto.FromString(no_utf8(texts))]


def broken_bytes(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """`data` with some bits flipped, cut off, doubled, or spliced with those of another model."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(found) + 1)
        match rng.randrange(6):
            case 0 if found:
                found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
            case 1 if found:
                found[rng.randrange(len(found))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del found[at:]
            case 3:
                del found[at : at + rng.randint(1, 16)]
            case 4:
                found[at:at] = found[at : at + rng.randint(1, 64)]
            case _:
                start = rng.randrange(len(other))
                found[at:at] = other[start : start + rng.randint(1, 200)]
    return bytes(found)


def broken_fields(proto: ModelProto, rng: random.Random) -> ModelProto:
    """A copy with one to three fields, anywhere in the message, changed, removed, doubled or swapped."""
    found = ModelProto()
    found.CopyFrom(proto)
    for _ in range(rng.randint(1, 3)):
        message = rng.choice(_messages(found))
        there = [field for field, _ in message.ListFields()]
        field = rng.choice(there if there and rng.random() < 0.7 else message.DESCRIPTOR.fields)
        try:
            _change(message, field, rng)
        except (ValueError, TypeError, DecodeError):
            continue  # no such value: the model stays as it is
    return found


def _messages(root: Message) -> list[Message]:
    found, waiting = [], [root]
    while waiting:
        message = waiting.pop()
        found.append(message)
        for field, value in message.ListFields():
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                waiting.extend(value if field.is_repeated else [value])
    return found


def _change(message: Message, field: FieldDescriptor, rng: random.Random) -> None:
    values = getattr(message, field.name)
    if rng.random() < 0.15:
        message.ClearField(field.name)
    elif not field.is_repeated:
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            values.SetInParent()
        else:
            setattr(message, field.name, _value(field, rng))
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        _repeat(values, rng)
    elif values and rng.random() < 0.7:
        values[rng.randrange(len(values))] = _value(field, rng)
    else:
        values.append(_value(field, rng))


def _repeat(values: object, rng: random.Random) -> None:
    count = len(values)  # type: ignore[arg-type]
    if not count:
        values.add()  # type: ignore[attr-defined]
        return
    first, second = rng.randrange(count), rng.randrange(count)
    match rng.randrange(3):
        case 0:
            del values[first]  # type: ignore[attr-defined]
        case 1:
            values.add().CopyFrom(values[first])  # type: ignore[attr-defined, index]
        case _:
            kept = type(values[first])()  # type: ignore[index]
            kept.CopyFrom(values[first])  # type: ignore[index]
            values[first].CopyFrom(values[second])  # type: ignore[index]
            values[second].CopyFrom(kept)  # type: ignore[index]


_INTEGERS = (
    0, 1, 2, 3, 4, 7, 11, 18, -1, -2, 64, 255, 1 << 31, (1 << 31) - 1, -(1 << 31), 1 << 40, (1 << 63) - 1, -(1 << 63),
)  # fmt: skip
_NAMES = (
    "", "x", "y", "w", "s", "a", "c", "axis", "then_branch", "body", "value", "value_ints", "perm", "Relu", "Loop",
    "If", "Constant", "Reshape", "Cast", "local", "ai.onnx", "com.microsoft", "../w.bin", "location", "N", "\x00",
    "\u202e", "n" * 5000,
)  # fmt: skip


def _value(field: FieldDescriptor, rng: random.Random) -> object:
    makers: dict[int, Callable[[], object]] = {
        FieldDescriptor.TYPE_STRING: lambda: rng.choice(_NAMES),
        FieldDescriptor.TYPE_BYTES: lambda: rng.choice((b"", b"\xff", rng.randbytes(16), b"linear", b"VALID")),
        FieldDescriptor.TYPE_FLOAT: lambda: rng.choice((0.0, -0.0, 1e30, float("nan"), float("inf"))),
        FieldDescriptor.TYPE_DOUBLE: lambda: rng.choice((0.0, -0.0, 1e300, float("nan"), float("inf"))),
        FieldDescriptor.TYPE_ENUM: lambda: rng.choice([each.number for each in field.enum_type.values]),
    }
    return makers.get(field.type, lambda: rng.choice(_INTEGERS))()

