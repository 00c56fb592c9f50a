"""A decoder of the user's own runs in a child: what it gives is checked, and what befalls it is one line."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from sysnoise_conform.card import Card, Heads
from sysnoise_conform.errors import UsageError
from sysnoise_conform.matrix.hook import Hook
from sysnoise_conform.tasks.decoding import Decoding

CODE = '''
import os, signal, sys, time
import numpy as np

def boxes(outputs, size, decoding):
    print("to the log", size, decoding.coordinates, sorted(outputs))
    return outputs["a"] * size[1], outputs["b"], np.zeros(len(outputs["b"]), int)

def none(outputs, size, decoding): return np.zeros((0, 4)), [], []
def doubled(outputs, size, decoding): return outputs["a"] * 2
def one(outputs, size, decoding): return outputs["b"]
def broken(outputs, size, decoding): return outputs["zz"]
def dies(outputs, size, decoding): os.kill(os.getpid(), signal.SIGSEGV)
def exits(outputs, size, decoding): sys.exit("enough")
def hangs(outputs, size, decoding): time.sleep(100)
def lies(outputs, size, decoding): return np.zeros((3, 3)), [1], [0]
def texts(outputs, size, decoding): return np.zeros((1, 4)), ["a"], [0]
def nothing(outputs, size, decoding): return None
'''
OUTPUTS = {"a": np.arange(8, dtype=np.float32).reshape(2, 4), "b": np.array([0.5, 0.25], np.float16)}


def hook(folder: Path, name: str, *, task: str = "detect", timeout_s: float = 60.0) -> Hook:
    (folder / "mine.py").write_text(CODE)
    card = Card(name="c", task=task, decoder=name, heads=Heads(boxes="x", normalised=True, first_class=1))
    return Hook(card, folder, folder / "logs" / "hook.txt", timeout_s=timeout_s)


def test_it_gets_outputs_size_and_choices_and_its_boxes_are_read(tmp_path: Path) -> None:
    with hook(tmp_path, "mine:boxes") as made:
        for _ in range(2):
            found = made(OUTPUTS, (3, 10), Decoding(coordinates="floor"))
        card = made.read_by()

    np.testing.assert_array_equal(found["boxes"], OUTPUTS["a"] * 10)
    assert found["scores"].tolist() == [0.5, 0.25]
    assert (card.decoder, card.heads.boxes, card.heads.normalised, card.heads.first_class) == (
        "boxes", "boxes", False, 0,
    )  # fmt: skip
    log = (tmp_path / "logs" / "hook.txt").read_text()
    assert log == "to the log (3, 10) floor ['a', 'b']\n" * 2


def test_no_boxes_are_an_answer(tmp_path: Path) -> None:
    with hook(tmp_path, "mine:none") as made:
        assert made(OUTPUTS, (3, 10), Decoding())["boxes"].shape == (0, 4)


def test_scores_of_classes_and_maps(tmp_path: Path) -> None:
    maps = {"a": np.ones((2, 3, 4))}

    with hook(tmp_path, "mine:doubled", task="segment") as made:
        assert made(maps, (3, 4), Decoding())["scores"].shape == (1, 2, 3, 4)
        assert (made.read_by().decoder, made.read_by().output) == (None, "scores")
    with hook(tmp_path, "mine:one", task="classify") as made:
        assert made(OUTPUTS, (3, 4), Decoding())["scores"].tolist() == [[0.5, 0.25]]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("broken", r"KeyError: 'zz' \(mine.py, line 12\)"),
        ("dies", r"ended its process \(-11\)"),
        ("exits", "SystemExit: enough"),
        ("lies", r"boxes \(3, 3\), scores \(1,\) and classes \(1,\), not"),
        ("texts", "scores are of type <U1, no numbers"),
        ("nothing", "it gave NoneType, not boxes, scores, classes"),
    ],
)
def test_what_goes_wrong_in_it_names_it(tmp_path: Path, name: str, words: str) -> None:
    with hook(tmp_path, f"mine:{name}") as made, pytest.raises(UsageError, match=words) as failed:
        made(OUTPUTS, (3, 10), Decoding())

    assert f"'mine:{name}'" in str(failed.value)
    assert "\n" not in str(failed.value)
    assert failed.value.exit_code == 2


def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    with hook(tmp_path, "mine:hangs", timeout_s=3.0) as made:
        began = time.monotonic()
        with pytest.raises(UsageError, match="gave no answer within 3 s"):
            made(OUTPUTS, (3, 10), Decoding())

    assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("mine:gone", "", "mine has no function gone"),
        ("other:boxes", "", "No module named 'other'"),
        ("mine:boxes", "1 / 0", r"ZeroDivisionError: division by zero \(mine.py, line 1\)"),
        ("mine:boxes", "import os; os._exit(0)", r"ended its process \(0\)"),
    ],
)
def test_one_that_can_not_be_loaded_is_refused(tmp_path: Path, name: str, code: str, words: str) -> None:
    made = hook(tmp_path, name)
    (tmp_path / "mine.py").write_text(code)

    with pytest.raises(UsageError, match=words), made:
        pass


def test_a_module_beside_the_card_never_stands_in_for_an_installed_one(tmp_path: Path) -> None:
    for name in ("numpy", "json", "sysnoise_conform"):
        (tmp_path / f"{name}.py").write_text("import os; os._exit(9)")

    with hook(tmp_path, "mine:boxes") as made:
        assert made.sha256


def test_another_code_is_another_hook(tmp_path: Path) -> None:
    digests = []
    for extra in ("", "# changed\n"):
        made = hook(tmp_path, "mine:boxes")
        (tmp_path / "mine.py").write_text(CODE + extra)
        with made:
            digests.append(made.sha256)

    assert digests[0] != digests[1]


def test_its_child_does_not_outlive_it(tmp_path: Path) -> None:
    with hook(tmp_path, "mine:boxes") as made:
        pid = made._child.pid
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
