"""The page at the end of a campaign: there when it was asked for, its trouble no trouble of the campaign."""

from __future__ import annotations


def run_campaign(campaign, **project) -> tuple[int, str]:
    campaign.write(backend={"class_name": "CommandBackend", "command": ["echo", "hello"]}, project=project)
    done = campaign.run("run")
    return done.returncode, done.stderr


def test_a_session_with_an_address_for_its_report_has_one_when_it_has_ended(campaign):
    rc, said = run_campaign(campaign, viewer_url="https://bench.example/{session_name_url}/report.html")
    assert rc == 0, said
    assert "✓ no entry failed" in (campaign.session_dir / "report.html").read_text()


def test_without_an_address_it_is_not_written_unless_asked_for(campaign):
    assert run_campaign(campaign)[0] == 0
    assert not (campaign.session_dir / "report.html").exists()


def test_it_is_written_where_it_is_asked_for(campaign):
    assert run_campaign(campaign, report="always")[0] == 0
    assert (campaign.session_dir / "report.html").exists()


def test_a_page_that_cannot_be_written_is_only_a_warning(campaign):
    campaign.write(backend={"class_name": "CommandBackend", "command": ["echo", "hello"]}, project={"report": "always"})
    assert campaign.run("plan").returncode == 0
    (campaign.session_dir / "report.html").mkdir()
    done = campaign.run("run")
    assert (done.returncode, done.stdout.count("PASSED")) == (0, 1), done.stderr
    assert "report.html is not written" in done.stderr and "oellm-bench report" in done.stderr


def test_what_a_sink_has_not_taken_stands_on_the_page(campaign, monkeypatch):
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-not-a-token")
    campaign.write(
        backend={"class_name": "CommandBackend", "command": ["echo", "hello"]},
        project={"report": "always"},
        sinks={
            "tracking": {
                "class_name": "SlackSink",
                "channel_id": "C1",
                "base_url": "http://127.0.0.1:9/api/",
                "drain_s": 0,
            }
        },
    )
    done = campaign.run("run")
    assert done.returncode == 1, done.stderr
    assert "sink tracking has not taken 1 of 1 results" in (campaign.session_dir / "report.html").read_text()
