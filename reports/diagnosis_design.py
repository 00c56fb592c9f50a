"""What a conversion costs, as a diagnosis tells it: layers, clipping against rounding, what float32 wins back."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from typing import Any

from sysnoise_conform.compare.quantised import QuantisationError
from sysnoise_conform.diagnose.design import CostlyLayer, DesignFindings, WonBack
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.printable import one_line
from sysnoise_conform.reports.summary import numbers
from sysnoise_conform.reports.wording import NOTHING, decibels, number, shorten

LAYERS = 8  # that the terminal shows


def as_json(found: DesignFindings) -> dict[str, Any]:
    """The findings as `diagnosis.json` has them."""
    return {
        "recipe": found.recipe,
        "outputs": [{"name": each.name, **_apart(each)} for each in found.outputs],
        "layers": [_layer(each) for each in found.layers],
        "before_rel_l2": found.before,
        "won_back": [_won(each) for each in found.won_back],
        "together_rel_l2": found.together,
        "keep_fp32": list(found.keep),
    }


def outputs_in_words(found: DesignFindings) -> Iterator[tuple[str, str]]:
    """Each output's cost."""
    for each in found.outputs:
        yield "design", f"{found.recipe} costs {shorten(each.name, 60)} {number(each.rel_l2)} of its values, SQNR " + (
            f"{decibels(each.sqnr_db)} dB"
        )


def layer_cells(layer: CostlyLayer, width: int) -> tuple[str, ...]:
    """Operator, tensor, introduced rel. L2, SQNR there, and the share of clipping in its own quantisation."""
    return (
        shorten(layer.op_type, 20),
        shorten(layer.tensor, width),
        number(layer.introduced.rel_l2),
        decibels(None if layer.arriving is None else layer.arriving.sqnr_db),
        clipping(layer.quantised),
    )


LAYER_HEADINGS = ("operator", "makes", "introduced", "SQNR dB there", "clipping")


def won_cells(each: WonBack, width: int) -> tuple[str, ...]:
    """Operator, node, the worst output's error without its conversion, and the gain."""
    gain = "all" if math.isinf(each.gain_db) else f"{each.gain_db:+.1f}"
    return shorten(each.op_type, 20), shorten(each.node or each.tensor, width), number(each.rel_l2), gain


WON_HEADINGS = ("operator", "node in float32", "worst output", "gain dB")


def clipping(error: QuantisationError | None) -> str:
    """`12 % (3 of 4096 elements)`."""
    if error is None or error.clip_share is None:
        return NOTHING
    return f"{100 * error.clip_share:.3g} %" + (f" ({error.clipped:,} clipped)" if error.clipped else "")


def keep_line(found: DesignFindings) -> str | None:
    """The options that leave those layers in float32, ready to paste; None where none wins anything."""
    if not found.keep or found.together is None:
        return None
    return shlex.join([part for name in found.keep for part in ("--keep-fp32", one_line(name, 1000))])


def together_in_words(found: DesignFindings) -> str:
    """What all of them win."""
    return f"the worst output loses {number(found.together)} then, in place of {number(found.before)}"


def _apart(diff: TensorDiff) -> dict[str, float | None]:
    known = numbers(diff)
    return {name: known[name] for name in ("rel_l2", "sqnr_db")}


def _layer(layer: CostlyLayer) -> dict[str, Any]:
    error = layer.quantised
    return {
        "node": layer.node,
        "op_type": layer.op_type,
        "tensor": layer.tensor,
        "introduced": _apart(layer.introduced),
        "arriving": None if layer.arriving is None else _apart(layer.arriving),
        "quantised": None if error is None else {
            "rel_l2": error.rel_l2, "clip_share": error.clip_share, "clipped": error.clipped, "of": error.n,
        },
    }  # fmt: skip


def _won(each: WonBack) -> dict[str, Any]:
    return {
        "node": each.node,
        "op_type": each.op_type,
        "tensor": each.tensor,
        "rel_l2": each.rel_l2,
        "gain_db": each.gain_db if math.isfinite(each.gain_db) else None,
    }
