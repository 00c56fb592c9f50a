"""The guarded way to a stranger's file: regular, bounded, never blocking."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sysnoise_conform.errors import BadModel
from sysnoise_conform.files import read_regular


def test_a_limit_larger_than_the_memory_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"content")

    assert read_regular(tmp_path / "small", what="the model", error=BadModel, limit=1 << 60) == b"content"


@pytest.mark.parametrize("kind", ["folder", "pipe", "nothing", "large"])
def test_what_is_no_regular_file_of_that_size_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "given"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "large":
            path.write_bytes(b"12345")
        case _:
            assert not path.exists()

    with pytest.raises(BadModel, match=r"the model '.*given'"):
        read_regular(path, what="the model", error=BadModel, limit=4)
