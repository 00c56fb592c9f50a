"""Where the corners of a region lie when it is sampled: half a pixel of RoiAlign."""

from __future__ import annotations

import onnx

from sysnoise_conform.graph.measured import Measured
from sysnoise_conform.graph.rewrite import NoOp, NotApplicable, Rewrite, Rewritten, name_of, nodes, opset, text
from sysnoise_conform.noise.axis import Axis, Level, identity

AXIS = Axis(
    name="roialign",
    stage="graph",
    about="whether RoiAlign shifts its regions by half a pixel",
    levels=(
        identity("as the graph says"),
        Level(name="half_pixel", about="it does", imitates="Detectron2, aligned=True",
              source="ONNX RoiAlign coordinate_transformation_mode, opset 16"),
        Level(name="output_half_pixel", about="it does not", imitates="torchvision's default, graphs before opset 16",
              source="ONNX RoiAlign coordinate_transformation_mode, opset 16"),
    ),
)  # fmt: skip
_SINCE = 16


def rewrite(proto: onnx.ModelProto, axis: str, level: str, measured: Measured) -> Rewrite:
    """Every RoiAlign that has the other rule."""
    del axis, measured
    found = list(nodes(proto, "RoiAlign"))
    if not found:
        return NoOp(why="the graph has no RoiAlign", always=True)
    version = opset(proto)
    # Before opset 16 there was one rule, without a name.
    default = "half_pixel" if version >= _SINCE else "output_half_pixel"
    other = {at: node for at, node in found if text(node, "coordinate_transformation_mode", default) != level}
    if not other:
        return NoOp(why=f"every RoiAlign of the graph is {level} already", always=True)
    if version < _SINCE:
        return NotApplicable(
            node=name_of(next(iter(other.values()))),
            why=f"opset {version} has no coordinate_transformation_mode; export with {_SINCE} or later",
        )
    return Rewritten(
        edits={at: {"coordinate_transformation_mode": level} for at in other},
        changed=tuple(name_of(node) for node in other.values()),
    )
