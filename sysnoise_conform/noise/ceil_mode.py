"""Whether a pooling has a last window that runs past the input: the rounding of its output size."""

from __future__ import annotations

import onnx

from sysnoise_conform.graph.measured import Measured
from sysnoise_conform.graph.rewrite import NoOp, NotApplicable, Rewrite, Rewritten, integer, name_of, nodes, opset, text
from sysnoise_conform.graph.windows import has_ceil, windows_of
from sysnoise_conform.noise.axis import Axis, Level, identity

SINCE = 10  # the opset that has ceil_mode

AXIS = Axis(
    name="ceil_mode",
    stage="graph",
    about="how a pooling's output size is rounded",
    paper=True,
    levels=(
        identity("as the graph says"),
        Level(name="ceil", about="up, in every MaxPool and AveragePool", imitates="runtimes with Caffe's rule",
              source="SysNoise 3.2; ONNX MaxPool ceil_mode = 1, the text of opset 22"),
        Level(name="floor", about="down, in every MaxPool and AveragePool", imitates="runtimes without a ceil mode",
              source="ONNX MaxPool ceil_mode = 0"),
    ),
)  # fmt: skip


def rewrite(proto: onnx.ModelProto, axis: str, level: str, measured: Measured) -> Rewrite:
    """The poolings whose number of windows changes."""
    del axis
    pools = list(nodes(proto, "MaxPool", "AveragePool"))
    if not pools:
        return NoOp(why="the graph has no MaxPool and no AveragePool", always=True)
    ceil = level == "ceil"
    edits, changed, same = {}, [], []
    for at, node in pools:
        windows = windows_of(node, measured.shapes[node.input[0]], ())
        if text(node, "auto_pad", "NOTSET") != "NOTSET" or bool(integer(node, "ceil_mode", 0)) == ceil:
            continue
        before = tuple(each.count(ceil=has_ceil(node)) for each in windows)
        after = tuple(each.count(ceil=ceil) for each in windows)
        if before == after:
            same.append(f"{name_of(node)} has {'x'.join(map(str, before))} windows")
            continue
        if opset(proto) < SINCE:
            return NotApplicable(
                node=name_of(node), why=f"opset {opset(proto)} has no ceil_mode; export with {SINCE} or later"
            )
        edits[at] = {"ceil_mode": int(ceil)}
        changed.append(name_of(node))
    if edits:
        return Rewritten(edits=edits, changed=tuple(changed), resizes=True)
    if same:
        more = f", and {len(same) - 1} more" if len(same) > 1 else ""
        return NoOp(why=f"on these sizes it rounds nothing: {same[0]} either way{more}")
    return NoOp(why=f"every pooling of the graph is without a rounding, or rounds {'up' if ceil else 'down'} already",
                always=True)
