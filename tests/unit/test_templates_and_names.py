"""Placeholders, and names made with them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oellm_bench.naming import check_name, check_template, entry_name, identity
from oellm_bench.placeholders import UnknownPlaceholder, by_key_or_suffix, expand, names_in, value_text

TEXT = st.text(st.characters(codec="utf-8"))


@given(TEXT)
def test_any_text_with_doubled_braces_expands_to_itself(text):
    doubled = text.replace("{", "{{").replace("}", "}}")
    assert expand(doubled, lambda name: None) == text


@given(TEXT)
def test_a_value_is_put_in_as_it_is(value):
    assert expand("a{x}b", {"x": value}.get) == f"a{value}b"


@pytest.mark.parametrize(
    ("template", "text"), [("{{{x}}}", "{1}"), ("{{x}}", "{x}"), ("{ x }", "1"), ("{x}{x}", "11"), ("", "")]
)
def test_braces_nest_as_in_python(template, text):
    assert expand(template, {"x": "1"}.get) == text


@pytest.mark.parametrize("template", ["{", "}", "a{b", "}{", "{x}}", "{{x}"])
def test_a_single_brace_is_refused(template):
    with pytest.raises(ValueError, match=r"single '[{}]'"):
        expand(template, {"x": "1"}.get)


@pytest.mark.parametrize("name", ["y", "x!r", "x:>3", "x.__class__", "x[0]", ""])
def test_a_placeholder_is_looked_up_and_never_evaluated(name):
    with pytest.raises(UnknownPlaceholder) as caught:
        expand(f"{{{name}}}", {"x": "1"}.get)
    assert caught.value.name == name


def test_names_are_found_in_order_without_the_doubled_ones():
    assert names_in("{a} {{b}} { c }{a}") == ("a", "c", "a")


@pytest.mark.parametrize(
    ("name", "value"), [("backend.args.n", "1"), ("n", None), ("m", "3"), ("lr", "4"), ("args.n", None)]
)
def test_a_key_is_found_whole_or_by_a_last_part_that_only_one_has(name, value):
    values = {"backend.args.n": "1", "slurm.n": "2", "backend.m": "3", "lr": "4"}
    assert by_key_or_suffix(values, list(values))(name) == value


def test_a_whole_key_goes_before_a_last_part():
    assert by_key_or_suffix({"a.n": "1", "n": "2"}, ["a.n", "n"])("n") == "2"


@pytest.mark.parametrize(
    ("value", "text"), [(None, "null"), (True, "true"), (False, "false"), (1, "1"), (1e-4, "0.0001"), ("x", "x")]
)
def test_a_value_is_spelt_as_yaml_spells_it(value, text):
    assert value_text(value) == text


@given(st.dictionaries(st.text(min_size=1), st.integers() | st.text() | st.none() | st.booleans(), max_size=4))
def test_an_identity_does_not_depend_on_the_order_of_keys(document):
    again = dict(reversed(document.items()))
    assert identity(document) == identity(again)
    assert re.fullmatch(r"[a-z2-7]{8}", identity(document))


@pytest.mark.parametrize(("one", "other"), [(1, "1"), (1, 1.0), (True, 1), (None, "null"), ([1], 1), ("a", "A")])
def test_values_of_different_types_are_different_identities(one, other):
    assert identity({"v": one}) != identity({"v": other})


@given(st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.floats(allow_nan=False), max_size=3))
def test_a_name_is_always_safe_as_a_folder_a_job_and_a_shell_word(parameters):
    name = entry_name("", parameters, "abcdefgh", "my")
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._=+@,-]{0,119}", name)
    assert check_name(name, "") == []


def test_the_name_without_a_template_is_made_of_the_last_parts_and_values():
    assert entry_name("", {"backend.args.lr": 0.5, "bs": 64}, "abcdefgh", "my") == "lr0.5_bs64"


@pytest.mark.parametrize("template", ["", "lr{lr}_bs{bs}", "{a.b}-x=1,2+3@4.5"])
def test_a_template_of_safe_characters_is_accepted(template):
    assert check_template(template) == []


@pytest.mark.parametrize("template", ["a b", "a/{x}", "'{x}'", "{x};", "{{{x}}}", "é{x}", "$x", "{x}\n"])
def test_a_template_with_other_characters_is_refused(template):
    (problem,) = check_template(template)
    assert problem.where == "sweep.name_template"
