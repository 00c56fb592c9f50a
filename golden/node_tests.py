"""Measures the golden against ONNX's own node tests, in both modes: `python -m sysnoise_conform.golden.node_tests`."""

from __future__ import annotations

import argparse
import enum
import math
import re
import sys
import tomllib
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from sysnoise_conform.errors import ConformError, UnsupportedOperator
from sysnoise_conform.golden.executor import Executor, Mode, Value, to_numpy
from sysnoise_conform.golden.values import from_numpy
from sysnoise_conform.printable import one_line

FEWEST_CASES = 1850  # default domain, not training, in onnx 1.23.2
LEAST_PASSED = 0.97
_RANDOM = "test_bernoulli"  # any draw is right, so dtype, shape and range are compared


class Status(enum.IntEnum):
    """How a case ended; of its two modes the worse counts."""

    PASSED = 0
    UNSUPPORTED = 1
    WRONG = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One node test, run in both modes."""

    case: str
    operator: str
    status: Status
    why: str = ""
    known: str = ""  # the reviewed reason why the case differs


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownCase:
    """A node test that the golden rightly disagrees with.

    With `rtol` and `atol` the golden must still agree within these wider tolerances.
    """

    case: str
    because: str
    rtol: float = math.inf
    atol: float = 0.0
    link: str = ""


def known_cases() -> dict[str, KnownCase]:
    """The reviewed list, `known_cases.toml`, by case."""
    text = files("sysnoise_conform.golden").joinpath("known_cases.toml").read_text(encoding="utf-8")
    return {each["case"]: KnownCase(**each) for each in tomllib.loads(text).get("known", [])}


def load_cases() -> list[Any]:
    """ONNX's node tests of the default domain that are not about training."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tests are computed on import, some on NaN and overflow
        from onnx.backend.test.loader import load_model_tests

        cases = load_model_tests(kind="node")
    return [
        each for each in cases
        if each.model is not None
        and "training" not in each.name and all(node.domain in ("", "ai.onnx") for node in _nodes(each.model.graph))
    ]  # fmt: skip


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g)


def operator_of(cases: Sequence[Any]) -> dict[str, str]:
    """The operator that each case is about; an expanded case is about that of the case it expands."""
    found: dict[str, str] = {}
    for case in cases:
        kinds = [node.op_type for node in case.model.graph.node]
        named = [each for each in kinds if each.lower() in case.name.replace("_", "")]
        found[case.name] = max(named, key=len) if named else kinds[-1]
    for case in cases:
        base = re.sub(r"_expanded(_ver\d+)?$", "", case.name)
        found[case.name] = found.get(base, found[case.name])
    return found


def run_case(case: Any, operator: str, known: KnownCase | None = None) -> Result:
    """Run one case in both modes and compare dtype, shape and values with what ONNX expects."""
    status, why = Status.PASSED, ""
    reviewed = known is not None
    for mode in Mode:
        each, reason = _run_in(case, mode, case.rtol, case.atol)
        if each > status:
            status, why = each, f"{mode.value}: {reason}"
        if known is not None and math.isfinite(known.rtol):
            reviewed = reviewed and _run_in(case, mode, known.rtol, known.atol)[0] is Status.PASSED
    because = known.because if known is not None and reviewed else ""
    return Result(case=case.name, operator=operator, status=status, why=why, known=because)


def _run_in(case: Any, mode: Mode, rtol: float, atol: float) -> tuple[Status, str]:
    if not case.data_sets:
        return Status.WRONG, "the case has no data: it would be skipped"
    names = [each.name for each in case.model.graph.input]
    try:
        executor = Executor(case.model, mode)
        for inputs, expected in case.data_sets:
            got = executor.run({name: _array(each) for name, each in zip(names, inputs, strict=False)})
            for output, want in zip(case.model.graph.output, expected, strict=True):
                why = _difference(got[output.name], _array(want), rtol, atol, any_draw=case.name.startswith(_RANDOM))
                if why:
                    return Status.WRONG, f"{output.name}: {why}"
    except UnsupportedOperator as error:
        return Status.UNSUPPORTED, str(error)
    except ConformError as error:
        return Status.WRONG, str(error)
    except Exception as error:  # a fault of the golden's own is a wrong answer, not the end of the run
        return Status.WRONG, f"{type(error).__name__}: {error}"
    return Status.PASSED, ""


def _array(data: Any) -> Any:
    """The test's data as arrays; some come as TensorProtos."""
    return numpy_helper.to_array(data) if isinstance(data, onnx.TensorProto) else data


def _difference(got: Any, want: Any, rtol: float, atol: float, *, any_draw: bool) -> str:
    if want is None:
        return "" if got is None else "an empty optional was expected"
    if isinstance(want, list):
        if not isinstance(got, list) or len(got) != len(want):
            return f"a sequence of {len(want)} was expected"
        pairs = zip(got, want, strict=True)
        return next(filter(None, (_difference(a, b, rtol, atol, any_draw=any_draw) for a, b in pairs)), "")
    if not isinstance(got, Value):
        return f"a tensor was expected, not {type(got).__name__}"
    wanted, array = np.asarray(want), to_numpy(got)
    if wanted.dtype.kind in "OSU":
        wanted = to_numpy(from_numpy(wanted, onnx.TensorProto.STRING))
    if array.dtype != wanted.dtype:
        return f"dtype {array.dtype}, expected {wanted.dtype}"
    if array.shape != wanted.shape:
        return f"shape {array.shape}, expected {wanted.shape}"
    if any_draw:  # of zeros and ones
        return "" if np.isin(np.asarray(array, np.float64), (0, 1)).all() else "a value that is neither 0 nor 1"
    if array.dtype.kind == "O":
        return "" if (array == wanted).all() else "the strings differ"
    if array.dtype.kind != "c":
        array, wanted = (each if each.dtype.kind in "biu" else each.astype(np.float64) for each in (array, wanted))
    if np.allclose(array, wanted, rtol=rtol, atol=atol, equal_nan=array.dtype.kind in "fc"):
        return ""
    with np.errstate(all="ignore"):
        wide = np.complex128 if array.dtype.kind == "c" else np.float64
        off = np.abs(array.astype(wide) - wanted.astype(wide))
        differing = np.count_nonzero(~(off <= atol + rtol * np.abs(wanted)))
    return f"{differing} of {array.size} values differ, by up to {np.max(off):.3g}"


def table(results: Iterable[Result]) -> str:
    """A Markdown table: operator, cases passed, unsupported, wrong, known to differ."""
    rows: dict[str, Counter[str]] = {}
    for each in results:
        rows.setdefault(each.operator, Counter())[_column(each)] += 1
    lines = ["| operator | passed | unsupported | wrong | known to differ |", "|---|---:|---:|---:|---:|"]
    lines += [
        f"| {operator} | {row['passed']} | {row['unsupported']} | {row['wrong']} | {row['known']} |"
        for operator, row in sorted(rows.items())
    ]
    return "\n".join(lines) + "\n"


def _column(result: Result) -> str:
    if result.known and result.status is Status.WRONG:
        return "known"
    return result.status.name.lower()


def summary(results: Sequence[Result]) -> str:
    """The last line of a run."""
    count = Counter(_column(each) for each in results)
    passed, unsupported, wrong = (count[each] for each in ("passed", "unsupported", "wrong"))
    return f"node tests: {passed} passed, {unsupported} unsupported, {wrong} wrong, of {len(results)}"


def faults(results: Sequence[Result], known: Iterable[str]) -> list[str]:
    """Everything for which a whole run fails, in words."""
    count = Counter(_column(each) for each in results)
    found = [f"{each.case}: {each.why}" for each in results if _column(each) == "wrong"]
    names = {each.case: each for each in results}
    for name in known:
        if name not in names:
            found.append(f"known_cases.toml lists {name}, which is no case")
        elif names[name].status is not Status.WRONG:
            found.append(f"known_cases.toml lists {name}, which no longer differs")
    if len(results) < FEWEST_CASES:
        found.append(f"only {len(results)} cases were run, {FEWEST_CASES} are expected")
    if count["passed"] < LEAST_PASSED * len(results):
        found.append(f"fewer than {LEAST_PASSED:.0%} of the cases pass")
    return found


def run_all(pattern: str = "") -> list[Result]:
    """Run every case whose name matches the regular expression `pattern`."""
    cases = load_cases()
    operators, known = operator_of(cases), known_cases()
    return [
        run_case(each, operators[each.name], known.get(each.name)) for each in cases if re.search(pattern, each.name)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node tests, print the table and the summary; 1 where the golden falls short."""
    parser = argparse.ArgumentParser(prog="python -m sysnoise_conform.golden.node_tests", description=__doc__)
    parser.add_argument("-k", dest="pattern", default="", help="only the cases that match this regular expression")
    parser.add_argument("--table", type=Path, help="write the table here, as Markdown")
    options = parser.parse_args(arguments)
    results = run_all(options.pattern)
    text, last = table(results), summary(results)
    show = sys.stdout.write
    show(text)
    for each in results:
        if each.status is not Status.PASSED:
            show(f"{_column(each)}: {each.case} ({each.operator}): {one_line(each.why)}\n")
    if options.table is not None:
        options.table.write_text(_document(text, last, results), encoding="utf-8")
    found = [] if options.pattern else faults(results, known_cases())
    for line in found:
        show(f"fault: {one_line(line)}\n")
    listed = sum(_column(each) == "known" for each in results)
    show(f"known to differ, each for the reason in known_cases.toml: {listed}\n{last}\n")
    return 1 if found or any(_column(each) == "wrong" for each in results) else 0


def _document(text: str, last: str, results: Sequence[Result]) -> str:
    unsupported = sorted(f"`{each.case}`: {one_line(each.why)}" for each in results if _column(each) == "unsupported")
    differing = sorted(f"`{each.case}`: {each.known}" for each in results if _column(each) == "known")
    parts = [
        "# The golden against ONNX's node tests",
        f"Each case runs in float64 and in float32 mode; dtype, shape and values are compared (rtol 1e-3, atol 1e-7). "
        f"onnx {onnx.__version__}. Made by `make node-tests`.",
        last,
        text.rstrip(),
    ]
    if unsupported:
        parts += ["## Unsupported", "\n".join(f"- {each}" for each in unsupported)]
    if differing:
        parts += ["## Known to differ", "\n".join(f"- {each}" for each in differing)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
