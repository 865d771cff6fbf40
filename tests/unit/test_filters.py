"""Filters of sweeps: what they mean, and that nothing in them is ever run."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oellm_bench.config.filters import read_filter
from oellm_bench.errors import ConfigError

VALUES = {"lr": 1, "x": 0.5, "text": "stable", "many": [1, 2], "yes": True, "no": False, "nothing": None, "a.b": 4}


def lookup(name: str) -> object:
    try:
        return VALUES[name]
    except KeyError:
        raise KeyError(name, "what there is") from None


def answer(text: str) -> bool:
    return read_filter(text, "sweep.filter").holds(lookup)


HOLDS = [
    "lr == 1",
    "lr + 1 == 2 and -lr == 0 - 1 and +lr == 1",
    "7 // 2 == 3 and 7 / 2 == 3.5 and 7 % 4 == 3 and 2 * 3 - 1 == 5",
    "0 < lr < 2",
    "text == 'stable' and text != \"decay\"",
    "text in ['stable', 'decay'] and text not in ('x',)",
    "'tab' in text",
    "lr in many and many == [1, 2] and (1, 2) == many",
    "yes and not no and yes == true and no == False",
    "nothing == null and nothing == None",
    "a.b == 4",
    "no or yes",
    "yes or gone",
    "lr == 1 and\n  x < 1",
    "  x < 1  ",
    "x < 1  # small ones",
]


@pytest.mark.parametrize("text", HOLDS)
def test_a_filter_that_holds(text):
    assert answer(text) is True
    assert answer(f"not ({text}\n)") is False


REFUSED = {
    "lr": "it gives 1, neither true nor false",
    "not lr": "'lr' is 1, neither true nor false",
    "yes and lr": "'lr' is 1, neither true nor false",
    "gone == 1": "'gone' has no value; what there is",
    "lr < text": "not supported",
    "text * 9 == 1": "'stable' is no number",
    "yes + 1 == 2": "True is no number",
    "-text == 1": "'stable' is no number",
    "lr / 0 == 1": "division by zero",
    f"1{'0' * 400} / 3 > lr": "too large",
    "lr in 5": "not iterable",
    "": "cannot be read",
    "lr == 1) or (yes": "cannot be read",
    "lr == 1] + [yes": "cannot be read",
    "lr =": "cannot be read",
    "lr == 1; yes": "cannot be read",
    "yes\x00": "cannot be read",
    f"{'not ' * 5000}yes": "cannot be read",
    "~lr == 1": "cannot stand in it",
    "lr ** lr == 1": "cannot stand in it",
    "lr << 9 == 1": "cannot stand in it",
    "many[0] == 1": "'many[0]' cannot stand in it",
    "(lr := 5) == 5": "cannot stand in it",
    "[n for n in many] == many": "cannot stand in it",
    "f'{lr}' == '1'": "cannot stand in it",
    "lr if yes else no": "cannot stand in it",
    "(lambda: yes)": "cannot stand in it",
    "{lr} == many": "cannot stand in it",
    "text.upper() == 'STABLE'": "a call ('text.upper()')",
    "__import__('os').system('true') == 0": "a call",
    "text.__class__ == lr": "'text.__class__' has no value",
}


@pytest.mark.parametrize(("text", "said"), REFUSED.items())
def test_what_is_no_filter_is_refused(text, said):
    with pytest.raises(ConfigError) as caught:
        answer(text)
    (problem,) = caught.value.problems
    assert said in str(problem) and problem.where == "sweep.filter" and problem.fix


@pytest.mark.parametrize("depth", [100, 500, 1000, 2000, 4000])
def test_a_filter_of_any_depth_has_an_answer_or_a_message(depth):
    text = f"{'1 + ' * depth}1 > 0"
    try:
        assert answer(text) is True
    except ConfigError as err:
        assert "too deeply" in str(err) or "cannot be read" in str(err)


WORDS = [*VALUES, "1", "0.5", "'a'", "and", "or", "not", "in", "is", "(", ")", "[", "]", ",", "==", "<", "+", "-", "/"]
WORDS += ["//", "%", "*", "**", "~", ".", "null", "true", ":=", "lambda", "if", "else", "for", "{", "}", "'", "\n", "#"]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join))
def test_any_text_holds_or_does_not_or_is_refused(text):
    try:
        assert answer(text) in (True, False)
    except ConfigError as err:
        assert len(err.problems) == 1
