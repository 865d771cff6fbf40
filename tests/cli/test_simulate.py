"""`simulate` as a user runs it: tables, JSON, comparisons, wrong input, and nothing left behind."""

from __future__ import annotations

import json

import pytest

from oellm_bench.cli.main import main

CAMPAIGN = """
slurm: {sbatch: {gpus: 1, mem: 8G}}
monitoring: {signatures: {loss: {pattern: "loss", mode: nan}}}
"""
SWEEP = "axes: {lr: [1, 2, 3]}"


@pytest.fixture
def simulate(campaign, capsys, tmp_path, monkeypatch):
    """Return a call of the verb for a campaign of three entries, with its exit code, stdout and stderr."""
    campaign.root(CAMPAIGN, sweep=SWEEP)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def call(*arguments):
        try:
            code = main(["simulate", "my", "-C", str(campaign.folder), *map(str, arguments)])
        except SystemExit as end:  # argparse
            code = end.code
        told = capsys.readouterr()
        assert [*work.iterdir()] == []
        return code, told.out, told.err

    return call


def figures(answer):
    """Return the figures by variant, without what depends on the machine."""
    code, out, _ = answer
    assert code == 0
    return {row["name"]: {**row, "wall_s": None} for row in json.loads(out)["variants"]}


def test_the_sweep_is_run_as_it_is_or_as_often_as_it_takes(simulate):
    assert figures(simulate("--json"))["as configured"]["entries"] == 3
    assert figures(simulate("--json", "--jobs", 2))["as configured"]["entries"] == 2
    assert figures(simulate("--json", "--jobs", 100))["as configured"]["entries"] == 100


def test_the_table_has_a_row_for_each_variant(simulate):
    code, out, err = simulate(
        *("--jobs", 30, "--seed", 7, "-o", "simulation=rough"),
        *("--compare", "restart=default", "--compare", "restart=never"),
    )
    tables = [block.splitlines() for block in out.strip().split("\n\n")]
    assert code == 0
    assert [lines[0].split()[0] for lines in tables] == ["variant", "GPU-hours", "restarts", "failed"]
    assert all([line.split()[0] for line in lines[1:]] == ["restart=default", "restart=never"] for lines in tables)
    assert "restart=default: 30 jobs" in err and "restart=never: 30 jobs" in err


def test_the_same_seed_gives_the_same_numbers_and_another_one_others(simulate):
    arguments = ("--json", "--jobs", 30, "-o", "simulation=rough", "--seed")
    first, again, other = (figures(simulate(*arguments, seed)) for seed in (7, 7, 8))
    assert first == again != other


def test_numbers_do_not_hang_on_the_order_of_hashes(campaign, cli):
    campaign.root(CAMPAIGN, sweep=SWEEP)
    arguments = ("simulate", "my", "-C", campaign.folder, "--json", "--jobs", "30", "-o", "simulation=rough")
    ran = [cli(*arguments, env={"PYTHONHASHSEED": seed}) for seed in ("1", "2")]
    first, second = ({**r.json["variants"][0], "wall_s": None} for r in ran)
    assert first == second


def test_several_overrides_make_one_variant(simulate):
    name = "simulation=rough; restart=never ;monitoring.inactivity_s=900"
    (found,) = figures(simulate("--json", "--jobs", 20, "--compare", name)).values()
    assert (found["name"], found["attempts"]) == (name, 20)


def test_variants_are_looked_at_equally_often(simulate):
    _, out, _ = simulate(
        "--json", "--jobs", 30, "--compare", "monitoring.interval_s=30", "--compare", "monitoring.interval_s=90"
    )
    assert json.loads(out)["interval_s"] == 90
    _, out, _ = simulate("--json", "--jobs", 30, "--interval", 45)
    assert json.loads(out)["interval_s"] == 45


def test_what_is_kept_can_be_looked_at(simulate, campaign, capsys):
    folder = campaign.out / "kept"
    simulate("--jobs", 5, "--keep", folder, "--compare", "simulation=calm")
    (session,) = (folder / "1").glob("simulated_0")
    assert main(["results", str(session), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["entries"]) == 5


def test_no_command_of_the_campaign_is_run_and_no_result_is_handed_over(simulate, campaign):
    told = campaign.out / "told"
    campaign.root(
        f"""
        slurm: {{sbatch: {{gpus: 1}}}}
        monitoring:
          inactivity_s: 1800
          log_signals: [{{name: working, pattern: "of work done", action: tell}}]
          actions: {{tell: [touch, {json.dumps(str(told))}]}}
          start_conditions: [{{class_name: FileExistsCondition, path: "/nowhere"}}]
        """,
        sweep=SWEEP,
    )
    found = figures(simulate("--json", "--jobs", 9))["as configured"]
    assert found["passed"] + sum(found["failed"].values()) == 9
    assert not told.exists() and not campaign.out.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--jobs", "0"], "'0' is not a whole number from 1"),
        (["--seed", "-1"], "'-1' is not a whole number from 0"),
        (["--seed", "x"], "'x' is not a whole number from 0"),
        (["--interval", "0"], "'0' is not a number of seconds from 1"),
        (["--jobs", "99999999999"], "more than can be simulated"),
        (["-o", "simulation.cluster.nodes=1000000000"], "give a number up to 100000"),
        (["-o", "simulation.jobs.work_spread=1e300"], "give a number up to 10"),
        (["--compare", "restart=nver"], "--compare 'restart=nver'"),
        (["--compare", "restart.max_restart=1"], "max_restarts"),
        (["-o", "simulation=ruff"], "simulation"),
        (["-o", "simulation.cluster.nodes=0"], "simulation.cluster.nodes: 0 cannot work; give a number above 0"),
        (["-o", "simulation.cluster.bad_share=1.5"], "simulation.cluster.bad_share: 1.5 cannot work"),
        (["-o", "simulation.per_job_hour.crash=-1"], "simulation.per_job_hour.crash: -1.0 cannot work"),
        (["-o", "simulation.jobs.work=1"], "did you mean 'work_s'?"),
    ],
)
def test_wrong_input_is_refused_with_a_message(simulate, arguments, said):
    code, out, err = simulate(*arguments)
    assert (code, out) == (2, "")
    assert said in err and "Traceback" not in err


def test_a_folder_that_holds_something_is_not_written_to(simulate, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    code, _, err = simulate("--keep", tmp_path / "full")
    assert code == 2 and "is not an empty folder" in err
