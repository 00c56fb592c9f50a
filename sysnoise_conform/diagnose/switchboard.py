"""The graph under test in a child, with chosen tensors computed or given, whichever each run asks for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from sysnoise_conform.backend import Tensors
from sysnoise_conform.diagnose.observe import declared
from sysnoise_conform.graph.intake import write_proto
from sysnoise_conform.graph.switch import switch
from sysnoise_conform.graph.tap import tap
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.process.child import Child
from sysnoise_conform.runner.session import RemoteSession
from sysnoise_conform.runner.target import Target
from sysnoise_conform.runner.workshop import Workshop
from sysnoise_conform.variant import Variant


class Switchboard:
    """One compiled graph whose `tensors` (golden names) can be given; all its names are the golden's.

    It takes samples of the first one's shapes; `numbers` are those. Raises BadModel where the graph can't have
    switches, and whatever compiling raises.
    """

    def __init__(
        self, shop: Workshop, variant: Variant, child: Child, tensors: Sequence[str], *, name: str,
        taps: Collection[str] = (),
    ) -> None:  # fmt: skip
        target = shop.plan.target
        assert target.model is not None
        self._shop = shop
        self._tensors = tuple(tensors)
        first = self.exact(0, tensors)
        proto = target.model.proto if not taps else tap(target.model.proto, [target.name(each) for each in taps])
        self._switched = switch(proto, {target.name(name): array for name, array in first.items()})
        self._golden_name = {target.name(each.tensor): each.tensor for each in shop.model.layers}
        feeds = [shop.samples.feed(at) for at in range(len(shop.samples))]
        shapes = [{name: array.shape for name, array in feed.items()} for feed in feeds]
        self.numbers = tuple(at for at, each in enumerate(shapes) if each == shapes[0])
        self._off = {name: np.zeros((1,) * array.ndim, np.bool_) for name, array in first.items()}
        folder = child.workdir / name
        folder.mkdir()
        graph = write_proto(self._switched.model, folder, "switched.onnx", target.model.data_files)
        self._session = RemoteSession(
            child, variant, Target(path=graph, format="onnx", model=None), graph, self._feed(0, first, ()), name=name,
            threads=shop.threads,
        )  # fmt: skip

    def exact(self, number: int, tensors: Collection[str]) -> Tensors:
        """PyTorch's tensors of one sample, in the types that the model declares."""
        golden = self._shop.goldens.sample(number)
        return {name: declared(golden[name]) for name in tensors}

    def run(self, number: int, given: Mapping[str, np.ndarray]) -> Tensors:
        """One sample with the tensors that are `given`, all others computed; valid until the next run."""
        missing = [name for name in self._tensors if name not in given]
        rest = {name: np.zeros_like(array) for name, array in self.exact(number, missing).items()}
        got = self._session.run(self._feed(number, {**rest, **given}, given))
        return {self._golden_name.get(theirs, theirs): array for theirs, array in got.items()}

    def error(self, output: str, given: Collection[str]) -> TensorDiff | None:
        """The output against PyTorch's over all samples, with PyTorch's tensors in the place of `given`."""
        tally = self._shop.tally()
        for number in self.numbers:
            got = self.run(number, self.exact(number, given))
            if output in got:
                tally.compare(self._shop.goldens.sample(number)[output], got[output], number)
        return tally.diffs.get(output)

    def _feed(self, number: int, arrays: Mapping[str, np.ndarray], on: Collection[str]) -> Tensors:
        name_of = self._shop.plan.target.name
        feed = {name_of(name): array for name, array in self._shop.samples.feed(number).items()}
        for name, array in arrays.items():
            feed[self._switched.given[name_of(name)]] = array
            feed[self._switched.flags[name_of(name)]] = np.ones_like(self._off[name]) if name in on else self._off[name]
        return feed
