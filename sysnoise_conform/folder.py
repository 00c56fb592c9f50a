"""The folder of a report: whole files or none, nothing left of a former run, nothing of a stranger's touched."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sysnoise_conform.errors import StorageError, UsageError
from sysnoise_conform.printable import one_line

REPORT = "report.jsonl"
SUMMARY = "summary.json"
LAYERS = "layers.parquet"
LOGS = "logs"
# In the order in which a new run removes them: the verdict first, and the file that says
# that the others are conform's own last.
FILES = (SUMMARY, "report.html", "report.md", "junit.xml", LAYERS, REPORT)
_LOG = re.compile(r"(\d\d-[A-Za-z0-9_-]+|golden|module)\.txt")


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the system's refusal to read or write into a StorageError of one line."""
    try:
        yield
    except OSError as err:
        what = err.strerror or type(err).__name__
        raise StorageError(f"can't use {one_line(path)}: {what}", hint="free space, or choose another --out") from err


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write a whole file: it appears under its name complete and on disk, or not at all. Raises StorageError."""
    temporary = path.with_name(f".{path.name}.tmp")
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with storage_errors(path):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def clear(folder: Path) -> None:
    """Make the folder if need be and remove the files that a former run wrote there, and only those.

    Raises UsageError when a file of such a name lies there without a report beside it that says
    whose it is, StorageError when the system refuses.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        present = [name for name in FILES if os.path.lexists(folder / name)]
        if present and not _is_report(folder / REPORT):
            raise UsageError(
                f"{one_line(folder)} holds a {present[0]} that no run of conform left there",
                hint="choose another --out, or move it away",
            )
        (folder / f".{REPORT}.tmp").unlink(missing_ok=True)
        if not present:
            return
        for name in FILES[:-1]:
            for each in (name, f".{name}.tmp", f"{name}.tmp"):
                (folder / each).unlink(missing_ok=True)
        if (folder / LOGS).is_dir() and not (folder / LOGS).is_symlink():
            for log in (folder / LOGS).iterdir():
                if _LOG.fullmatch(log.name):
                    log.unlink()
        (folder / REPORT).unlink()


def _is_report(path: Path) -> bool:
    """The file is conform's own report, also one that was cut short: its first line says so."""
    if not path.is_file() or path.is_symlink():
        return False
    with path.open("rb") as file:
        line = file.readline(1 << 26)
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(header, dict) and str(header.get("schema", "")).startswith("conform.report/")
