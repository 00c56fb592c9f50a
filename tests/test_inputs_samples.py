from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sysnoise_conform.inputs.samples import KEPT, Feed, kept


class Maker:
    def __init__(self) -> None:
        self.made: list[int] = []

    def __call__(self, number: int) -> Feed:
        self.made.append(number)
        return {"x": np.full(3, number)}


def test_threads_that_want_one_feed_share_it() -> None:
    maker = Maker()
    feed = kept(maker)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(feed, [0] * 8))

    assert maker.made == [0]
    assert all(each["x"] is found[0]["x"] for each in found)


def test_memory_does_not_grow_with_the_number_of_feeds() -> None:
    maker = Maker()
    feed = kept(maker)

    for number in range(KEPT + 1):
        feed(number)
    feed(KEPT)  # still there
    again = feed(0)  # forgotten, and made again

    assert maker.made == [*range(KEPT + 1), 0]
    assert again["x"].tolist() == [0, 0, 0]
