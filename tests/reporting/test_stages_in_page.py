"""The stages of a session in its report: counts, a drawing, and Mermaid source that no name can break."""

from __future__ import annotations

import html
import itertools
import re

from oellm_bench.reporting.gather import gather
from oellm_bench.reporting.mermaid import mermaid
from oellm_bench.reporting.page import render
from oellm_bench.reporting.report import StageReport, Standing
from oellm_bench.reporting.stage_chart import stage_chart
from tests.reporting.sessions import BEGUN, Ran, write_session

HOSTILE = '<script>x</script>"] end\n%%{init}%% s1 --> s0; click s0 "javascript:alert(1)" `**b**` #quot; A & B'
CHAIN = (
    Ran(name="s1", parameters={"stage": "stable"}),
    Ran(name="s2", parameters={"stage": "stable"}, modes=("crash",)),
    Ran(name="d1", parameters={"stage": HOSTILE}, after=["s1"], modes=("",)),
    Ran(name="d2", parameters={"stage": HOSTILE}, after=["s2"], modes=("cancelled",)),
)


def test_a_stage_is_counted_by_how_its_entries_stand(tmp_path):
    stable, decay = gather(write_session(tmp_path / "s", *CHAIN), now=BEGUN).stages
    assert (stable.name, stable.planned, dict(stable.after)) == ("stable", 2, {})
    assert dict(stable.counts) == {Standing.PASSED: 1, Standing.FAILED: 1}
    assert (stable.worst, stable.told) == (Standing.FAILED, "2 entries, 1 failed, 1 passed")
    assert (decay.planned, dict(decay.after), decay.told) == (2, {"stable": 2}, "2 entries, 1 cancelled, 1 not over")


def test_the_page_draws_them_and_names_are_text(tmp_path):
    session = write_session(tmp_path / "s", *CHAIN)
    page = render(gather(session, now=BEGUN), session.layout.report)
    assert '<h2 id="stages">' in page and "<script" not in page
    assert len(re.findall(r'<rect class="box"', page)) == 2
    assert re.findall(r'<path class="line".*?<title>(.*?) after stable: 2</title>', page, re.DOTALL)
    (source,) = re.findall(r'<pre class="mermaid">(.*?)</pre>', page, re.DOTALL)
    assert html.unescape(source) == mermaid(gather(session, now=BEGUN).stages)


def test_a_session_without_stages_has_no_such_section(tmp_path):
    session = write_session(tmp_path / "s", Ran(name="a"), Ran(name="b"))
    assert 'id="stages"' not in render(gather(session, now=BEGUN), session.layout.report)


def test_a_chain_without_stages_has_one(tmp_path):
    session = write_session(tmp_path / "s", Ran(name="a"), Ran(name="b", after=["a"]))
    assert [stage.name for stage in gather(session, now=BEGUN).stages] == ["step 1", "step 2"]


def test_the_mermaid_source_of_a_chain():
    stages = (
        StageReport(name="stable", planned=2, counts={Standing.PASSED: 2}),
        StageReport(name="decay/2", planned=1, after={"stable": 2}),
    )
    assert mermaid(stages).splitlines()[:4] == [
        "flowchart LR",
        '    s0["stable#58; 2 entries, 2 passed"]:::good',
        '    s1["decay/2#58; 1 entry, not submitted"]',
        "    s0 -->|2| s1",
    ]


def test_a_hostile_name_is_one_label_of_plain_letters_and_numbers(tmp_path):
    stages = (StageReport(name=HOSTILE, planned=1), StageReport(name="end", planned=1, after={HOSTILE: 1}))
    lines = mermaid(stages).splitlines()
    (label,) = re.findall(r'^    s0\["(.*)"\]$', lines[1])
    assert re.fullmatch(r"(?:[A-Za-z0-9 _,()/]|#\d+;)*", label)
    assert lines[2:4] == ['    s1["end#58; 1 entry, not submitted"]', "    s0 -->|1| s1"]


def test_each_stage_is_right_of_those_it_waits_for_and_no_box_lies_on_another():
    after = {"a": (), "b": "a", "c": "a", "d": "abc", "e": (), "f": "de", "g": "g"}
    chart = stage_chart([StageReport(name=name, planned=1, after=dict.fromkeys(o, 1)) for name, o in after.items()])
    at = {box.label: (box.x, box.y) for box in chart.boxes}
    assert all(at[other][0] < at[name][0] for name, others in after.items() for other in others if other != name)
    assert len(chart.lines) == 7
    width, height = chart.box
    places = sorted(at.values())
    assert all(b[0] >= a[0] + width or b[1] >= a[1] + height for a, b in itertools.pairwise(places))
    assert max(x for x, _ in places) + width < chart.width and max(y for _, y in places) + height < chart.height


def test_stages_in_a_circle_are_drawn_all_the_same():
    chart = stage_chart([StageReport(name=name, planned=1, after={other: 1}) for name, other in ("ab", "ba")])
    assert [box.label for box in chart.boxes] == ["a", "b"] and len(chart.lines) == 2


def test_hundreds_of_stages_are_bounded():
    names = [f"stage{number}" for number in range(300)]
    stages = [StageReport(name=name, planned=1, after=dict.fromkeys(names[:n], 1)) for n, name in enumerate(names)]
    chart = stage_chart(stages)
    assert (len(chart.boxes), chart.left_out) == (60, 240)
    assert mermaid(stages[:60]).count("-->") == 400
