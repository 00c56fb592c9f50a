"""Stored results: kept by runtime, version, variant, host and corpus, added to, and not believed when damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sysnoise_conform.probe import kept
from sysnoise_conform.probe.kept import Key
from sysnoise_conform.probe.place import any_kept
from sysnoise_conform.probe.relations import Relation
from sysnoise_conform.probe.result import Agrees, Deviates, Shows

KEY = Key(runtime="Runtime", version="1.0", variant="mine")
WRONG = Deviates(shows=Shows.VALUES, max_abs=2.5)
HOLDS = Relation(net="attention", name="run twice", exact=True, result=Agrees())


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONFORM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_was_kept_is_read_again() -> None:
    assert not any_kept()
    assert kept.read(KEY) is None

    kept.keep(KEY, {"relu-nan": WRONG}, (HOLDS,))

    found = kept.read(KEY)
    assert any_kept()
    assert found is not None
    assert (dict(found.results), found.relations) == ({"relu-nan": WRONG}, (HOLDS,))


def test_a_part_that_is_measured_again_leaves_the_rest() -> None:
    kept.keep(KEY, {"relu-nan": WRONG, "max-nan": WRONG}, (HOLDS,))
    kept.keep(KEY, {"relu-nan": Agrees()}, ())

    found = kept.read(KEY)
    assert found is not None
    assert (dict(found.results), found.relations) == ({"relu-nan": Agrees(), "max-nan": WRONG}, (HOLDS,))


def test_another_version_variant_host_or_corpus_has_results_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    kept.keep(KEY, {"relu-nan": WRONG}, ())

    assert kept.read(Key(runtime="Runtime", version="1.1", variant="mine")) is None
    assert kept.read(Key(runtime="Runtime", version="1.0", variant="mine:auto")) is None
    monkeypatch.setattr(kept, "corpus_sha256", lambda: "another")
    assert kept.read(KEY) is None
    monkeypatch.undo()
    monkeypatch.setattr(kept.provenance, "processor", lambda: ("another", ("avx",)))
    assert kept.read(KEY) is None


def _as_another(text: str) -> str:
    content: dict[str, Any] = json.loads(text)
    content["key"]["version"] = "2.0"
    return json.dumps(content)


@pytest.mark.parametrize(
    "damage",
    [lambda text: text[:-20], lambda _: "", lambda _: "[]", lambda _: "\0" * 50, lambda text: text.replace("2.5", "[]"),
     lambda text: text.replace('"deviates"', '"splendid"'), lambda text: text.replace('"results"', '"rsults"'),
     _as_another, lambda _: "[" * 5000],
)  # fmt: skip
def test_a_damaged_file_is_none_and_is_replaced(damage: Any) -> None:
    path = kept.keep(KEY, {"relu-nan": WRONG}, ())
    path.write_text(damage(path.read_text()))

    assert kept.read(KEY) is None
    kept.keep(KEY, {"max-nan": WRONG}, ())
    found = kept.read(KEY)
    assert found is not None
    assert dict(found.results) == {"max-nan": WRONG}


def test_a_folder_in_its_place_is_none() -> None:
    KEY.path().mkdir(parents=True)

    assert kept.read(KEY) is None
