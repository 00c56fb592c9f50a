"""`noise.csv` and `noise.parquet`: one row for each cell, for whoever wants to ask their own questions."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from sysnoise_conform.matrix.facts import Matrix
from sysnoise_conform.reports.noise_json import as_json

if TYPE_CHECKING:
    import polars as pl

_TEXT, _COUNT, _NUMBER = "text", "count", "number"
# As in noise.json; the two ends of `ci` are columns of their own, and so is every other figure of the task.
COLUMNS = {
    "backend": _TEXT,
    "axis": _TEXT,
    "level": _TEXT,
    "status": _TEXT,
    "verdict": _TEXT,
    "value": _NUMBER,
    "delta": _NUMBER,
    "ci_low": _NUMBER,
    "ci_high": _NUMBER,
    "flips_lost": _COUNT,
    "flips_won": _COUNT,
    "changed": _COUNT,
    "p": _NUMBER,
    "p_holm": _NUMBER,
    "samples": _COUNT,
    "images_to_decide": _COUNT,
    "reason": _TEXT,
}


def frame(found: Matrix) -> pl.DataFrame:
    """Every cell, those without a figure too; a task's further figures follow, by name."""
    import polars as pl

    types = {_TEXT: pl.String(), _COUNT: pl.Int64(), _NUMBER: pl.Float64()}
    rows = [_row(each) for each in as_json(found)["cells"]]
    others = dict.fromkeys(name for row in rows for name in row if name not in COLUMNS)
    kinds = COLUMNS | dict.fromkeys(others, _NUMBER)
    return pl.DataFrame(
        {name: [row.get(name) for row in rows] for name in kinds},
        schema={name: types[kind] for name, kind in kinds.items()},
    )


def csv(found: Matrix) -> str:
    """Comma-separated, with a head; a cell without a value is empty."""
    return frame(found).write_csv()


def parquet(found: Matrix) -> bytes:
    """The same table with its types."""
    stream = io.BytesIO()
    frame(found).write_parquet(stream, compression="zstd", statistics=True)
    return stream.getvalue()


def _row(cell: dict[str, Any]) -> dict[str, Any]:
    low, high = cell["ci"] or (None, None)
    own = {name: cell.get(name) for name in COLUMNS if name not in ("ci_low", "ci_high")}
    others = {name: value for name, value in cell.get("others", {}).items() if name not in COLUMNS}
    found = own | {"ci_low": low, "ci_high": high} | others
    # A backend's words may hold lone surrogates, which UTF-8 has not.
    return {
        name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for name, value in found.items()
    }
