from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from modelbuild.flow.training_rows.duplicates import SIMILARITY, Duplicates, find

LONG = " ".join(f"word{number}" for number in range(60))
WORDS = st.lists(st.sampled_from([f"w{number}" for number in range(8)]), min_size=1, max_size=9)


def ngrams(words: list[str]) -> set[tuple[str, ...]]:
    """The words of a text and its pairs of words."""
    return {*((word,) for word in words), *pairwise(words)}


def similar(one: list[str], other: list[str]) -> bool:
    """Whether two texts are almost the same, by the definition."""
    first, second = ngrams(one), ngrams(other)
    return len(first & second) >= SIMILARITY * len(first | second) - 1e-9


@given(st.lists(WORDS, max_size=12), st.lists(WORDS, max_size=12))
def test_finds_what_the_definition_says(training: list[list[str]], evaluation: list[list[str]]) -> None:
    """The index leaves out no pair of texts that the similarity of all pairs finds, and adds none."""
    exact = sum(one in training for one in evaluation)
    near = sum(one not in training and any(similar(one, other) for other in training) for one in evaluation)
    texts = ([" ".join(words) for words in rows] for rows in (training, evaluation))
    assert find(*texts) == Duplicates(exact, near)


def test_case_punctuation_and_typography_do_not_matter() -> None:
    """Texts that a person reads as the same are almost the same, also short ones."""
    assert find(["Don't stop!", "ok"], ["don\u2019t  STOP", "\uff2f\uff2b...", "go"]) == Duplicates(0, 2)


def test_a_few_changed_words_are_almost_the_same() -> None:
    """A long text with three other words is found; with twenty others it is another text."""
    few = LONG.replace("word7 ", "other ").replace("word30 ", "more ") + " end"
    many = " ".join(f"new{number}" if number % 3 == 0 else f"word{number}" for number in range(60))
    assert find([LONG], [few, many]) == Duplicates(0, 1)


def test_texts_without_words_are_almost_nothing() -> None:
    """Signs alone are the same as the same signs only."""
    assert find(["!!", ""], ["??", "!!", " "]) == Duplicates(1, 0)


def test_other_inputs_are_compared_as_json() -> None:
    """Records are the same if their values are, in any order; nothing is said of similar ones."""
    training: list[JsonValue] = [{"area": 50.0, "rooms": 2.0}, [1.0, 2.0]]
    evaluation: list[JsonValue] = [{"rooms": 2.0, "area": 50.0}, {"area": 50.1, "rooms": 2.0}, [2.0, 1.0]]
    assert find(training, evaluation) == Duplicates(1, None)


def test_a_text_is_not_the_json_of_another_input() -> None:
    """An input that is a text is never the same as one that is a number."""
    assert find([1, 2], ["1"]) == Duplicates(0, None)


def test_nothing_has_no_duplicates() -> None:
    """Without rows on one side there is nothing to find."""
    assert find([], ["a"]) == find(["a"], []) == Duplicates(0, 0)


def test_many_texts_with_the_same_words_end() -> None:
    """Thousands of texts that have all n-grams in common are compared in bounded time and memory."""
    training = [f"{'the same words ' * 20}{number}" for number in range(5_000)]
    evaluation = [f"{'the same words ' * 20}{number}x" for number in range(5_000)]
    found = find(training, evaluation)
    assert found.exact == 0
    assert found.near is not None
