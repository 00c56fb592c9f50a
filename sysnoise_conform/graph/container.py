"""The bytes of a model file as a ModelProto, or in words what they are instead."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from google.protobuf.unknown_fields import UnknownFieldSet  # type: ignore[import-untyped]

from sysnoise_conform.errors import BadModel
from sysnoise_conform.printable import one_line

MAX_BYTES = (1 << 31) - 1  # a protobuf message can't be longer
MIN_OPSET = 7
MIN_IR = 3  # the first with opset_import
# Domains that onnx has no schemas for. A vendor's are at version 1 so far; runtimes hold versions in 32 bits.
VENDOR_DOMAINS = ("com.microsoft", "com.microsoft.nchwc", "com.microsoft.experimental")
MAX_VENDOR_OPSET = 1000
MAX_OPSET = (1 << 31) - 1

_MAGIC = (
    (0, b"version https://git-lfs", "a git-LFS pointer, not the model", "fetch it with `git lfs pull`"),
    (0, b"PK\x03\x04", "a zip archive (a PyTorch checkpoint?), not an ONNX model", "see `conform export`"),
    (4, b"TFL3", "a TensorFlow Lite model, not ONNX", "pass it as --deployed, beside the ONNX --model"),
    (4, b"ORTM", "an ONNX Runtime .ort file, not ONNX", "name the .onnx file that it was made from"),
    (0, b"<\n   ir_version", "ONNX in its text form", "convert it with onnx.parser and save the result"),
    (0, b"ir_version", "a protobuf in its text form", "save it in the binary form"),
    (0, b"<?xml", "XML (an OpenVINO IR?), not an ONNX model", "pass it as --deployed, beside the ONNX --model"),
    (0, b"<", "a web page or XML, not an ONNX model", "download the file itself"),
    (0, b"\x1f\x8b", "gzip data, not an ONNX model", "unpack it first"),
    (0, b"\x89HDF", "an HDF5 file, not an ONNX model", "export the model to ONNX"),
    (8, b'{"', "a safetensors file, not an ONNX model", "export the model to ONNX"),
)


def parse(data: bytes, path: Path) -> onnx.ModelProto:
    """The model in `data`; `path` is only for messages. Raises BadModel."""
    shown = one_line(path, 200)
    if not data:
        raise BadModel(f"the model {shown!r} is empty (0 bytes)", hint="export or download it again")
    for offset, magic, what, cure in _MAGIC:
        if data[offset : offset + len(magic)] == magic:
            raise BadModel(f"the model {shown!r} is {what}", hint=cure)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as err:
        raise BadModel(
            f"the model {shown!r} is not ONNX, is cut short, or is nested too deep to be read",
            hint="export or download it again",
        ) from err
    if not model.ir_version or not model.HasField("graph"):
        raise BadModel(f"the model {shown!r} holds no ONNX graph", hint="is it the right file?")
    if len(UnknownFieldSet(model)):
        raise BadModel(f"the model {shown!r} has bytes that are no part of an ONNX model", hint="export it again")
    _check_texts(model, "model")
    _check_texts(model.graph, "graph")
    return model


def _check_texts(message: onnx.ModelProto | onnx.GraphProto, what: str) -> None:
    """What is text in the format must be text: it goes into the graphs that are written anew."""
    entries = (text for each in getattr(message, "metadata_props", ()) for text in (each.key, each.value))
    texts = [(field.name, value) for field, value in message.ListFields() if field.type == field.TYPE_STRING]
    for name, text in (*texts, *(("metadata_props", each) for each in entries)):
        if not isinstance(text, str):  # protobuf hands over bytes that are no UTF-8 as they are
            raise BadModel(f"the {what}'s {name} {one_line(text, 80)} is not UTF-8", hint="export the model again")


def check_versions(model: onnx.ModelProto) -> dict[str, int]:
    """The operator set version of each domain that the model imports; "" is ai.onnx. Raises BadModel."""
    if not MIN_IR <= model.ir_version <= onnx.IR_VERSION:
        raise BadModel(
            f"the model has IR version {model.ir_version}; onnx {onnx.__version__} knows {MIN_IR} to {onnx.IR_VERSION}",
            hint="export it again, or upgrade onnx" if model.ir_version > onnx.IR_VERSION else "export it again",
        )
    return imports(model.opset_import, "the model")


def imports(opsets: object, what: str) -> dict[str, int]:
    """Domain -> version of one list of imports. Raises BadModel for an unknown version, and a domain at two.

    An unknown domain is none of its business: exporters leave imports behind that no node needs.
    """
    found: dict[str, int] = {}
    for each in opsets:  # type: ignore[attr-defined]  # a repeated protobuf field
        if not isinstance(each.domain, str):
            raise BadModel(f"{what} imports a domain whose name is not UTF-8", hint="export the model again")
        domain = plain_domain(each.domain)
        if domain in found and found[domain] != each.version:
            raise BadModel(f"{what} imports domain {one_line(each.domain, 60)!r} twice, at different versions")
        if each.version < 1:
            raise BadModel(f"{what} imports domain {one_line(each.domain, 60)!r} at version {each.version}")
        found[domain] = each.version
    newest = onnx.defs.onnx_opset_version()
    if "" in found and not MIN_OPSET <= found[""] <= newest:
        raise BadModel(
            f"{what} needs opset {found['']}; onnx {onnx.__version__} knows {MIN_OPSET} to {newest} here",
            hint=f"export it with --opset {min(newest, 20)}",
        )
    for domain, version in found.items():
        if version > newest_version(domain):
            raise BadModel(
                f"{what} imports domain {one_line(domain, 60)!r} at version {version};"
                f" the newest here is {newest_version(domain)}",
                hint="export it again, or upgrade onnx",
            )
    return found


def newest_version(domain: str) -> int:
    """The newest version of a domain that can be meant; of those that onnx knows, the newest that it knows."""
    if domain in VENDOR_DOMAINS:
        return MAX_VENDOR_OPSET
    _, newest = onnx.defs.C.schema_version_map().get(domain, (1, MAX_OPSET))
    return int(newest)


def plain_domain(domain: str) -> str:
    """`domain` with the long name of the default domain replaced by its short one."""
    return "" if domain == "ai.onnx" else domain
