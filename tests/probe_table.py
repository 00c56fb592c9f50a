"""The tables of docs/probe.md, from what `conform probe --out FILE` wrote: `python tests/probe_table.py *.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_WORDS = {"shape": "shape", "type": "type", "nan or infinity": "NaN", "unsteady": "unsteady", "no error": "no error"}


def cell(found: dict[str, Any]) -> str:
    """One result in a word or a number."""
    match found["result"]:
        case "agrees":
            return ""
        case "deviates":
            off = found["max_abs"]
            number = "other" if off is None else f"{off:.3g}"
            return _WORDS.get(found["shows"]) or (f"({number})" if found["shows"] == "small" else number)
        case "unsupported":
            return "refuses"
        case _:
            return "**crashes**"


def tables(targets: list[dict[str, Any]]) -> list[str]:
    """What came out how often, then each case that does not agree everywhere."""
    lines = ["| target | agree | deviate | unsupported | crash |", "|---|---:|---:|---:|---:|"]
    for each in targets:
        numbers = " | ".join(str(number) for number in each["counts"].values())
        lines.append(f"| `{each['variant']}`, {each['runtime']} {each['version'].partition('-')[0]} | {numbers} |")
    lines += ["", f"| operator | attributes | {' | '.join(each['variant'] for each in targets)} |"]
    lines.append(f"|---|---|{'---|' * len(targets)}")
    before, told = "", set()
    for row in zip(*(each["cases"] for each in targets), strict=True):
        cells, case = [cell(each) for each in row], row[0]
        key = (case["op_type"], case["about"], *cells)
        if any(cells) and key not in told:
            operator = case["op_type"] if case["op_type"] != before else ""
            lines.append(f"| {operator} | {case['about']} | {' | '.join(cells)} |")
            before = case["op_type"]
            told.add(key)
    return lines


if __name__ == "__main__":
    print("\n".join(tables([json.loads(Path(each).read_text()) for each in sys.argv[1:]])))
