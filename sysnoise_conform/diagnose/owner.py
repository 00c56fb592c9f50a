"""Who has to mend a culprit of a deployed file: whoever made the file, or the makers of the runtime.

A file that ships may hold another operator than the model, and a runtime that computes it rightly has no part in that.
So PyTorch computes, in float64, what the *file* does between the model's own tensors and the culprit's: where that
departs from what the model does, as far as the culprit itself is off, the difference is the file's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
from onnx import numpy_helper

from sysnoise_conform.diagnose.blame import departs
from sysnoise_conform.diagnose.blocks import Blocks
from sysnoise_conform.diagnose.facts import Culprit
from sysnoise_conform.diagnose.layers import attributes_of
from sysnoise_conform.diagnose.observe import declared
from sysnoise_conform.diagnose.part import Part, cut_out, data_before
from sysnoise_conform.errors import ConformError
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner.workshop import Workshop

EXPLAINS = 0.5  # of the culprit's rms error, as in compare.readings


def owned(
    shop: Workshop, culprits: Sequence[Culprit], variant: str, policy: Policy, blocks: Blocks
) -> tuple[Culprit, ...]:
    """The culprits of a deployed file with their owner, None where nobody can tell; words and sentence say so."""
    if shop.plan.target.model is None:  # only its own runtime can read the file
        return tuple(replace(each, owner=None) for each in culprits)
    done = []
    for culprit in culprits:
        diff = _of_the_file(shop, culprit.layer.output, blocks)
        if diff is None:
            done.append(replace(culprit, owner=None))
        elif departs(diff, variant, policy) is not None and _explains(diff, culprit.diff):
            words = f"{culprit.words}; the deployed file does so, not the runtime: {_difference(shop, culprit)}"
            done.append(replace(culprit, owner="file", words=words))
        else:
            done.append(replace(culprit, owner="runtime"))
    return tuple(done)


def _of_the_file(shop: Workshop, tensor: str, blocks: Blocks) -> TensorDiff | None:
    """The file's way to `tensor`, from PyTorch's tensors and by PyTorch, against the model's; of the first sample."""
    golden = shop.goldens.sample(0)
    fed = {name: declared(each) for name, each in golden.items() if name not in blocks.hidden}
    reference = shop.goldens.islands(0, fed, blocks.hidden)
    theirs = shop.plan.target.name(tensor)
    try:
        cut, feed = cut_out(shop, Part(tensor=tensor, given=data_before(shop, tensor, blocks.hidden)), 0)
        got = shop.goldens.applied(cut.model, feed)
    except ConformError:  # what the file holds there is nothing that PyTorch computes
        return None
    if tensor not in reference or theirs not in got:
        return None
    tally = shop.tally()
    tally.compare(reference[tensor], got[theirs], 0)
    return tally.diffs[tensor]


def _explains(found: TensorDiff, whole: TensorDiff) -> bool:
    if not found.comparable or found.nan_mismatch or found.rmse is None or whole.rmse is None:
        return True
    return found.rmse >= EXPLAINS * whole.rmse


def _difference(shop: Workshop, culprit: Culprit) -> str:
    """What stands otherwise in the file: `count_include_pad=1 where the model has count_include_pad=0`."""
    file = shop.plan.target.model
    assert file is not None
    ours = shop.model.proto.graph.node[culprit.layer.index]
    place = shop.plan.target.name(culprit.layer.output)
    theirs = next((each for each in file.proto.graph.node if place in each.output), None)
    if theirs is None:
        return "it has no such operator"
    if theirs.op_type != ours.op_type:
        return f"it has {one_line(theirs.op_type, 40)} there"
    mine, other = ({each.name: each for each in node.attribute} for node in (ours, theirs))
    changed = [name for name in sorted(mine.keys() | other.keys()) if mine.get(name) != other.get(name)]
    if changed:
        sides = (
            attributes_of(onnx.NodeProto(attribute=[each[name] for name in changed if name in each]))
            for each in (other, mine)
        )
        there, here = (each or "the default" for each in sides)
        return f"it has {there} where the model has {here}"
    if _constants_differ(shop.model.proto, ours, file.proto, theirs):
        return "its weights are others than the model's"
    return "what it computes before that is not what the model does"


def _constants_differ(
    model: onnx.ModelProto, ours: onnx.NodeProto, file: onnx.ModelProto, theirs: onnx.NodeProto
) -> bool:
    """Whether the two nodes read other constants, as far as these lie in the files themselves."""
    here, there = ({each.name: each for each in proto.graph.initializer} for proto in (model, file))

    def same(one: onnx.TensorProto | None, other: onnx.TensorProto | None) -> bool:
        if one is None or other is None:
            return one is other
        if onnx.TensorProto.EXTERNAL in (one.data_location, other.data_location):
            return True
        return np.array_equal(numpy_helper.to_array(one), numpy_helper.to_array(other))

    return not all(same(here.get(a), there.get(b)) for a, b in zip(ours.input, theirs.input, strict=False))
