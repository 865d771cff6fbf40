"""Options of sbatch: which are refused, which are written, and what they add up to."""

from __future__ import annotations

import pytest

from oellm_bench.rendering.directives import check, directives, lines, resources


@pytest.mark.parametrize(
    ("options", "where", "what", "fix"),
    [
        ({"partion": "gpu"}, "partion", "sbatch has no option 'partion'", "did you mean 'partition'?"),
        ({"cpus_per_tsk": 4}, "cpus_per_tsk", "'cpus_per_tsk'", "did you mean 'cpus-per-task'?"),
        ({"array": "0-3"}, "array", "is set by oellm-bench itself", "take it out"),
        ({"job-name": "x"}, "job-name", "is set by oellm-bench itself", "take it out"),
        ({"output": "x.log"}, "output", "is set by oellm-bench itself", "take it out"),
        ({"comment": "a\n#SBATCH --uid=0"}, "comment", "line break", "give one line"),
        ({"comment": "a\rb"}, "comment", "line break", "give one line"),
        ({"comment": "a\u2028b"}, "comment", "line break", "give one line"),
        ({"time": "soon"}, "time", "'soon' is no value of --time", "give minutes, H:MM:SS or D-HH:MM:SS"),
        ({"--time": "soon"}, "--time", "'soon' is no value of --time", "give minutes, H:MM:SS or D-HH:MM:SS"),
        ({"time": True}, "time", "--time needs a value", "give one"),
        ({"clusters": "x"}, "clusters", "is set by oellm-bench itself", "take it out"),
        ({"hold": "yes"}, "hold", "--hold takes no value", "give true or false"),
        ({"nodes": 0}, "nodes", "'0' is no value of --nodes", "give a number, 4, or a range, 2-4"),
        ({"ntasks": "four"}, "ntasks", "'four' is no value of --ntasks", "give a number from 1"),
        ({"gpus": "a100"}, "gpus", "'a100' is no value of --gpus", "give a number, 4, or with types, a100:4"),
        ({"gres": "gpu:a100:"}, "gres", "is no value of --gres", "give gpu:4 or gpu:a100:4"),
        ({"mem": "64 GB"}, "mem", "'64 GB' is no value of --mem", "give 64G"),
        ({"mem": 1.5}, "mem", "'1.5' is no value of --mem", "give 64G"),
        ({"partition": "a b"}, "partition", "'a b' is no value of --partition", "give a name, gpu"),
        (
            {"dependency": "123"},
            "dependency",
            "'123' is no value of --dependency",
            "give afterok:123:124, or singleton",
        ),
        ({"signal": "USR1@soon"}, "signal", "'USR1@soon' is no value of --signal", "give B:USR1@120"),
        ({"mail-user": "a b@c.d"}, "mail-user", "is no value of --mail-user", "give an address"),
        ({"cpus_per_task": 4, "cpus-per-task": 8}, "cpus-per-task", "one option", "take one out"),
    ],
)
def test_an_option_that_cannot_work_is_refused(options, where, what, fix):
    (problem,) = check(options)
    assert problem.where == where
    assert what in problem.what
    assert problem.fix == fix


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"time": None, "account": None, "qos": ""},
        {"time": "UNLIMITED"},
        {"time": 30, "mem": 0, "exclusive": True, "requeue": False, "comment": "ü b"},
        {"cpus_per_task": 4, "--ntasks": 2},
        {"nodes": "2-4", "gpus": "a100:2,h100:1", "gres": "gpu:a100:4,shard:2", "mem": "64G", "mem-per-cpu": "4000M"},
        {"partition": "gpu,gpu_short", "constraint": "a100&nvme", "exclude": "node[1-3,7],x9"},
        {"gpus": "1g.10gb:1", "gpus-per-node": "2g.20gb:2", "no-kill": "off"},
        {"nodes": "1,3-4", "no-kill": True},
        {"dependency": "afterok:12:13_4,singleton", "mail-type": "END,FAIL,TIME_LIMIT_90", "signal": "B:USR1@120"},
        {"dependency": "afterany:12?afterok:13+5", "hold": True, "nice": 100, "exclusive": "user"},
    ],
)
def test_an_option_that_sbatch_has_is_accepted(options):
    assert check(options) == []


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"mem": 0}, "#SBATCH --mem=0"),
        ({"nice": 0}, "#SBATCH --nice=0"),
        ({"exclusive": True}, "#SBATCH --exclusive"),
        ({"cpus_per_task": 4}, "#SBATCH --cpus-per-task=4"),
        ({"time": "1:00:00"}, "#SBATCH --time=1:00:00"),
        ({}, "#SBATCH --time=02:02:00"),
        ({"time": None}, "#SBATCH --time=02:02:00"),
        ({}, "#SBATCH --no-requeue"),
        ({"requeue": True}, "#SBATCH --requeue"),
        ({"requeue": False}, "#SBATCH --no-requeue"),
        ({}, "#SBATCH --open-mode=append"),
        ({"comment": "a b"}, '#SBATCH --comment="a b"'),
        ({"comment": 'a "b" \\c'}, '#SBATCH --comment="a \\"b\\" \\\\c"'),
        ({"comment": "nr#1"}, '#SBATCH --comment="nr#1"'),
    ],
)
def test_an_option_is_written(options, line):
    assert line in lines(directives(options, walltime_s=7320))


@pytest.mark.parametrize("options", [{"account": None}, {"account": False}, {"account": ""}])
def test_an_option_without_a_value_is_left_out(options):
    assert not any("account" in line for line in lines(directives(options, walltime_s=60)))


@pytest.mark.parametrize(
    ("options", "nodes", "gpus"),
    [
        ({}, 1, 0),
        ({"nodes": None}, 1, 0),
        ({"nodes": 3}, 3, 0),
        ({"nodes": "2-4"}, 4, 0),
        ({"gpus": 8, "nodes": 2}, 2, 8),
        ({"gpus": "a100:2,h100:4"}, 1, 6),
        ({"gpus_per_node": 4, "nodes": 2}, 2, 8),
        ({"gpus_per_node": "a100:4", "nodes": 2}, 2, 8),
        ({"gres": "gpu"}, 1, 1),
        ({"gres": "gpu:4", "nodes": 2}, 2, 8),
        ({"gres": "gpu:a100"}, 1, 1),
        ({"gres": "gpu:a100:4(S:0-1)"}, 1, 4),
        ({"gres": "gpu:a100:2,gpu:h100:2,lustre:1"}, 1, 4),
        ({"gres": "lustre:3"}, 1, 0),
        ({"gpus_per_task": 1, "ntasks": 6}, 1, 6),
        ({"gpus_per_task": 1, "nodes": 2}, 2, 2),
    ],
)
def test_nodes_and_gpus_are_counted(options, nodes, gpus):
    found = resources(options, walltime_s=60)
    assert (found.nodes, found.gpus) == (nodes, gpus)


@pytest.mark.parametrize(
    ("time", "walltime_s"), [(None, 60), (30, 1800), ("1-12", 129600), ("2:00:00", 7200), ("UNLIMITED", 60)]
)
def test_hours_are_counted_over_the_time_that_is_asked_for(time, walltime_s):
    found = resources({"time": time, "nodes": 2, "gpus": 4}, walltime_s=60)
    assert found.walltime_s == walltime_s
    assert found.node_hours == pytest.approx(2 * walltime_s / 3600)
    assert found.gpu_hours == pytest.approx(4 * walltime_s / 3600)
