"""What surrounds a picture inside a network: whether an average counts the padding, and on which side padding lies."""

from __future__ import annotations

import onnx

from sysnoise_conform.graph.measured import Measured
from sysnoise_conform.graph.rewrite import NoOp, NotApplicable, Rewrite, Rewritten, integer, name_of, nodes, opset
from sysnoise_conform.graph.windows import Window, halves, has_ceil, windows_of
from sysnoise_conform.noise.axis import Axis, Level, identity

COUNT = Axis(
    name="count_include_pad",
    stage="graph",
    about="whether an average pooling counts the padding",
    levels=(
        identity("as the graph says"),
        Level(name="include", about="it does", imitates="PyTorch, Caffe",
              source="ONNX AveragePool count_include_pad = 1"),
        Level(name="exclude", about="it does not", imitates="TensorFlow, ONNX's default",
              source="ONNX AveragePool count_include_pad = 0"),
    ),
)  # fmt: skip
SIDE = Axis(
    name="auto_pad",
    stage="graph",
    about="on which side the padding of convolutions and poolings lies that keep ceil(size / stride)",
    mistake=True,
    levels=(
        identity("as the graph says"),
        Level(name="same_upper", about="shared between both sides, an odd element behind",
              imitates="weights that were carried over to TensorFlow's SAME", source="ONNX auto_pad SAME_UPPER"),
        Level(name="same_lower", about="shared between both sides, an odd element in front",
              source="ONNX auto_pad SAME_LOWER"),
    ),
)  # fmt: skip
AXES = (COUNT, SIDE)
_SINCE = 7  # the opset that has count_include_pad


def rewrite(proto: onnx.ModelProto, axis: str, level: str, measured: Measured) -> Rewrite:
    """The graph at a level of one of these axes."""
    return _count(proto, level, measured) if axis == COUNT.name else _side(proto, level, measured)


def _count(proto: onnx.ModelProto, level: str, measured: Measured) -> Rewrite:
    pools = list(nodes(proto, "AveragePool"))
    if not pools:
        return NoOp(why="the graph has no AveragePool", always=True)
    include = level == "include"
    edits = {}
    changed = []
    for at, node in pools:
        padded = any(each.begin or each.end for each in windows_of(node, measured.shapes[node.input[0]], ()))
        if not padded or bool(integer(node, "count_include_pad", 0)) == include:
            continue
        if opset(proto) < _SINCE:
            return NotApplicable(
                node=name_of(node), why=f"opset {opset(proto)} has no count_include_pad; export with {_SINCE} or later"
            )
        edits[at] = {"count_include_pad": int(include)}
        changed.append(name_of(node))
    if edits:
        return Rewritten(edits=edits, changed=tuple(changed))
    return NoOp(why=f"no AveragePool of the graph has a padding that it does not {level} already")


def _side(proto: onnx.ModelProto, level: str, measured: Measured) -> Rewrite:
    """Windows that have a padding, and as many of which there would be: others are not those that SAME means.

    A window lies elsewhere only where the padding in front is another: what lies behind follows from the count. The
    pads are written out, since runtimes differ about auto_pad itself (with dilations, in averages).
    """
    found = list(nodes(proto, "AveragePool", "Conv", "MaxPool"))
    if not found:
        return NoOp(why="the graph has no Conv and no pooling", always=True)
    edits = {}
    changed = []
    for at, node in found:
        kernel = measured.shapes[node.input[1]][2:] if node.op_type == "Conv" else ()
        windows = windows_of(node, measured.shapes[node.input[0]], kernel)
        after = [halves(each.same_total(), extra_first=level == "same_lower") for each in windows]
        same = all(each.begin == begin for each, (begin, _) in zip(windows, after, strict=True))
        padded = any(each.begin or each.end for each in windows)
        if same or not padded or not all(_same_count(each, node) for each in windows):
            continue
        pads = [each for each, _ in after] + [each for _, each in after]
        edits[at] = {"auto_pad": None, "pads": pads}
        changed.append(name_of(node))
    if edits:
        return Rewritten(edits=edits, changed=tuple(changed))
    return NoOp(why="on these sizes every padding lies there already, or keeps another size than ceil(size / stride)")


def _same_count(window: Window, node: onnx.NodeProto) -> bool:
    return window.count(ceil=has_ceil(node)) == -(-window.size // window.stride)
