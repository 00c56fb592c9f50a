"""What is tolerated: thresholds, exceptions for single tensors, and deviations that are expected for now.

A policy is TOML. A key that is not known, a key that stands twice, a NaN or a negative threshold is an
error: a gate that is not understood must not be green. `default_toml` prints the defaults with the
meaning of each key; where the numbers come from stands in docs/error-model.md.
"""

from __future__ import annotations

import difflib
import math
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from sysnoise_conform.errors import UsageError
from sysnoise_conform.printable import one_line

LARGEST_FILE = 1 << 20  # bytes; a policy is a page of text


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The thresholds that one tensor is held to, in the units of docs/error-model.md."""

    max_floor_ratio: float
    max_peak_ratio: float
    max_z: float
    max_mismatch_share: float
    max_design_rel_l2: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorRule:
    """Other thresholds for the tensors (and variants) that match the globs; None leaves one as it is."""

    name: str
    variant: str = "*"
    because: str
    max_floor_ratio: float | None = None
    max_peak_ratio: float | None = None
    max_z: float | None = None
    max_mismatch_share: float | None = None
    max_design_rel_l2: float | None = None

    def applies(self, variant: str, tensor: str) -> bool:
        """Both globs match; brackets in names stand for themselves."""
        return glob(self.variant, variant) and glob(self.name, tensor)


@dataclass(frozen=True, kw_only=True, slots=True)
class Deviation:
    """A departure that somebody knows of and answers for, until a day."""

    variant: str
    tensor: str = "*"
    because: str
    owner: str
    link: str
    expires: date

    def applies(self, variant: str, tensor: str) -> bool:
        """Both globs match; the expiry is the judge's business."""
        return glob(self.variant, variant) and glob(self.tensor, tensor)


def _key(default: Any, about: str) -> Any:
    return field(default=default, metadata={"about": about})


# The calibration of the defaults is told in docs/error-model.md, "The limits".
@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """The thresholds of a gate. Ratios are in floor units: PyTorch's own float32 rounding is 1."""

    max_floor_ratio: float = _key(
        5.0, "An output fails when its rms error is more than this many times PyTorch's own rounding."
    )
    max_floor_ratio_layer: float = _key(
        5.0, "The same for a layer."
    )
    max_peak_ratio: float = _key(
        15.0, "The same for the largest single error: it catches one wrong element that the rms drowns."
    )
    max_z: float = _key(
        5.0, "What correct float32 arithmetic may be off is one sigma; a departure exceeds this many of them, too."
    )
    max_mismatch_share: float = _key(
        1e-4, "Share of an integer or boolean tensor's elements that may differ, beyond PyTorch's own ties."
    )
    max_code_share: float = _key(
        0.01, "Share of an 8-bit tensor's codes that may differ by 1: a quantised value next to a rounding boundary."
    )
    max_design_rel_l2: float = _key(
        1.0,
        "Relative L2 error that a conversion (:fp16, :bf16, :int8) may cost an output: 0.1 is an SQNR of 20 dB. "
        "Beyond 1 a constant zero would be nearer to the original; inf never fails. Of integers of a runtime's own "
        "(+hint=int8) it limits the whole error, which is not judged unless this is below 1.",
    )
    min_int8_operations: float = _key(
        0.5,
        "Of the operations that an :int8 graph has in integers, the share that the runtime must compute so: below it "
        "the variant fails, for int8 was asked for and floats were measured. 0 asks for one layer.",
    )
    layers_gate: bool = _key(
        True, "A layer that departs fails the variant, too, if what is computed from it is off as well."
    )
    require_real_inputs: bool = _key(False, "Synthetic inputs are INCONCLUSIVE (exit code 5) in place of PASS.")
    min_layer_coverage: float = _key(
        0.0, "Share of the layers that must have been compared; below it the variant is INCONCLUSIVE."
    )
    tensors: tuple[TensorRule, ...] = ()
    deviations: tuple[Deviation, ...] = ()

    def limits(self, variant: str, tensor: str, *, layer: bool = False) -> Limits:
        """The thresholds of one tensor: the policy's, then each matching `[[tensor]]` in turn."""
        limits = Limits(
            max_floor_ratio=self.max_floor_ratio_layer if layer else self.max_floor_ratio,
            max_peak_ratio=self.max_peak_ratio,
            max_z=self.max_z,
            max_mismatch_share=self.max_mismatch_share,
            max_design_rel_l2=self.max_design_rel_l2,
        )
        for rule in self.tensors:
            if rule.applies(variant, tensor):
                given = {each.name: getattr(rule, each.name) for each in fields(Limits)}
                limits = replace(limits, **{name: value for name, value in given.items() if value is not None})
        return limits


def glob(pattern: str, text: str) -> bool:
    """`*` and `?` as in a shell; brackets stand for themselves, as they do in tensor names."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def load_policy(path: Path | None) -> Policy:
    """The policy in a file; None is the default. Raises UsageError in one line for whatever is wrong with it."""
    if path is None:
        return Policy()
    where = one_line(path)
    if not os.path.isfile(path):  # unlike Path.is_file, never raises: a name may be too long
        raise UsageError(f"no policy at {where}", hint="`conform policy > conform.toml` writes the defaults")
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{where} is not UTF-8 text", hint="a policy is TOML") from None
    except OSError as err:
        raise UsageError(f"can't read {where}: {err.strerror}", hint="check its permissions") from err
    if len(content) > LARGEST_FILE:
        raise UsageError(f"{where} is larger than a megabyte", hint="a policy is a page of TOML")
    return parse_policy(text, name=where)


def parse_policy(text: str, *, name: str = "the policy") -> Policy:
    """The policy in a text. Raises UsageError."""
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as err:  # ValueError: a number of more than 4300 digits
        raise UsageError(f"{name} is not valid TOML: {one_line(err)}", hint="mind keys that stand twice") from None
    scalars = _checked(
        {key: value for key, value in table.items() if key not in ("tensor", "deviation")},
        {key: reader for key, reader in _READERS.items() if key in _SCALARS},
        extra=("tensor", "deviation"),
        place=name,
    )
    rules = tuple(
        TensorRule(**_checked(each, _RULE, required=("name", "because"), place=f"[[tensor]] {number} of {name}"))
        for number, each in enumerate(_tables(table, "tensor", name), start=1)
    )
    deviations = tuple(
        Deviation(
            **_checked(
                each, _DEVIATION, required=("variant", "because", "owner", "link", "expires"),
                place=f"[[deviation]] {number} of {name}",
            )
        )
        for number, each in enumerate(_tables(table, "deviation", name), start=1)
    )  # fmt: skip
    return Policy(**scalars, tensors=rules, deviations=deviations)


def default_toml() -> str:
    """The default policy as a commented TOML file, ready to be edited."""
    lines = ["# What conform tolerates. Every key may be left out: these are the defaults.", ""]
    for each in fields(Policy):
        if each.name in _SCALARS:
            value = str(each.default).lower() if isinstance(each.default, bool) else repr(each.default)
            lines += [f"# {each.metadata['about']}", f"{each.name} = {value}", ""]
    return "\n".join(lines) + _EXAMPLES


_EXAMPLES = """\
# Other thresholds for some tensors; both names are globs, the last match wins.
# [[tensor]]
# name = "boxes*"
# variant = "tflite*"
# because = "box coordinates are in pixels of the full image"
# max_floor_ratio = 30.0

# A failure that is known: EXPECTED in place of FAIL, until the day comes. One that no longer
# occurs is STALE and fails the run, so that the list only holds what is true.
# [[deviation]]
# variant = "openvino:auto"
# tensor = "*"
# because = "bfloat16 is accepted on this fleet until it is re-imaged"
# owner = "ada@example.org"
# link = "https://example.org/issue/12"
# expires = 2027-01-31
"""

_Reader = Callable[[Any], Any]


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("is not a number")
    if math.isnan(value):
        raise ValueError("is NaN: nothing is ever above it")
    if value < 0:
        raise ValueError("is negative")
    return float(value)


def _share(value: Any) -> float:
    number = _number(value)
    if number > 1:
        raise ValueError("is a share: from 0 to 1")
    return number


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("is not a text")
    return value


def _day(value: Any) -> date:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("is not a day like 2027-01-31") from None


_READERS: Mapping[str, _Reader] = {
    "max_floor_ratio": _number,
    "max_floor_ratio_layer": _number,
    "max_peak_ratio": _number,
    "max_z": _number,
    "max_mismatch_share": _share,
    "max_code_share": _share,
    "max_design_rel_l2": _number,
    "min_int8_operations": _share,
    "layers_gate": _flag,
    "require_real_inputs": _flag,
    "min_layer_coverage": _share,
}
_SCALARS = frozenset(_READERS)
_RULE: Mapping[str, _Reader] = {
    "name": _text, "variant": _text, "because": _text,
    **{each.name: _READERS[each.name] for each in fields(Limits)},
}  # fmt: skip
_DEVIATION: Mapping[str, _Reader] = {
    "variant": _text, "tensor": _text, "because": _text, "owner": _text, "link": _text, "expires": _day,
}  # fmt: skip


def _tables(table: Mapping[str, Any], key: str, name: str) -> list[Mapping[str, Any]]:
    found = table.get(key, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise UsageError(f"{key!r} in {name} is not a list of tables", hint=f"write [[{key}]]")
    return found


def _checked(
    given: Mapping[str, Any],
    readers: Mapping[str, _Reader],
    *,
    required: tuple[str, ...] = (),
    extra: tuple[str, ...] = (),
    place: str,
) -> dict[str, Any]:
    """The given keys, each through its reader. Raises UsageError naming the key."""
    for key in given:
        if key not in readers:
            close = difflib.get_close_matches(key, [*readers, *extra], n=1)
            hint = f"did you mean {close[0]!r}?" if close else "known: " + ", ".join([*readers, *extra])
            raise UsageError(f"{place} has no key {one_line(key)!r}", hint=hint)
    for key in required:
        if key not in given:
            raise UsageError(f"{place} lacks {key!r}", hint=f"it needs {', '.join(required)}")
    values = {}
    for key, value in given.items():
        try:
            values[key] = readers[key](value)
        except ValueError as err:
            raise UsageError(f"{key!r} in {place} {err}", hint=f"it is {one_line(repr(value), 60)}") from None
    return values
