"""What a case of the corpus is: one operator with its attributes, what to feed it, and what must come out."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from sysnoise_conform.backend import Tensors
from sysnoise_conform.probe.arrays import Array
from sysnoise_conform.probe.node import Node, attributes_of

# The oldest IR version in which an opset can be written: runtimes refuse files that are newer than themselves.
_IR_VERSIONS = ((18, 8), (20, 9))
_NEWEST_IR = 10


class Kind(enum.Enum):
    """Why a case is in the corpus."""

    BUG = "bug"  # some runtime departs from the operator's text
    SEMANTICS = "semantics"  # the attribute is often not what the PyTorch model means; the truth is the attribute's
    PRECISION = "precision"  # where rounding, or another precision, shows
    OPEN = "open"  # the text does not settle it; the truth is what PyTorch answers
    UNSUPPORTED = "unsupported"  # some runtime refuses it, which must be a clean refusal
    FIXED = "fixed"  # was wrong in an older version
    CONTROL = "control"  # everybody is known to agree, and must go on doing so


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Values:
    """The outputs, in float64 where they are floats, and how far off correct arithmetic may be, absolutely."""

    arrays: Mapping[str, Array]
    allowed: float | Array = 0.0
    why: str = "exact"  # the reason for `allowed`


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Refusal:
    """The right answer is an error."""

    why: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Property:
    """Outputs that are not determined, but must have a property: `check` says what is wrong, or nothing."""

    check: Callable[[Tensors], str]
    about: str


Truth = Values | Refusal | Property


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trigger:
    """Which nodes of a model are of the case's kind: the same operator, the same values of these attributes."""

    attributes: tuple[str, ...] = ()
    same_type: bool = False  # the first input's element type must be the case's
    also: Callable[[Node], bool] | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ProbeCase:
    """One case. `nodes` make `truth` from `feeds` and `constants`; the graph's outputs are those of the last nodes."""

    name: str
    op_type: str
    about: str  # the attributes that make it: "ceil_mode=1, count_include_pad=1"
    kind: Kind
    why: str  # what is right, in a sentence
    nodes: tuple[onnx.NodeProto, ...]
    feeds: Mapping[str, Array]
    constants: Mapping[str, Array]
    outputs: Mapping[str, int]  # name -> element type
    truth: Truth
    opset: int
    trigger: Trigger | None = None  # None: no attribute tells, so no node of a model is ever blamed
    when: str = ""  # the data that it takes besides: "where a NaN reaches it"
    steady: bool = True  # the same feeds give the same bits again
    open_batch: bool = False  # the inputs' first size is not written down: some runtimes compile another graph then
    reported: str = ""  # the thread where a user told it: "openvinotoolkit/openvino#38238"

    def model(self) -> onnx.ModelProto:
        """The case as an ONNX model; sizes of outputs are left open, since a wrong one is among the findings."""
        known = self.truth.arrays if isinstance(self.truth, Values) else {}
        like = next(iter(self.feeds.values()))
        graph = helper.make_graph(
            list(self.nodes),
            "probe",
            [
                helper.make_tensor_value_info(n, _type(a), ["batch", *a.shape[1:]] if self.open_batch else a.shape)
                for n, a in self.feeds.items()
            ],
            [
                helper.make_tensor_value_info(name, kind, [None] * known.get(name, like).ndim)
                for name, kind in self.outputs.items()
            ],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", self.opset)]
        version = next((ir for opset, ir in _IR_VERSIONS if self.opset <= opset), _NEWEST_IR)
        return helper.make_model(graph, opset_imports=opsets, ir_version=version)

    def matches(self, node: Node) -> bool:
        """Whether a node of a model is of this case's kind, as far as its attributes and known shapes tell."""
        if self.trigger is None or node.domain not in ("", "ai.onnx") or node.op_type != self.nodes[-1].op_type:
            return False
        own = attributes_of(self.nodes[-1], self.opset)
        if any(node.attributes.get(name) != own.get(name) for name in self.trigger.attributes):
            return False
        if self.trigger.same_type and node.types[:1] != (self._first_type(),):
            return False
        return self.trigger.also is None or self.trigger.also(node)

    def _first_type(self) -> int:
        first = self.nodes[-1].input[0]
        return _type({**self.constants, **self.feeds}[first])


def case(
    name: str,
    op: str,
    about: str,
    kind: Kind,
    why: str,
    inputs: Mapping[str, Array | None],
    truth: Truth | Array | float | list[Any],
    *,
    constants: Collection[str] = (),
    attributes: Mapping[str, Any] | None = None,
    opset: int = 18,
    dtypes: Mapping[str, Any] | None = None,
    unused: Sequence[str] = (),
    trigger: Trigger | None = None,
    when: str = "",
    steady: bool = True,
    reported: str = "",
) -> ProbeCase:
    """A case of one node. `inputs` are in the operator's order, None leaves one out; those in `constants` are stored.

    `truth` that is an array is the output `y`, exactly. The outputs' types are those of the truth's arrays, float32
    for float64; `dtypes` says otherwise. `unused` are further outputs of the node that are none of the graph's.
    """
    if not isinstance(truth, Values | Refusal | Property):
        truth = Values(arrays={"y": np.asarray(truth)})
    arrays = truth.arrays if isinstance(truth, Values) else {}
    kinds = dict(dtypes or {}) or {each: _declared(array) for each, array in arrays.items()} or {"y": np.float32}
    given = {each: array for each, array in inputs.items() if array is not None}
    return ProbeCase(
        name=name,
        op_type=op,
        about=about,
        kind=kind,
        why=why,
        nodes=(
            helper.make_node(
                op, [each if array is not None else "" for each, array in inputs.items()],
                [*kinds, *unused], name="node", **(attributes or {}),
            ),
        ),
        feeds={each: array for each, array in given.items() if each not in constants},
        constants={each: array for each, array in given.items() if each in constants},
        outputs={each: helper.np_dtype_to_tensor_dtype(np.dtype(dtype)) for each, dtype in kinds.items()},
        truth=truth,
        opset=opset,
        trigger=trigger,
        when=when,
        steady=steady,
        reported=reported,
    )  # fmt: skip


def _declared(array: Array) -> np.dtype[Any]:
    return np.dtype(np.float32) if array.dtype == np.float64 else array.dtype


def _type(array: Array) -> int:
    return helper.np_dtype_to_tensor_dtype(array.dtype)
