"""OpenVINO IR that is broken or hostile is refused in one line, before OpenVINO sees it."""

from __future__ import annotations

import itertools
import os
import re
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from refusing import refused

pytest.importorskip("ai_edge_litert")  # deployed_files builds both formats

from deployed_files import IR, WEIGHTS, ir, original

from sysnoise_conform.deployed import ir as reader
from sysnoise_conform.deployed import ir_operators, ir_weights, xml
from sysnoise_conform.errors import BadModel
from sysnoise_conform.runner.target import Target

ENTITIES = '<!DOCTYPE net [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
EXTERNAL = '<!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
ADD = '<layer id="2" name="add" type="Add"'
EDGE = '<edge from-layer="0" from-port="0" to-layer="2" to-port="0"/>'
HEAD = '<?xml version="1.0"?>'

REFUSED: dict[str, tuple[str, str, str]] = {
    "offset-beyond": ('offset="0"', 'offset="8"', "of the .bin, which has 16"),
    "offset-that-wraps": ('offset="0"', f'offset="{(1 << 64) - 8}"', "no whole number"),
    "offset-of-2^63": ('offset="0"', f'offset="{1 << 63}"', "of the .bin, which has 16"),
    "negative-offset": ('offset="0"', 'offset="-16"', "no whole number"),
    "offset-in-hexadecimal": ('offset="0"', 'offset="0x0"', "no whole number"),
    "offset-in-other-digits": ('offset="0"', 'offset="٠"', "no whole number"),
    "no-offset": ('offset="0"', "", "no whole number"),
    "size-too-small": ('size="16"', 'size="12"', "needs 16 bytes, it says 12"),
    "size-too-large": ('size="16"', 'size="4294967312"', "needs 16 bytes"),
    "constant-of-another-shape": ('shape="1,4" offset', 'shape="4" offset', "another shape"),
    "constant-without-shape": ('shape="1,4" offset', 'shape="1,?" offset', "without a shape"),
    "sizes-that-wrap": ('shape="1,4" element', 'shape="4294967296,4294967296,4" element', "the limit is"),
    "negative-size": ('shape="1,4" element', 'shape="-4,4" element', "impossible shape"),
    "rank-without-end": ('shape="1,4" element', f'shape="{"1," * 999}1" element', "impossible shape"),
    "port-of-impossible-size": ("<dim>4</dim></port></output></layer>\n<layer id=\"1\"",
                                "<dim>4e9</dim></port></output></layer>\n<layer id=\"1\"", "impossible sizes"),
    "unknown-type": ('<data element_type="f32"', '<data element_type="f33"', "'f33'"),
    "unknown-type-of-an-input": ('shape="1,4" element_type="f32"', 'shape="1,4" element_type="evil"', "'evil'"),
    "no-type-of-an-input": ('shape="1,4" element_type="f32"', 'shape="1,4"', "the element type ''"),
    "type-in-three-bytes": ('<data element_type="f32" shape="1,4" offset="0" size="16"', '<data element_type="u3"'
                            ' shape="1,4" offset="0" size="2"', "needs 3 bytes, it says 2"),
    "strings-that-are-none": ('<data element_type="f32"', '<data element_type="string"', "holds strings"),
    "precision-of-a-port": ('precision="FP32" names="y"', 'precision="EVIL" names="y"', "the precision 'EVIL'"),
    "no-precision-of-a-port": ('precision="FP32" names="y"', 'names="y"', "the precision ''"),
    "size-beyond-64-bits": ("<dim>4</dim></port></input></layer>\n</layers>",
                            f"<dim>{'9' * 19}</dim></port></input></layer>\n</layers>", "the limit is"),
    "bound-beyond-64-bits": ('shape="1,4" element', f'shape="1,1..{"9" * 19}" element', "impossible shape"),
    "operator-that-no-opset-has": ('type="Add"', 'type="Evil"', "the type 'Evil', which opset1 does not have"),
    "operator-of-a-later-opset": ('type="Add"', 'type="GroupNormalization"', "which opset1 does not have"),
    "opset-that-there-is-not": ('"Add" version="opset1"', f'"Add" version="opset{"9" * 20}"', "which is no opset"),
    "no-opset": ('type="Add" version="opset1"', 'type="Add"', "is of '', which is no opset"),
    "two-layers-of-one-id": ('<layer id="1"', '<layer id="0"', "two layers have the id 0"),
    "id-that-is-no-number": ('<layer id="1"', '<layer id="one"', "no whole number"),
    "edge-from-nowhere": ('from-layer="0"', 'from-layer="9"', "which are no ports"),
    "edge-from-no-port": ('from-layer="0" from-port="0"', 'from-layer="0" from-port="5"', "which are no ports"),
    "edge-missing": (EDGE, "", "no edge leads to port 0"),
    "edge-twice": (EDGE, EDGE + EDGE, "two edges lead to port 0"),
    "circle": ('from-layer="0" from-port="0"', 'from-layer="2" from-port="2"', "in a circle"),
    "port-twice": ('<port id="1"><dim>1', '<port id="0"><dim>1', "two input ports 0"),
    "no-result": ('type="Result"', 'type="ReLU"', "no Result"),
    "no-type": ('type="Add"', "", "has no type"),
    "entities": (HEAD, HEAD + ENTITIES, "document type"),
    "external-entity": (HEAD, HEAD + EXTERNAL, "document type"),
    "doctype-alone": (HEAD, HEAD + "<!DOCTYPE net>", "document type"),
    "undefined-entity": ('name="add"', 'name="&e;"', "not well-formed"),
    "attribute-twice": ('id="1" name="w"', 'id="1" id="7" name="w"', "not well-formed"),
    "other-encoding": (HEAD, '<?xml version="1.0" encoding="utf-16"?>', "utf-16"),
    "encoding-with-gaps": (HEAD, '<?xml version="1.0" encoding="cp1252"?>', "cp1252"),
    "no-utf-8": ('name="add"', 'name="\udcff\udcfe"', "not well-formed"),
    "nul": ('name="add"', 'name="a\x00b"', "not well-formed"),
    "other-root": ("<net ", "<model ", "well-formed"),
    "version-of-the-past": ('version="11"', 'version="7"', "of version 7"),
    "cut": ("</edges>\n</net>\n", "", "not well-formed"),
    "more-behind-the-end": ("</net>", "</net><net/>", "not well-formed"),
    "no-layers": ("<layers>", "<layers/><other>", "not well-formed"),
    "deep": ("<edges>", "<a>" * 5000 + "</a>" * 5000 + "<edges>", "nest deeper"),
    "terminal-escapes": ('name="w" type="Const"', 'name="&#x202e;w&#x9b;2J" type="Const" x="', "well-formed"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_an_xml_whose_parts_contradict_each_other_is_refused(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, words = REFUSED[case]
    assert old in IR
    path = ir(tmp_path, IR.replace(old, new, 1))

    told = refused(capsys, tmp_path, "--model", original(tmp_path), "--deployed", path)

    assert "'model.xml' is no sound OpenVINO IR" in told
    assert words in told


WINDOW = 'strides="1,1" dilations="1, 1" pads_begin="-1,0" pads_end="0,0" kernel="2,2" auto_pad="explicit"'
SPOILT_WINDOWS = {
    "strides": ('strides="1,1"', 'strides="0,1"', "the impossible strides '0,1'"),
    "kernel": ('kernel="2,2"', 'kernel="2,0"', "the impossible kernel '2,0'"),
    "dilations": ('dilations="1, 1"', 'dilations="1, -1"', "the impossible dilations '1, -1'"),
    "no-number": ('strides="1,1"', 'strides="1,1e9"', "the impossible strides '1,1e9'"),
    "beyond-32-bits": ('kernel="2,2"', 'kernel="2,2147483648"', "the impossible kernel"),
    "padding": ('pads_end="0,0"', 'pads_end="0,4000000000"', "the impossible pads_end"),
    "blocks": ('kernel="2,2"', 'block_size="0"', "the impossible block_size '0'"),
}


def with_window(text: str) -> str:
    """The IR with these attributes on its operator."""
    return IR.replace('<data auto_broadcast="numpy"/>', f"<data {text}/>")


@pytest.mark.parametrize("case", SPOILT_WINDOWS)
def test_a_window_that_takes_no_steps_is_refused(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, words = SPOILT_WINDOWS[case]
    assert old in WINDOW
    path = ir(tmp_path, with_window(WINDOW.replace(old, new)))

    assert words in refused(capsys, tmp_path, "--model", original(tmp_path), "--deployed", path)


def test_windows_as_they_should_be_and_those_of_an_extension_are_read(tmp_path: Path) -> None:
    reader.read(ir(tmp_path, with_window(WINDOW)), False)
    mine = with_window('strides="any"').replace('"Add" version="opset1"', '"Mine" version="extension"')
    reader.read(ir(tmp_path, mine), False)


def test_the_opsets_are_openvino_s() -> None:
    openvino = pytest.importorskip("openvino")
    folder = Path(openvino.__file__).parent / "include" / "openvino" / "opsets"
    if not folder.is_dir():
        pytest.skip("this OpenVINO comes without the headers that list its operators")
    for number in range(1, 17):
        text = (folder / f"opset{number}_tbl.hpp").read_text()
        named = {each.lower() for each in re.findall(r"^_OPENVINO_OP_REG\((\w+)", text, re.MULTILINE)}

        assert ir_operators.OPSETS[f"opset{number}"] == named


def test_operators_by_their_old_names_are_read(tmp_path: Path) -> None:
    for kind, opset in (
        ("ReLU", "opset1"), ("mvn", "opset1"), ("RNNCell", "experimental"), ("Anything", "extension"),
        ("ErfInv", "opset17"), ("SoftMax", "opset8"), ("RNNCell", "opset3"),
    ):  # fmt: skip
        reader.read(ir(tmp_path, IR.replace('type="Add" version="opset1"', f'type="{kind}" version="{opset}"')), False)


def packed_strings(*texts: bytes, count: int | None = None, ends: list[int] | None = None) -> bytes:
    """Strings as a .bin holds them; `count` and `ends` to lie about them."""
    found = list(itertools.accumulate((len(each) for each in texts), initial=0)) if ends is None else ends
    return struct.pack(f"<{len(found) + 1}i", len(texts) if count is None else count, *found) + b"".join(texts)


@pytest.mark.parametrize(
    "spoilt",
    [
        packed_strings(b"a", b"", b"cde", b"f", count=3), packed_strings(b"a", b"b", b"c"), b"\4\0\0\0",
        packed_strings(b"ab", b"c", b"d", b"e", ends=[0, 2, 1, 4, 5]),
        packed_strings(b"ab", b"c", b"d", b"e", ends=[0, 2, 3, 4, 6]),
        packed_strings(b"ab", b"c", b"d", b"e", ends=[1, 2, 3, 4, 5]),
    ],
    ids=["number", "too-few", "cut", "backwards", "beyond", "gap"],
)  # fmt: skip
def test_strings_lie_where_their_first_bytes_say(spoilt: bytes, tmp_path: Path) -> None:
    def written(data: bytes) -> Path:
        text = IR.replace('<data element_type="f32" shape="1,4" offset="0" size="16"',
                          f'<data element_type="string" shape="1,4" offset="0" size="{len(data)}"')  # fmt: skip
        return ir(tmp_path, text, data)

    reader.read(written(packed_strings(b"ab", b"", b"cde", b"f")), False)
    with pytest.raises(BadModel, match="holds strings"):
        reader.read(written(spoilt), False)


def test_strings_as_openvino_itself_writes_them_are_read(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    words = openvino.op.Constant(openvino.Tensor(np.array(["ab", "", "cde"])))
    fed = openvino.opset8.parameter([1], np.float32, name="x")
    results = [openvino.opset8.result(each) for each in (words, openvino.opset8.relu(fed))]
    openvino.save_model(openvino.Model(results, [fed]), tmp_path / "words.xml")

    assert reader.read(tmp_path / "words.xml", False).interface.inputs[0].names == ("x",)


def test_elements_of_odd_widths_take_what_openvino_gives_them() -> None:
    openvino = pytest.importorskip("openvino")
    kinds = ("u1", "u2", "u3", "u4", "u6", "nf4", "f8e8m0", "boolean")
    for kind, count in itertools.product(kinds, (1, 4, 5, 8, 9, 17)):
        tensor = openvino.Tensor(getattr(openvino.Type, kind), openvino.Shape([count]))

        assert ir_weights.needed_bytes(kind, count) == tensor.byte_size, kind


def test_a_bin_far_longer_than_its_constants_is_refused_unread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ir(tmp_path)
    os.truncate(path.with_suffix(".bin"), 60 << 30)
    began = time.monotonic()

    told = refused(capsys, tmp_path, "--model", original(tmp_path), "--deployed", path)

    assert "its .bin has 64,424,509,440 bytes, of which constants need the first 16" in told
    assert time.monotonic() - began < 10


def test_a_bin_with_something_behind_its_constants_is_read(tmp_path: Path) -> None:
    reader.read(ir(tmp_path, weights=WEIGHTS.tobytes() + bytes(1 << 20)), False)


@pytest.mark.parametrize("text", ["", "PK\x03\x04", "{}", "<net/>", '<net version="11"/>', "<!-- -->"])
def test_a_file_that_is_no_ir_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, tmp_path, "--model", original(tmp_path), "--deployed", ir(tmp_path, text))


def test_a_name_that_would_steer_a_terminal_is_shown_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoiled = IR.replace('name="w"', 'name="&#x202e;&#x9b;2J&#10;w"').replace('offset="0"', 'offset="9"')

    assert "\\u202e" in refused(capsys, tmp_path, "--model", original(tmp_path), "--deployed", ir(tmp_path, spoiled))


def test_the_weights_are_a_regular_file_of_one_name_beside_the_xml(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(WEIGHTS.tobytes())

    def told(make: Any) -> str:
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        path = ir(folder, weights=None)
        make(path.with_suffix(".bin"))
        return refused(capsys, tmp_path, "--model", original(tmp_path), "--deployed", path)

    assert "no such file" in told(lambda path: None)
    assert "--allow-linked-data" in told(lambda path: path.symlink_to(secret))
    assert "--allow-linked-data" in told(lambda path: os.link(secret, path))
    assert "--allow-linked-data" in told(lambda path: path.symlink_to("/dev/zero"))
    assert "a named pipe" in told(os.mkfifo)
    assert "a folder" in told(lambda path: path.mkdir())
    assert "no such file" in told(lambda path: path.symlink_to("absent"))
    assert "links lead in a circle" in told(lambda path: path.symlink_to(path.name))
    assert "which has 15" in told(lambda path: path.write_bytes(bytes(15)))


def test_a_cache_of_links_is_accepted_where_it_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    made = ir(tmp_path / "blobs")
    for suffix in (".xml", ".bin"):
        (tmp_path / "snapshot" / f"openvino_model{suffix}").symlink_to(made.with_suffix(suffix))

    found = reader.read(tmp_path / "snapshot" / "openvino_model.xml", True)

    assert [path.name for path, _ in found.files] == ["openvino_model.xml", "openvino_model.bin"]


def test_links_inside_one_folder_need_no_permission(tmp_path: Path) -> None:
    made = ir(tmp_path)
    (tmp_path / "latest.xml").symlink_to(made.name)
    (tmp_path / "latest.bin").symlink_to("model.bin")

    assert reader.read(tmp_path / "latest.xml", False).interface.inputs[0].names == ("x",)


def test_a_million_elements_are_refused_or_read_in_bounded_time(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(BadModel, match="elements"):
        reader.read(ir(tmp_path, IR.replace("<edges>", "<a/>" * (xml.MAX_ELEMENTS + 1) + "<edges>")), False)

    assert time.monotonic() - began < 20


LOOP = """
<ir_version: 9, opset_import: ["": 18]>
g (float[2,3] x, int64 n, float[4,2,3] seq) => (float[2,3] y, float[4,2,3] z) {
  go = Constant <value = bool {1}> ()
  y = Loop (n, go, x) <body = b (int64 i, bool c, float[2,3] v) => (bool c_out, float[2,3] w) {
    c_out = Identity (c)
    w = Add (v, v)
  }>
  z = Scan <num_scan_inputs = 1, body = s (float[2,3] e) => (float[2,3] f) { f = Tanh (e) }> (seq)
}
"""


def converted(folder: Path) -> Path:
    openvino = pytest.importorskip("openvino")
    onnx.save(onnx.parser.parse_model(LOOP), folder / "loop.onnx")
    openvino.save_model(openvino.convert_model(str(folder / "loop.onnx")), folder / "loop.xml")
    return folder / "loop.xml"


def test_loops_as_openvino_itself_writes_them_are_read(tmp_path: Path) -> None:
    path = converted(tmp_path)
    assert "internal_layer_id" in path.read_text()

    found = reader.read(path, False).interface

    assert [(each.names, each.shape) for each in found.inputs] == [
        (("x",), (2, 3)), (("n",), ()), (("seq",), (4, 2, 3)),
    ]  # fmt: skip
    assert {"y", "z"} <= found.tensors


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('internal_layer_id="0"', 'internal_layer_id="77"', "ties its port"),
        ('external_port_id="0"', 'external_port_id="44"', "ties its port"),
        ('<back_edges><edge ', '<back_edges><edge from-layer="66" to-layer="0"/><edge ', "a back edge from 66"),
        ('axis="0"', 'axis="0" stride="0"', "steps of 0"),
    ],
)
def test_what_ties_a_body_to_its_loop_must_be_there(old: str, new: str, words: str, tmp_path: Path) -> None:
    path = converted(tmp_path)
    text = re.sub(r">\s+<", "><", path.read_text()).replace(' stride="1"', "")
    assert old in text
    path.write_text(text.replace(old, new))

    with pytest.raises(BadModel, match=words):
        reader.read(path, False)


def test_open_sizes_escaped_commas_and_low_bits_are_read(tmp_path: Path) -> None:
    text = IR.replace('shape="1,4" element', 'shape="1..8,?" element').replace('names="x"', 'names="a\\,b,x"')
    text = text.replace('<data element_type="f32"', '<data element_type="u4"').replace('size="16"', 'size="2"')

    found = reader.read(ir(tmp_path, text), False).interface

    assert [(each.names, each.shape) for each in found.inputs] == [(("a,b", "x"), (None, None))]
    open_rank = reader.read(ir(tmp_path, IR.replace('shape="1,4" element', 'shape="..." element')), False).interface
    assert open_rank.inputs[0].shape is None


def test_a_file_that_changes_after_it_was_checked_is_not_used(tmp_path: Path) -> None:
    path = ir(tmp_path)
    target = Target(path=path, format="ir", model=None, checked=reader.read(path, False))
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()

    assert target.copy_to(tmp_path / "first").read_text() == IR
    (tmp_path / "model.bin").write_bytes(bytes(16))
    with pytest.raises(BadModel, match="was changed while it was used"):
        target.copy_to(tmp_path / "second")


def test_a_good_pair_conforms(conform: Any, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    done = conform("run", "--model", original(tmp_path), "--backends", "openvino", "--deployed", ir(tmp_path))

    assert done.code == 0, done.stdout + done.stderr


LAYOUT = """
<ir_version: 9, opset_import: ["": 18]>
g (float[1,3,8,6] x) => (float[1,3,8,6] y) { y = Relu (x) }
"""


@pytest.mark.parametrize(
    ("shape", "given", "words"),
    [
        ("1,8,6,3", [], "say --layout x=NHWC"),
        ("1,3,8,6", ["--layout", "x=NHWC"], "leave --layout out"),
        ("1,3,9,6", [], "f32 [1, 3, 9, 6], the samples are [1, 3, 8, 6]"),
        ("1,3,48", [], "the samples are [1, 3, 8, 6]"),
    ],
)
def test_a_layout_that_the_file_s_own_shapes_contradict_is_told_before_any_run(
    shape: str, given: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(onnx.parser.parse_model(LAYOUT), tmp_path / "image.onnx")
    path = ir(tmp_path, IR.replace('shape="1,4" element', f'shape="{shape}" element'))

    told = refused(capsys, tmp_path, "--model", tmp_path / "image.onnx", "--deployed", path, *given)

    assert words in told
