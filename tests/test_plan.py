"""What a run decides before anything is started."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysnoise_conform.case import Case
from sysnoise_conform.errors import UsageError
from sysnoise_conform.graph.intake import open_model
from sysnoise_conform.runner.plan import check_variants, chunks, is_plain_float32, make_plan, places
from sysnoise_conform.variant import parse_variants

CHAIN = """
<ir_version: 9, opset_import: ["": 18]>
chain (float[1,4] x) => (float[1,4] z) {
  a = Relu (x)
  b = Neg (a)
  z = Abs (b)
}
"""


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    path = tmp_path / "chain.onnx"
    onnx.save(onnx.parser.parse_model(CHAIN), path)
    return path


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 50), max_size=12), st.integers(1, 60))
def test_chunks_keep_every_name_in_order_and_fit_the_budget(sizes: dict[str, int], budget: int) -> None:
    found = chunks(list(sizes), sizes, budget)

    assert [name for chunk in found for name in chunk] == list(sizes)
    for chunk in found:
        assert len(chunk) == 1 or sum(sizes[name] for name in chunk) <= budget


def test_every_layer_of_a_small_model_is_tapped_at_once(chain: Path) -> None:
    case = Case(model=chain, variants=parse_variants("ort"))
    plan = make_plan(case, open_model(chain), {"x": np.zeros((1, 4), np.float32)})

    assert plan.taps == (("a", "b", "z"),)
    assert plan.unobservable == ()


def test_without_layers_each_one_says_why_it_was_not_seen(chain: Path) -> None:
    case = Case(model=chain, variants=parse_variants("ort"), layers=False)
    plan = make_plan(case, open_model(chain), {"x": np.zeros((1, 4), np.float32)})

    assert plan.taps == ()
    assert [each.tensor for each in plan.unobservable] == ["a", "b", "z"]
    assert all("--no-layers" in each.why for each in plan.unobservable)


def test_logs_are_called_after_their_variant_and_never_collide() -> None:
    named = places(parse_variants("ort,ort+opt=basic,openvino:auto,openvino@auto"))

    assert named == ["ort", "ort-opt=basic", "openvino-auto-1", "openvino-auto-2"]


@pytest.mark.parametrize(("kind", "plain"), [("float", True), ("float16", False), ("double", False)])
def test_fp32_is_what_a_float32_model_is_already(tmp_path: Path, kind: str, plain: bool) -> None:
    onnx.save(onnx.parser.parse_model(CHAIN.replace("float[", f"{kind}[")), tmp_path / "m.onnx")

    assert is_plain_float32(open_model(tmp_path / "m.onnx")) is plain


@pytest.mark.parametrize("spec", ["otr", "ort@moon", "ort+optt=all", "ort+opt=most", "ort+threads=many"])
def test_a_spec_is_checked_before_any_file_is_opened(spec: str) -> None:
    with pytest.raises(UsageError):
        check_variants(Case(model=Path("nowhere.onnx"), variants=parse_variants(spec)))
