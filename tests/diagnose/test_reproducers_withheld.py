"""Of many culprits those furthest off are handed over; of the others it is told why not, and how to get them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from calibration.measure import LastingCrew
from diagnose.small import diagnosed, network
from onnx import numpy_helper

from sysnoise_conform.reports import diagnosis_html, diagnosis_json, diagnosis_terminal

DRAW = np.random.default_rng(5)
COUNT = 4
STEPS = [f"  c{at} = Conv <kernel_shape = [1, 1]> ({'x' if not at else f'c{at - 1}'}, w{at})" for at in range(COUNT)]
MODEL = network(
    "small (float[1,3,8,8] x) => (float[1,3,8,8] y) {\n" + "\n".join(STEPS) + f"\n  y = Relu (c{COUNT - 1})\n}}",
    {f"w{at}": DRAW.standard_normal((3, 3, 1, 1)) for at in range(COUNT)},
)
OFF = (1.01, 1.04, 1.02, 1.03)  # the second and the fourth are off most


@pytest.fixture(scope="module")
def crew() -> Iterator[LastingCrew]:
    with LastingCrew() as found:
        yield found


def faulty() -> onnx.ModelProto:
    made = onnx.ModelProto.FromString(MODEL.SerializeToString())
    for stored, scale in zip(made.graph.initializer, OFF, strict=True):
        stored.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(stored) * np.float32(scale), stored.name))
    return made


def test_the_furthest_off_are_written_and_the_rest_is_told(crew: LastingCrew, tmp_path: Path) -> None:
    found = diagnosed(MODEL, "ort", tmp_path, crew, faulty(), reproducers=2)

    assert [each.layer.output for each in found.culprits] == ["c0", "c1", "c2", "c3"]
    assert [each.reproducer for each in found.culprits] == ["", "culprit-2-conv", "", "culprit-4-conv"]
    assert sorted(each.name for each in (tmp_path / "out").glob("culprit-*")) == ["culprit-2-conv", "culprit-4-conv"]
    assert [each.withheld for each in found.culprits] == [True, False, True, False]
    how = "2 written, for the operators furthest off, and 2 not: --reproducers 4 writes all, --node NAME that of one"
    assert diagnosis_json.as_json(found)["reproducers"] == {"written": 2, "withheld": 2, "more": how}
    assert how in " ".join(diagnosis_terminal.render(found).split())
    assert how in diagnosis_html.render(found)
    assert "not among the 2 furthest off" in found.culprits[0].no_reproducer


def test_all_are_written_where_all_are_asked_for_and_none_where_none_is(crew: LastingCrew, tmp_path: Path) -> None:
    everything = diagnosed(MODEL, "ort", tmp_path / "all", crew, faulty(), reproducers=COUNT)
    nothing = diagnosed(MODEL, "ort", tmp_path / "none", crew, faulty(), reproducers=0)

    assert all(each.reproducer for each in everything.culprits)
    assert everything.withheld == 0
    assert diagnosis_json.as_json(everything)["reproducers"]["more"] is None
    assert [each.reproducer for each in nothing.culprits] == [""] * COUNT
    assert nothing.withheld == COUNT
