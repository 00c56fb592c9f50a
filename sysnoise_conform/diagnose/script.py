"""`repro.py`: a script that needs numpy and one runtime, and says by its exit code whether the difference is there."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterator
from string import Template

import numpy as np

from sysnoise_conform.diagnose import running
from sysnoise_conform.diagnose.plain_model import Arrays, Plain
from sysnoise_conform.diagnose.subject import Subject, package, plain_words

_WIDTH = 116


def text(made: Plain, subject: Subject) -> str:
    """The whole script. What is not our own goes in as a plain word, or as a literal of JSON's, which is Python's."""
    return _SCRIPT.substitute(
        about=_about(subject),
        limits=_limits(subject),
        run=textwrap.indent("\n".join(running.lines(made, subject)), "    "),
        compare=textwrap.indent("\n".join(_comparing(made, subject)), "    "),
    )


def _about(subject: Subject) -> str:
    runtime = plain_words(f"{subject.runtime.name} {subject.runtime.version}", 60)
    needs = f"It needs numpy and {package(subject) or 'the runtime'}."
    codes = "Exit code 1: the difference is there; 0: it is not; 2: this could not run."
    first = f"{subject.op_type} on {runtime} against PyTorch in float64."
    return f"{first[:_WIDTH]}\n\n{textwrap.fill(f'{codes} {needs}', _WIDTH)}"


def _limits(subject: Subject) -> str:
    told = [f"{json.dumps(name)}: ({_number(rms)}, {_number(most)})" for name, (rms, most) in subject.limits.items()]
    said = "# rms, largest error: between rounding and what was measured"
    if len(told) == 1:
        return f"limits = {{{told[0]}}}  {said}"
    return "\n".join([f"limits = {{  {said}", *(f"    {each}," for each in told), "}"])


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else 'np.inf'


def _comparing(made: Plain, subject: Subject) -> Iterator[str]:
    """One output `want` against `got[name]`; only what these arrays need."""
    arrays = list(made.expected.values())
    kinds = {each.dtype.kind for each in arrays}
    if running.reshapes(subject.variant.backend):
        yield "have = got[name].reshape(want.shape) if got[name].size == want.size else got[name]"
    else:
        yield "have = got[name]"
    yield "if have.shape != want.shape:"
    yield '    sys.exit(f"the difference is there: {name} has the shape {have.shape} in place of {want.shape}")'
    if any(not each.size for each in arrays):
        yield "if not want.size:"
        yield "    continue"
    if kinds & {"U", "S"}:
        yield "error = np.where(have.astype(str) == want.astype(str), 0.0, 1.0)"
        scale = "1"
    else:
        wide = "np.complex128" if "c" in kinds else "np.float64"
        minus = "have - want" if kinds == {"f"} else f"have.astype({wide}) - want"
        if _not_finite([*arrays, *made.got.values()]):
            yield "same = (have == want) | (np.isnan(have) & np.isnan(want))"
            yield 'with np.errstate(all="ignore"):'
            yield f"    error = np.where(same, 0.0, np.fmin(np.abs({minus}), np.inf))  # NaN on one side is Inf"
        else:
            yield f"error = np.fmin(np.abs({minus}), np.inf)  # NaN counts as Inf"
        scale = "np.linalg.norm(want)"
    yield "rms, most, at = np.sqrt(np.mean(error**2)), error.max(), np.unravel_index(error.argmax(), error.shape)"
    yield f"relative = np.linalg.norm(error) / max({scale}, 1e-300)"
    yield 'print(f"{name} {have.dtype} {list(have.shape)}: max abs difference {most:.6g}, rms {rms:.6g}")'
    worst = "worst at {list(map(int, at))}: expected {want[at]}, got {have[at]}"
    yield f'print(f"  relative L2 {{relative:.6g}}, {worst}")'
    yield "differs |= bool(rms > limits[name][0] or most > limits[name][1])"


def _not_finite(arrays: list[Arrays]) -> bool:
    return any(each.dtype.kind in "fc" and not np.isfinite(each).all() for each in arrays)


_SCRIPT = Template("""\
\"\"\"$about\"\"\"

import os
import sys

import numpy as np

os.chdir(os.path.dirname(os.path.abspath(__file__)))
feeds, expected = dict(np.load("inputs.npz")), dict(np.load("expected.npz"))
$limits
differs = False
try:
$run
except Exception as error:
    print(f"this could not run: {type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(2)
for name, want in expected.items():
$compare
print("the difference is there" if differs else "the difference is not there")
sys.exit(int(differs))
""")
