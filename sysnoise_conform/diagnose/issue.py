"""`README.md` of a reproducer: a report to paste into the tracker of a runtime's makers.

Whatever comes from a model, a runtime or a machine stands in code spans, in which Markdown and GitHub obey nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

import numpy as np

from sysnoise_conform.backends.pins import ONNX2TF
from sysnoise_conform.diagnose.facts import Layer, Owner
from sysnoise_conform.diagnose.limits import distance
from sysnoise_conform.diagnose.plain_model import Arrays, Plain
from sysnoise_conform.diagnose.subject import CONVERTED, Subject, package, plain_words
from sysnoise_conform.judge.departure import plain
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.printable import one_line

# What a code span shows as it is: no backtick, no column mark, nothing that a sloppy renderer takes for HTML.
_UNSAFE = re.compile(r"[`|<>&\\]")
_NO_BUG = (
    "**This is no bug of {runtime}.** PyTorch, given the operator as the deployed file has it, departs from the model "
    "just so. It is for whoever made the file: `model.onnx` is the file's operator, `expected.npz` the model's answer."
)
_OUTPUTS = 8  # more than these stand in expected.npz alone


def text(made: Plain, subject: Subject, layer: Layer, diff: TensorDiff, owner: Owner | None = "runtime") -> str:
    """The whole report, to the runtime's makers, or to whoever made the deployed file."""
    version = re.match(r"\d+(\.\d+)*", subject.runtime.version)
    runtime = _prose(f"{subject.runtime.name} {version[0] if version else ''}", 80)
    parts = [
        f"# {subject.op_type}: the deployed file differs from the model"
        if owner == "file" else f"# {subject.op_type}: {runtime} differs from PyTorch",
        *([_NO_BUG.format(runtime=runtime)] if owner == "file" else []),
        _table(["", ""], _versions(subject)),
        "## The operator",
        "\n".join(_operator(made, subject, layer)),
        _table(["array", "tensor in the whole model", "type", "shape"], _arrays(made, subject)),
        "## What was measured",
        "\n\n".join(_measured(made, diff)),
        "## How to run it",
        _run(subject),
        "",
    ]
    return "\n\n".join(parts).rstrip("\n") + "\n"


def code(value: object, limit: int = 200) -> str:
    """A code span around `value`, whatever that holds."""
    said = _UNSAFE.sub("_", one_line(value, limit)).strip()
    return f"`{said}`" if said else "–"


def _prose(value: object, limit: int) -> str:
    """A runtime's name in running text: letters, digits and what versions are made of."""
    return re.sub(r"[^A-Za-z0-9.+ -]", "", plain_words(value, limit)).strip() or "the runtime"


def _table(headings: list[str], rows: Iterator[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(each)} |" for each in lines)


def _versions(subject: Subject) -> Iterator[list[str]]:
    facts, where = subject.runtime, subject.environment
    packages = where.get("packages")
    versions = packages if isinstance(packages, Mapping) else {}
    yield ["runtime", code(f"{facts.name} {facts.version}")]
    yield ["device", code(facts.device)]
    yield ["asked for", f"{code(subject.variant)}, {code(facts.asked_precision or 'the types of the model')}"]
    yield ["precision used", code(facts.effective_precision)]
    options = ", ".join(f"{name}={value}" for name, value in facts.options.items())
    if options:
        yield ["options", code(options, 400)]
    yield ["reference", f"PyTorch {code(versions.get('torch', 'unknown'))} in float64"]
    beside = ", ".join(f"{name} {versions[name]}" for name in ("numpy", "onnx") if name in versions)
    yield ["Python", code(", ".join(filter(None, [str(where.get("python", "unknown")), beside])))]
    yield ["processor", code(where.get("cpu", "unknown"))]
    flags = where.get("cpu_flags")
    yield ["CPU flags", code(" ".join(map(str, flags)) if isinstance(flags, list | tuple) else "", 400)]
    yield ["platform", code(where.get("platform", "unknown"))]
    if where.get("conform"):
        yield ["found by", code(f"conform {where['conform']}")]


def _operator(made: Plain, subject: Subject, layer: Layer) -> Iterator[str]:
    opsets = [f"{each.domain or 'ai.onnx'} {each.version}" for each in made.model.opset_import]
    yield f"- operator: {code(layer.op_type)}, opset {code(', '.join(opsets))}"
    yield f"- attributes: {code(layer.attributes, 1000) if layer.attributes else 'the defaults'}"
    yield f"- node: {code(layer.node) if layer.node else 'without a name'}, which makes the tensor {code(layer.output)}"
    if len(layer.block) > 1:
        names = ", ".join(code(each, 80) for each in layer.block[:12])
        more = f" and {len(layer.block) - 12} more" if len(layer.block) > 12 else ""
        yield f"- with the nodes that it is fused with: {names}{more}"


def _arrays(made: Plain, subject: Subject) -> Iterator[list[str]]:
    for file, arrays in (("inputs.npz", made.inputs), ("expected.npz", made.expected)):
        for name, array in arrays.items():
            yield [
                f"`{name}` in {file}",
                code(subject.tensors.get(made.tensors[name], made.tensors[name]), 120),
                code(array.dtype),
                code(list(array.shape)),
            ]


def _measured(made: Plain, diff: TensorDiff) -> Iterator[str]:
    for name, expected in list(made.expected.items())[:_OUTPUTS]:
        got = made.got.get(name)
        if got is None:
            yield f"`{name}`: the runtime gave none."
        elif got.shape != expected.shape:
            yield f"`{name}`: shape {code(list(got.shape))}, expected {code(list(expected.shape))}."
        elif not expected.size:
            yield f"`{name}`: empty."
        else:
            yield _numbers(name, expected, got)
    if diff.z is not None and math.isfinite(diff.z):
        samples = "sample" if diff.samples == 1 else "samples"
        yield (
            f"Over {diff.samples} {samples} the rms error is {plain(diff.z)} times what correct arithmetic in the "
            "operator's type may be off here, by a simulation of its rounding in PyTorch."
        )


def _numbers(name: str, expected: Arrays, got: Arrays) -> str:
    error = distance(got, expected)
    with np.errstate(all="ignore"):
        rms, most = float(np.sqrt(np.mean(error**2))), float(error.max())
        parts = [f"max abs difference {most:.6g}", f"rms {rms:.6g}"]
        if expected.dtype.kind not in "US":
            size = float(np.linalg.norm(np.abs(expected.ravel().astype(np.complex128))))
            parts.append(f"relative L2 {float(np.linalg.norm(error.ravel())) / size if size else math.inf:.6g}")
    at = tuple(int(each) for each in np.unravel_index(int(np.argmax(error)), error.shape))
    # An element of text is the model's own word; a number prints as itself.
    answers = f"expected {code(expected[at], 80)}, got {code(got[at], 80)}"
    with np.errstate(all="ignore"):  # a number is no other one for being rounded to the type that came
        rounded = expected if expected.dtype.kind in "US" else expected.astype(got.dtype)
    differ = int(np.count_nonzero(distance(got, rounded)))
    return (
        f"`{name}`: {', '.join(parts)}; {differ:,} of {error.size:,} elements differ. Worst at {list(at)}: {answers}."
    )


def _run(subject: Subject) -> str:
    wanted = package(subject)
    install = f"    pip install numpy {wanted}\n" if wanted else ""
    lines = f"{install}    python repro.py"
    said = (
        "It prints the numbers above and exits with 1 where the difference is there, with 0 where it is not, with 2 "
        "where it could not run. `model.onnx` holds the operator alone, `inputs.npz` what it is fed, `expected.npz` "
        "PyTorch's answer, computed in float64."
    )
    return "\n\n".join([lines, said, *_converted(subject)])


def _converted(subject: Subject) -> Iterator[str]:
    """How the file that the runtime reads came about: the difference may be its converter's."""
    name = CONVERTED.get(subject.variant.backend)
    how = {
        "tflite": f"onnx2tf ({' '.join(ONNX2TF)}; options `-nuo -n -kat`), after outputs of 3 dimensions and more were "
        "made vectors, so that it can't lay them out in another order",
        "mnn": "`mnnconvert -f ONNX` of the same version",
    }.get(subject.variant.backend)
    if name and how:
        yield f"What runs is `{name}`, made of `model.onnx` by {how}: look at it first, the converter may be at fault."
