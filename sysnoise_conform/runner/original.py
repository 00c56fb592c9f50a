"""The original nn.Module beside the golden of its export: export mistakes show here, before any runtime's."""

from __future__ import annotations

import os
from pathlib import Path
from time import perf_counter

from sysnoise_conform.case import Case
from sysnoise_conform.errors import BackendError
from sysnoise_conform.outcome import Measured, Result, RuntimeFacts, Seconds, Unobservable
from sysnoise_conform.runner import provenance
from sysnoise_conform.runner.cell import refusal
from sysnoise_conform.runner.workshop import Workshop

MODULE = "module"  # the variant name under which it stands in a report


def run_module(case: Case, shop: Workshop) -> Result:
    """The result of `--torch`: the module in float32, as the variant `module`."""
    clock = perf_counter()
    tally, missing, log = shop.tally(), dict[str, str](), "logs/module.txt"
    facts = RuntimeFacts(
        name="torch", version=provenance.versions().get("torch", ""), device="cpu", effective_precision="fp32",
        options={"module": case.torch_module or ""},
    )
    try:
        with shop.crew.member(MODULE, shop.logs / "module.txt") as child:
            for number in range(len(shop.samples)):
                reply = child.call(
                    "module",
                    {
                        "factory": case.torch_module,
                        "weights": os.path.realpath(case.weights) if case.weights else None,
                        "path": str(Path.cwd()),
                        "outputs": list(shop.outputs),
                        "threads": case.limits.threads,
                    },
                    shop.samples.feed(number),
                    stage="module",
                )
                golden = shop.goldens.sample(number)
                for name in shop.outputs:
                    if name not in golden:
                        missing[name] = "the golden keeps no tensor for it"
                    elif name not in reply.tensors:
                        missing[name] = "the module did not return it"
                    else:
                        tally.compare(golden[name], reply.tensors[name], number)
    except BackendError as err:
        return Result(variant=MODULE, outcome=refusal(err, facts), log=log)
    return Result(
        variant=MODULE,
        outcome=Measured(
            runtime=facts,
            outputs=tally.in_order(shop.outputs),
            missing_outputs=tuple(Unobservable(tensor=name, why=why) for name, why in sorted(missing.items())),
            seconds=Seconds(total=perf_counter() - clock),
        ),
        log=log,
    )
