"""`conform noise` on questions: real runtimes, every layout, figures worked out by hand, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pytest
from conftest import CACHE, ROOT, Conform, Done
from told_samples import EMBEDDING, GOALS, bags, bigrams, lines, log_p, piqa

from sysnoise_conform.cli import invoke
from sysnoise_conform.datasets.questions import read_questions

SCHEMA = json.loads((ROOT / "reports" / "schema" / "noise.json").read_text())


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(*next(iter(fakes.as_environment().items())))


def report(done: Done) -> dict[str, Any]:
    jsonschema = pytest.importorskip("jsonschema")
    found: dict[str, Any] = json.loads((done.out / "noise.json").read_text())
    jsonschema.validate(found, SCHEMA)
    return found


def asked(model: Path, data: Path, *more: str | Path, backends: str = "exact") -> list[str | Path]:
    base = [] if "--baseline" in more else ["--baseline", "exact"]
    noise = [] if "-x" in more else ["-x", "precision=fp16"]
    return ["noise", "-m", model, "-d", data, "-b", backends, *noise, "--combine", "none", "--out", "out", *base, *more]


def by_hand(place: Path, *, by_length: bool) -> float:
    """The share of questions whose right option is the likeliest, in points."""
    right = []
    for each in read_questions(place).questions:
        scores = [log_p(o.context, o.text) / (o.length if by_length else 1) for o in each.options]
        right.append(int(np.argmax(scores)) in each.right)
    return 100 * float(np.mean(right))


def test_a_causal_model_chooses_on_two_real_runtimes(conform: Conform, tmp_path: Path) -> None:
    data = piqa(tmp_path / "valid.jsonl")
    model = bigrams(tmp_path / "lm.onnx")

    done = conform(*asked(model, data, "--baseline", "ort", "--margin", "90", backends="ort,openvino:fp32,ort:fp16"))

    found = report(done)
    wanted = by_hand(data, by_length=True)
    assert 0 < wanted < 100
    assert (found["metric"], found["noun"], found["unit"], found["data"]) == ("acc_norm", "question", "points", "PIQA")
    assert found["baseline"]["acc_norm"] == pytest.approx(wanted, abs=1e-4)
    assert found["baseline"]["acc"] == pytest.approx(by_hand(data, by_length=False), abs=1e-4)
    cells = {(each["axis"], each["backend"]): each for each in found["cells"]}
    assert cells["control", "ort"]["delta"] == 0
    assert cells["backend", "openvino:fp32"]["value"] == pytest.approx(wanted, abs=1e-4)
    # fp16 by the axis and by the backend's name are one and the same graph, and not the float32 one.
    assert cells["precision", "ort"]["others"]["log_p"] == cells["backend", "ort:fp16"]["others"]["log_p"]
    assert cells["precision", "ort"]["others"]["log_p"] != found["baseline"]["log_p"]
    assert ("precision", "ort:fp16") not in cells
    assert found["plan"]["decodes"] == 0
    assert "6 questions" in done.stdout


def test_every_layout(conform: Conform, tmp_path: Path) -> None:
    model = bigrams(tmp_path / "lm.onnx")
    hellaswag = lines(tmp_path / "h.jsonl", *(
        {"activity_label": "At home", "ctx_a": f"He wants {goal}.", "ctx_b": "he",
         "endings": ["sits down.", "opens it.", "calls a friend.", goal], "label": at % 4}
        for at, goal in enumerate(GOALS)
    ))  # fmt: skip
    winogrande = lines(tmp_path / "w.jsonl", *(
        {"sentence": f"It is hard {goal} when _ is cold.", "option1": "one", "option2": "water", "answer": "12"[at % 2]}
        for at, goal in enumerate(GOALS)
    ))  # fmt: skip
    for data, layout in ((hellaswag, "HellaSwag"), (winogrande, "WinoGrande")):
        found = report(conform(*asked(model, data)))
        assert (found["data"], found["samples"]) == (layout, 6)
        assert found["baseline"]["acc_norm"] == pytest.approx(by_hand(data, by_length=True), abs=1e-4)


def test_the_last_word_of_a_passage(conform: Conform, tmp_path: Path) -> None:
    """A word counts where each of its bytes is the likeliest behind those before it, as greedy decoding has it."""
    best = (EMBEDDING.astype(np.float64) @ np.load(_head(tmp_path)).astype(np.float64)).argmax(1)
    # A chain that the model itself tells: of letters alone, behind a space.
    word, at = "", ord(" ")
    while len(word) < 1 or (best[at] < 128 and chr(best[at]).isalnum() and len(word) < 3):
        at = int(best[at])
        if not (at < 128 and chr(at).isalnum()):
            break
        word += chr(at)
    rows = [{"text": "one two three"}, {"text": "four five six"}, *([{"text": f"x {word}"}] if word else [])]
    data = lines(tmp_path / "l.jsonl", *rows)

    found = report(conform(*asked(bigrams(tmp_path / "lm.onnx"), data)))

    told = []
    for each in read_questions(data).questions:
        whole = (each.options[0].context + each.options[0].text).encode()
        begin = len(each.options[0].context.encode())
        told.append(all(best[whole[at - 1]] == whole[at] for at in range(begin, len(whole))))
    mean = np.mean([log_p(each.options[0].context, each.options[0].text) for each in read_questions(data).questions])
    assert (found["metric"], found["data"]) == ("acc", "LAMBADA")
    assert found["baseline"]["acc"] == pytest.approx(100 * np.mean(told), abs=1e-4)
    assert found["baseline"]["perplexity"] == pytest.approx(np.exp(-mean), rel=1e-4)


def _head(folder: Path) -> Path:
    from told_samples import HEAD

    np.save(folder / "head.npy", HEAD)
    return folder / "head.npy"


def test_an_embedding_chooses_by_likeness(conform: Conform, tmp_path: Path) -> None:
    data = tmp_path / "task.json"
    options = ("a jar is opened", "an egg is boiled", "cats wake up")
    data.write_text(json.dumps({"examples": [
        {"input": goal, "target_scores": {each: int(at % 3 == place) for place, each in enumerate(options)}}
        for at, goal in enumerate(GOALS)
    ]}))  # fmt: skip

    found = report(conform(*asked(bags(tmp_path / "bag.onnx"), data, "--task", "choose")))

    def vector(text: str) -> np.ndarray:
        mean = EMBEDDING[list(text.encode())].astype(np.float64).mean(0)
        return mean / np.linalg.norm(mean)

    right = [
        int(np.argmax([vector(goal) @ vector(each) for each in options])) == at % 3 for at, goal in enumerate(GOALS)
    ]
    assert (found["metric"], found["data"]) == ("acc", "BIG-bench")
    assert found["baseline"]["acc"] == pytest.approx(100 * np.mean(right), abs=1e-4)
    assert found["plan"]["inferences"] == 6 * 4 * 3  # question and options; baseline, control, fp16


def test_a_journal_goes_on_and_refuses_other_questions(conform: Conform, tmp_path: Path) -> None:
    data, model = piqa(tmp_path / "valid.jsonl"), bigrams(tmp_path / "lm.onnx")
    first = report(conform(*asked(model, data)))

    again = report(conform(*asked(model, data, "--resume")))
    assert again["resumed"] == 6
    assert again["cells"] == first["cells"]

    data.write_text(data.read_text().replace("jar", "pot"))
    refused = conform(*asked(model, data, "--resume"))
    assert refused.code == 2
    assert "the journal is that of another model, data, card or version" in refused.stderr


def test_a_crash_costs_its_own_cells(conform: Conform, tmp_path: Path) -> None:
    done = conform(*asked(bigrams(tmp_path / "lm.onnx"), piqa(tmp_path / "v.jsonl"), backends="crashes,exact"))

    cells = {(each["axis"], each["backend"]): each["status"] for each in report(done)["cells"]}
    assert cells["backend", "crashes"] == "crashed"
    assert cells["precision", "exact"] == "measured"
    assert done.code == 3


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ("task = 'choose'\n", "has no [text] table"),
        ("task = 'choose'\n[text]\ntokenizer = 'words'\n", "tokenizer = words is wrong"),
        ("task = 'choose'\n[text]\ntokenizer = '../t.json'\n", "a file that lies beside the card"),
        ("task = 'choose'\n[text]\ntokenizer = 'characters'\n", "alphabet"),
        ("task = 'choose'\n[text]\ntokenizer = 'bytes'\n", "has no input 'input_ids'"),
        ("task = 'choose'\noutput = 'x'\n[text]\ntokenizer = 'bytes'\nids = 'ids'\n", "reads the output 'x'"),
        ("task = 'choose'\n[text]\ntokenizer = 'bytes'\nids = 'ids'\nlength = 9\n", "the model reads 9 tokens"),
        ("task = 'embed'\n[text]\ntokenizer = 'bytes'\nids = 'ids'\npool = 'all'\n", "is not known"),
    ],
)
def test_a_card_that_does_not_fit_is_refused_in_one_line(
    card: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = bigrams(tmp_path / "lm.onnx"), piqa(tmp_path / "v.jsonl")
    model.with_suffix(".toml").write_text(card)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONFORM_CACHE", str(CACHE))

    code = invoke([str(each) for each in asked(model, data, "--task", "choose")])

    said = capsys.readouterr()
    assert code == 2, said
    assert said.err.count("error:") == 1, said.err
    assert words in said.err
    assert not (tmp_path / "out" / "noise.json").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--labels", "x.csv"), "hold their own answers"),
        (("--gallery", "3"), "only pictures"),
        (("-x", "decoder"), "does not fit the task choose"),
        (("-x", "stft"), "does not fit the task choose"),
        (("--samples", "9"), "9 items were asked for, there are 6"),
    ],
)
def test_what_is_of_pictures_alone_is_refused(
    more: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    model, data = bigrams(tmp_path / "lm.onnx"), piqa(tmp_path / "v.jsonl")
    monkeypatch.chdir(tmp_path)

    code = invoke([str(each) for each in asked(model, data, *more)])

    assert code == 2
    assert words in capsys.readouterr().err


def test_a_question_that_can_t_be_read_is_left_out_when_asked(conform: Conform, tmp_path: Path) -> None:
    model = bigrams(tmp_path / "lm.onnx", length=64)
    data = piqa(tmp_path / "v.jsonl")
    data.write_text(data.read_text() + json.dumps(
        {"goal": "long", "sol1": "no " * 40, "sol2": "\ud800", "label": 0}
    ) + "\n")  # fmt: skip

    refused = conform(*asked(model, data))
    kept = conform(*asked(model, data, "--on-bad", "skip"))

    assert refused.code == 2
    assert "v.jsonl:7" in refused.stderr
    found = report(kept)
    assert found["samples"] == 6
    assert found["problems"][0]["name"] == "v.jsonl:7"


@pytest.mark.data
def test_minilm_is_what_its_tokenizer_and_runtime_give_by_themselves(
    conform: Conform, real_model, test_data: Path
) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = real_model("all-minilm-l6-v2")
    place = test_data / "bigbench" / "similarities_abstraction"

    done = conform(*asked(
        model, place, "--task", "choose", "--baseline", "ort", "--samples", "19", backends="ort"
    ))  # fmt: skip

    tokenizer = tokenizers.Tokenizer.from_file(str(model.with_name("all-minilm-l6-v2.tokenizer.json")))
    tokenizer.enable_truncation(64)
    tokenizer.enable_padding(length=64)
    session = onnxruntime.InferenceSession(str(model))

    def vector(text: str) -> np.ndarray:
        encoded = tokenizer.encode(text)
        feed = {"input_ids": [encoded.ids], "attention_mask": [encoded.attention_mask]}
        return session.run(None, {name: np.array(each) for name, each in feed.items()})[0][0]

    right = []
    for row in json.loads((place / "task.json").read_text())["examples"][::4]:
        options = row["target_scores"]
        best = int(np.argmax([vector(each) @ vector(row["input"]) for each in options]))
        right.append(list(options.values())[best] == max(options.values()))
    found = report(done)
    assert found["samples"] == len(right) == 19
    assert found["baseline"]["acc"] == pytest.approx(100 * np.mean(right), abs=1e-4)
    assert found["cells"][1]["others"]["cosine_moved"] < 0.01
