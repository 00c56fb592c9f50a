from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sysnoise_conform.errors import BadModel
from sysnoise_conform.runner.goldens import AHEAD, Goldens


class Slow(Goldens):
    """Takes a tenth of a second for each, and says what it has made."""

    def __init__(self, count: int, broken: int | None = None) -> None:
        nothing: Any = None
        names: Any = range(count)
        super().__init__(nothing, names, nothing, nothing, Path(), threads=1)
        self.made: list[int] = []
        self.broken = broken

    def _one(self, number: int) -> Any:
        time.sleep(0.1)
        if number == self.broken:
            raise BadModel("an index out of range")
        self.made.append(number)
        return f"golden {number}"


def test_whoever_waits_for_a_golden_gets_it_before_the_next_one_is_made() -> None:
    with Slow(6) as goldens:
        goldens.begin()
        goldens.sample(0)
        made = len(goldens.made)  # the thread may be at the second by now, not beyond it
        found = goldens.sample(1)

        assert made <= 2
        assert found == "golden 1"
        assert len(goldens.made) <= 3


def test_no_more_are_made_ahead_than_may_be_open() -> None:
    with Slow(8) as goldens:
        goldens.begin()
        goldens.sample(0)
        time.sleep(0.1 * (AHEAD + 4))

        assert goldens.made == list(range(AHEAD + 1))


def test_a_golden_that_was_let_go_is_made_again() -> None:
    with Slow(8) as goldens:
        goldens.begin()
        for number in range(8):
            goldens.sample(number)

        assert goldens.sample(0) == "golden 0"
        assert goldens.made.count(0) == 2


def test_everybody_hears_of_a_golden_that_can_t_be_made() -> None:
    heard: list[str] = []

    def ask(number: int) -> None:
        with pytest.raises(BadModel) as caught:
            goldens.sample(number)
        heard.append(str(caught.value))

    with Slow(6, broken=2) as goldens:
        goldens.begin()
        threads = [threading.Thread(target=ask, args=(number,)) for number in (2, 3, 5)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(timeout=10)

    assert heard == ["an index out of range"] * 3


def test_without_the_thread_they_are_made_when_they_are_asked_for() -> None:
    with Slow(3) as goldens:
        assert goldens.sample(2) == "golden 2"
        assert goldens.made == [2]
