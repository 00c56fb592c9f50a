"""A graph brought to a newer opset, where its own has no place for a precision."""

from __future__ import annotations

from math import prod

import onnx
from onnx import version_converter

from sysnoise_conform.errors import BadInput
from sysnoise_conform.graph.order import sort
from sysnoise_conform.printable import one_line

# Up to here the converter sees the values, since it looks into shapes and axes; larger ones are weights.
_MOST_ELEMENTS = 1024
_CHOICE_OF_COORDINATES = 11  # the opset from which Resize has attributes for it


def version_of(proto: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that the model imports."""
    return next((each.version for each in proto.opset_import if each.domain in ("", "ai.onnx")), 0)


def raised(proto: onnx.ModelProto, version: int, why: str) -> onnx.ModelProto:
    """`proto`, or a copy at opset `version` where it is older, by onnx's own converter.

    The weights don't pass through the converter. Raises BadInput, which says `why`, where it can't be done.
    """
    before = version_of(proto)
    if before >= version:
        return proto
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    large = [each for each in bare.graph.initializer if prod(each.dims) > _MOST_ELEMENTS]
    weights = {each.name: each for each in proto.graph.initializer}
    for each in large:
        bare.graph.input.append(onnx.helper.make_tensor_value_info(each.name, each.data_type, list(each.dims)))
    names = {each.name for each in large}
    for index in reversed(range(len(bare.graph.initializer))):
        if bare.graph.initializer[index].name in names:
            del bare.graph.initializer[index]
    del bare.graph.value_info[:]
    try:
        found = version_converter.convert_version(bare, version)
    except Exception as err:  # onnx's converter raises what its C++ side does
        raise BadInput(
            f"{why} needs opset {version}, the model is of opset {before} and can't be brought there: "
            f"{one_line(str(err).rpartition('failed:')[2], 160)}",
            hint=f"export the model with opset_version={version}",
        ) from err
    for index in reversed(range(len(found.graph.input))):
        if found.graph.input[index].name in names:
            del found.graph.input[index]
    found.graph.initializer.extend(weights[name] for name in sorted(names))
    if before < _CHOICE_OF_COORDINATES:
        _keep_coordinates(found.graph, {name for node in proto.graph.node for name in node.output})
    del found.graph.value_info[:]
    _outputs_as_declared(found, proto)
    sort(found.graph)
    return found


def _keep_coordinates(graph: onnx.GraphProto, made: set[str]) -> None:
    """Upsample, and Resize of opset 10, map coordinates without an offset and take the lower neighbour.

    onnx 1.23's converter leaves both to the defaults of Resize 11, which are others.
    """
    for node in graph.node:
        if node.op_type != "Resize" or node.domain or not made & set(node.output):
            continue
        there = {each.name for each in node.attribute}
        for name, value in (("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")):
            if name not in there:
                node.attribute.append(onnx.helper.make_attribute(name, value))


def _outputs_as_declared(found: onnx.ModelProto, proto: onnx.ModelProto) -> None:
    """The converter infers shapes, and writes them into ports; they are the exporter's to declare."""
    for mine, theirs in ((found.graph.input, proto.graph.input), (found.graph.output, proto.graph.output)):
        known = {each.name: each for each in theirs}
        for port in mine:
            if port.name in known:
                port.CopyFrom(known[port.name])
