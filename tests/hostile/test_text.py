"""Cards, policies and lists that are broken or hostile are refused in one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from onnx_files import relu, save
from refusing import refused

CARDS: dict[str, tuple[bytes, str]] = {
    "key-twice": (b'task = "classify"\ntask = "segment"\n', "not TOML"),
    "table-twice": (b"[image]\n[image]\n", "not TOML"),
    "tower": (b"a = " + b"[" * 100_000 + b"]" * 100_000, "not TOML"),
    "tower-of-tables": (b"[" + b"a." * 5_000 + b"a]", "unknown key 'a'"),
    "no-utf-8": (b'name = "\xff\xfe"', "not TOML"),
    "utf-16": ('name = "x"'.encode("utf-16"), "not TOML"),
    "nul": (b'name = "a\0b"', "not TOML"),
    "yaml": (b"model: !!python/object/apply:builtins.open ['CANARY', 'w']\n", "not TOML"),
    "json": (b'{"task": "classify"}', "not TOML"),
    "cut": (b'name = "x', "not TOML"),
    "huge": (b"# " + b"x" * (1 << 20), "the limit is"),
    "unknown-key": (b"tasks = 1", "did you mean 'task'"),
    "unknown-key-that-steers": (b'"\\u001b[2J\\u202e" = 1', "unknown key"),
    "unknown-task": (b'task = "fly"', "'fly' is not known"),
    "task-is-a-list": (b"task = [1]", "is not known"),
    "image-is-a-number": (b"image = 3", "a table"),
    "nan": (b"threshold = nan", "a finite number"),
    "infinite": (b"[image]\nscale = inf", "a finite number"),
    "true-as-number": (b"threshold = true", "a finite number"),
    "mean-of-text": (b'[image]\nmean = ["0", "0", "0"]', "finite numbers"),
    "mean-of-two": (b"[image]\nmean = [0, 0]", "3 numbers or one"),
    "std-of-zero": (b"[image]\nstd = 0", "other than 0"),
    "scale-of-zero": (b"[image]\nscale = 0", "other than 0"),
    "negative-size": (b"[image]\nsize = [-1, 5]", "[height, width]"),
    "size-of-zero": (b"[image]\nsize = 0", "[height, width]"),
    "size-of-a-million": (b"[image]\nsize = 1000000", "[height, width]"),
    "size-as-text": (b'[image]\nsize = "224"', "[height, width]"),
    "multiple-of-zero": (b"[image]\nmultiple = 0", "a whole number"),
    "number-of-5,000-digits": (b"[image]\nmultiple = " + b"9" * 5_000, "not TOML"),
    "unknown-filter": (b'[image]\nfilter = "pillow-cubic"', "did you mean 'pillow-bicubic'"),
    "negative-shape": (b"[shapes]\nx = [1, -4]", "whole numbers"),
    "shape-of-text": (b'[shapes]\nx = "1,4"', "whole numbers"),
    "constant-of-no-input": (b"[bind]\nz = 1", "'z'"),
    "date-as-constant": (b"[bind]\nx = 2020-01-01", "bind"),
    "table-as-constant": (b"[bind]\nx = {a = 1}", "bind"),
    "ragged-constant": (b"[bind]\nx = [[1], [1, 2]]", "bind"),
    "labels": (b'labels = ["cat", "-5", "1e9", ""]', "unknown key 'labels'"),
}


@pytest.mark.parametrize("case", CARDS, ids=str)
def test_a_broken_card_is_refused(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content, words = CARDS[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "card.toml").write_bytes(content)

    told = refused(capsys, tmp_path, "--model", save(tmp_path, relu()), "--card", tmp_path / "card.toml")

    assert words in told
    assert not (tmp_path / "CANARY").exists()


POLICIES: dict[str, tuple[bytes, str]] = {
    "key-twice": (b"max_floor_ratio = 1.0\nmax_floor_ratio = 1e9\n", "not valid TOML"),
    "nan": (b"max_floor_ratio = nan", "max_floor_ratio"),
    "number-of-5,000-digits": (b"max_floor_ratio = " + b"9" * 5_000, "not valid TOML"),
    "negative": (b"max_floor_ratio = -1", "max_floor_ratio"),
    "text": (b'max_floor_ratio = "4"', "max_floor_ratio"),
    "true": (b"max_floor_ratio = true", "max_floor_ratio"),
    "unknown-key": (b"max_flor_ratio = 1", "max_floor_ratio"),
    "unknown-key-that-steers": (b'"\\u001b[2J\\u202e" = 1', "has no key"),
    "tower": (b"a = " + b"[" * 100_000 + b"]" * 100_000, "not valid TOML"),
    "tower-in-json": (b"[" * 100_000 + b"]" * 100_000, "not valid TOML"),
    "yaml": (b"gate:\n  max_abs: 1.0e-5\n", "not valid TOML"),
    "no-utf-8": (b'a = "\xff"', "not UTF-8"),
    "huge": (b"# " + b"x" * (1 << 20), "larger than a megabyte"),
    "rule-without-reason": (b'[[tensor]]\nname = "y"\nmax_floor_ratio = 9', "because"),
    "rule-is-no-table": (b"tensor = 3", "tensor"),
    "deviation-without-end": (
        b'[[deviation]]\nvariant = "ort"\nbecause = "x"\nowner = "me"\nlink = "https://example.org"', "expires"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", POLICIES, ids=str)
def test_a_broken_policy_is_refused(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, words = POLICIES[case]
    (tmp_path / "policy.toml").write_bytes(content)

    assert words in refused(capsys, tmp_path, "--model", save(tmp_path, relu()), "--policy", tmp_path / "policy.toml")


@pytest.mark.parametrize("option", ["--card", "--policy"])
def test_what_is_no_file_is_refused_at_once(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    makers: dict[str, Callable[[Path], object]] = {
        "absent": lambda path: None, "pipe": os.mkfifo, "folder": Path.mkdir,
        "zero": lambda path: path.symlink_to("/dev/zero"), "circle": lambda path: path.symlink_to(path.name),
        "n" * 300: lambda path: None, "a\n\x1b[2Jb": lambda path: None,
    }  # fmt: skip
    model = save(tmp_path, relu())
    for name, make in makers.items():
        make(tmp_path / f"{name}.toml")
        refused(capsys, tmp_path, "--model", model, option, tmp_path / f"{name}.toml")


@pytest.mark.parametrize("name", ["labels.txt", "list.txt", "inputs.csv", "x.yaml", "x.json", "x.pkl", "x.pt", "x"])
def test_a_list_of_files_is_no_input(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_text("../../outside.bin 0\n/etc/hostname 1\n")

    assert "neither an array nor a picture" in refused(
        capsys, tmp_path, "--model", save(tmp_path, relu()), "--inputs", tmp_path / name
    )
