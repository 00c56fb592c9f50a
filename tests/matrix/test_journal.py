"""The journal keeps what was measured, bit for bit, and refuses what it can't go on with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sysnoise_conform.datasets import Problem
from sysnoise_conform.errors import StorageError, UsageError
from sysnoise_conform.matrix.journal import Journal

RESULT = {
    "f": np.array([1.5, np.nan, -np.inf], np.float32),
    "none": np.empty((0, 4)),
    "one": np.array(7.25),
    "bytes": np.arange(256, dtype=np.uint8),
    "text\n": np.array([[1, -2]], np.int64).T[::-1],  # not contiguous
}


def test_results_come_back_bit_for_bit(tmp_path: Path) -> None:
    with Journal(tmp_path, "a", resume=False) as journal:
        journal.add(3, {"cell": (RESULT, True), "other": (None, False)})
    with Journal(tmp_path, "a", resume=True) as journal:
        (found, missing) = journal.results("cell", [3, 4])
        assert journal.results("other", [3]) == [None]
        assert (journal.done("cell"), journal.done("other"), journal.done("gone")) == ({3}, {3}, set())
        assert (journal.all_same("cell"), journal.all_same("other"), journal.all_same("gone")) == (True, False, False)

    assert missing is None
    assert found is not None
    assert found.keys() == RESULT.keys()
    for name, wanted in RESULT.items():
        assert (found[name].dtype, found[name].shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_array_equal(found[name], wanted)


def test_failures_troubles_and_runtimes_are_kept(tmp_path: Path) -> None:
    with Journal(tmp_path, "a", resume=False) as journal:
        journal.fail("ort", "crashed", "by a signal")
        journal.trouble("b.jpg", "broken")
        journal.trouble("a.jpg", "broken")
        journal.trouble("b.jpg", "broken in another way")
        journal.name_runtimes({"ort": "onnxruntime 1"})
    with Journal(tmp_path, "a", resume=True) as journal:
        assert journal.failures() == {"ort": ("crashed", "by a signal")}
        assert journal.troubles() == (Problem(name="a.jpg", why="broken"), Problem(name="b.jpg", why="broken"))
        assert journal.runtimes() == {"ort": "onnxruntime 1"}
        journal.name_runtimes({"ort": "onnxruntime 1", "mnn": "MNN 3"})
        with pytest.raises(UsageError, match="results of onnxruntime 1, and ort is onnxruntime 2"):
            journal.name_runtimes({"ort": "onnxruntime 2"})


def test_another_identity_is_refused_and_a_new_run_begins_anew(tmp_path: Path) -> None:
    with Journal(tmp_path, "a", resume=False) as journal:
        journal.add(0, {"cell": (RESULT, True)})
    with pytest.raises(UsageError, match="another model, data, card or version"):
        Journal(tmp_path, "b", resume=True)
    with Journal(tmp_path, "b", resume=False) as journal:
        assert journal.done("cell") == set()


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"\xff" * 4096])
def test_what_is_no_journal_is_a_fault_of_storage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "journal.sqlite").write_bytes(content)

    with pytest.raises(StorageError, match="can't use the journal"):
        Journal(tmp_path, "a", resume=True)
