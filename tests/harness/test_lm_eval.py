"""lm-evaluation-harness's model class over a real runtime; the program itself is stood in for where it is not there."""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
import types
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from told_samples import EMBEDDING, HEAD, LM_CARD, bigrams, log_p

from sysnoise_conform.errors import BadInput, UsageError
from sysnoise_conform.harness.language import language_model

BEST = (EMBEDDING.astype(np.float64) @ HEAD.astype(np.float64)).argmax(1)


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, with lm-eval 0.4.13's own base class where it is installed."""
    if importlib.util.find_spec("lm_eval") is None:
        names = ("lm_eval", "lm_eval.api", "lm_eval.api.model", "lm_eval.api.registry")
        modules = {name: types.ModuleType(name) for name in names}

        class LM:  # as lm_eval.api.model documents it
            def __init__(self) -> None:
                self.cache_hook = SimpleNamespace(add_partial=lambda attr, req, res: None)

        modules["lm_eval.api.model"].LM = LM
        modules["lm_eval.api.registry"].register_model = lambda *names: lambda cls: cls
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.delitem(sys.modules, "sysnoise_conform.harness.lm_eval", raising=False)
    return importlib.import_module("sysnoise_conform.harness.lm_eval")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = bigrams(tmp_path / "lm.onnx")
    path.with_suffix(".toml").write_text(LM_CARD + "length = 32\nbegin = 0\n")
    return path


def asked(*args: object) -> SimpleNamespace:
    return SimpleNamespace(args=args)


def test_likelihoods_are_those_by_hand(adapter: ModuleType, model: Path) -> None:
    lm = adapter.ConformLM(model=str(model), backend="ort", batch_size=1, device="cpu")

    found = lm.loglikelihood([asked("The sky is", " blue"), asked("a" * 90 + "b", "c"), asked("", "x")])
    (whole,) = lm.loglikelihood_rolling([asked("a text of more tokens than are read at once" * 2)])
    lm.close()

    assert [each for each, _ in found] == pytest.approx(
        [log_p("The sky is", " blue"), log_p("b", "c"), log_p("\0", "x")], rel=1e-5
    )
    assert whole == pytest.approx(log_p("\0", "a text of more tokens than are read at once" * 2), rel=1e-5)


def test_the_likeliest_goes_on_until_it_is_told_to_end(adapter: ModuleType, model: Path) -> None:
    lm = adapter.ConformLM(model=str(model), backend="ort")
    chain, at = [], ord("a")
    for _ in range(6):
        at = int(BEST[at])
        chain.append(at)

    (found,) = lm.generate_until([asked("a", {"until": [], "max_gen_toks": 6})])
    stop = bytes(chain[2:3]).decode(errors="replace")
    (cut,) = lm.generate_until([asked("a", {"until": stop, "max_gen_toks": 6})])
    with pytest.raises(UsageError, match="nothing is drawn"):
        lm.generate_until([asked("a", {"do_sample": True, "temperature": 0.7})])
    lm.close()

    assert found == bytes(chain).decode(errors="replace")
    assert cut == found.split(stop)[0]


def test_a_precision_in_the_backend_s_name_converts_the_graph(model: Path) -> None:
    with language_model(model, "ort") as whole, language_model(model, "ort:fp16") as half:
        (a, _), (b, _) = whole.likelihoods([("The", " sky")])[0], half.likelihoods([("The", " sky")])[0]

    assert a != b
    assert math.isclose(a, b, rel_tol=1e-2)


@pytest.mark.parametrize(
    ("card", "backend", "words"),
    [
        ("task = 'choose'\n", "ort", "how texts become tokens"),
        (LM_CARD, "ort", "add length to the card"),
        (LM_CARD + "length = 9\n", "ort:int8", "quantise the file first"),
        (LM_CARD + "length = 9\n", "ord", "did you mean"),
    ],
)
def test_what_does_not_fit_is_refused(model: Path, card: str, backend: str, words: str) -> None:
    model.with_suffix(".toml").write_text(card)

    with pytest.raises(UsageError) as found, language_model(model, backend):
        pass

    assert words in f"{found.value} {found.value.hint}"


def test_without_a_token_that_begins_texts_a_whole_text_is_not_judged(model: Path) -> None:
    model.with_suffix(".toml").write_text(LM_CARD + "length = 9\n")

    with language_model(model, "ort") as told:
        with pytest.raises(UsageError, match="the card names none"):
            told.rolling("a text")
        with pytest.raises(BadInput, match="nothing stands before"):
            told.likelihoods([("", "x")])
