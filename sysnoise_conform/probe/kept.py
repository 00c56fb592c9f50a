"""Results under the cache: one file for each runtime version, variant, host and state of the corpus.

Measured anew they replace what was there, case by case. A file that is damaged, or another's, is none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sysnoise_conform.errors import ConformError, StorageError
from sysnoise_conform.files import read_regular
from sysnoise_conform.probe.corpus import corpus_sha256
from sysnoise_conform.probe.place import folder
from sysnoise_conform.probe.relations import Relation
from sysnoise_conform.probe.result import Result, as_fields, from_fields
from sysnoise_conform.report.folder import atomic_write, storage_errors
from sysnoise_conform.runner import provenance

SCHEMA = "conform.probe/1"
_LARGEST = 1 << 24  # bytes of a file; the whole corpus takes 100 kB


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """What results hold for."""

    runtime: str
    version: str
    variant: str

    def fields(self) -> dict[str, Any]:
        """The key with the host and the corpus, as they are now."""
        name, flags = provenance.processor()
        return {
            "runtime": self.runtime, "version": self.version, "variant": self.variant, "cpu": name,
            "cpu_flags": list(flags), "corpus": corpus_sha256(),
        }  # fmt: skip

    def path(self) -> Path:
        """The file of this key, whether it is there or not."""
        digest = hashlib.sha256(json.dumps(self.fields(), sort_keys=True).encode()).hexdigest()
        return folder() / f"{digest}.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """Results by the case's name, relations, and the day when they were last added to."""

    results: Mapping[str, Result]
    relations: tuple[Relation, ...]
    measured: str


def read(key: Key) -> Kept | None:
    """What was measured for `key`; None where nothing was, and where the file can't be believed."""
    try:
        content = read_regular(key.path(), what="the stored probe", error=StorageError, limit=_LARGEST)
        return _kept(json.loads(content), key)
    except (ConformError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _kept(stored: Any, key: Key) -> Kept:
    if stored["schema"] != SCHEMA or stored["key"] != key.fields():
        raise ValueError("another's results")
    return Kept(
        results={str(name): from_fields(each) for name, each in stored["results"].items()},
        relations=tuple(
            Relation(
                net=str(each["net"]), name=str(each["name"]), exact=bool(each["exact"]), choice=bool(each["choice"]),
                result=from_fields(each["result"]),
            )
            for each in stored["relations"]
        ),
        measured=str(stored["measured"]),
    )  # fmt: skip


def keep(key: Key, results: Mapping[str, Result], relations: tuple[Relation, ...]) -> Path:
    """Add to what is there, or replace it, case by case; the file. Raises StorageError."""
    before = read(key)
    path = key.path()
    whole = {**(before.results if before else {}), **results}
    content = {
        "schema": SCHEMA,
        "key": key.fields(),
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "results": {name: as_fields(each) for name, each in sorted(whole.items())},
        "relations": [relation_fields(each) for each in relations or (before.relations if before else ())],
    }
    try:
        with storage_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
    except StorageError as err:
        raise StorageError(
            f"the results can't be kept: {err.message}", hint="name another folder with CONFORM_CACHE"
        ) from err
    return path


def relation_fields(relation: Relation) -> dict[str, Any]:
    """A relation as JSON."""
    return {
        "net": relation.net, "name": relation.name, "exact": relation.exact, "choice": relation.choice,
        "result": as_fields(relation.result),
    }  # fmt: skip
