"""`conform card init`: a card out of what the file tells, and by name what it does not."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.parser
import pytest

from sysnoise_conform.card import Card, load_card
from sysnoise_conform.cli import invoke
from sysnoise_conform.drafting import Draft, draft
from sysnoise_conform.graph.intake import open_model

PICTURE = "float[1,3,32,48] x"


def drafted(folder: Path, inputs: str, outputs: str, *, first: str = "Identity") -> tuple[Card, Draft]:
    """The draft of a network with these ports, whatever it computes."""
    names = [each.split()[-1] for each in outputs.split(", ")]
    source = inputs.split(", ")[0].split()[-1]
    body = "\n".join(f"{name} = Mystery <n = {at}> ({'h'})" for at, name in enumerate(names))
    text = f"""
    <ir_version: 9, opset_import: ["": 17, "com.microsoft": 1]>
    net ({inputs}) => ({outputs}) {{
      h = {first} ({source})
      {body.replace("Mystery", "com.microsoft.Mystery")}
    }}
    """
    onnx.save(onnx.parser.parse_model(text), folder / "net.onnx")
    found = draft(open_model(folder / "net.onnx"))
    (folder / "net.toml").write_text(found.text)
    return load_card(folder / "net.toml"), found


@pytest.mark.parametrize(
    ("outputs", "task", "decoder"),
    [
        ("float[1,1000] y", "classify", None),
        ("float[N,10,1,1] y", "classify", None),
        ("float[1,1,32,48] y", "text-detect", None),
        ("float[1,21,32,48] y", "segment", None),
        ("float[1,21,8,12] y", "segment", None),
        ("float[1,85,2,3] y", "detect", "fastestdet"),
        ("float[1,84,8400] y", "detect", "yolov8"),
        ("float[1,25200,85] y", "detect", "yolov5"),
        ("float[1,100,4] b, float[1,100] s, int64[1,100] c", "detect", "boxes"),
        ("float[n,4] b, int64[n] c, float[n] s", "detect", "boxes"),
        ("float[1,900,4] b, float[1,900,91] s", "detect", "anchors"),
        ("float[1] y", None, None),
        ("float[1,1] y", None, None),
        ("float[1,7] a, float[1,8] b", None, None),
    ],
)
def test_the_task_is_guessed_from_the_outputs(tmp_path: Path, outputs: str, task: str, decoder: str) -> None:
    card, found = drafted(tmp_path, PICTURE, outputs)

    assert (card.task, card.decoder) == (task, decoder)
    if decoder in ("boxes", "anchors"):
        assert (card.heads.boxes, card.heads.scores) == ("b", "s")
        assert card.heads.classes == ("c" if "int64" in outputs else "")
    if task is None:
        assert any(each.startswith("the task") for each in found.unknown)


@pytest.mark.parametrize(
    ("inputs", "layout", "colour", "said"),
    [
        ("float[1,3,32,48] x", "NCHW", "RGB", "32 x 48"),
        ("float[1,32,48,3] x", "NHWC", "RGB", "32 x 48"),
        ("float[N,3,H,W] x", "NCHW", "RGB", "the size of pictures"),
        ("float[1,1,28,28] x", "NCHW", "GRAY", "28 x 28"),
        ("float[1,5,28,28] x", "NCHW", "RGB", "what the 5 channels are"),
        ("uint8[1,32,48,3] x", "NHWC", "RGB", "of bytes"),
        ("float[4] k, float[1,3,32,48] x", "NCHW", "RGB", "the other inputs, k"),
    ],
)
def test_the_input_is_described(tmp_path: Path, inputs: str, layout: str, colour: str, said: str) -> None:
    card, found = drafted(tmp_path, inputs, "float[1,10] y")

    assert card.image is not None
    assert (card.image.layout, card.image.colour, card.image.size) == (layout, colour, None)
    assert said in found.text
    assert card.image.scale == pytest.approx(1.0 if "uint8" in inputs else 1 / 255)
    assert card.image.name == ("x" if "k" in inputs else "")


def test_what_can_not_be_known_stands_in_the_card_and_is_told(tmp_path: Path) -> None:
    _, found = drafted(tmp_path, PICTURE, "float[1,10] y")

    assert [each.split(":")[0].split(",")[0] for each in found.unknown] == [
        "whether the 10 numbers are scores of classes", "the order of colours",
        "how pictures came to that size in training", "the normalisation",
    ]  # fmt: skip
    for each in found.unknown:
        assert f"# NOT KNOWN: {each}\n" in found.text


def test_a_graph_that_may_normalise_by_itself_is_pointed_out(tmp_path: Path) -> None:
    assert "begins with Identity" not in drafted(tmp_path, PICTURE, "float[1,10] y")[1].text
    assert "maybe it normalises by itself" in drafted(tmp_path, PICTURE, "float[1,10] y", first="Mul (x, x) #")[1].text


def test_a_model_of_something_else_has_no_image(tmp_path: Path) -> None:
    card, found = drafted(tmp_path, "int64[1,128] tokens", "float[1,2] y")

    assert card.image is None
    assert any("no input is a picture (tokens" in each for each in found.unknown)


def test_names_of_a_stranger_stay_texts(tmp_path: Path) -> None:
    name = 'a"b\\\x7f\u202e\n]'
    ports = [onnx.helper.make_tensor_value_info(each, 1, shape)
             for each, shape in (("x", [1, 3, 8, 8]), (name, [1, 9, 4]), ("s", [1, 9]))]  # fmt: skip
    nodes = [onnx.helper.make_node("Mystery", ["x"], [name, "s"], domain="com.microsoft")]
    graph = onnx.helper.make_graph(nodes, "g", ports[:1], ports[1:])
    imports = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=imports, ir_version=9), tmp_path / "net.onnx")

    found = draft(open_model(tmp_path / "net.onnx"))
    (tmp_path / "net.toml").write_text(found.text)

    assert load_card(tmp_path / "net.toml").heads.boxes == name
    assert "\u202e" not in "".join(each for each in found.text.splitlines() if each.startswith("#"))


def test_the_command_writes_beside_the_model_and_never_over_a_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drafted(tmp_path, PICTURE, "float[1,10] y")
    card = tmp_path / "net.toml"
    card.write_text("mine")
    model = str(tmp_path / "net.onnx")

    assert invoke(["card", "init", "--model", model]) == 2
    assert card.read_text() == "mine"
    assert "is there already; write elsewhere with --out, or --force" in capsys.readouterr().err
    assert invoke(["card", "init", "--model", model, "--out", str(tmp_path / "other.toml")]) == 0
    assert load_card(tmp_path / "other.toml").task == "classify"
    assert invoke(["card", "init", "--model", model, "--force"]) == 0
    said = capsys.readouterr().out
    assert load_card(card).task == "classify"
    assert "not known: the normalisation" in said
    card.unlink()
    card.symlink_to(tmp_path / "gone.toml")
    assert invoke(["card", "init", "--model", model]) == 2  # a link to nowhere is somebody's, too
    assert invoke(["card", "init", "--model", str(tmp_path / "gone.onnx")]) == 2
    assert invoke(["card", "init", "--model", model, "--out", str(tmp_path / "no" / "card.toml")]) == 4
