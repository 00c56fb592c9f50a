"""The course of a diagnosis: read and check, watch, replay, take apart, decide, prove, write reproducers."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np

from sysnoise_conform.case import Case
from sysnoise_conform.diagnose import design, islands, watching
from sysnoise_conform.diagnose.appearing import appearing
from sysnoise_conform.diagnose.arithmetic import in_few_bits
from sysnoise_conform.diagnose.blame import departs
from sysnoise_conform.diagnose.blocks import Granularity
from sysnoise_conform.diagnose.facts import Culprit, DeployedFile, Diagnosis
from sysnoise_conform.diagnose.judging import judged
from sysnoise_conform.diagnose.known import recognised
from sysnoise_conform.diagnose.optimiser import explain
from sysnoise_conform.diagnose.owner import owned
from sysnoise_conform.diagnose.proof import prove as prove_culprits
from sysnoise_conform.diagnose.proof import unproved
from sysnoise_conform.diagnose.ranking import Ranking, rank
from sysnoise_conform.diagnose.reproducing import MOST, reproduce
from sysnoise_conform.diagnose.seen import Seen
from sysnoise_conform.diagnose.shown import in_words, shown_otherwise
from sysnoise_conform.diagnose.vanishing import vanishing
from sysnoise_conform.errors import BackendUnavailable, Unsupported, UsageError
from sysnoise_conform.graph.intake import Model
from sysnoise_conform.judge.computed import not_integers
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.outcome import NotApplicable
from sysnoise_conform.outcome import Unsupported as UnsupportedOutcome
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner import converted, provenance
from sysnoise_conform.runner.command import diagnosing
from sysnoise_conform.runner.crew import Crew
from sysnoise_conform.runner.goldens import Goldens
from sysnoise_conform.runner.opening import open_case, told
from sysnoise_conform.runner.pytorch import PyTorch
from sysnoise_conform.runner.workshop import Watch, Workshop
from sysnoise_conform.store import Store
from sysnoise_conform.variant import nearest

MOST_APPEARING = 3  # times that the graph is watched anew without what watching changes


def diagnose(
    case: Case, out: Path, *, crew: Crew, watch: Watch, policy: Policy, replay: bool = True, prove: bool = False,
    only: Collection[str] = (), granularity: Granularity | None = None, win_back: int = 0, reproducers: int = MOST,
    command: str = "",
) -> Diagnosis:  # fmt: skip
    """Diagnose the one variant of `case`; reproducers go to `out`.

    What is judged as one is the operator, or of a graph that is quantised by Q and DQ the block that an integer kernel
    computes, unless `granularity` says otherwise.

    `only` names nodes, or tensors that they make: no other can be a culprit, and no other is tried alone. Without
    `replay` operators are judged alone, on PyTorch's tensors, and with a stored golden PyTorch is not imported.
    Of a converted graph `win_back` costly layers are left in float32 in turn.
    At most `reproducers` folders are written. `command` is told as it is.

    Raises what `runner.run` raises; BackendError where the untouched graph does not run, nor any operator alone.
    """
    clock = perf_counter()
    (variant,) = case.variants
    if replay:
        crew.recruit_golden()
    opened = open_case(case)
    (cell,) = opened.plan.cells
    match cell.known:
        case NotApplicable(why=why):
            raise Unsupported(why, stage="plan")
        case UnsupportedOutcome(why=why, stage=stage):
            raise Unsupported(why, stage=stage)
        case _:
            pass
    with ExitStack() as stack:
        stack.enter_context(told())
        store = stack.enter_context(Store.open(enabled=case.cache))
        logs = out / "logs"
        pytorch = stack.enter_context(PyTorch(crew, logs))
        conversions = stack.enter_context(converted.conversions(case, opened, pytorch))
        goldens = stack.enter_context(
            Goldens(opened.model, opened.samples, store, crew, logs, threads=case.limits.threads, pytorch=pytorch)
        )
        shop = Workshop(
            model=opened.model, samples=opened.samples, goldens=goldens, plan=opened.plan, crew=crew, logs=logs,
            threads=case.limits.threads, meter=lambda: None, watch=watch,
            asked=threading.Event(), compiled=threading.Event(),
        )
        goldens.begin()
        for conversion in conversions.made.values():  # of one variant one, at most
            shop = converted.workshop(shop, conversion, store, pytorch, stack, in_pieces=granularity == "op")
            shop.goldens.begin()
        asked = _asked(shop.model, only)
        seen = Seen.nothing(shop, granularity, asked)
        if not replay:
            shop = replace(shop, plan=replace(shop.plan, taps=()))
            seen.hidden.update({each.tensor: "layers were not tapped, as asked" for each in shop.model.layers})
        child = stack.enter_context(crew.member(str(variant), logs / f"{cell.place}.txt", variant=variant))
        every = frozenset(each.tensor for each in shop.model.layers)
        chosen = seen.blocks.ends(every if asked is None else asked) - shop.plan.aside
        watching.watch(shop, variant, cell.place, child, seen, replay=replay)
        islands.explode(shop, variant, cell.place, child, seen, chosen)
        if seen.refused is not None and not seen.islands.diffs:  # not one operator runs
            raise seen.refused
        before = perf_counter()
        found = judged(shop, variant, seen, policy, chosen)
        for turn in range(MOST_APPEARING):  # with one of them left out, another one may appear
            changed = appearing(shop, variant, cell.place, child, seen, found, policy, turn=turn)
            if not changed:
                break
            chosen -= set(changed)
            found = judged(shop, variant, seen, policy, chosen)
        right = shown_otherwise(shop, str(variant), seen, found.layers, found.culprits, policy)
        if right:
            seen.notes.append(in_words(right))
            found = judged(shop, variant, seen, policy, chosen.difference(right))
        seen.seconds["judge"] = perf_counter() - before
        before = perf_counter()
        found = vanishing(shop, variant, cell.place, found, policy, chosen)
        seen.seconds["bisect"] = perf_counter() - before
        culprits: tuple[Culprit, ...] = found.culprits
        before = perf_counter()
        first = culprits[0].words if culprits else ""
        culprits, parts = explain(
            shop, variant, cell.place, child, culprits, lambda diff: departs(diff, str(variant), policy) is not None,
            hidden=seen.blocks.hidden,
        )  # fmt: skip
        seen.seconds["optimiser"] = perf_counter() - before
        if case.deployed is not None and culprits:
            before = perf_counter()
            culprits = owned(shop, culprits, str(variant), policy, seen.blocks)
            seen.seconds["owner"] = perf_counter() - before
        notes: tuple[str, ...] = found.notes
        sentence = found.sentence.replace(first, culprits[0].words, 1) if culprits else found.sentence
        ranking = Ranking()
        if found.verdict == "accumulated_rounding" or in_few_bits(culprits):
            before = perf_counter()
            ranking = rank(shop, variant, cell.place, seen, found.layers, found.outputs)
            seen.seconds["rank"] = perf_counter() - before
        if prove and culprits and seen.refused is None:
            before = perf_counter()
            culprits = prove_culprits(shop, variant, cell.place, culprits, found.outputs, seen.blocks)
            why = unproved(shop, found.outputs, culprits)
            notes += (why,) if why else ()
            seen.seconds["prove"] = perf_counter() - before
        if seen.runtime is None:
            raise BackendUnavailable("the runtime said nothing of itself")
        culprits = reproduce(
            shop, variant, child, culprits, out, runtime=seen.runtime, parts=parts, blocks=seen.blocks,
            most=reproducers,
        )
        target = shop.plan.target
        deployed = None if case.deployed is None else DeployedFile(file=target.path.name, sha256=target.sha256())
        culprits = recognised(culprits, shop.plan.target.model, str(variant), seen.runtime)
        verdict, said = found.verdict, [sentence]
        findings = None
        for conversion in conversions.made.values():
            declared = converted.in_integers(conversion, shop.samples.feed(0))
            floats = not_integers(seen.runtime, str(variant), declared, policy.min_int8_operations)
            if floats:
                verdict = "not_integers" if verdict in ("clean", "unobservable") else verdict
                said.append(floats)
            before = perf_counter()
            findings = design.look(shop, conversion, conversions, goldens, pytorch, win_back=win_back)
            seen.seconds["design"] = perf_counter() - before
        facts = goldens.facts()
        made = converted.described(conversions.made, case, opened, diagnosing)
    return Diagnosis(
        variant=str(variant),
        model=str(case.model),
        runtime=seen.runtime,
        verdict=verdict,
        sentence="; ".join(said) + ("" if findings is None else design.in_words(findings, variant.precision)),
        observer_effect=found.observer_effect,
        computing=found.computing,
        outputs=found.outputs,
        layers=found.layers,
        culprits=culprits,
        ranking=ranking.layers,
        unobservable=found.unobservable,
        notes=(*notes, *ranking.notes),
        environment=provenance.environment(case.limits.threads),
        golden=facts,
        deployed=deployed,
        design=findings,
        command=command,
        conversion=made[0] if made else None,
        seconds=_rounded({**seen.seconds, "total": perf_counter() - clock}),
    )


def _asked(model: Model, only: Collection[str]) -> frozenset[str] | None:
    """The tensors of the nodes that are asked for, None without a choice. Raises UsageError for what is not there."""
    if not only:
        return None
    layers = {each.tensor: each.node for each in model.layers}
    known = {*layers, *layers.values()} - {""}
    for name in only:
        if name not in known:
            raise UsageError(f"the model has no node or tensor {one_line(name)!r}", hint=nearest(name, known))
    return frozenset(tensor for tensor, node in layers.items() if node in only or tensor in only)


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {name: float(np.round(each, 3)) for name, each in seconds.items()}
