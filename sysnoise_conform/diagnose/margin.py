"""What decisions are held against: an answer that lies within the rounding of its operands is as good as PyTorch's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import numpy_helper

from sysnoise_conform.decisions import DECISIONS, Answer, Operand, Question, settle
from sysnoise_conform.decisions.elementwise import requantisation
from sysnoise_conform.graph.fold import fold
from sysnoise_conform.graph.intake import Model
from sysnoise_conform.graph.shape_slice import shape_slice
from sysnoise_conform.outcome import Floor, Reading
from sysnoise_conform.store import GoldenSample, GoldenTensor

LARGEST_CONSTANT = 1 << 22  # elements; a threshold, a scale or a grid, not weights


@dataclass(frozen=True, slots=True)
class Settled:
    """What a backend's tensor is held against, and of a decision how many elements are ties and what they look like."""

    golden: GoldenTensor
    ties: int | None = None
    readings: tuple[Reading, ...] = ()


class Margins:
    """The deciding operators of one model, by the tensors that they make. Names are the golden's."""

    def __init__(self, model: Model) -> None:
        graph = model.proto.graph
        self._nodes = {
            name: (node, place)
            for node in graph.node if node.op_type in DECISIONS
            for place, name in enumerate(node.output) if name
        }  # fmt: skip
        self._opsets = {each.domain: each.version for each in model.proto.opset_import}
        self._stored = {each.name: each for each in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output if name}
        self._slice = shape_slice(graph, model.proto.functions) if self._nodes else frozenset()
        self._base = model.path.parent
        self._constants: dict[str, np.ndarray | None] = {}

    def settled(
        self, golden: GoldenTensor, got: np.ndarray, given: Mapping[str, np.ndarray], sample: GoldenSample,
        answers: Mapping[str, np.ndarray], *, roundoff: float | None = None, fed: bool = False,
        inside: GoldenSample | None = None,
    ) -> Settled:  # fmt: skip
        """PyTorch's tensor with the backend's own answers where they are as good, and at how many elements they are.

        `given` holds what the backend read, `answers` what it made, `sample` the golden's tensors, of which shapes are
        taken. The count is None where nothing is decided, or an operand is not known; all stays as it is then.
        `roundoff` is that of the operands in an arithmetic of fewer bits than their type has; `fed` says that the
        backend was given these very operands. `inside` has what PyTorch made inside of blocks: of codes at their ends
        ties alone are settled, and not counted, since their kernels round on ways of their own.
        """
        node, place = self._nodes.get(golden.name, (None, 0))
        if node is None:
            return Settled(golden)
        if inside is not None and node.op_type == "QuantizeLinear" and node.input[0] not in given:
            return self._end_of_block(golden, node, got, inside, given, sample)
        operands = tuple(self._operand(name, given, sample, roundoff, fed=fed) for name in node.input)
        if any(name and operand is None for name, operand in zip(node.input, operands, strict=True)):
            return Settled(golden)
        question = Question(
            node=node, opset=self._opsets.get(node.domain, self._opsets.get("ai.onnx", 0)), operands=operands,
            place=place, golden=np.asarray(golden.data), got=np.asarray(got),
            others={at: answers[name] for at, name in enumerate(node.output) if name in answers},
        )  # fmt: skip
        answer: Answer | None = settle(question)
        if answer is None:
            return Settled(golden)
        # What float32 decides otherwise than float64 is told by the margin, and excuses nothing beyond it.
        floor = Floor(n=golden.floor.n, sigma_sq=golden.floor.sigma_sq)
        settled = replace(golden, data=answer.data, shape=tuple(answer.data.shape), floor=floor)
        return Settled(settled, answer.ties, answer.readings)

    def _end_of_block(
        self, golden: GoldenTensor, node: onnx.NodeProto, got: np.ndarray, inside: GoldenSample,
        given: Mapping[str, np.ndarray], sample: GoldenSample,
    ) -> Settled:  # fmt: skip
        if node.input[0] not in inside or got.shape != golden.shape or got.dtype != np.asarray(golden.data).dtype:
            return Settled(golden)
        steps = tuple(self._operand(name, given, sample, None, fed=False) for name in node.input[1:])
        question = Question(
            node=node, opset=self._opsets.get("ai.onnx", 0), place=0, golden=np.asarray(golden.data), got=got,
            operands=(Operand(data=inside[node.input[0]].data), *steps), others={},
        )  # fmt: skip
        answer = requantisation(question)
        return Settled(golden if answer is None else replace(golden, data=answer.data))

    def _operand(
        self, name: str, given: Mapping[str, np.ndarray], sample: GoldenSample, roundoff: float | None, *, fed: bool
    ) -> Operand | None:
        if not name:
            return None
        if name in given:
            array = np.asarray(given[name])
            return Operand(data=array, roundoff=roundoff if array.dtype == np.float32 else None, fed=fed)
        if name in self._slice and name in sample:
            return Operand(data=sample[name].data, exact=True)
        constant = self._constant(name)
        return None if constant is None else Operand(data=constant, exact=True)

    def _constant(self, name: str) -> np.ndarray | None:
        if name not in self._constants:
            self._constants[name] = self._read(name)
        return self._constants[name]

    def _read(self, name: str) -> np.ndarray | None:
        stored = self._stored.get(name)
        if stored is not None:
            small = int(np.prod(stored.dims, dtype=np.int64)) <= LARGEST_CONSTANT
            outside = stored.data_location == onnx.TensorProto.EXTERNAL
            return numpy_helper.to_array(stored) if small and not outside else None
        maker = self._makers.get(name)
        return None if maker is None or maker.input else fold(maker, {})
