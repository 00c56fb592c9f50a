"""Whatever is done to a model file, intake opens it or says in one line why not, and so does the golden behind it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from bounded import OutOfTimeError, bounded, fuzz
from hypothesis import given
from hypothesis import strategies as st
from onnx_mutations import broken_bytes, broken_fields, models, odd_models

from sysnoise_conform.errors import BadInput, BadModel, ConformError, UnsupportedOperator
from sysnoise_conform.graph.intake import Model, open_model
from sysnoise_conform.inputs import load_samples

FEW_SECONDS, ROOM = 10, 3 << 30
SEEDS = models() + odd_models()

a_seed = st.integers(0, 1 << 60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fuzz")
    (made / "w.bin").write_bytes(bytes(16))
    return made


def opened(folder: Path, content: bytes) -> Model | None:
    """The model, or None where it is refused as it should be: one printable line, within seconds."""
    path = folder / "model.onnx"
    path.write_bytes(content)
    with bounded(seconds=FEW_SECONDS, room=ROOM):
        try:
            return open_model(path)
        except (BadModel, BadInput, UnsupportedOperator) as err:
            assert str(err).isprintable()
            assert len(str(err)) < 2000
            return None


@fuzz(1500)
@given(a_seed)
def test_bytes_that_are_no_model_are_refused_in_words(folder: Path, seed: int) -> None:
    rng = random.Random(seed)
    data, other = (rng.choice(SEEDS).SerializeToString() for _ in range(2))

    opened(folder, broken_bytes(data, other, rng))


@fuzz(1500)
@given(a_seed)
def test_fields_that_make_no_sense_are_refused_in_words(folder: Path, seed: int) -> None:
    rng = random.Random(seed)

    opened(folder, broken_fields(rng.choice(SEEDS), rng).SerializeToString())


@fuzz(1500)
@given(a_seed)
def test_what_intake_accepts_the_golden_runs_or_refuses_in_words(folder: Path, seed: int) -> None:
    from sysnoise_conform.golden.service import Recorder

    rng = random.Random(seed)
    model = opened(folder, broken_fields(rng.choice(SEEDS), rng).SerializeToString())
    if model is None:
        return
    with bounded(seconds=FEW_SECONDS, room=ROOM):
        try:
            samples = load_samples(model, inputs=None, card=None, samples=1, seed=0, shapes={})
            Recorder(model.proto, folder).record(samples.feed(0), folder / "golden")
        except ConformError as err:
            assert str(err).isprintable()
        except (MemoryError, OutOfTimeError):
            pass  # what the limits of a child are for
