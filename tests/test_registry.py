"""Names become backends; a mistyped name, device or option is told with what was meant."""

from __future__ import annotations

from pathlib import Path

import fakes
import pytest

from sysnoise_conform import registry
from sysnoise_conform.errors import UsageError
from sysnoise_conform.variant import parse_variant


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in fakes.as_environment().items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("name", registry.BUILTIN)
def test_every_built_in_backend_loads_and_bears_its_name(name: str) -> None:
    assert registry.load(name).name == name


def test_a_mistyped_name_is_told_what_it_may_have_meant() -> None:
    with pytest.raises(UsageError, match=r"no backend is called 'opnvino'; did you mean 'openvino'\?"):
        registry.load("opnvino")


def test_the_environment_adds_backends_after_our_own(known: None) -> None:
    assert registry.names()[: len(registry.BUILTIN)] == tuple(registry.BUILTIN)
    assert set(fakes.BACKENDS) < set(registry.names())
    assert registry.load("exact").capabilities.about == "a fake for tests"


def test_a_file_is_loaded_once(known: None) -> None:
    assert registry.load("exact") is registry.load("exact")
    assert registry.load("exact").__module__ == registry.load("scaled").__module__


def test_a_relative_file_is_made_absolute_for_a_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONFORM_BACKENDS", " mine=sub/mine.py:Mine , other=package.module:Other,")

    assert registry.absolute_environment() == f"mine={tmp_path}/sub/mine.py:Mine,other=package.module:Other"


def test_without_the_variable_nothing_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONFORM_BACKENDS", raising=False)

    assert registry.absolute_environment() is None
    assert set(registry.BUILTIN) <= set(registry.names())


@pytest.mark.parametrize("text", ["mine", "mine=", "mine=file.py", "mine=:Class", "mine=file.py:no class", "ort=a:B"])
def test_a_malformed_variable_is_told_by_its_name(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORM_BACKENDS", text)

    with pytest.raises(UsageError, match="CONFORM_BACKENDS"):
        registry.names()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (None, "there is no file"),
        ("class Other: ...\n", "AttributeError"),
        ("raise RuntimeError('a\\nb')\n", "RuntimeError: a b"),
        ("import a_runtime_that_is_not_here\n", "ModuleNotFoundError"),
        ("class Mine:\n    name = 'mine'\n", "lacks capabilities, probe, compile"),
    ],
)
def test_a_backend_that_does_not_load_says_why(
    source: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source is not None:
        (tmp_path / "mine.py").write_text(source)
    monkeypatch.setenv("CONFORM_BACKENDS", f"mine={tmp_path}/mine.py:Mine")

    with pytest.raises(UsageError, match=said):
        registry.load("mine")


@pytest.mark.parametrize(
    "text",
    [
        "exact",
        "exact:auto",
        "exact@cpu",
        "exact@CPU",
        "exact+at=run",
        "exact+threads=2",
        "exact+python=/usr/bin/python3",
    ],
)
def test_what_a_backend_offers_can_be_asked(text: str, known: None) -> None:
    registry.check(parse_variant(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exakt", "did you mean 'exact'"),
        ("exact@tpu", "exact has no device 'tpu'; did you mean 'cpu'"),
        ("exact+att=run", "exact has no option 'att'; did you mean 'at'"),
        ("exact+at=runn", "'runn' is no value for exact.at; did you mean 'run'"),
        ("exact+threads=0", "no number of threads"),
        ("exact+threads=two", "no number of threads"),
    ],
)
def test_what_a_backend_does_not_offer_is_refused_with_a_hint(text: str, said: str, known: None) -> None:
    with pytest.raises(UsageError, match=said):
        registry.check(parse_variant(text))
