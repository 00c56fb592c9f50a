"""Masks as CamVid and Cityscapes lay them out, pictures without any labels, and what can be wrong with both."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from noise_samples import picture, pictures
from PIL import Image

from sysnoise_conform.datasets import read_data
from sysnoise_conform.datasets.masks import UNSCORED, read_mask
from sysnoise_conform.errors import BadInput, UsageError


def mask(path: Path, values: np.ndarray | None = None, *, mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    found = Image.fromarray(np.zeros((20, 24), np.uint8) if values is None else values.astype(np.uint8))
    found.convert(mode).save(path)


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    for name in pictures(tmp_path / "images", 2):
        mask(tmp_path / "labels" / name.replace("jpg", "png"))
    return tmp_path


def names(folder: Path, **more) -> list[tuple[str, str]]:
    return [(each.name, each.mask.name) for each in read_data(folder, "segment", **more).pictures if each.mask]


def test_camvid(camvid: Path) -> None:
    assert names(camvid) == [("00.jpg", "00.png"), ("01.jpg", "01.png")]
    (camvid / "labels").rename(camvid / "masks")
    assert len(names(camvid)) == 2
    (camvid / "masks").rename(camvid / "elsewhere")
    assert len(names(camvid, labels=camvid / "elsewhere")) == 2


def test_a_split_and_its_annot_folder(tmp_path: Path) -> None:
    pictures(tmp_path / "val", 1)
    mask(tmp_path / "valannot/00.png")

    assert names(tmp_path / "val") == [("00.jpg", "00.png")]


def test_masks_below_the_pictures_are_no_pictures(tmp_path: Path) -> None:
    pictures(tmp_path, 1)
    mask(tmp_path / "labels/00.png")

    assert names(tmp_path) == [("00.jpg", "00.png")]


def test_cityscapes(tmp_path: Path) -> None:
    picture(tmp_path / "leftImg8bit/val/bonn/b_1_leftImg8bit.png", (9, 9, 9))
    mask(tmp_path / "gtFine/val/bonn/b_1_gtFine_labelTrainIds.png")
    mask(tmp_path / "gtFine/val/bonn/b_1_gtFine_color.png")  # lies there, too, and is no mask

    assert names(tmp_path) == [("val/bonn/b_1_leftImg8bit.png", "b_1_gtFine_labelTrainIds.png")]


def test_names_of_the_scored_classes_are_read(camvid: Path) -> None:
    (camvid / "classes.csv").write_bytes(b"\xef\xbb\xbfindex,name,scored\r\n0,sky,1\r\n1,road,1\r\n2,void,0\r\n")

    assert read_data(camvid, "segment").classes == ("sky", "road")


@pytest.mark.parametrize(
    ("spoil", "name", "why"),
    [
        (lambda at: (at / "labels/00.png").unlink(), "00.jpg", "no mask '00.png' lies in 'labels'"),
        (lambda at: (at / "images/00.jpg").unlink(), "00.png", "a mask without a picture"),
        (lambda at: outside(at, "labels/00.png"), "labels/00.jpg", "leaves the folder"),
        (lambda at: outside(at, "images/00.jpg"), "00.jpg", "leaves the folder"),
    ],
)
def test_what_is_wrong_is_named(camvid: Path, spoil, name: str, why: str) -> None:
    spoil(camvid)

    data = read_data(camvid, "segment", on_bad="skip")

    assert [(each.name, why in each.why) for each in data.problems] == [(name, True)]
    assert [each.name for each in data.pictures] == ["01.jpg"]
    with pytest.raises(BadInput, match=why):
        read_data(camvid, "segment")


def outside(folder: Path, name: str) -> None:
    (folder / name).rename(folder / "hidden")
    os.symlink(folder / "hidden", folder / name)


def test_a_folder_without_masks_is_refused(tmp_path: Path) -> None:
    pictures(tmp_path / "images", 1)
    with pytest.raises(BadInput, match="no folder of masks"):
        read_data(tmp_path, "segment")
    (tmp_path / "labels").mkdir()
    with pytest.raises(BadInput, match="no picture with a mask"):
        read_data(tmp_path, "segment", on_bad="skip")


def test_a_mask_holds_a_class_in_each_pixel(tmp_path: Path) -> None:
    mask(tmp_path / "m.png", np.array([[0, 1], [7, 255]]))
    assert read_mask(tmp_path / "m.png", 2).tolist() == [[0, 1], [UNSCORED, UNSCORED]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "I;16"])
def test_a_mask_of_colours_or_wide_numbers_is_refused(tmp_path: Path, mode: str) -> None:
    mask(tmp_path / "m.png", mode=mode)
    with pytest.raises(BadInput, match=r"'m.png' has colours"):
        read_mask(tmp_path / "m.png", 2)


def test_a_broken_mask_is_refused(tmp_path: Path) -> None:
    mask(tmp_path / "m.png")
    (tmp_path / "m.png").write_bytes((tmp_path / "m.png").read_bytes()[:-20])
    with pytest.raises(BadInput, match=r"m\.png"):
        read_mask(tmp_path / "m.png", 2)


def test_without_labels_every_picture_counts(tmp_path: Path) -> None:
    picture(tmp_path / "b/2.png", (9, 9, 9))
    picture(tmp_path / "1.jpg", (9, 9, 9))

    data = read_data(tmp_path, "agree")

    assert [(each.name, each.label) for each in data.pictures] == [("1.jpg", None), ("b/2.png", None)]


def test_without_labels_links_out_are_named_and_labels_refused(tmp_path: Path) -> None:
    picture(tmp_path / "secret.jpg", (9, 9, 9))
    picture(tmp_path / "data/1.jpg", (9, 9, 9))
    os.symlink(tmp_path / "secret.jpg", tmp_path / "data/2.jpg")

    with pytest.raises(BadInput, match="leaves the folder"):
        read_data(tmp_path / "data", "agree")
    assert [each.name for each in read_data(tmp_path / "data", "agree", on_bad="skip").problems] == ["2.jpg"]
    with pytest.raises(UsageError, match="without labels"):
        read_data(tmp_path / "data", "agree", labels=tmp_path / "l.csv")
    (tmp_path / "none").mkdir()
    with pytest.raises(BadInput, match="holds no picture"):
        read_data(tmp_path / "none", "agree")
