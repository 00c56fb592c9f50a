from __future__ import annotations

import io
from pathlib import Path

import polars as pl
import pytest
from report_samples import HOSTILE, every_outcome, hostile, nothing, odd

from sysnoise_conform.errors import StorageError
from sysnoise_conform.reports.parquet import COLUMNS, frame, write

ODD = odd()


def test_there_is_one_row_per_variant_and_layer() -> None:
    layers = frame(every_outcome(120)[0]).filter(pl.col("role") == "layer")
    assert layers.group_by("variant").len().sort("variant").rows() == [("openvino:auto", 120), ("ort", 120)]
    assert layers.filter(pl.col("variant") == "ort")["index"].to_list() == list(range(120))


def test_a_layer_that_was_not_observable_has_a_row_that_says_why() -> None:
    hidden = frame(every_outcome()[0]).filter(~pl.col("observable"))
    assert set(hidden["why"]) == {"fused into the Conv before it"}
    assert hidden["rel_l2"].null_count() == len(hidden)


def test_a_row_names_node_and_operator() -> None:
    row = frame(every_outcome()[0]).filter((pl.col("role") == "layer") & (pl.col("index") == 5)).row(0, named=True)
    assert (row["node"], row["op_type"]) == ("Resize_5", "Resize")


@pytest.mark.parametrize("kind", ODD)
def test_odd_reports_have_the_same_columns_and_types(kind: str) -> None:
    found = frame(ODD[kind][0])
    assert found.schema == frame(every_outcome()[0]).schema
    assert found.columns == list(COLUMNS)


def test_no_number_is_nan() -> None:
    for report, _ in ODD.values():
        numbers = frame(report).select(pl.selectors.float())
        assert not any(column.is_nan().any() or column.is_infinite().any() for column in numbers.drop("floor_rms"))


def test_hostile_names_come_back_as_they_are(tmp_path: Path) -> None:
    write(hostile()[0], tmp_path / "layers.parquet")
    found = pl.read_parquet(tmp_path / "layers.parquet").filter(pl.col("role") == "layer")
    assert set(HOSTILE.values()) - {HOSTILE["nonchar"]} <= set(found["tensor"])


def test_a_run_of_nothing_is_an_empty_table(tmp_path: Path) -> None:
    write(nothing()[0], tmp_path / "layers.parquet")
    assert pl.read_parquet(io.BytesIO((tmp_path / "layers.parquet").read_bytes())).is_empty()


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        write(nothing()[0], tmp_path / "no" / "layers.parquet")
