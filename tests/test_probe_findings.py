"""Findings: the nodes of a model that are of a kind which a target got wrong, and no others."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.parser
import pytest

from sysnoise_conform.graph.intake import open_model
from sysnoise_conform.probe import kept
from sysnoise_conform.probe.findings import among, findings, nodes_in, of_node, sentences
from sysnoise_conform.probe.kept import Key
from sysnoise_conform.probe.result import Agrees, Crashed, Deviates, Result, Shows, Unsupported

WRONG = Deviates(shows=Shows.VALUES, max_abs=2.5, max_rel=0.2, beyond=3, of=9)
POOLS = """
<ir_version: 8, opset_import: ["": 18]>
pools (float[1,2,8,8] x) => (float[1,2,N,M] y, float[1,2,K,L] z) {
  a = AveragePool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1], ceil_mode = 1,
                   count_include_pad = 1> (x)
  b = AveragePool <kernel_shape = [2, 2], ceil_mode = 1, count_include_pad = 1> (a)
  y = Relu (b)
  c = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x)
  z = AveragePool <kernel_shape = [3, 3], ceil_mode = 1> (c)
}
"""
RESIZES = """
<ir_version: 8, opset_import: ["": 18]>
resizes (float[1,3,26,26] x) => (y, z, w)
<float[4] twice = {1, 1, 2, 2}, float[4] odd = {1, 1, 2.5, 2.5}>
{
  y = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (x, , twice)
  z = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (x, , odd)
  w = Resize <mode = "linear"> (x, , odd)
}
"""


def opened(text: str, folder: Path, names: bool = True) -> tuple[Path, onnx.ModelProto]:
    model = onnx.parser.parse_model(text)
    for each in model.graph.node:
        each.name = f"/{each.output[0]}" if names else ""
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx", model


def said(text: str, folder: Path, results: dict[str, Result]) -> tuple[str, ...]:
    path, _ = opened(text, folder)
    return sentences(among(nodes_in(open_model(path)), results), "target")


def test_only_nodes_with_these_attributes_are_of_the_kind(tmp_path: Path) -> None:
    found = said(POOLS, tmp_path, {"averagepool-ceil-include-pad-opset19": WRONG})

    assert found == (
        "2 AveragePool nodes are of a kind that target gets wrong (ceil_mode=1, count_include_pad=1: off by 2.5): "
        "/a, /b",
    )


def test_a_node_is_told_once_however_many_cases_it_fits(tmp_path: Path) -> None:
    results = {f"averagepool-ceil-include-pad-opset{opset}": WRONG for opset in (11, 19, 22)}

    assert len(said(POOLS, tmp_path, results)) == 1


def test_what_agrees_is_refused_or_only_rounds_is_no_finding(tmp_path: Path) -> None:
    for result in (Agrees(), Unsupported(stage="compile", why=""), Deviates(shows=Shows.SMALL, max_abs=1e-3)):
        assert said(POOLS, tmp_path, {"averagepool-ceil-include-pad-opset19": result}) == ()


def test_a_crash_is_one(tmp_path: Path) -> None:
    crashed = Crashed(stage="run", cause="crash", why="SIGSEGV")

    assert "that target crashed on" in said(POOLS, tmp_path, {"averagepool-ceil-include-pad-opset19": crashed})[0]


def test_what_takes_certain_data_is_told_as_that_and_last(tmp_path: Path) -> None:
    hidden = Deviates(shows=Shows.NONFINITE, beyond=1, of=6)
    found = said(POOLS, tmp_path, {"relu-nan": hidden, "averagepool-ceil-include-pad-opset11": WRONG})

    assert len(found) == 2
    assert found[1] == "with certain data alone target differs: Relu where a NaN reaches it"


def test_a_scale_by_a_whole_number_is_not_of_the_kind_where_rounding_matters(tmp_path: Path) -> None:
    (found,) = said(RESIZES, tmp_path, {"resize-nearest-exact-coordinate": WRONG})

    assert found.startswith("1 Resize node is of a kind")
    assert found.endswith(": /z")


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("y = Softmax <axis = 1> (x)", 1),
        ("y = Softmax <axis = 3> (x)", 0),
        ("y = Softmax <axis = -1> (x)", 0),
        ("y = Softmax (x)", 1),
    ],
)
def test_softmax_before_opset_13_is_of_the_kind_unless_its_axis_is_the_last(
    text: str, fits: int, tmp_path: Path
) -> None:
    model = f'<ir_version: 7, opset_import: ["": 11]> g (float[2,3,4,5] x) => (float[2,3,4,5] y) {{ {text} }}'

    assert len(said(model, tmp_path, {"softmax-opset11": WRONG})) == fits


def test_softmax_since_opset_13_is_not(tmp_path: Path) -> None:
    model = """<ir_version: 7, opset_import: ["": 13]> g (float[2,3,4] x) => (float[2,3,4] y)
      { y = Softmax <axis = 1> (x) }"""

    assert said(model, tmp_path, {"softmax-opset11": WRONG}) == ()


@pytest.mark.parametrize(("size", "fits"), [(5, 1), (6, 0)])
def test_a_ceil_that_adds_no_window_is_not_of_the_kind(size: int, fits: int, tmp_path: Path) -> None:
    model = f"""<ir_version: 8, opset_import: ["": 18]> g (float[1,2,{size},{size}] x) => (y) {{
      y = MaxPool <kernel_shape = [3, 3], strides = [3, 3], pads = [1, 1, 1, 1], ceil_mode = 1> (x) }}"""

    assert len(said(model, tmp_path, {"maxpool-ceil-last-window-opset12": WRONG})) == fits


def test_an_integer_addition_is_of_the_kind_by_its_type(tmp_path: Path) -> None:
    for kind, fits in (("uint8", 1), ("int32", 0), ("float", 0)):
        model = f"""<ir_version: 8, opset_import: ["": 18]> g ({kind}[4] a, {kind}[4] b) => ({kind}[4] y)
          {{ y = Add (a, b) }}"""
        assert len(said(model, tmp_path, {"add-uint8": WRONG})) == fits


def test_of_one_node_slight_deviations_count_too_and_what_takes_data_comes_last(tmp_path: Path) -> None:
    path, _ = opened(POOLS, tmp_path)
    pool, _, relu, *_ = nodes_in(open_model(path))
    slight = Deviates(shows=Shows.SMALL, max_abs=1e-3)
    results = {
        "averagepool-ceil-include-pad-opset11": slight, "averagepool-ceil-include-pad-opset22": WRONG,
        "averagepool-exclude-pad": Agrees(), "relu-nan": Deviates(shows=Shows.NONFINITE, beyond=1, of=6),
    }  # fmt: skip

    assert [(case.name, result) for case, result in of_node(pool, results)] == [
        ("averagepool-ceil-include-pad-opset11", slight)
    ]
    assert [case.name for case, _ in of_node(relu, results)] == ["relu-nan"]


def test_findings_come_from_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORM_CACHE", str(tmp_path / "cache"))
    path, _ = opened(POOLS, tmp_path, names=False)
    model = open_model(path)

    assert findings(model, "mine", "Runtime", "1.0") == ()
    key = Key(runtime="Runtime", version="1.0", variant="mine")
    kept.keep(key, {"averagepool-ceil-include-pad-opset11": WRONG}, ())
    (found,) = findings(model, "mine", "Runtime", "1.0")
    assert found.nodes == ("a", "b")
    assert findings(model, "mine", "Runtime", "1.1") == ()
