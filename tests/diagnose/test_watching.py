"""What a runtime can't show costs itself: the tapped graph is halved, and goes on in another process where it must."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import faulty
import numpy as np
import onnx
import onnx.parser
import pytest
from calibration.measure import LIMITS, LastingCrew
from diagnose import diagnosing
from diagnose.deep import between

from sysnoise_conform.case import Case, Deployed
from sysnoise_conform.diagnose.course import diagnose
from sysnoise_conform.diagnose.facts import Diagnosis
from sysnoise_conform.errors import BackendDied
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.probe.corpus import chosen
from sysnoise_conform.variant import parse_variants

LONG = [f"t{at}" for at in range(24)]


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LastingCrew]:
    folder = tmp_path_factory.mktemp("watching")
    with pytest.MonkeyPatch.context() as patch, LastingCrew() as children:
        for name, value in faulty.as_environment().items():
            patch.setenv(name, value)
        patch.setenv("FAULT_STAMPS", str(folder))
        patch.setenv("CONFORM_CACHE", str(folder / "cache"))
        yield children


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """24 operators in a row, of which the backend knows each."""
    steps = ["Mul(x, w)", *(f"{'Relu' if at % 2 else 'Neg'}({LONG[at]})" for at in range(23))]
    body = " ".join(f"{name} = {step}" for name, step in zip(LONG, steps, strict=True))
    proto = onnx.parser.parse_model(f"""<ir_version: 9, opset_import: ["": 18]>
        chain (float[1,8] x) => (float[1,8] t23) <float[1] w = {{-1.5}}> {{ {body} }}""")
    path = tmp_path / "chain.onnx"
    onnx.save(proto, path)
    return path


def diagnosed(chain: Path, variant: str, crew: LastingCrew, deployed: Path | None = None) -> Diagnosis:
    case = Case(
        model=chain, variants=parse_variants(variant), samples=2, limits=LIMITS,
        deployed=None if deployed is None else Deployed(path=deployed),
    )  # fmt: skip
    return diagnose(case, chain.parent / "out", crew=crew, watch=lambda *_: None, policy=Policy())


@pytest.mark.parametrize("at", ["tapping", "layers"])
@pytest.mark.parametrize("does", ["segfault", "unprintable"])
def test_a_tensor_that_takes_the_process_down_or_is_refused_costs_itself(
    crew: LastingCrew, chain: Path, does: str, at: str
) -> None:
    found = diagnosed(chain, f"subject+does={does}+at={at}+of=t13", crew)

    assert found.verdict == "clean", found.sentence
    (hidden,) = found.unobservable
    assert hidden.tensor == "t13"
    assert "the tapped graph failed" in hidden.why
    layers = {each.output: each for each in found.layers}
    assert [name for name, each in layers.items() if each.replayed is None] == ["t13"]
    assert layers["t14"].block == ("Neg", "Relu")
    assert all(each.island is not None and each.island.samples == 2 for each in layers.values())
    assert all(each.replayed.samples == 2 for each in layers.values() if each.replayed is not None)
    assert found.coverage == 1
    assert any("tried again in halves" in each for each in found.notes)


def test_what_lies_before_a_half_is_not_held_against_its_first_operator(crew: LastingCrew, chain: Path) -> None:
    proto = onnx.load(chain)
    (weight,) = proto.graph.initializer
    weight.CopyFrom(onnx.numpy_helper.from_array(np.float32([-1.6]), "w"))
    onnx.save(proto, chain.with_name("faulty.onnx"))

    found = diagnosed(chain, "subject+does=segfault+at=layers+of=t13", crew, chain.with_name("faulty.onnx"))

    assert [each.layer.output for each in found.culprits] == ["t0"]


def test_a_tapped_graph_that_hangs_is_not_tried_again(conform, chain: Path, tmp_path: Path) -> None:
    done = conform(
        "diagnose", "--model", chain, "--backend", "subject+does=hang+at=layers+of=t13", "--samples", "1",
        "--timeout", "3", env={**faulty.as_environment(), "FAULT_STAMPS": str(tmp_path)},
    )  # fmt: skip

    assert done.code == 0, done.stdout + done.stderr
    assert "tried again" not in done.stdout
    assert "24 of 24 layers" in done.stdout  # by their islands


def parsed(folder: Path, text: str) -> Path:
    path = folder / "parsed.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def test_an_output_that_the_runtime_does_not_return_is_told(crew: LastingCrew, tmp_path: Path) -> None:
    found = diagnosed(parsed(tmp_path, faulty.MODEL), "subject+does=missing", crew)

    assert found.verdict == "unobservable"
    assert "output 'z' was not compared: the runtime did not return it" in found.sentence
    assert [each.name for each in found.outputs] == ["y"]
    assert "z" in {each.tensor for each in found.unobservable}


def test_both_outputs_of_topk_are_compared_on_mnn(crew: LastingCrew, tmp_path: Path) -> None:
    pytest.importorskip("MNN")
    model = parsed(tmp_path, """<ir_version: 9, opset_import: ["": 18]>
        chosen (float[1,500] x) => (float[1,9] v, int64[1,9] i) <int64[1] k = {9}>
        { r = Neg (x) v, i = TopK (r, k) }""")

    found = diagnosed(model, "mnn", crew)

    assert (found.verdict, found.unobservable) == ("clean", ()), found.sentence
    assert [each.name for each in found.outputs] == ["v", "i"]


def test_an_output_that_mnn_drops_in_the_middle_of_a_network_is_told(crew: LastingCrew, tmp_path: Path) -> None:
    pytest.importorskip("MNN")
    case = next(each for each in chosen("topk-few") if each.name == "topk-few")

    found = diagnosing.diagnosed(between(case), "mnn", tmp_path, crew)

    if any(each.name == "indices" for each in found.outputs):
        pytest.skip("this MNN returns it")
    assert "output 'indices' was not compared: the runtime did not return it" in found.sentence
    # Alone, fed with PyTorch's tensors, it puts equal values in another order: so it may where nobody sees it.
    assert [(each.layer.output, each.kind) for each in found.culprits] == [("indices", "tie_order")]


def test_an_operator_that_mnn_dies_of_is_told_and_the_rest_goes_on(crew: LastingCrew, tmp_path: Path) -> None:
    pytest.importorskip("MNN")
    model = parsed(tmp_path, """<ir_version: 9, opset_import: ["": 18]>
        dying (float[1,500] x) => (float[1,9] y) <int64[1] k = {9}>
        { r = Relu (x) "", i = TopK (r, k) f = Cast <to = 1> (i) y = Neg (f) }""")

    found = diagnosed(model, "mnn", crew)

    layers = {each.output: each for each in found.layers}
    if not layers["i"].not_runnable:
        pytest.skip("this MNN takes a TopK whose values nobody reads")
    assert found.verdict == "unobservable"
    assert "the graph does not run here (mnn: mnnconvert died of SIGSEGV" in found.sentence
    assert "not runnable here: TopK 'i'; 3 of 4 layers looked at alone, none is off" in found.sentence


@pytest.mark.parametrize("at", ["compile", "run"])
def test_a_runtime_that_dies_of_every_operator_too_is_told_as_that(
    crew: LastingCrew, tmp_path: Path, at: str
) -> None:
    with pytest.raises(BackendDied, match=rf"died of SIGSEGV \(stage {at}\)"):
        diagnosed(parsed(tmp_path, faulty.MODEL), f"subject+does=segfault+at={at}", crew)
