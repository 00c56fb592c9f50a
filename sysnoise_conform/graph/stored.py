"""Stored tensors whose declared size and whose data must agree, checked without trusting either."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np
from onnx import SparseTensorProto, TensorProto, numpy_helper

from sysnoise_conform.errors import BadModel
from sysnoise_conform.printable import one_line

T = TensorProto

# Bits of one element in `raw_data` and in external data (onnx.proto, TensorProto.DataType).
BITS: dict[int, int] = {
    T.FLOAT: 32, T.DOUBLE: 64, T.FLOAT16: 16, T.BFLOAT16: 16, T.COMPLEX64: 64, T.COMPLEX128: 128,
    T.BOOL: 8, T.INT8: 8, T.UINT8: 8, T.INT16: 16, T.UINT16: 16, T.INT32: 32, T.UINT32: 32, T.INT64: 64, T.UINT64: 64,
    T.FLOAT8E4M3FN: 8, T.FLOAT8E4M3FNUZ: 8, T.FLOAT8E5M2: 8, T.FLOAT8E5M2FNUZ: 8,
}  # fmt: skip
# Types that not every onnx we run with has.
_NEWER = {
    "INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "FLOAT8E8M0": 8, "INT2": 2, "UINT2": 2, "FLOAT6E2M3": 6, "FLOAT6E3M2": 6,
}  # fmt: skip
BITS.update({T.DataType.Value(name): bits for name, bits in _NEWER.items() if name in T.DataType.keys()})  # noqa: SIM118

# The repeated field that holds elements one by one, where `raw_data` is not used.
_FIELDS: dict[int, str] = {
    T.FLOAT: "float_data", T.COMPLEX64: "float_data",
    T.DOUBLE: "double_data", T.COMPLEX128: "double_data",
    T.INT64: "int64_data", T.UINT32: "uint64_data", T.UINT64: "uint64_data",
    T.STRING: "string_data",
}  # fmt: skip
_ALL_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")

MAX_RANK = 64
MAX_ELEMENTS = 1 << 62  # beyond it no byte count fits 64 bits


def check_tensor(tensor: TensorProto, where: str) -> None:
    """Raise BadModel unless dims, type and data of a stored tensor agree. External data: only dims and type."""
    if tensor.data_type not in BITS and tensor.data_type != T.STRING:
        raise BadModel(f"{where} has element type {tensor.data_type}, which onnx does not know")
    elements = element_count(tensor, where)
    if tensor.HasField("segment"):
        raise BadModel(f"{where} is stored in segments, which no runtime reads")
    if tensor.data_type == T.STRING:
        check_texts(tensor.string_data, where)
    filled = [field for field in _ALL_FIELDS if len(getattr(tensor, field))]
    if tensor.data_location == T.EXTERNAL:
        if filled or tensor.HasField("raw_data") or tensor.data_type == T.STRING:
            raise BadModel(f"{where} has its data both inside the model and outside, or strings outside")
        return
    if len(tensor.external_data):
        raise BadModel(f"{where} names external data but is not marked as external")
    field = _FIELDS.get(tensor.data_type, "int32_data")
    if tensor.HasField("raw_data"):
        if filled or tensor.data_type == T.STRING:
            raise BadModel(f"{where} stores its data twice, or strings as raw data")
        got, needed, unit = len(tensor.raw_data), byte_count(tensor.data_type, elements), "bytes"
    else:
        if filled not in ([], [field]):
            raise BadModel(f"{where} stores its data in the field of another type")
        got, needed, unit = len(getattr(tensor, field)), _entries(tensor.data_type, elements), "values"
    if got != needed:
        raise BadModel(f"{where} holds {got:,} {unit}, but its shape {list(tensor.dims)} needs {needed:,}")


def check_sparse(sparse: SparseTensorProto, where: str) -> int:
    """Raise BadModel unless indices and dims of a sparse tensor are possible; its bytes when it is dense."""
    if len(sparse.dims) > MAX_RANK or any(each <= 0 for each in sparse.dims):
        raise BadModel(f"{where} is sparse with the impossible shape {list(sparse.dims)[:8]}")
    if prod(sparse.dims) > MAX_ELEMENTS:
        raise BadModel(f"{where} is sparse with more elements than 64 bits can count")
    count = element_count(sparse.values, f"the value tensor of {where}")
    if len(sparse.values.dims) != 1:
        raise BadModel(f"{where} is sparse and its values have {len(sparse.values.dims)} dimensions, not one")
    if sparse.indices.data_type != T.INT64 or list(sparse.indices.dims) not in ([count], [count, len(sparse.dims)]):
        raise BadModel(f"{where} is sparse and its indices don't fit its {count:,} values")
    check_tensor(sparse.indices, f"the indices of {where}")
    dense: int = prod(sparse.dims) * BITS.get(sparse.values.data_type, 8) // 8
    if sparse.indices.data_location == T.EXTERNAL:
        return dense
    indices = numpy_helper.to_array(sparse.indices)
    ends = prod(sparse.dims) if indices.ndim == 1 else np.array(sparse.dims)
    if ((indices < 0) | (indices >= ends)).any():
        raise BadModel(f"{where} is sparse and has an index outside its shape {list(sparse.dims)[:8]}")
    return dense


def check_texts(texts: Iterable[bytes], where: str) -> None:
    """Raise BadModel unless every string is UTF-8, as ONNX has it."""
    for text in texts:
        try:
            text.decode()
        except UnicodeDecodeError as err:
            shown = one_line(text[:80].decode(errors="replace"), 40)
            raise BadModel(f"{where} holds the text '{shown}', which is not UTF-8") from err


def element_count(tensor: TensorProto, where: str) -> int:
    """The product of the dims. Raises BadModel for a negative one, and for a product beyond 64 bits."""
    if len(tensor.dims) > MAX_RANK:
        raise BadModel(f"{where} has {len(tensor.dims)} dimensions; at most {MAX_RANK} make sense")
    if any(each < 0 for each in tensor.dims):
        raise BadModel(f"{where} has a negative dimension: {list(tensor.dims)[:8]}")
    elements: int = prod(tensor.dims)
    if elements > MAX_ELEMENTS:
        raise BadModel(f"{where} has the shape {list(tensor.dims)[:8]}: more elements than 64 bits can count")
    return elements


def byte_count(elem_type: int, elements: int) -> int:
    """Bytes of `elements` elements in raw or external data; types below 8 bits are packed."""
    return (elements * BITS[elem_type] + 7) // 8


def _entries(elem_type: int, elements: int) -> int:
    if elem_type in (T.COMPLEX64, T.COMPLEX128):
        return 2 * elements
    bits = BITS.get(elem_type, 8)
    if bits in (2, 4):  # one packed byte per entry; the 6-bit types take an entry each
        return byte_count(elem_type, elements)
    return elements
