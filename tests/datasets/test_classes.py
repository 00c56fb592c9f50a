"""One class for each picture: the four layouts, and everything that can be wrong with each, by its name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from noise_samples import picture, pictures

from sysnoise_conform.datasets import DataSet, read_data
from sysnoise_conform.errors import BadInput

GREY = (90, 90, 90)


def classes(data: DataSet) -> dict[str, int | None]:
    return {each.name: each.label for each in data.pictures}


def skipped(folder: Path, **more) -> dict[str, str]:
    """What is left out, by name; under `fail` the same data are refused by the first of it, in the same words."""
    problems = read_data(folder, "classify", on_bad="skip", **more).problems
    with pytest.raises(BadInput) as refused:
        read_data(folder, "classify", on_bad="fail", **more)
    assert refused.value.exit_code == 2
    assert refused.value.message == f"{problems[0].name!r}: {problems[0].why}"
    return {each.name: each.why for each in problems}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures(tmp_path / "data", 3)
    return tmp_path / "data"


def test_folders_are_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("zebra/1.jpg", "ant/2.png", "ant/deep/3.jpg", "bee/4.JPG"):
        picture(tmp_path / name, GREY)

    data = read_data(tmp_path, "classify")

    assert data.classes == ("ant", "bee", "zebra")
    assert classes(data) == {"ant/2.png": 0, "ant/deep/3.jpg": 0, "bee/4.JPG": 1, "zebra/1.jpg": 2}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "file,class_index\n00.jpg,2\n01.jpg,0\n02.jpg,1\n"),
        ("labels.csv", "\ufefflabel,other,file\r\n2,x,00.jpg\r\n0,y,01.jpg\r\n1,,02.jpg\r\n"),
        ("labels.csv", 'file,class\n"00.jpg",2\n./01.jpg,0\n\n02.jpg, 1\n'),
        ("val.txt", "00.jpg 2\n01.jpg 0\n02.jpg 1\n"),
        ("val.txt", "\ufeff00.jpg 2\r\n01.jpg\t0\r\n\r\n02.jpg  1\r\n"),
        ("labels.txt", "2\n0\n1\n"),
        ("labels.txt", "\ufeff2\r\n0\r\n1"),
    ],
)
def test_lists_in_any_spelling_give_the_same(folder: Path, name: str, text: str) -> None:
    (folder / name).write_bytes(text.encode())

    assert classes(read_data(folder, "classify")) == {"00.jpg": 2, "01.jpg": 0, "02.jpg": 1}


def test_a_list_that_lies_elsewhere_is_given(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("00.jpg 2\n01.jpg 0\n02.jpg 1\n")

    assert classes(read_data(folder, "classify", labels=tmp_path / "mine.txt"))["00.jpg"] == 2


def test_a_name_may_hold_spaces(folder: Path) -> None:
    (folder / "00.jpg").rename(folder / "my  cat.jpg")
    (folder / "val.txt").write_text("my  cat.jpg 2\n01.jpg 0\n02.jpg 1\n")

    assert classes(read_data(folder, "classify"))["my  cat.jpg"] == 2


@pytest.mark.parametrize(
    ("line", "name", "why"),
    [
        ("00.jpg,-1", "00.jpg", "no whole number"),
        ("00.jpg,1.0", "00.jpg", "no whole number"),
        ("00.jpg,nan", "00.jpg", "no whole number"),
        ("00.jpg,", "00.jpg", "no whole number"),
        ("00.jpg", "00.jpg", "no whole number"),
        ("00.jpg,²", "00.jpg", "no whole number"),  # a digit to Python, not to int()
        ("00.jpg,99999999999999", "00.jpg", "no whole number"),
        ("gone.jpg,1", "gone.jpg", "not there"),
        ("../secret.jpg,1", "../secret.jpg", "below its own folder"),
        ("/etc/hostname,1", "/etc/hostname", "below its own folder"),
        ("a/../../secret.jpg,1", "a/../../secret.jpg", "below its own folder"),
        ("\ud800.jpg,1", "\\ud800.jpg", "UTF-8"),
        (f"{'n' * 300}.jpg,1", f"{'n' * 119}…", "not there"),
        ("out.jpg,1", "out.jpg", "leaves the folder"),
        (",1", "labels.csv, entry 3", "names no file"),
    ],
)
def test_a_line_that_is_wrong_is_named(folder: Path, tmp_path: Path, line: str, name: str, why: str) -> None:
    picture(tmp_path / "secret.jpg", GREY)
    os.symlink(tmp_path / "secret.jpg", folder / "out.jpg")
    text = f"file,class_index\n01.jpg,0\n02.jpg,1\n{line}\n"
    (folder / "labels.csv").write_bytes(text.encode("utf-8", "surrogatepass"))

    if why == "UTF-8":  # no line of it can be told from another
        with pytest.raises(BadInput, match="not UTF-8"):
            read_data(folder, "classify", on_bad="skip")
        return
    found = skipped(folder)

    assert why in found[name]
    # What the line should have said is not passed over in silence either.
    assert line.startswith("00") or "no class for it" in found["00.jpg"]


def test_what_a_list_says_twice_or_not_at_all_is_named(folder: Path) -> None:
    (folder / "labels.csv").write_text("file,class_index\n00.jpg,0\n00.jpg,1\n./00.jpg,2\n01.jpg,1\n")

    data = read_data(folder, "classify", on_bad="skip")

    assert classes(data) == {"00.jpg": 0, "01.jpg": 1}
    assert [(each.name, each.why) for each in data.problems] == [
        ("00.jpg", "it stands twice in labels.csv"),
        ("00.jpg", "it stands twice in labels.csv"),
        ("02.jpg", "labels.csv has no class for it"),
    ]
    assert skipped(folder)


def test_a_file_in_no_folder_and_links_and_other_formats_are_named(tmp_path: Path) -> None:
    data = tmp_path / "data"
    picture(data / "ant/1.jpg", GREY)
    picture(data / "bee/2.jpg", GREY)
    picture(data / "loose.jpg", GREY)
    picture(tmp_path / "elsewhere/3.jpg", GREY)
    os.symlink(tmp_path / "elsewhere/3.jpg", data / "ant/link.jpg")
    os.symlink(tmp_path / "elsewhere", data / "cat")
    (data / "bee/moving.gif").write_bytes(b"GIF89a")

    found = skipped(data)

    assert set(found) == {"loose.jpg", "ant/link.jpg", "cat", "bee/moving.gif"}
    assert "leaves the folder" in found["ant/link.jpg"]
    assert "not followed" in found["cat"]
    assert len(read_data(data, "classify", on_bad="skip").pictures) == 2
    linked = read_data(data, "classify", on_bad="skip", allow_linked=True)
    assert "ant/link.jpg" in classes(linked)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("labels.csv", b"", "no columns file and class_index"),
        ("labels.csv", b"name,class_index\n00.jpg,1\n", "no columns file and class_index"),
        ("labels.csv", b"file,class_index,file\n00.jpg,1,01.jpg\n", "two columns of one name"),
        ("labels.csv", b"file,class_index\n", "no class for it"),
        ("labels.csv", b"file,class_index\r00.jpg,1\r", "no class for it|no picture|no CSV|no whole"),
        ("labels.csv", b'file,class_index\n"' + b"x" * 200_000 + b'",1\n', "no CSV"),
        ("labels.csv", b"\xff\xfef\x00i\x00", "not UTF-8"),
        ("val.txt", b"", "0 classes for 3 pictures"),
        ("labels.txt", b"0\n1\n", "2 classes for 3 pictures"),
        ("labels.txt", b"0\n1\n2\n3\n", "4 classes for 3 pictures"),
    ],
)
def test_a_list_that_is_none_is_refused(folder: Path, name: str, content: bytes, why: str) -> None:
    (folder / name).write_bytes(content)

    with pytest.raises(BadInput, match=why):
        read_data(folder, "classify")


def test_folders_without_pictures_or_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="neither a folder for each class nor a list"):
        read_data(tmp_path, "classify")
    with pytest.raises(BadInput, match="is no folder"):
        read_data(tmp_path / "gone", "classify")
    (tmp_path / "labels.csv").write_text("file,class_index\ngone.jpg,1\n")
    with pytest.raises(BadInput, match="no picture with a class"):
        read_data(tmp_path, "classify", on_bad="skip")


def test_a_list_that_is_a_pipe_does_not_block(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")

    with pytest.raises(BadInput, match="named pipe"):
        read_data(folder, "classify", labels=tmp_path / "pipe.csv")


def test_a_list_may_name_its_classes(folder: Path) -> None:
    (folder / "labels.csv").write_text("file,class_index,name\n00.jpg,3,tench\n01.jpg,1, ant \n02.jpg,3,other\n")
    assert read_data(folder, "classify", on_bad="fail").classes == ("", "ant", "", "tench")


def test_a_class_without_end_costs_no_list_of_names(folder: Path) -> None:
    (folder / "labels.csv").write_text("file,class_index,name\n00.jpg,999999999,tench\n01.jpg,1,ant\n02.jpg,0,bee\n")
    assert len(read_data(folder, "classify", on_bad="fail").classes) <= 100_000
