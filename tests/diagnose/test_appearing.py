"""What only watching makes wrong is no culprit; what is wrong as it ships is one, whatever watching does beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx.parser
import peeped
import pytest
from calibration.measure import LIMITS, LastingCrew
from calibration.sets import networks
from diagnose import diagnosing

from sysnoise_conform.case import Case, Deployed
from sysnoise_conform.diagnose.course import diagnose
from sysnoise_conform.diagnose.facts import Diagnosis
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.variant import parse_variants

HEAD = '<ir_version: 9, opset_import: ["": 18]> looked_at (float[1,8] x) => (float[1,8] y)'
CONSTANTS = "<float[1] w = {0.7}, float[1] v = {0.3}, float[1] wrong = {-1.2}, float[1] least = {-9}>"
BODY = "a = Mul(x, w) n = Neg(a) s = Add(n, v) r = Relu(s) q = Neg(r) m = Mul(q, w) y = Add(m, x)"


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LastingCrew]:
    with pytest.MonkeyPatch.context() as patch, LastingCrew() as children:
        for name, value in peeped.as_environment().items():
            patch.setenv(name, value)
        patch.setenv("CONFORM_CACHE", str(tmp_path_factory.mktemp("appearing") / "cache"))
        yield children


def diagnosed(folder: Path, variant: str, crew: LastingCrew, deployed: str = "", body: str = BODY) -> Diagnosis:
    """The diagnosis of a body of operators, in whose place the backend may be given another one."""
    paths = [folder / "model.onnx", folder / "deployed.onnx"]
    for path, each in zip(paths, (body, deployed or body), strict=True):
        onnx.save(onnx.parser.parse_model(f"{HEAD} {CONSTANTS} {{ {each} }}"), path)
    case = Case(
        model=paths[0], variants=parse_variants(variant), samples=2, limits=LIMITS,
        deployed=Deployed(path=paths[1]) if deployed else None,
    )  # fmt: skip
    return diagnose(case, folder / "out", crew=crew, watch=lambda *_: None, policy=Policy())


def named(found: Diagnosis) -> list[str]:
    return [each.layer.output for each in found.culprits]


def test_an_operator_that_watching_makes_wrong_is_told_and_not_named(crew: LastingCrew, tmp_path: Path) -> None:
    found = diagnosed(tmp_path, "peeped+of=Neg+when=computed", crew)

    assert (found.verdict, found.culprits) == ("clean", ()), found.sentence
    assert [each.tensor for each in found.unobservable] == ["n", "q"]
    assert all("watching changes it" in each.why for each in found.unobservable)
    assert sum("where it is watched, and is right where only its readers are" in each for each in found.notes) == 2
    assert found.observer_effect.rel_l2 == 0  # of the graph that is watched without the two
    blocks = {each.output: each.block for each in found.layers}
    assert (blocks["s"], blocks["m"]) == (("Neg", "Add"), ("Neg", "Mul"))
    assert found.coverage == 1


def test_an_operator_that_is_only_shown_wrong_and_is_wrong_alone_is_not_named(
    crew: LastingCrew, tmp_path: Path
) -> None:
    found = diagnosed(tmp_path, "peeped+of=Neg+when=shown", crew)

    assert (found.verdict, found.culprits) == ("clean", ()), found.sentence
    assert any("shown otherwise than computed" in each and "'n'" in each and "'q'" in each for each in found.notes)


@pytest.mark.parametrize(
    ("was", "made", "who"),
    [
        ("n = Neg(a)", "n = Mul(a, wrong)", "n"),  # where watching makes the very kind wrong, as well
        ("s = Add(n, v)", "s = Add(n, w)", "s"),  # behind it
        ("m = Mul(q, w)", "m = Mul(q, v)", "m"),
        ("a = Mul(x, w)", "a = Mul(x, v)", "a"),  # before it
    ],
)
def test_an_operator_that_is_wrong_as_it_ships_is_named_beside_it(
    crew: LastingCrew, tmp_path: Path, was: str, made: str, who: str
) -> None:
    assert was in BODY

    found = diagnosed(tmp_path, "peeped+of=Neg+when=computed", crew, BODY.replace(was, made))

    assert named(found) == [who], found.sentence


def test_a_reader_that_does_not_feel_the_error_excuses_nobody(crew: LastingCrew, tmp_path: Path) -> None:
    body = BODY.replace("r = Relu(s)", "b = Mul(s, s) h = Mul(b, least) r = Relu(h)")
    wrong = body.replace("h = Mul(b, least)", "h = Mul(b, wrong)")

    found = diagnosed(tmp_path, "peeped+of=Neg+when=computed", crew, wrong, body)

    assert named(found) == ["h"], found.sentence
    assert found.outputs[0].exact


def test_an_output_that_is_shown_wrong_ships_wrong(crew: LastingCrew, tmp_path: Path) -> None:
    body = "a = Mul(x, w) s = Add(a, v) y = Neg(s)"

    found = diagnosed(tmp_path, "peeped+of=Neg+when=shown", crew, body=body)

    assert named(found) == ["y"], found.sentence


@pytest.mark.usefixtures("own_cache")
def test_tflite_scales_columns_for_channels_only_where_it_is_watched(tmp_path: Path) -> None:
    pytest.importorskip("onnx2tf")
    network = next(each for each in networks("held-out", samples=1) if each.family == "mobile")

    with LastingCrew() as children:
        found = diagnosing.diagnosed(network, "tflite", tmp_path, children)

    assert (found.verdict, found.culprits) == ("clean", ()), found.sentence
    if any("where it is watched" in each for each in found.notes):  # else this onnx2tf tells channels from columns
        assert [each.tensor for each in found.unobservable] == ["batchnormalization_45"]
    assert found.observer_effect.floor_ratio is not None
    assert found.observer_effect.floor_ratio < 3
