"""The record of a run: `report.jsonl`, one JSON object a line, and the folder it lies in.

    {"record": "header", "schema": "conform.report/1", ...}          what was asked, of which model, where
    {"record": "tensor", "variant": ..., "role": "outputs", "diff"}  one per tensor; roles as in `Measured`
    {"record": "outcome", "variant": ..., "outcome": "Measured"}     after the variant's tensors
    {"record": "footer", "lines": n, "sha256": ..., "check": ...}    no footer = the run did not come to its end

The footer's `sha256` is that of every byte above it, its `check` that of the footer itself, so a
single flipped bit anywhere is noticed. Keys are sorted and what is not finite is null: the same
facts give the same bytes. Names come from a model: JSON escapes them, and nothing here becomes a path.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from sysnoise_conform.errors import BadInput, TruncatedReport
from sysnoise_conform.outcome import Measured, Result, TensorDiff
from sysnoise_conform.printable import one_line
from sysnoise_conform.report.folder import REPORT, clear, storage_errors
from sysnoise_conform.report.records import Record, encode, outcome, tensor

SCHEMA = "conform.report/1"
ROLES = ("outputs", "layers", "observer_effect", "design", "total")


def elem_type_name(elem_type: int) -> str:
    """ONNX's name of an element type, as a report has it: FLOAT, INT64."""
    from onnx import TensorProto

    try:
        return str(TensorProto.DataType.Name(elem_type))
    except ValueError:
        return f"type {elem_type}"


@dataclass(frozen=True, slots=True)
class Report:
    """A run as it was written down: complete, or it can't be read."""

    header: Mapping[str, Any]
    results: tuple[Result, ...]
    footer: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read `report.jsonl`, or the folder that holds it.

        Raises BadInput when there is none, TruncatedReport when it has no end or was altered,
        StorageError when it can't be read.
        """
        file = path / REPORT if path.is_dir() else path
        if not file.is_file():
            hint = f"give a folder made by `conform run`, or its {REPORT}"
            raise BadInput(f"no report at {one_line(path)}", hint=hint)
        with storage_errors(file):
            content = file.read_bytes()
        if file.name != REPORT and b'"record":"header"' not in content.split(b"\n", 1)[0]:
            raise BadInput(
                f"{one_line(path)} is no report", hint=f"give the folder made by `conform run`, or its {REPORT}"
            )
        return cls.parse(content, name=one_line(path))

    @classmethod
    def parse(cls, content: bytes, *, name: str = "the report") -> Report:
        """The report in these bytes. Raises TruncatedReport (and BadInput for another schema)."""
        footer = _footer(content, name)
        lines = content.splitlines()[:-1]
        try:
            records = [json.loads(line) for line in lines]
            header = records[0] if records else {}
            if header.get("schema") != SCHEMA:
                raise BadInput(f"{name} has schema {header.get('schema')!r}, not {SCHEMA!r}", hint="run conform again")
            # What the golden was is known only when the run ends.
            golden = {"golden": footer["golden"]} if "golden" in footer else {}
            return cls(header={**header, **golden}, results=_in_order(_results(records[1:]), header), footer=footer)
        except (KeyError, TypeError, ValueError, AttributeError) as err:
            raise TruncatedReport(f"{name} is not a report of conform: {one_line(err)}", hint="run again") from err


class ReportWriter:
    """Writes a report as the run goes. A context manager: left without `footer`, the report stays truncated.

    Its first act is to remove the former run's files from the folder. Raises StorageError when the
    disk refuses, UsageError when the folder holds files of these names that conform did not write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        clear(folder)
        self._sha256 = hashlib.sha256()
        self._lines = 0
        self._results = 0
        self._file: BinaryIO | None = None

    def __enter__(self) -> ReportWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None:
            with storage_errors(self.folder):
                self._file.close()
            self._file = None

    def header(self, header: Mapping[str, Any]) -> None:
        """The first line. It appears at once or not at all: a folder with a report is one of conform's."""
        temporary = self.folder / f".{REPORT}.tmp"
        with storage_errors(self.folder):
            self._file = temporary.open("xb")
            self._write({**encode(header), "record": "header", "schema": SCHEMA})
            temporary.rename(self.folder / REPORT)

    def result(self, result: Result) -> None:
        """One variant: its tensors, then its outcome; on disk when this returns."""
        with storage_errors(self.folder):
            match result.outcome:
                case Measured() as measured:
                    for role in ROLES:
                        for each in getattr(measured, role):
                            line = {"record": "tensor", "variant": result.variant, "role": role, "diff": encode(each)}
                            self._write(line, flush=False)
                    bare = replace(measured, outputs=(), layers=(), observer_effect=(), design=(), total=())
                    facts = {key: value for key, value in encode(bare).items() if key not in ROLES}
                case other:
                    facts = encode(other)
            self._write({
                "record": "outcome",
                "variant": result.variant,
                "log": result.log,
                "outcome": type(result.outcome).__name__,
                "facts": facts,
            })  # fmt: skip
        self._results += 1

    def footer(self, footer: Mapping[str, Any] | None = None) -> None:
        """The last line; the report is complete and on disk when this returns."""
        body = {
            **encode(footer or {}),
            "record": "footer",
            "results": self._results,
            "lines": self._lines,
            "sha256": self._sha256.hexdigest(),
        }
        with storage_errors(self.folder):
            file = self._opened()
            file.write(_line({**body, "check": _check(body)}))
            file.flush()
            os.fsync(file.fileno())
            file.close()
        self._file = None

    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise RuntimeError("a report starts with its header")
        return self._file

    def _write(self, record: Record, *, flush: bool = True) -> None:
        line = _line(record)
        file = self._opened()
        file.write(line)
        if flush:
            file.flush()
        self._sha256.update(line)
        self._lines += 1


def _line(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, allow_nan=False, sort_keys=True, separators=(",", ":")) + "\n").encode()


def _check(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(_line(body)).hexdigest()


def _footer(content: bytes, name: str) -> Record:
    """The footer, after its own checksum and that of everything above it were found right."""
    incomplete = TruncatedReport(f"{name} has no footer: its run did not come to its end", hint="run it again")
    start = content.rfind(b"\n", 0, -1) + 1
    last = content[start:]
    try:
        footer = json.loads(last)
    except (ValueError, RecursionError):
        raise incomplete from None
    if not isinstance(footer, dict) or footer.get("record") != "footer":
        raise incomplete
    body = {key: value for key, value in footer.items() if key != "check"}
    damaged = TruncatedReport(f"{name} was altered or damaged: its checksum is wrong", hint="run it again")
    if last != _line(footer) or footer.get("check") != _check(body):
        raise damaged
    if footer.get("sha256") != hashlib.sha256(content[:start]).hexdigest():
        raise damaged
    return footer


def _in_order(results: tuple[Result, ...], header: Mapping[str, Any]) -> tuple[Result, ...]:
    """Results as they were asked for; they were written as they came."""
    asked = {text: number for number, text in enumerate(header.get("variants", ()))}
    return tuple(sorted(results, key=lambda each: asked.get(each.variant, len(asked))))


def _results(records: list[Record]) -> tuple[Result, ...]:
    results: list[Result] = []
    tensors: dict[str, dict[str, list[TensorDiff]]] = {}
    for record in records:
        variant = record["variant"]
        if record["record"] == "tensor":
            roles = tensors.setdefault(variant, {role: [] for role in ROLES})
            roles[record["role"]].append(tensor(record["diff"]))
            continue
        found = {role: tuple(each) for role, each in tensors.pop(variant, {role: [] for role in ROLES}).items()}
        results.append(
            Result(variant=variant, outcome=outcome(record["outcome"], record["facts"], found), log=record["log"])
        )
    return tuple(results)
