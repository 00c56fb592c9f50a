"""What ONNX Runtime's optimiser makes of a graph: which passes changed it, and which tensors are left in it.

The runtime names a pass in its log, at the level INFO, with whether it changed anything; the graph it writes to a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx

from sysnoise_conform.backend import Optimised
from sysnoise_conform.backends.overheard import overheard

# Rewrite rules run inside a pass that tells nothing but its own name: in their order there, as of 1.31 (earlier
# versions know all but CastChainElimination). A name that the runtime does not know disables nothing.
_RULES = {
    "Level1_RuleBasedTransformer": (
        "EliminateIdentity", "EliminateSlice", "UnsqueezeElimination", "EliminateDropout", "ExpandElimination",
        "CastElimination", "CastChainElimination", "PreShapeNodeElimination", "NoopElimination", "DivMulFusion",
        "FuseReluClip", "GemmSumFusion", "GemmTransposeFusion", "NotWhereFusion", "ConvAddFusion", "ConvMulFusion",
        "ConvBNFusion", "Pad_Fusion", "MatMul_BatchNormalization_Fusion", "LabelEncoderFusion",
    ),
    "Level2_RuleBasedTransformer": ("ClipQuantRewrite", "ReluQuantRewrite", "GemmTransposeFusion"),
}  # fmt: skip
_MODIFIED = re.compile(r"GraphTransformer (\w+) modified: 1\b")
_BLOCKED = "_nchwc"  # a node in the blocked layout is called after the tensor that it made before

Optimise = Callable[[Path, str], None]  # compile once more at a level, with a verbose log, and write the graph there


def optimised(optimise: Optimise, level: str, workdir: Path) -> Optimised:
    """What the passes up to `level` (ours: basic, extended, all) have made of the graph that `optimise` compiles."""
    with overheard(repeat=False) as log:
        left = _read(optimise, workdir, level)
    passes: dict[str, None] = {}
    for name in _MODIFIED.findall(log.text):
        passes.update(dict.fromkeys(_RULES.get(name, (name,))))
    if left is None:
        return Optimised(passes=tuple(passes))
    made = {name for node in left.node for name in node.output if name}
    if any(node.name.endswith(_BLOCKED) for node in left.node):
        with overheard(repeat=False):
            before = _read(optimise, workdir, "extended")
        made = set() if before is None else _unblocked(left, before)
    return Optimised(tensors=tuple(sorted(made)), passes=tuple(passes))


def _read(optimise: Optimise, workdir: Path, level: str) -> onnx.GraphProto | None:
    """The graph as written at a level; None where it can't be read back, above 2 GiB."""
    path = workdir / f"optimised_{level}.onnx"
    try:
        optimise(path, level)
        return onnx.load(str(path), load_external_data=False).graph
    except Exception:  # whoever asks has a session that works: what is not told here is not known
        return None
    finally:
        for each in workdir.glob(f"{path.name}*"):
            each.unlink(missing_ok=True)


def _unblocked(blocked: onnx.GraphProto, before: onnx.GraphProto) -> set[str]:
    """The tensors of the graph `before` its layout was blocked that are still computed after it.

    In between, tensors have other names, and a convolution has taken in the sums and activations behind it: what it
    makes now is the last of these.
    """
    seen = {name for node in blocked.node for name in node.output if name}
    seen |= {node.name.removesuffix(_BLOCKED) for node in blocked.node if node.name.endswith(_BLOCKED)}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in before.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    made = {name for node in before.node for name in node.output if name}
    return {_last(name, seen, readers) for name in seen & made}


def _last(name: str, seen: set[str], readers: Mapping[str, list[onnx.NodeProto]]) -> str:
    while len(readers.get(name, ())) == 1:
        (reader,) = readers[name]
        if len(reader.output) != 1 or reader.output[0] in seen:
            break
        name = reader.output[0]
    return name
