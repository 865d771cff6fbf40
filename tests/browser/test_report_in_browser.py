"""The report as a reader sees it, in a real browser."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from oellm_bench.core.requirement import Requirement
from oellm_bench.reporting.gather import gather
from oellm_bench.reporting.page import render
from oellm_bench.reporting.past import read_past
from tests.browser.real_chromium import running_chromium
from tests.reporting.sessions import BEGUN, DAY, Ran, write_session

pytestmark = pytest.mark.xdist_group("browser")

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
BOUND = (Requirement(metric="files_per_s", min_value=200.0),)


def entries(speed: float) -> list[Ran]:
    return [
        Ran(name="fast", metrics={"files_per_s": 2 * speed}, requirements=BOUND, parameters={"stage": "first"}),
        Ran(
            name="slow",
            modes=("requirements_not_met",),
            metrics={"files_per_s": 150.0},
            requirements=BOUND,
            not_met=("files_per_s: 150 is below min_value 200 by 50 (25.0 %)",),
        ),
        Ran(name="again", modes=("node_fail", "success"), metrics={"files_per_s": speed}, requirements=BOUND),
        Ran(name="hung", modes=("timeout",), expected_failure="issue 44", reason="the time limit"),
        Ran(
            name="hostile",
            modes=("crash",),
            reason=f"exit code 1: {HOSTILE}",
            stderr=f"first\n\x1b[31mred\x1b[0m {HOSTILE}\nlast line\n",
            parameters={HOSTILE: HOSTILE},
            metrics={f"$\\frac{{1}}{{0}}$ {HOSTILE}": 1.0, "nan": "nan", "text": HOSTILE},
        ),
        Ran(
            name="odd",
            metrics={f"$\\undefined$ {HOSTILE}": speed, "files_per_s": speed + 5.0},
            requirements=BOUND,
            parameters={"stage": HOSTILE},
            after=["fast"],
        ),
    ]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session of six entries with three earlier ones, its page written."""
    folder = tmp_path_factory.mktemp("report") / "it's <b>out #1 & 100%"
    first, *_ = [
        write_session(folder / f"nightly_{day}", *entries(300.0 + day), at=BEGUN - day * DAY) for day in (3, 2, 1)
    ]
    session = write_session(folder / "nightly_now", *entries(320.0), at=BEGUN, run_reason=f"nightly {HOSTILE}")
    path = session.layout.report
    path.write_text(render(gather(session, now=BEGUN + 500, past=read_past(session, first)), path))
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as running:
        yield running


class Seen:
    """A page that is open, and what it asked for and complained about."""

    def __init__(self, context: BrowserContext, path: Path) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(path.as_uri())


@pytest.fixture
def opened(browser: Browser, report: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator:
    """A function that opens the report; what was seen last is kept as a picture where the test fails."""
    contexts: list[BrowserContext] = []
    seen: list[Seen] = []

    def open_report(**settings) -> Seen:
        contexts.append(browser.new_context(**settings))
        seen.append(Seen(contexts[-1], report))
        return seen[-1]

    failures = request.session.testsfailed
    yield open_report
    if request.session.testsfailed > failures and seen:
        seen[-1].page.screenshot(path=tmp_path / "seen.png", full_page=True)
    for context in contexts:
        context.close()


def test_what_failed_is_said_first(opened):
    page = opened().page
    text = page.inner_text("body")
    assert "✗ 2 of 6 entries failed: 1 requirements_not_met, 1 crash" in text
    headings = page.locator("h2").all_inner_texts()
    assert headings[:6] == [
        "What failed, and why",
        "Compared with nightly_3",
        "Stages",
        "Entries",
        "Attempts over time",
        "Metrics",
    ]
    names = page.locator("#entries ~ .scroll tbody th").all_inner_texts()
    assert names == ["slow", "hostile", "hung", "again", "fast", "odd"]
    assert "files_per_s: 150 is below min_value 200 by 50 (25.0 %)" in page.inner_text("article:first-of-type")
    assert "last line" in page.inner_text("article:nth-of-type(2) pre")


def test_nothing_is_asked_of_the_network_and_nothing_is_complained_about(opened, report):
    seen = opened()
    seen.page.emulate_media(media="print")
    assert [url for url in seen.requests if url != report.as_uri() and not url.startswith("data:")] == []
    assert seen.complaints == []


def test_what_jobs_wrote_is_shown_and_not_run(opened):
    page = opened().page
    assert page.title() == "nightly_now"
    assert page.locator("script").count() == 0
    assert page.locator("img").count() == 0
    assert f"nightly {HOSTILE}" in page.inner_text("header")
    assert f"^[[31mred^[[0m {HOSTILE}" in page.inner_text("pre")


def boxes(page: Page, selector: str) -> list[dict[str, float]]:
    return [box for element in page.locator(selector).all() if (box := element.bounding_box())]


def test_attempts_lie_in_order_and_inside_of_the_page(opened):
    page = opened(viewport={"width": 1200, "height": 900}).page
    rows = [
        boxes(page, f".timeline .row:nth-of-type({number}) rect:not(.hatch)")
        for number in range(1, 20)
        if page.locator(f".timeline .row:nth-of-type({number})").count()
    ]
    drawing = page.locator(".timeline").bounding_box()
    bars = [bar for row in rows for bar in row]
    assert len(bars) == 7
    assert all(drawing["x"] <= bar["x"] and bar["x"] + bar["width"] <= drawing["x"] + drawing["width"] for bar in bars)
    tops = [row[0]["y"] for row in rows]
    assert tops == sorted(tops) and len(set(tops)) == 6
    restarted = next(row for row in rows if len(row) == 2)
    assert restarted[0]["x"] + restarted[0]["width"] <= restarted[1]["x"]
    labels = page.locator(".timeline .bar text").all_text_contents()
    assert sorted(labels) == sorted(
        ["✓ success"] * 3 + ["✗ node_fail", "✗ crash", "✗ timeout", "✗ requirements_not_met"]
    )


def test_plots_have_a_line_for_each_group_over_the_sessions(opened):
    page = opened(viewport={"width": 1200, "height": 900}).page
    plot = page.locator("figure.plot").first
    assert plot.locator("h3").inner_text() == "files_per_s"
    text = plot.locator("svg").text_content()
    assert all(group in text for group in ("fast", "again", "odd", "this session"))
    box = plot.locator("svg").bounding_box()
    assert box["width"] > 500 and box["height"] > 150
    lines = [box for box in boxes(page, "figure.plot:first-of-type svg [id*=line2d] path") if box["width"] > 100]
    assert len(lines) >= 3
    plot.locator("summary").click()
    # Of four sessions: medians of the groups that ran well.
    assert [len(row.locator("td").all()) for row in plot.locator("tbody tr").all()] == [4, 4, 4, 4]
    assert plot.locator("tbody tr").first.inner_text().split() == ["fast", "606", "604", "602", "640"]


def test_a_narrow_screen_scrolls_down_only(opened):
    page = opened(viewport={"width": 360, "height": 740}).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator(".verdict").bounding_box()["width"] <= 360


def test_it_is_the_same_without_javascript(browser, report, opened):
    without = opened(java_script_enabled=False).page
    assert without.locator("tbody tr").count() == opened().page.locator("tbody tr").count() > 6
    assert without.locator("article").count() == 2


def luminance(rgb: tuple[float, ...]) -> float:
    """Source: WCAG 2.2, relative luminance."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in rgb)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def numbers_in(color: str) -> tuple[float, ...]:
    """Return red, green and blue of `rgb(1, 2, 3)`."""
    return tuple(float(part) for part in re.findall(r"[\d.]+", color)[:3])


COLORS = """() => [...document.querySelectorAll('body *')].filter(e => e.checkVisibility()
    && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())).map(e => {
  const svg = e.ownerSVGElement, style = getComputedStyle(e);
  const inside = svg && e.classList.contains('inside');
  let under = inside ? getComputedStyle(e.parentNode.querySelector('rect')).fill : '';
  for (let p = e; p && !under; p = p.parentElement) {
    const found = getComputedStyle(p).backgroundColor;
    if (found !== 'rgba(0, 0, 0, 0)') under = found;
  }
  const color = svg && svg.matches('.timeline, .stages') ? style.fill : style.color;
  return [color, under, e.textContent.trim().slice(0, 40)];
})"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_that_readers_need(opened, scheme):
    page = opened(color_scheme=scheme).page
    found = page.evaluate(COLORS)
    assert len(found) > 100
    low = []
    for color, under, text in found:
        bright, dark = sorted((luminance(numbers_in(value)) for value in (color, under)), reverse=True)
        if (bright + 0.05) / (dark + 0.05) < 4.5 and text:  # WCAG 2.2, 1.4.3
            low.append((text, color, under))
    assert low == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(numbers_in(ground)) > 0.5) is (scheme == "light")


def test_it_prints_with_nothing_cut_off(opened):
    page = opened(viewport={"width": 700, "height": 900}).page
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    cut = page.evaluate(
        "[...document.querySelectorAll('.scroll')].filter(e => e.checkVisibility())"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert cut == 0
    assert len(page.pdf(format="A4")) > 10_000


def test_stages_are_drawn_from_left_to_right(opened):
    page = opened(viewport={"width": 1200, "height": 900}).page
    first, last = (page.locator(".stages g", has_text=name).locator(".box").bounding_box() for name in ("first", "<s"))
    assert first["x"] + first["width"] < last["x"]
    page.locator("summary", has_text="as Mermaid source").click()
    assert page.inner_text("pre.mermaid").startswith("flowchart LR\n")


def test_links_lead_to_the_files(opened, report):
    page = opened().page
    links = [link.get_attribute("href") for link in page.locator("a").all()]
    assert all(link.startswith(("#", "./")) for link in links)
    page.locator("article pre").first.wait_for()
    page.locator("summary a", has_text="stderr.log").first.click()
    page.wait_for_url("**/stderr.log")
    assert "last line" in page.inner_text("body")


def test_headings_tables_and_drawings_are_named(opened):
    page = opened().page
    levels = [int(tag[1]) for tag in page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(e => e.tagName)")]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in itertools.pairwise(levels))
    assert page.locator("th:not([scope])").count() == 0
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    unnamed = "svg[role=img]:not([aria-label]):not([aria-labelledby])"
    assert page.locator(unnamed).count() == 0 and page.locator("main").count() == 1
    assert math.isclose(page.locator("body").evaluate("e => e.getBoundingClientRect().left"), 0.0)
