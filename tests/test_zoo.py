"""The zoo: its cards, where weights are looked for, the list, exports with random weights and with a user's own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import onnx
import pytest
from conftest import Conform

from sysnoise_conform.card import load_card
from sysnoise_conform.cli import invoke
from sysnoise_conform.errors import UsageError
from sysnoise_conform.models.zoo import paper
from sysnoise_conform.models.zoo.member import member, names
from sysnoise_conform.models.zoo.places import Found, Missing, look

COUNTS = {"table2": 26, "table3": 5, "table4": 3, "table5": 7, "table10": 2}
SMALL = ("--shape", "x=1,3,32,32")


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any weights."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("CONFORM_ZOO", str(tmp_path / "zoo"))
    return tmp_path


@pytest.mark.parametrize("name", names())
def test_every_member_is_a_card_with_the_papers_figures_and_a_library_that_builds_it(name: str) -> None:
    one = member(name)

    assert one.card.name == name
    assert one.card.shapes
    assert one.sources
    assert name in {row.member for row in paper.table(one.table).rows}
    # Every drop that is there belongs to a column of its table.
    columns = set(paper.table(one.table).columns)
    for figures in one.published.values():
        assert {each.removesuffix("_mean").removesuffix("_max") for each in figures} <= columns
    assert one.card.image is not None or one.table in ("table5", "table10")


def test_anchors_lie_where_the_cards_strides_say() -> None:
    """torchvision takes side // cells for a stride, which is the map's on multiples of the largest alone."""
    for name in ("retinanet-resnet34", "retinanet-resnet50"):
        card = member(name).card
        assert all(side % max(card.heads.strides) == 0 for side in card.shapes["x"][2:])
        assert card.image is not None
        assert card.image.size == card.shapes["x"][2:]


def test_the_tables_have_as_many_models_as_the_paper() -> None:
    found = {name: len({row.member for row in paper.table(name).rows}) for name in COUNTS}

    assert found == COUNTS
    assert len(names()) == sum(COUNTS.values())
    assert len(paper.table("table5").rows) == 7 * 4


@pytest.mark.parametrize(
    ("table", "name", "figure", "value"),
    [
        ("table2", "resnet-50", "resize_max", 1.69),
        ("table2", "mcunet-293kb", "combined", 9.97),
        ("table3", "retinanet-resnet34", "post_processing", 3.44),
        ("table4", "u-net", "decode_mean", 0.003),
        ("table10", "tacotron2", "stft", 3.01),
    ],
)
def test_figures_are_the_published_ones(table: str, name: str, figure: str, value: float) -> None:
    (row,) = (each for each in paper.table(table).rows if each.member == name)

    assert row.figures[figure] == value


def test_a_maxpool_net_alone_has_a_figure_for_ceil_mode() -> None:
    with_it = {row.member for row in paper.table("table2").rows if "ceil_mode" in row.figures}

    assert with_it == {name for name in names() if name.startswith("resnet-")}


def test_the_steps_of_the_figure_end_in_the_tables_combined() -> None:
    for panel in paper.panels():
        (row,) = (each for each in paper.table(member(panel.member).table).rows if each.member == panel.member)
        assert panel.steps[-1][1] == row.figures["combined"]


def test_weights_are_found_where_each_library_keeps_them(nowhere: Path) -> None:
    assert isinstance(look(member("resnet-18")), Missing)

    hub = nowhere / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    hugging = nowhere / "home" / ".cache" / "huggingface" / "hub"
    timm = hugging / "models--timm--efficientnet_b0.ra_in1k" / "snapshots" / "1" / "model.safetensors"
    opt = hugging / "models--facebook--opt-125m" / "snapshots" / "2"
    for each in (hub, timm, opt / "config.json"):
        each.parent.mkdir(parents=True)
        each.touch()
    half = look(member("opt-125m"))
    (opt / "model.safetensors").touch()

    found = look(member("resnet-18"))
    assert isinstance(found, Found)
    assert found.path == hub
    assert found.source is member("resnet-18").sources[0]
    assert look(member("efficientnet-b0")) == Found(path=timm, source=member("efficientnet-b0").sources[0])
    assert isinstance(half, Missing)  # a folder without weights is none
    assert look(member("opt-125m")) == Found(path=opt, source=member("opt-125m").sources[0])


def test_a_users_own_file_goes_before_a_librarys(nowhere: Path) -> None:
    own = nowhere / "zoo" / "resnet-18.pth"
    own.parent.mkdir()
    own.touch()

    assert look(member("resnet-18")) == Found(path=own, source=None)


def test_a_name_that_is_not_there_has_a_nearest() -> None:
    with pytest.raises(UsageError, match="resnet-18"):
        member("resnet18")


def test_the_list_says_what_is_missing_and_what_would_bring_it(
    nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["zoo", "--verbose"]) == 0

    said = capsys.readouterr().out
    assert said.startswith("43 models of the SysNoise paper, 0 with weights on this machine.")
    assert "hf download timm/efficientnet_b0.ra_in1k model.safetensors" in said
    assert str(nowhere / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth") in said
    assert "missing; no library has any" in said


def test_the_list_for_programs(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["zoo", "--json"]) == 0

    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert len(found) == sum(COUNTS.values())
    assert found["opt-13b"]["published"]["LAMBADA"] == {"trained": 68.72, "fp16": 0.07, "int8": 0.29}
    assert found["resnet-18"]["weights"] is None


def test_one_member_with_its_doubtful_figures(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["zoo", "show", "resnet-50"]) == 0

    said = capsys.readouterr().out
    assert "int8 0.06?" in said
    assert "the bar of Figure 4 is 0.08 high" in said
    assert "torchvision: resnet50, weights IMAGENET1K_V1, 76.13 by its library" in said


def test_missing_weights_are_one_line_that_says_where_they_were_looked_for(
    nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["zoo", "export", "resnet-50", "--out", str(nowhere / "r.onnx")]) == 2

    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("error: there are no weights of resnet-50 on this machine: looked for ")
    assert "resnet50-0676ba61.pth" in said
    assert "models--timm--resnet50.tv_in1k" in said
    assert "--random-weights" in said
    assert not (nowhere / "r.onnx").exists()


def test_nobody_is_sent_after_random_weights_of_an_architecture_that_comes_with_its_weights(
    nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["zoo", "export", "mcunet-293kb", "--out", str(nowhere / "m.onnx")]) == 2

    said = capsys.readouterr().err
    assert "mcunet-320kb-1mb_imagenet.pth" in said
    assert "--random-weights" not in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--weights", "nothing.pth"), "there are no weights at nothing.pth"),
        (("--weights", "x", "--random-weights"), "weights are given and random ones asked for"),
        (("--random-weights", "--shape", "y=1,3,32,32"), "u-net has no input 'y'"),
    ],
)
def test_mistakes_are_one_line(options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["zoo", "export", "u-net", "--out", "u.onnx", *options]) == 2

    assert said in capsys.readouterr().err


def test_a_member_of_random_weights_and_then_of_a_users_own(conform: Conform, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from sysnoise_conform.models.zoo.unet import UNet

    done = conform("zoo", "export", "u-net", "--random-weights", "--out", "u.onnx", *SMALL)
    assert done.code == 0, done.stderr
    assert "wrote" in done.stdout
    card = load_card(tmp_path / "u.toml")
    assert card.task == "segment"
    assert 'weights = "random, seed 0"' in (tmp_path / "u.toml").read_text()

    save_file(UNet(21).state_dict(), tmp_path / "mine.safetensors")
    done = conform("zoo", "export", "u-net", "--weights", "mine.safetensors", "--out", "u.onnx", *SMALL)
    assert done.code == 0, done.stderr
    assert 'weights = "mine.safetensors"' in (tmp_path / "u.toml").read_text()
    assert onnx.load(tmp_path / "u.onnx").graph.output[0].type.tensor_type.shape.dim[1].dim_value == 21

    save_file(UNet(5).state_dict(), tmp_path / "other.safetensors")
    done = conform("zoo", "export", "u-net", "--weights", "other.safetensors", "--out", "other.onnx", *SMALL)
    assert done.code == 2
    assert "other.safetensors holds no weights of u-net: conform's unet: " in done.stderr
    assert not (tmp_path / "other.onnx").exists()
    assert os.listdir(tmp_path).count("u.onnx") == 1
