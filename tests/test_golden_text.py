from __future__ import annotations

import numpy as np
import pytest
from golden_oracle import Array, assert_agrees, run

from sysnoise_conform.errors import BadModel, UnsupportedOperator


def words(*given: str) -> Array:
    return np.array(given, dtype=object)


def test_strings_are_joined_with_broadcasting() -> None:
    assert_agrees("StringConcat", {"x": words("a", "b").reshape(2, 1), "y": words("ü", "", "z")}, opset=20)


@pytest.mark.parametrize("node", [{}, {"delimiter": "-"}, {"delimiter": "-", "maxsplit": 1}, {"maxsplit": 1}])
def test_strings_are_split_as_onnxruntime_splits_them(node: dict[str, object]) -> None:
    assert_agrees("StringSplit", {"x": words("a-b--c", "  x y-z  ", "plain", "-")}, opset=20, outputs=2, **node)


@pytest.mark.parametrize(
    "node",
    [{}, {"case_change_action": "UPPER", "stopwords": ["the"]}, {"is_case_sensitive": 1, "stopwords": ["The", "end"]},
     {"case_change_action": "LOWER", "stopwords": ["the", "cat", "end"], "is_case_sensitive": 1}],
)  # fmt: skip
def test_strings_are_normalised_as_onnxruntime_normalises_them(node: dict[str, object]) -> None:
    assert_agrees("StringNormalizer", {"x": words("The", "cat", "the", "End")}, opset=10, locale="C", **node)


def test_the_case_of_letters_beyond_ascii_is_refused() -> None:
    with pytest.raises(UnsupportedOperator, match="locale"):
        run("StringNormalizer", {"x": words("straße")}, opset=10, case_change_action="UPPER")


def test_a_pattern_must_match_the_whole_string() -> None:
    x = words("www.example.com", "example.com", "www.example.com\n", "www..com")
    (y,) = run("RegexFullMatch", {"x": x}, opset=20, pattern=r"www\.[\w.-]+\.\bcom\b")
    assert y.tolist() == [True, False, False, False]


@pytest.mark.parametrize("pattern", [r"(?=a)b", r"(a)\1", r"[[:alpha:]]", r"\pN", r"a++", r"\Qa", r"(?i)a"])
def test_a_pattern_that_python_reads_differently_from_re2_is_refused(pattern: str) -> None:
    with pytest.raises(UnsupportedOperator, match="RE2"):
        run("RegexFullMatch", {"x": words("a")}, opset=20, pattern=pattern)


def test_a_broken_pattern_is_bad() -> None:
    with pytest.raises(BadModel, match="pattern"):
        run("RegexFullMatch", {"x": words("a")}, opset=20, pattern="(")


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize("skips", [0, 1, 5])
@pytest.mark.parametrize("lengths", [(1, 1), (1, 2), (2, 2)])
def test_n_grams_are_counted_as_onnxruntime_counts_them(mode: str, skips: int, lengths: tuple[int, int]) -> None:
    node = {
        "mode": mode, "min_gram_length": lengths[0], "max_gram_length": lengths[1], "max_skip_count": skips,
        "ngram_counts": [0, 4], "ngram_indexes": [0, 1, 2, 3, 4, 5, 6], "weights": [2.0, 1, 3, 1, 0.5, 4, 1],
        "pool_int64s": [2, 3, 5, 4, 5, 6, 7, 8, 6, 7],
    }  # fmt: skip
    for x in (np.array([1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8]), np.array([[1, 1, 3, 3], [7, 8, 6, 7]])):
        assert_agrees("TfIdfVectorizer", {"x": x}, opset=9, **node)
