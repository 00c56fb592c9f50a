"""The folder of a report: whole files or none, nothing left of a former run, nothing of a stranger's touched."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sysnoise_conform.errors import StorageError, UsageError
from sysnoise_conform.printable import one_line

REPORT = "report.jsonl"
SUMMARY = "summary.json"
LAYERS = "layers.parquet"
LOGS = "logs"
# In the order in which a new run removes them: the verdict first, and the file that says
# that the others are conform's own last.
FILES = (SUMMARY, "report.html", "report.md", "junit.xml", LAYERS, REPORT)

DIAGNOSIS = "diagnosis.json"
DIAGNOSIS_PAGE = "diagnosis.html"
INTRODUCED, CUMULATIVE = "introduced-error.json", "cumulative-error.json"
DIAGNOSIS_FILES = (DIAGNOSIS, DIAGNOSIS_PAGE, INTRODUCED, CUMULATIVE)
# Says that the files of a diagnosis are conform's own, also of one that was interrupted.
_DIAGNOSIS_MARK = ".conform-diagnosis"
_DIAGNOSIS_WORDS = "The diagnosis in this folder was written by conform, which removes it when it writes another.\n"
NOISE = "noise.json"
NOISE_PAGE, NOISE_TEXT, NOISE_TABLE, NOISE_CELLS = "noise.html", "noise.md", "noise.csv", "noise.parquet"
NOISE_FILES = (NOISE, NOISE_PAGE, NOISE_TEXT, NOISE_TABLE, NOISE_CELLS)
JOURNAL = "journal.sqlite"
JOURNAL_FILES = (JOURNAL, f"{JOURNAL}-wal", f"{JOURNAL}-shm", f"{JOURNAL}-journal")
_NOISE_MARK = ".conform-noise"
_NOISE_WORDS = "The matrix of noises in this folder was written by conform, which removes it when it writes another.\n"
# A reproducer: its folder and what lies in it.
_REPRODUCER = re.compile(r"culprit-[0-9]+-[a-z0-9]+")
REPRODUCER_FILES = ("repro.py", "README.md", "model.onnx", "model.tflite", "model.mnn", "inputs.npz", "expected.npz")

_HINTS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space, or choose another --out"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "see who may write there (ls -ld), or choose another --out"),
    errno.EROFS: "its file system can only be read: choose another --out",
    errno.ENOENT: "the folder is not there, or went away meanwhile: make it, or choose another --out",
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), "a part of its path is a file, not a folder: choose another --out"),
    errno.ENAMETOOLONG: "choose a shorter --out",
}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the system's refusal to read or write into a StorageError of one line."""
    try:
        yield
    except OSError as err:
        what = err.strerror or type(err).__name__
        hint = _HINTS.get(err.errno or 0, "choose another --out")
        raise StorageError(f"can't use {one_line(path)}: {what}", hint=hint) from err


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
        header = _header(folder / REPORT)
        if present and header is None:
            raise UsageError(
                f"{one_line(folder)} holds a {present[0]} that no run of conform left there",
                hint="choose another --out, or move it away",
            )
        (folder / f".{REPORT}.tmp").unlink(missing_ok=True)
        if header is None:
            return
        for name in FILES[:-1]:
            for each in (name, f".{name}.tmp", f"{name}.tmp"):
                (folder / each).unlink(missing_ok=True)
        _clear_logs(folder / LOGS, header)
        (folder / REPORT).unlink()


def is_diagnosis(folder: Path) -> bool:
    """A diagnosis was begun here, and whatever has the name of one of its files is conform's."""
    return (folder / _DIAGNOSIS_MARK).is_file()


def begin_diagnosis(folder: Path) -> None:
    """Make the folder if need be, remove the files of a former diagnosis and mark it as one's place. As `clear`.

    A report beside it stays. Of a reproducer only the files that conform writes are removed, and its folder once
    it is empty.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        present = [name for name in DIAGNOSIS_FILES if os.path.lexists(folder / name)]
        reproducers = [each for each in folder.iterdir() if _REPRODUCER.fullmatch(each.name)]
        if not is_diagnosis(folder) and (present or reproducers):
            name = present[0] if present else reproducers[0].name
            raise UsageError(
                f"{one_line(folder)} holds a {one_line(name)} that no diagnosis of conform left there",
                hint="choose another --out, or move it away",
            )
        if present and not (folder / REPORT).exists():  # a run's logs have the same names
            _clear_diagnosis_logs(folder / LOGS, folder / DIAGNOSIS)
        for name in DIAGNOSIS_FILES:
            for each in (name, f".{name}.tmp"):
                (folder / each).unlink(missing_ok=True)
        for reproducer in reproducers:
            _clear_reproducer(reproducer)
    atomic_write(folder / _DIAGNOSIS_MARK, _DIAGNOSIS_WORDS)


def begin_noise(folder: Path, *, keep_journal: bool) -> None:
    """Make the folder if need be, remove the files of a former matrix and mark it as one's place. As `clear`.

    The journal stays where a run goes on with it.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        present = [name for name in (*NOISE_FILES, *JOURNAL_FILES) if os.path.lexists(folder / name)]
        if present and not (folder / _NOISE_MARK).is_file():
            raise UsageError(
                f"{one_line(folder)} holds a {one_line(present[0])} that no run of conform noise left there",
                hint="choose another --out, or move it away",
            )
        for name in NOISE_FILES:
            for each in (name, f".{name}.tmp"):
                (folder / each).unlink(missing_ok=True)
        if not keep_journal:
            for name in JOURNAL_FILES:
                (folder / name).unlink(missing_ok=True)
    atomic_write(folder / _NOISE_MARK, _NOISE_WORDS)


def _clear_diagnosis_logs(folder: Path, diagnosis: Path) -> None:
    """Remove the logs of the variant that a former diagnosis was of, and the golden's."""
    try:
        variant = json.loads(diagnosis.read_text(encoding="utf-8"))["variant"]
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return
    if not folder.is_dir() or folder.is_symlink():
        return
    own = re.compile(rf"(golden|reproducers|{re.escape(log_stem(str(variant)))})(-[a-z0-9]+)*\.txt")
    for log in folder.iterdir():
        if own.fullmatch(log.name):
            log.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _clear_reproducer(folder: Path) -> None:
    if not folder.is_dir() or folder.is_symlink():
        return
    for name in REPRODUCER_FILES:
        for each in (name, f".{name}.tmp"):
            (folder / each).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def log_stem(label: str) -> str:
    """What a variant's logs are called: `openvino-auto.txt`, `openvino-auto-layers-1.txt`."""
    return re.sub(r"[^A-Za-z0-9_.=]+", "-", label)[:80]


def _clear_logs(folder: Path, header: dict[str, Any]) -> None:
    """Remove the logs of the variants that the header names, the golden's, and the folder once it is empty."""
    if not folder.is_dir() or folder.is_symlink():
        return
    labels = header.get("variants")
    stems = [log_stem(str(each)) for each in (labels if isinstance(labels, list) else [])]
    own = re.compile(rf"({'|'.join(re.escape(each) for each in ['golden', *stems])})(-\d+)?(-layers-\d+)?\.txt")
    for log in folder.iterdir():
        if own.fullmatch(log.name):
            log.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _header(report: Path) -> dict[str, Any] | None:
    """The first line of conform's own report, also of one that was cut short; None for anything else."""
    if not report.is_file() or report.is_symlink():
        return None
    with report.open("rb") as file:
        line = file.readline(1 << 26)
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        return None
    own = isinstance(header, dict) and str(header.get("schema", "")).startswith("conform.report/")
    return header if own else None
