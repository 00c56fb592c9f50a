"""`conform export`: what it writes computes what the module computes, or it is not written."""

from __future__ import annotations

import hashlib
import os
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from sysnoise_conform.errors import BadInput, BadModel, UsageError
from sysnoise_conform.golden.export import Expected, check, export, seeded_feeds
from sysnoise_conform.golden.module import load_module, run_module

SOURCE = '''
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 5)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, image):
        x = torch.relu(self.norm(self.conv(image)))
        return self.head(x.mean((2, 3)))

class Lookup(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(2, 4)

    def forward(self, ids):
        x = self.table(ids)
        return {"vectors": x, "best": x.argmax(-1)}

class Moody(nn.Module):
    """Branches on a value: dynamo refuses it, a trace keeps one branch."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit

    def forward(self, image):
        if image.sum().item() > self.limit:
            return image * 2
        return image * 3

def net():
    torch.manual_seed(0)
    return Net()

def lookup():
    torch.manual_seed(0)
    return Lookup()

def moody():
    return Moody(0)

def calm():
    return Moody(-1e9)
'''
SHAPE = {"image": (1, 3, 8, 8)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("factories")
    (folder / "export_nets.py").write_text(SOURCE)
    path = list(sys.path)
    yield folder
    sys.path[:] = path
    sys.modules.pop("export_nets", None)


def test_an_export_is_checked_and_has_a_card(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.onnx"
    facts = export("export_nets:net", out=out, shapes=SHAPE, search=folder, opset=18)
    card = tomllib.loads((tmp_path / "net.toml").read_text())
    assert facts["exporter"] == "dynamo"
    assert facts["opset"] == 18
    assert facts["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    (output,) = facts["outputs"]
    assert output["floor_ratio"] < 10
    assert output["max_abs"] < 1e-5
    assert card["name"] == "net"
    assert card["weights"]["factory"] == "export_nets:net"
    assert card["export"]["sha256"] == facts["sha256"]
    assert card["export"]["inputs"] == {"image": [1, 3, 8, 8]}
    assert {each.name for each in tmp_path.iterdir()} == {"net.onnx", "net.toml"}


def test_an_older_opset_goes_through_torchscript_and_says_so(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.onnx"
    facts = export("export_nets:net", out=out, shapes=SHAPE, search=folder, opset=13)
    assert facts["exporter"] == "torchscript"
    assert "opset 18 or newer" in facts["notes"][0]
    assert [each.version for each in onnx.load(out).opset_import] == [13]


@pytest.mark.parametrize("opset", [13, 18])
def test_an_export_names_no_folder_of_this_machine_and_keeps_the_modules_names(
    folder: Path, tmp_path: Path, opset: int
) -> None:
    out = tmp_path / "net.onnx"
    export("export_nets:net", out=out, shapes=SHAPE, search=folder, opset=opset)
    for place in (out, out.with_suffix(".toml")):
        content = place.read_bytes()
        for path in (folder, tmp_path, Path(torch.__file__).parent, Path.home(), Path.cwd()):
            assert os.fsencode(path) not in content
        assert b'File "' not in content
    scopes = [each.key for node in onnx.load(out).graph.node for each in node.metadata_props]
    assert ("pkg.torch.onnx.name_scopes" in scopes) == (opset == 18)


def test_a_dynamic_batch_stays_dynamic(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.onnx"
    export("export_nets:net", out=out, shapes=SHAPE, search=folder, dynamic_batch=True)
    (port,) = onnx.load(out).graph.input
    assert port.type.tensor_type.shape.dim[0].dim_param
    assert port.type.tensor_type.shape.dim[1].dim_value == 3


def test_names_of_a_dict_become_the_names_of_the_outputs(folder: Path, tmp_path: Path) -> None:
    facts = export(
        "export_nets:lookup", out=tmp_path / "l.onnx", shapes={"ids": (1, 6)}, dtypes={"ids": "int64"}, search=folder
    )
    assert [each["name"] for each in facts["outputs"]] == ["vectors", "best"]
    assert facts["outputs"][1]["floor_ratio"] is None


def test_what_dynamo_can_not_export_goes_through_torchscript_and_says_so(folder: Path, tmp_path: Path) -> None:
    facts = export("export_nets:calm", out=tmp_path / "m.onnx", shapes=SHAPE, search=folder)
    assert facts["exporter"] == "torchscript"
    assert "the dynamo exporter failed" in facts["notes"][0]


def test_a_branch_frozen_by_the_trace_is_refused_and_nothing_is_left_behind(folder: Path, tmp_path: Path) -> None:
    signs = {seeded_feeds(SHAPE, {}, seed)["image"].sum() > 0 for seed in (0, 1, 2)}
    assert signs == {True, False}
    with pytest.raises(BadModel, match="departs from its module at output 'output'"):
        export("export_nets:moody", out=tmp_path / "m.onnx", shapes=SHAPE, search=folder)
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_departs_is_refused(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.onnx"
    export("export_nets:net", out=out, shapes=SHAPE, search=folder)
    module = load_module("export_nets:net", search=folder)
    feeds = seeded_feeds(SHAPE, {}, seed=3)
    expected = [Expected(feeds, *(run_module(module, feeds, dtype) for dtype in (torch.float32, torch.float64)))]
    proto = onnx.load(out)
    (good,) = check(proto, tmp_path, expected)
    scaled = next(each for each in proto.graph.initializer if "head" in each.name and "weight" in each.name)
    scaled.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scaled) * np.float32(1.0001), scaled.name))
    (bad,) = check(proto, tmp_path, expected)
    assert good.departs is None
    assert bad.departs is not None
    assert "times the module's own float32 rounding" in bad.departs


def test_a_card_of_the_users_own_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "net.toml").write_text('name = "mine"\n')
    facts = export("export_nets:net", out=tmp_path / "net.onnx", shapes=SHAPE, search=folder, opset=13)
    assert (tmp_path / "net.toml").read_text() == 'name = "mine"\n'
    assert facts["card"] is None
    assert "left as it is" in facts["notes"][-1]


def test_mistakes_teach(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs the shape of each input"):
        export("export_nets:net", out=tmp_path / "net.onnx", shapes={}, search=folder)
    with pytest.raises(UsageError, match="'float33' is no type of an input"):
        export("export_nets:net", out=tmp_path / "n.onnx", shapes=SHAPE, dtypes={"image": "float33"}, search=folder)
    with pytest.raises(BadInput, match=r"can't run on image \(1, 9\)"):
        export("export_nets:net", out=tmp_path / "net.onnx", shapes={"image": (1, 9)}, search=folder)


def test_seeded_feeds_are_the_same_every_time() -> None:
    first, second = (seeded_feeds({"x": (3,), "ids": (4,)}, {"ids": "int64"}, 5) for _ in range(2))
    np.testing.assert_array_equal(first["x"], second["x"])
    assert set(first["ids"].tolist()) <= {0, 1}
    assert first["ids"].dtype == np.int64
