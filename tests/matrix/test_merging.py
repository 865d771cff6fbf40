"""Several files as one matrix: what a later one changes, and what it leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from oellm_bench.errors import ConfigError
from oellm_bench.matrix.document import read_files, without_disabled
from oellm_bench.matrix.environment import resolved


def merged(folder: Path, *texts: str):
    paths = []
    for number, text in enumerate(texts):
        paths.append(folder / f"f{number}.yaml")
        paths[-1].write_text(text)
    return read_files(paths)


def test_later_files_change_items_of_the_same_name_and_add_others(tmp_path):
    node = merged(
        tmp_path,
        "entries: [{name: a, timeout_s: 1, script: x}, {name: b}]",
        "entries: [{timeout_s: 2, name: a}, {name: c}]",
    )
    assert node.plain() == {"entries": [{"name": "a", "timeout_s": 2, "script": "x"}, {"name": "b"}, {"name": "c"}]}


def test_the_order_of_keys_decides_nothing(tmp_path):
    node = merged(
        tmp_path,
        "entries: [{name: a, requirements: [{metric: m, min_value: 1, max_value: 9}]}]",
        "entries: [{name: a, requirements: [{min_value: 5, metric: m}]}]",
    )
    (entry,) = node.plain()["entries"]
    assert entry["requirements"] == [{"metric": "m", "min_value": 5, "max_value": 9}]


def test_formats_of_a_dataset_are_matched_by_their_type(tmp_path):
    node = merged(
        tmp_path,
        "datasets: [{name: d, formats: [{type: json, path: /a}, {type: parquet, path: /b}]}]",
        "datasets: [{name: d, formats: [{type: parquet, path: /c}]}]",
    )
    (dataset,) = node.plain()["datasets"]
    assert dataset["formats"] == [{"type": "json", "path": "/a"}, {"type": "parquet", "path": "/c"}]


def test_null_is_a_value_and_is_kept(tmp_path):
    node = merged(tmp_path, "object_store_size: 0.5", "object_store_size: null")
    assert node.plain() == {"object_store_size": None}


def test_a_list_of_plain_values_replaces_the_earlier_one(tmp_path):
    node = merged(
        tmp_path,
        "sinks: [{name: slack, default_metrics: [a, b]}]",
        "sinks: [{name: slack, default_metrics: [c]}]",
    )
    assert node.plain()["sinks"] == [{"name": "slack", "default_metrics": ["c"]}]


def test_documents_of_one_file_are_merged_as_files_are(tmp_path):
    assert merged(tmp_path, "a: {x: 1}\n---\na: {y: 2}\n---\n").plain() == {"a": {"x": 1, "y": 2}}


def test_anchors_and_merge_keys_work(tmp_path):
    node = merged(tmp_path, "base: &base {ray: {num_cpus: 4}}\nentries: [{<<: *base, name: a}]")
    assert node.plain()["entries"] == [{"name": "a", "ray": {"num_cpus": 4}}]


def test_every_value_knows_the_file_and_line_that_won(tmp_path):
    node = merged(tmp_path, "entries:\n  - name: a\n    timeout_s: 1\n", "entries:\n  - name: a\n\n    timeout_s: 2\n")
    assert node.find("entries.0.timeout_s").where.endswith("f1.yaml:4")
    assert node.find("entries.0.name").where.endswith("f1.yaml:2")


def test_only_false_disables_and_only_items_of_lists(tmp_path):
    node = merged(
        tmp_path,
        "sinks: [{name: a, enabled: false}, {name: b, enabled: true}, {name: c}]\nray: {enabled: false}\n",
    )
    kept = without_disabled(node).plain()
    assert [sink["name"] for sink in kept["sinks"]] == ["b", "c"]
    assert kept["ray"] == {"enabled": False}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2\n", "'a' stands here twice"),
        ("- a\n", "this is no mapping"),
        ("a: [\n", "this is no YAML"),
        ("", "there is nothing in it"),
        ("a: &x [*x]\n", "an anchor holds itself"),
        ("timeout_s: 1:30:00\n", "base 60"),
        ("{a: 1}: 2\n", "a key is no text"),
        ("a: !!python/object/apply:os.system ['true']\n", "means nothing here"),
    ],
)
def test_what_nobody_can_mean_is_refused_with_its_file(tmp_path, text, said):
    with pytest.raises(ConfigError, match=said) as caught:
        merged(tmp_path, text).plain()
    assert "f0.yaml" in str(caught.value)


def test_aliases_of_aliases_do_not_fill_the_memory(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ConfigError, match="too many values"):
        merged(tmp_path, "\n".join(lines))


def test_variables_are_filled_in_wherever_text_stands(tmp_path):
    node = merged(tmp_path, "a: ${ONE}/x\nb: [{c: '${TWO:-two}'}]\nd: $${ONE}\ne: $HOME\nf: 3")
    assert resolved(node, {"ONE": "1"}).plain() == {
        "a": "1/x",
        "b": [{"c": "two"}],
        "d": "${ONE}",
        "e": "$HOME",
        "f": 3,
    }


def test_a_value_of_a_variable_is_no_reference_itself(tmp_path):
    assert resolved(merged(tmp_path, "a: ${ONE}"), {"ONE": "${TWO}"}).plain() == {"a": "${TWO}"}


@pytest.mark.parametrize(
    ("variables", "said"), [({}, "MISSING is not set"), ({"MISSING": ""}, "MISSING is set to nothing")]
)
def test_a_variable_without_a_value_is_an_error_with_file_key_and_name(tmp_path, variables, said):
    node = merged(tmp_path, "entries:\n  - name: a\n    args: --in ${MISSING}/x\n")
    with pytest.raises(ConfigError) as caught:
        resolved(node, variables)
    assert said in str(caught.value)
    assert "f0.yaml:3: entries.0.args" in str(caught.value)
    assert "export MISSING=" in str(caught.value)
