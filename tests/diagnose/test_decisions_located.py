"""A decision that lies within the rounding of its operands is nobody's fault; a clear one that is other is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from calibration.measure import LIMITS, LastingCrew
from graphs import graph
from onnx import helper, numpy_helper

from sysnoise_conform.case import Case, Deployed
from sysnoise_conform.diagnose.course import diagnose
from sysnoise_conform.diagnose.facts import Diagnosis, Layer
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.variant import parse_variants

RUNTIMES = ("ort", "openvino")

# One operator of each kind, on tensors of its own: what one decides is nobody else's input.
MODEL = """g (float[4,64] halves, float[4,64] others, float[4,64] rows, float[1,1,8,8] image, float[1,6,6,2] grid,
           float[1,40,4] boxes, float[1,2,40] scores) =>
    (float[4,64] round, float[4,64] floor, float[4,64] ceil, int32[4,64] cast, bool[4,64] greater, bool[4,64] less,
     bool[4,64] equal, uint8[4,64] codes, int64[4,1] best, int64[4,1] worst, float[4,9] first, int64[4,9] places,
     float[1,1,6,6] sampled, int64[N,3] kept)
    <float step = {1}, uint8 zero = {100}, int64[1] k = {9}, int64 most = {20}, float overlap = {0.4},
     float least = {0.2}, int64 last = {62}> {
    h = Neg(halves)
    o = Neg(others)
    r = Neg(rows)
    g = Neg(grid)
    s = Abs(scores)
    round = Round(h)
    floor = Floor(o)
    ceil = Ceil(o)
    cast = Cast <to = 6> (o)
    greater = Greater(h, o)
    less = Less(o, h)
    equal = Equal(o, h)
    codes = QuantizeLinear(h, step, zero)
    best = ArgMax <axis = 1> (r)
    worst = ArgMin <axis = 1> (r)
    first, places = TopK <axis = 1> (r, k)
    sampled = GridSample <mode = "nearest", align_corners = 0> (image, g)
    kept = NonMaxSuppression(boxes, s, most, overlap, least)
}"""
# The operand that is moved before it is decided by, and by how much it is moved for a clear decision.
MOVED = {
    "round": ("h", 0.3), "floor": ("o", 0.3), "ceil": ("o", 0.3), "cast": ("o", 0.3), "greater": ("h", 0.3),
    "less": ("o", 0.3), "equal": ("o", 0.0), "codes": ("h", 0.1), "best": ("r", 0.0), "worst": ("r", 0.0),
    "places": ("r", 0.5), "sampled": ("g", 0.3), "kept": ("s", 0.9),
}  # fmt: skip
# Where nothing that is moved makes a decision clearly wrong, the answer itself is turned round.
TURNED = {"best": ("Sub", ["last", "sound_best"]), "worst": ("Sub", ["last", "sound_worst"]),
          "equal": ("Not", ["sound_equal"])}  # fmt: skip


def nearly(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """The values, most of them a unit in the last place or two off."""
    return (values * (1 + rng.integers(-2, 3, values.shape) * 2.0**-24)).astype(np.float32)


@pytest.fixture(scope="module")
def feeds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(20)
    halves = rng.integers(-9, 9, (4, 64)) + np.where(rng.random((4, 64)) < 0.5, 0.5, rng.random((4, 64)))
    whole = rng.integers(1, 9, (4, 64)) * np.sign(rng.standard_normal((4, 64)))
    others = np.where(rng.random((4, 64)) < 0.3, halves, whole)
    rows = rng.standard_normal((4, 64))
    rows[:, ::7] = rows[:, :1] * (1 + 2.0**-24 * rng.integers(-2, 3, (4, 10)))
    rows[:, ::9] = np.abs(rows).max(axis=1, keepdims=True) + 0.1
    rows[:, 5::11] = -rows[:, :1]
    grid = (rng.integers(0, 8, (1, 6, 6, 2)) * 2 / 8) - 1  # the borders between two pixels
    corners = rng.random((1, 40, 2)) * 4
    scores = np.repeat(rng.random((1, 2, 20)), 2, axis=2)
    return {
        "halves": nearly(rng, halves),
        "others": nearly(rng, others),
        "rows": nearly(rng, rows),
        "image": rng.standard_normal((1, 1, 8, 8)).astype(np.float32),
        "grid": (grid + rng.integers(-1, 2, grid.shape) * 2.0**-24).astype(np.float32),
        "boxes": np.concatenate([corners, corners + 0.5 + rng.random((1, 40, 2))], axis=2).astype(np.float32),
        "scores": nearly(rng, scores),
    }


def moved(model: onnx.ModelProto, by: float | None) -> onnx.ModelProto:
    """The model with every deciding operator's operand moved first: by a unit in the last place, or clearly."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    rng = np.random.default_rng(21)
    shapes = {"h": (4, 64), "o": (4, 64), "r": (4, 64), "g": (1, 6, 6, 2), "s": (1, 2, 40)}
    nodes = []
    for node in made.graph.node:
        name = next((each for each in node.output if each in MOVED), None)
        if name is not None:
            operand, far = MOVED[name]
            sizes = rng.integers(-1, 2, shapes[operand]) * 2.0**-23
            if by is not None:
                sizes = np.where(rng.random(shapes[operand]) < by, -far, 0.0)
            made.graph.initializer.append(numpy_helper.from_array((1 + sizes).astype(np.float32), f"by_{name}"))
            nodes.append(helper.make_node("Mul", [operand, f"by_{name}"], [f"moved_{name}"], name=f"move_{name}"))
            node.input[list(node.input).index(operand)] = f"moved_{name}"
        nodes.append(node)
        if by is not None and name in TURNED:
            operator, inputs = TURNED[name]
            node.output[0] = f"sound_{name}"
            nodes.append(helper.make_node(operator, inputs, [name], name=f"turn_{name}"))
    copies = [onnx.NodeProto.FromString(each.SerializeToString()) for each in nodes]
    del made.graph.node[:]
    made.graph.node.extend(copies)
    return made


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LastingCrew]:
    with pytest.MonkeyPatch.context() as patch, LastingCrew() as children:
        patch.setenv("CONFORM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield children


def diagnosed(
    model: onnx.ModelProto, deployed: onnx.ModelProto, feeds: dict[str, np.ndarray], backend: str, folder: Path,
    crew: LastingCrew,
) -> Diagnosis:  # fmt: skip
    onnx.save(model, folder / "model.onnx")
    onnx.save(deployed, folder / "deployed.onnx")
    np.savez(folder / "inputs.npz", **feeds)
    case = Case(
        model=folder / "model.onnx", inputs=folder / "inputs.npz", variants=parse_variants(backend), limits=LIMITS,
        deployed=Deployed(path=folder / "deployed.onnx"),
    )  # fmt: skip
    return diagnose(case, folder / "out", crew=crew, watch=lambda *_: None, policy=Policy())


def decisions(found: Diagnosis) -> dict[str, Layer]:
    return {each.output: each for each in found.layers if each.output in {*MOVED, "first"}}


@pytest.mark.parametrize("backend", RUNTIMES)
def test_what_rounding_decides_is_nobodys_fault_and_counted(
    backend: str, feeds: dict[str, np.ndarray], crew: LastingCrew, tmp_path: Path
) -> None:
    model = graph(MODEL, opset=18)

    found = diagnosed(model, moved(model, None), feeds, backend, tmp_path, crew)

    assert found.culprits == (), found.sentence
    ties = {name: each.replayed.ties for name, each in decisions(found).items() if each.replayed is not None}
    assert set(ties) == {*MOVED, "first"}
    assert all(ties.values()), ties
    assert all(each.replayed.mismatches == 0 for each in decisions(found).values())


@pytest.mark.parametrize("backend", RUNTIMES)
def test_what_was_clear_and_is_decided_otherwise_is_a_fault(
    backend: str, feeds: dict[str, np.ndarray], crew: LastingCrew, tmp_path: Path
) -> None:
    model = graph(MODEL, opset=18)

    found = diagnosed(model, moved(model, 0.5), feeds, backend, tmp_path, crew)

    assert {each.layer.output for each in found.culprits} >= set(MOVED), found.sentence
    assert {each.layer.output for each in found.culprits} <= {*MOVED, "first"}
    words = {each.layer.output: each.words for each in found.culprits}
    assert "where it is clear by more than rounding" in words["best"]


RESIZE = """g (float[1,1,1,26] x) => (float[1,1,1,64] y) <int64[4] sizes = {1, 1, 1, 64}> {
    p = Neg(x)
    y = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (p, , , sizes)
}"""


@pytest.mark.parametrize("off", [True, False])
@pytest.mark.parametrize("backend", RUNTIMES)
def test_a_coordinate_that_float32_puts_on_the_other_side_of_a_tie_is_named_where_an_output_is_off_for_it(
    backend: str, off: bool, crew: LastingCrew, tmp_path: Path
) -> None:
    # Output 32 lies at 32 * 26 / 64 = 13 exactly; by the ratio 64/26 in float32 it lies below.
    text = RESIZE if off else RESIZE.replace("float[1,1,1,64] y)", "bool[1,1,1,64] z)").replace(
        "sizes)\n", "sizes)\n    z = Greater(y, low)\n"
    ).replace("1, 64}>", "1, 64}, float low = {-99}>")  # fmt: skip
    model = graph(text, opset=13)
    feeds = {"x": np.arange(26, dtype=np.float32).reshape(1, 1, 1, 26)}

    found = diagnosed(model, model, feeds, backend, tmp_path, crew)

    (resize,) = [each for each in found.layers if each.output == "y"]
    if not resize.replayed.ties:
        pytest.skip(f"{backend} takes pixel 13 here")
    named = [(each.layer.output, each.kind) for each in found.culprits]
    assert named == [("y", "rounding_mode")] * off, found.sentence
    assert found.verdict == ("culprits" if off else "clean")
    assert resize.replayed.ties == 1
    assert found.notes == (
        "Resize 'y' decides otherwise at 1 of 64 elements, by another rule, coordinates rounded to float32",
    )


def test_halves_between_pixels_of_a_grid_that_is_fed_are_sent_elsewhere_by_the_operator_alone(
    crew: LastingCrew, tmp_path: Path
) -> None:
    # MNN sends them away from zero; the operator before may round the grid, the one that is fed it does not.
    pytest.importorskip("MNN")
    model = graph("""g (float[1,1,8,8] x, float[1,9,9,2] grid) => (float[1,1,9,9] y) {
        g = Neg(grid)
        y = GridSample <mode = "nearest", padding_mode = "border"> (x, g)
    }""", opset=18)
    across = 1 - np.arange(9) / 4
    feeds = {
        "x": np.random.default_rng(0).standard_normal((1, 1, 8, 8)).astype(np.float32),
        "grid": np.stack(np.meshgrid(across, across), axis=-1)[None].astype(np.float32),
    }

    found = diagnosed(model, model, feeds, "mnn", tmp_path, crew)

    (sampled,) = [each for each in found.layers if each.output == "y"]
    if not sampled.island.ties:
        pytest.skip("MNN sends halves to the even pixel here")
    assert [(each.layer.output, each.kind) for each in found.culprits] == [("y", "rounding_mode")]
    assert "decides ties by halves away from zero" in found.sentence


@pytest.mark.parametrize("backend", RUNTIMES)
def test_another_rule_of_the_nearest_is_a_fault(backend: str, crew: LastingCrew, tmp_path: Path) -> None:
    model = graph(RESIZE, opset=13)
    other = graph(RESIZE.replace("asymmetric", "half_pixel"), opset=13)
    feeds = {"x": np.arange(26, dtype=np.float32).reshape(1, 1, 1, 26)}

    found = diagnosed(model, other, feeds, backend, tmp_path, crew)

    assert [each.layer.output for each in found.culprits] == ["y"]


@pytest.mark.parametrize(("read", "off"), [(True, True), (False, False)])
def test_equal_values_in_another_order_are_told_as_that(
    read: bool, off: bool, crew: LastingCrew, tmp_path: Path
) -> None:
    # OpenVINO takes other indices of equal values than ONNX does (V18 of the corpus: topk-ties).
    what = "float[1,100] y, int64[1,100] places" if read else "float[1,100] y"
    model = graph(f"""g (float[1,500] x) => ({what}) <int64[1] k = {{100}}> {{
        r = Neg(x)
        y, places = TopK <axis = 1> (r, k)
    }}""", opset=18)
    feeds = {"x": np.random.default_rng(0).integers(0, 20, (1, 500)).astype(np.float32)}

    found = diagnosed(model, model, feeds, "openvino", tmp_path, crew)

    (layer,) = [each for each in found.layers if each.output == "places"]
    if not layer.replayed.ties:
        pytest.skip("OpenVINO takes the lower index first here")
    assert "where values are equal" in " ".join(found.notes)
    assert [(each.layer.op_type, each.kind) for each in found.culprits] == [("TopK", "tie_order")] * off
    assert found.verdict == ("culprits" if off else "clean")
    if off:
        assert "puts equal values in another order" in found.sentence
        assert "the lower index of equal values first" in found.culprits[0].readings[0].value
