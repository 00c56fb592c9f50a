"""Boxes in COCO's JSON: where it lies, and everything that can be wrong with it, by its name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from noise_samples import coco, picture, pictures

from sysnoise_conform.datasets import DataSet, read_data
from sysnoise_conform.errors import BadInput

Table = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = pictures(tmp_path / "data", 3)
    write(tmp_path / "data", coco(names))
    return tmp_path / "data"


def write(folder: Path, table: Table) -> None:
    (folder / "instances.json").write_text(json.dumps(table))


def table_of(folder: Path) -> Table:
    found: Table = json.loads((folder / "instances.json").read_text())
    return found


def boxes(data: DataSet) -> int:
    return len(data.annotations["annotations"])


def test_pictures_and_boxes_are_read(folder: Path) -> None:
    data = read_data(folder, "detect")

    assert [each.name for each in data.pictures] == ["00.jpg", "01.jpg", "02.jpg"]
    assert data.classes == ("left", "right")
    assert boxes(data) == 6
    assert data.annotations["annotations"][0]["area"] == pytest.approx(12 * 10)  # where none is given


@pytest.mark.parametrize("place", ["annotations/instances_val.json", "../instances_val.json", "boxes.json"])
def test_the_list_may_lie_where_cocos_do(folder: Path, place: str) -> None:
    (folder / place).parent.mkdir(exist_ok=True)
    (folder / "instances.json").rename(folder / place)

    assert boxes(read_data(folder, "detect")) == 6


def test_pictures_may_lie_in_a_folder_that_the_list_leaves_out(folder: Path) -> None:
    (folder / "images").mkdir()
    for each in folder.glob("*.jpg"):
        each.rename(folder / "images" / each.name)

    assert len(read_data(folder, "detect").pictures) == 3


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(folder: Path) -> None:
    text = json.dumps(table_of(folder), indent=1).replace("\n", "\r\n")
    (folder / "instances.json").write_bytes(b"\xef\xbb\xbf" + text.encode())

    assert boxes(read_data(folder, "detect")) == 6


def box(**changes: Any) -> Callable[[Table], None]:
    return lambda table: table["annotations"][1].update(changes)


def image(**changes: Any) -> Callable[[Table], None]:
    return lambda table: table["images"][1].update(changes)


@pytest.mark.parametrize(
    ("change", "name", "why", "left"),
    [
        (box(id=1), "instances.json, annotation 1", "id 1 stands twice", 5),
        (box(id="2"), "instances.json, annotation 1", "no whole id", 5),
        (box(id=True), "instances.json, annotation 1", "no whole id", 5),
        (box(id=10**30), "instances.json, annotation 1", "no whole id", 5),
        (box(image_id=77), "instances.json, annotation 1", "picture 77, which is not there", 5),
        (box(image_id=[1]), "instances.json, annotation 1", "which is not there", 5),
        (box(category_id=9), "instances.json, annotation 1", "category 9 is not in the list", 5),
        (box(category_id={"a": 1}), "instances.json, annotation 1", "not in the list", 5),
        (box(bbox=[0, 0, 5]), "instances.json, annotation 1", "not four finite numbers", 5),
        (box(bbox="0 0 5 5"), "instances.json, annotation 1", "not four finite numbers", 5),
        (box(bbox=[0, 0, 5, "5"]), "instances.json, annotation 1", "not four finite numbers", 5),
        (box(bbox=[0, 0, 5, 10**400]), "instances.json, annotation 1", "not four finite numbers", 5),
        (box(bbox=[0, 0, 5, True]), "instances.json, annotation 1", "not four finite numbers", 5),
        (box(bbox=[3, 3, 0, 5]), "instances.json, annotation 1", "box is empty", 5),
        (box(bbox=[3, 3, -2, 5]), "instances.json, annotation 1", "box is empty", 5),
        (box(bbox=[20, 3, 6, 5]), "instances.json, annotation 1", "outside of its picture, 24 x 20", 5),
        (box(bbox=[-3, 3, 6, 5]), "instances.json, annotation 1", "outside of its picture", 5),
        (box(area="big"), "instances.json, annotation 1", "area is no finite number", 5),
        (box(area=-5), "instances.json, annotation 1", "area is no finite number from 0 on", 5),
        (box(iscrowd="no"), "instances.json, annotation 1", "its iscrowd is no, not 0 or 1", 5),
        (lambda table: table["annotations"].append(7), "instances.json, annotation 6", "no whole id", 6),
        (image(id=1), "01.jpg", "its id or name stands twice", 4),
        (image(file_name="00.jpg"), "00.jpg", "its id or name stands twice", 4),
        (image(file_name="./00.jpg"), "00.jpg", "its id or name stands twice", 4),
        (image(file_name="gone.jpg"), "gone.jpg", "not there", 4),
        (image(file_name="../secret.jpg"), "../secret.jpg", "below its own folder", 4),
        (image(file_name="/etc/hostname"), "/etc/hostname", "below its own folder", 4),
        (image(file_name="out.jpg"), "out.jpg", "leaves the folder", 4),
        (image(file_name="\ud800.jpg"), "\\ud800.jpg", "not there", 4),
        (image(file_name="a\0.jpg"), "a\\x00.jpg", "below its own folder", 4),
        (image(file_name="n" * 300), "n" * 119 + "…", "not there", 4),
        (image(file_name=None), "instances.json, image 1", "no file_name or no whole id", 4),
        (image(id=1.5), "instances.json, image 1", "no file_name or no whole id", 4),
        (lambda table: table["images"].pop(), "02.jpg", "instances.json does not list it", 4),
    ],
)
def test_what_is_wrong_is_named_and_left_out(
    folder: Path, tmp_path: Path, change: Callable[[Table], None], name: str, why: str, left: int
) -> None:
    picture(tmp_path / "secret.jpg", (1, 2, 3))
    table = table_of(folder)
    change(table)
    write(folder, table)
    if "out.jpg" in name:
        os.symlink(tmp_path / "secret.jpg", folder / "out.jpg")

    data = read_data(folder, "detect", on_bad="skip")

    named = {each.name: each.why for each in data.problems}
    assert why in named[name]
    assert boxes(data) == left
    with pytest.raises(BadInput) as refused:
        read_data(folder, "detect")
    assert refused.value.exit_code == 2


def test_a_box_may_stick_out_by_a_pixel_as_cocos_own_do(folder: Path) -> None:
    table = table_of(folder)
    box(bbox=[-0.5, 0, 25.4, 20.9])(table)
    write(folder, table)

    assert boxes(read_data(folder, "detect")) == 6


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "are not JSON"),
        ("[]", "are not COCO's"),
        ('{"images": [], "annotations": {}}', "are not COCO's"),
        ("[" * 100_000, "are not JSON"),
        ('{"images": [], "annotations": [], "categories": [NaN]}', "NaN is no number of JSON"),
        ('{"images": [], "images": [], "annotations": [], "categories": []}', "'images' stands twice"),
        ('{"images": [{"id": 1, "id": 2}], "annotations": [], "categories": []}', "'id' stands twice"),
        ('{"images": [], "annotations": [], "categories": []}', "no categories"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}, {"id": 1}]}', "whole id of its own"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', "does not list it|no picture that is there"),
        ("\xff", "are not JSON"),
    ],
)
def test_what_is_no_list_of_boxes_is_refused(folder: Path, text: str, why: str) -> None:
    (folder / "instances.json").write_bytes(text.encode("latin-1"))

    with pytest.raises(BadInput, match=why):
        read_data(folder, "detect")


def test_infinite_numbers_are_no_numbers(folder: Path) -> None:
    text = (folder / "instances.json").read_text().replace('"bbox": [0, 0, 12.0', '"bbox": [0, 0, 1e999', 1)
    (folder / "instances.json").write_text(text)

    with pytest.raises(BadInput, match="four finite numbers"):
        read_data(folder, "detect")


def test_none_or_several_lists_are_told_apart(folder: Path) -> None:
    (folder / "instances_more.json").write_text("{}")
    with pytest.raises(BadInput, match=r"several lists of boxes: instances.json, instances_more.json"):
        read_data(folder, "detect")
    for each in folder.glob("*.json"):
        each.unlink()
    with pytest.raises(BadInput, match="no list of boxes"):
        read_data(folder, "detect")
