"""What the options of a script and of a submission are taken to mean."""

import pytest

from oellm_bench.schedulers.embedded.filenames import expand, pattern_values
from oellm_bench.schedulers.embedded.options import BadOption, checked, merge, script_options
from oellm_bench.schedulers.embedded.placement import Demand, Shape
from oellm_bench.schedulers.embedded.spec import LimitSignal, Site, parse_array, read_spec

SITE = Site(shape=Shape(nodes=4, cpus=8, gpus=4, memory_bytes=0), requeue=True, default_time_s=None)


def spec(**options):
    named = {name.replace("_", "-"): value for name, value in options.items()}
    return read_spec(named, SITE, now=1000.0, name="n", submit_dir="/", submit_host="h")


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("#SBATCH --time=10", {"time": "10"}),
        ("#SBATCH --time 10 --nodes=2", {"time": "10", "nodes": "2"}),
        ("#SBATCH -N2 -t 5", {"nodes": "2", "time": "5"}),
        ("#SBATCH --comment='two words' # and a remark", {"comment": "two words"}),
        ('#SBATCH --output="a b/%j.out"', {"output": "a b/%j.out"}),
        ("#SBATCH --exclusive --requeue", {"exclusive": "", "requeue": ""}),
        ("#SBATCH --exclusive=user", {"exclusive": "user"}),
        ("#SBATCH --requeue --no-requeue", {"no-requeue": ""}),
        ("##SBATCH --time=10", {}),
        ("#SBATCHX --time=10", {}),
        (" #SBATCH --time=10", {}),
        ("\n# a comment\n\n#SBATCH --time=1\n#SBATCH --time=2", {"time": "2"}),
        ("true\n#SBATCH --time=10", {}),
    ],
)
def test_directives(line, options):
    assert script_options(f"#!/bin/bash\n{line}\n") == options


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("#SBATCH --cpus_per_task=1", "unrecognized option '--cpus_per_task'"),
        ("#SBATCH --requeue=yes", "option '--requeue' doesn't allow an argument"),
        ("#SBATCH --time", "option '--time' requires an argument"),
        ("#SBATCH -Z", "invalid option -- 'Z'"),
        ("#SBATCH time=10", "Invalid directive found in batch script: time=10"),
        ("#SBATCH --comment='open", "No closing quotation"),
    ],
)
def test_unusable_directives(line, says):
    with pytest.raises(BadOption, match=says) as caught:
        script_options(f"#!/bin/bash\n{line}\n")
    assert "line 2" in str(caught.value)


def test_opposite_of_an_earlier_option_replaces_it():
    options = {"requeue": "", "time": "1"}
    merge(options, checked({"no-requeue": "", "time": "2"}))
    assert options == {"no-requeue": "", "time": "2"}


@pytest.mark.parametrize(
    ("options", "demand", "ntasks"),
    [
        ({}, Demand(), 1),
        ({"ntasks": "4", "cpus_per_task": "2"}, Demand(cpus=8), 4),
        ({"ntasks": "8", "cpus_per_task": "2"}, Demand(nodes=2, cpus=8), 8),
        ({"nodes": "3"}, Demand(nodes=3), 3),
        ({"nodes": "2", "ntasks_per_node": "4"}, Demand(nodes=2, cpus=4), 8),
        ({"nodes": "2-4", "gpus": "6"}, Demand(nodes=2, gpus=3), 2),
        ({"gpus": "6"}, Demand(nodes=2, gpus=3), 2),
        ({"gres": "gpu:a100:2,shard:1"}, Demand(gpus=2), 1),
        ({"gres": "gpu"}, Demand(gpus=1), 1),
        ({"gpus_per_node": "a100:4", "nodes": "2"}, Demand(nodes=2, gpus=4), 2),
        ({"gpus_per_task": "2", "ntasks": "2"}, Demand(cpus=2, gpus=4), 2),
        ({"mem": "2G", "exclusive": ""}, Demand(memory_bytes=2 * 1024**3, exclusive=True), 1),
        ({"mem_per_cpu": "100", "cpus_per_task": "4"}, Demand(cpus=4, memory_bytes=400 * 1024**2), 1),
    ],
)
def test_demand(options, demand, ntasks):
    read = spec(**options)
    assert (read.demand, read.ntasks) == (demand, ntasks)


@pytest.mark.parametrize(
    "options",
    [
        {"time": "soon"},
        {"nodes": "0"},
        {"nodes": "2-x"},
        {"ntasks": "many"},
        {"gpus": "a100"},
        {"mem": "lots"},
        {"begin": "later"},
        {"signal": "B:NOSUCH@10"},
        {"signal": "USR1@soon"},
        {"dependency": "afterok"},
        {"dependency": "afterok:1,afterany:2?afterok:3"},
        {"array": "3-x"},
        {"open_mode": "both"},
    ],
    ids=lambda options: "=".join(*options.items()),
)
def test_unusable_values(options):
    with pytest.raises(BadOption):
        spec(**options)


@pytest.mark.parametrize(
    ("text", "tasks", "throttle"),
    [
        ("0-3", (0, 1, 2, 3), 0),
        ("1,3,5-7%2", (1, 3, 5, 6, 7), 2),
        ("0-9:4", (0, 4, 8), 0),
        ("7", (7,), 0),
    ],
)
def test_arrays(text, tasks, throttle):
    assert parse_array(text) == (tasks, throttle)


@pytest.mark.parametrize(("text", "at"), [("now", 1000), ("now+5", 1005), ("now+2minutes", 1120), ("now+1hour", 4600)])
def test_begin(text, at):
    assert spec(begin=text).eligible_at == at


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("USR1", LimitSignal(number=10, seconds=60, to_batch=False)),
        ("B:SIGUSR1@30", LimitSignal(number=10, seconds=30, to_batch=True)),
        ("B:10@5", LimitSignal(number=10, seconds=5, to_batch=True)),
    ],
)
def test_limit_signal(text, meaning):
    assert spec(signal=text).limit_signal == meaning


def test_kept_submission_reads_back_equal():
    written = spec(nodes="2", signal="B:USR1@5", dependency="singleton", array="0-3%2", mem="1G")
    assert type(written).from_json(written.to_json()) == written


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("%x-%j.out", "job-17.out"),
        ("%A_%a", "15_2"),
        ("%4A.%N", "0015.node3"),
        ("100%%-%q", "100%-%q"),
        ("%u", "someone"),
    ],
)
def test_file_names(pattern, name):
    values = pattern_values(raw_id=17, job=15, task=2, name="job", node="node3", user="someone")
    assert expand(pattern, values) == name
