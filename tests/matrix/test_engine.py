"""How the work of a matrix is shared: in which order, how much of it is kept, and among how many children."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import Conform
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from sysnoise_conform.card import ImageInput
from sysnoise_conform.errors import BadInput, Unsupported
from sysnoise_conform.matrix import seats
from sysnoise_conform.matrix.batches import apart
from sysnoise_conform.matrix.cells import Cell, counts, total
from sysnoise_conform.matrix.engine import Latest, along_the_tree, same_bits
from sysnoise_conform.noise.preparation import prepared
from sysnoise_conform.variant import parse_variant

SPEC = ImageInput(size=(8, 8))
ORT = parse_variant("ort")
CARD = "task = 'classify'\n[image]\nresize = 'squash'\nsize = 16\nscale = 0.00392156862745098\n"


def test_the_baseline_comes_first_and_no_step_comes_twice() -> None:
    levels = [
        {}, {"resize": "pillow-box"}, {"decoder": "opencv"}, {"colour": "bt601-full-444"}, {"normalise": "missing"},
        {"decoder": "opencv", "resize": "pillow-box"}, {"input_colour": "bt601-full-444"}, {"resize": "pillow-box"},
    ]  # fmt: skip
    known = [each for each in levels if "normalise" not in each]
    order = along_the_tree(prepared(SPEC, each) for each in known)
    assert order[0] == prepared(SPEC, {})
    assert len(order) == len({each.tensor_key() for each in order}) == len(known) - 1
    for step in ("decode_key", "colour_key", "place_key"):
        keys = [getattr(each, step)() for each in order]
        changes = 1 + sum(a != b for a, b in pairwise(keys))
        assert changes == len(set(keys)), f"{step} is done again"


def test_what_is_latest_is_made_once_and_a_refusal_is_told_again() -> None:
    made: list[str] = []
    latest = Latest[str]()

    def make(name: str) -> str:
        made.append(name)
        if name == "bad":
            raise BadInput("broken")
        return name

    assert [latest.get(("a",), lambda: make("a")) for _ in range(3)] == ["a"] * 3
    for _ in range(2):
        with pytest.raises(BadInput, match="broken"):
            latest.get(("b",), lambda: make("bad"))
    assert latest.get(("a",), lambda: make("a")) == "a"
    assert made == ["a", "bad", "a"]


def test_tensors_are_the_same_by_their_bits() -> None:
    odd = np.array([np.nan, -0.0, 1.0], np.float32)
    assert same_bits(odd, odd.copy())
    assert not same_bits(odd, np.abs(odd))
    assert not same_bits(odd, odd[None])


@pytest.mark.parametrize(("cores", "threads", "wanted"), [(2, 1, 2), (2, 0, 1), (2, 4, 1), (8, 2, 4), (64, 1, 8)])
def test_as_many_pictures_at_once_as_the_cores_serve(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: int, wanted: int
) -> None:
    monkeypatch.setattr(seats, "usable_cores", lambda: cores)
    assert seats.lanes(threads) == wanted


def test_passes_that_share_nothing_add_up() -> None:
    first = [Cell(levels=(), variant=ORT), Cell(levels=(("resize", "pillow-box"),), variant=ORT)]
    second = [Cell(levels=(("decoder", "opencv"),), variant=ORT)]
    plan = total([counts(each, SPEC, 10) for each in (first, second)])
    assert (plan.decodes, plan.resizes, plan.inferences) == (20, 30, 30)
    assert replace(plan, decodes=0) == replace(counts([*first, *second], SPEC, 10), decodes=0)


def small(folder: Path, count: int, batch: int | str = 1) -> Path:
    """A network of one convolution, a card beside it, and pictures with labels."""
    rng = np.random.default_rng(5)
    kernel = numpy_helper.from_array(rng.standard_normal((4, 3, 3, 3)).astype(np.float32), "k")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "k"], ["y"]), helper.make_node("ReduceMax", ["y"], ["z"], axes=[2, 3],
                                                                        keepdims=0)],
        "small", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 16, 16])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [batch, 4])], [kernel],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "m.onnx")
    (folder / "m.toml").write_text(CARD)
    (folder / "data").mkdir()
    lines = ["file,class"]
    for at in range(count):
        Image.fromarray(rng.integers(0, 256, (31, 40, 3), dtype=np.uint8)).save(folder / "data" / f"{at}.jpg")
        lines.append(f"{at}.jpg,{at % 4}")
    (folder / "data" / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder / "m.onnx"


def test_how_many_pictures_go_side_by_side_changes_nothing(conform: Conform, tmp_path: Path) -> None:
    model = small(tmp_path, 9)
    found = []
    for number, more in enumerate((["--threads", "1"], ["--threads", "0"], ["--threads", "1"])):
        out = tmp_path / f"out{number}"
        conform(
            "noise", "-m", model, "-d", tmp_path / "data", "-b", "ort,openvino:fp32", "--baseline", "ort",
            "-x", "decoder=turbo-fast,resize=pillow-box,colour=bt601-narrow-nv12", "--out", out, *more,
        )  # fmt: skip
        said = json.loads((out / "noise.json").read_text())
        found.append({name: said[name] for name in ("baseline", "cells", "axes", "combined", "plan", "samples")})
    assert found[0] == found[1] == found[2]
    control = next(each for each in found[0]["cells"] if each["axis"] == "control")
    assert (control["flips_lost"], control["flips_won"]) == (0, 0)


def test_a_batch_gives_the_same_answers_and_is_resumed_only_as_a_batch(conform: Conform, tmp_path: Path) -> None:
    model = small(tmp_path, 9, "N")
    asked = (
        "noise", "-m", model, "-d", tmp_path / "data", "-b", "ort,openvino:fp32", "--baseline", "ort",
        "-x", "decoder=turbo-fast,resize=pillow-box,resize=pillow-nearest,colour=bt601-narrow-nv12",
        "--combine", "none",
    )  # fmt: skip
    found = []
    for batch in ("1", "4"):  # six tensors: the second batch is filled up
        conform(*asked, "--batch", batch, "--out", tmp_path / f"out{batch}")
        found.append(json.loads((tmp_path / f"out{batch}" / "noise.json").read_text()))
    assert [each["status"] for each in found[1]["cells"]] == ["measured"] * len(found[0]["cells"])
    assert found[1]["plan"] == found[0]["plan"]
    for one, four in zip(found[0]["cells"], found[1]["cells"], strict=True):
        assert (four["level"], four["value"], four["changed"]) == (one["level"], one["value"], one["changed"])
    again = conform(*asked, "--batch", "4", "--out", tmp_path / "out4", "--resume")
    assert json.loads((tmp_path / "out4" / "noise.json").read_text())["cells"] == found[1]["cells"]
    assert again.code == 5
    other = conform(*asked, "--batch", "2", "--out", tmp_path / "out4", "--resume")
    assert (other.code, "nothing of it can be used" in other.stderr) == (2, True)


def test_a_batch_that_can_not_be_is_told(conform: Conform, tmp_path: Path) -> None:
    model = small(tmp_path, 2)
    asked = ("noise", "-m", model, "-d", tmp_path / "data", "-b", "ort", "--baseline", "ort", "--batch", "4")
    done = conform(*asked, "-x", "resize=pillow-box")
    assert (done.code, "--batch 4: the input 'x' has a batch of 1" in done.stderr) == (2, True)
    with pytest.raises(Unsupported, match=r"of a batch of 4 the output 'z' has the shape \[1, 4\]"):
        apart([{"z": np.zeros((1, 4))}], 4, 4)
