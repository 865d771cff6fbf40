"""A Megatron-LM training from its configuration to the command, and how a restart of it goes on."""

from __future__ import annotations

import json
import re
import sys

import pytest
import yaml

from oellm_bench.backends.megatron import PROGRESS
from oellm_bench.config.allocation import backend_job_spec
from oellm_bench.config.typing import parse
from oellm_bench.core.plan import read_entry, to_text
from oellm_bench.core.resume import Resume
from oellm_bench.job.resuming import newest_checkpoint
from oellm_bench.monitoring.settings import MonitoringConfig
from oellm_bench.monitoring.signals import signal_problems
from oellm_bench.monitoring.signatures import Signatures, signature_problems
from tests.conftest import ROOT
from tests.megatron.stand_in_checkout import make_checkout

SHAPE = (
    "num_layers: 4, hidden_size: 64, num_attention_heads: 4, seq_length: 128, max_position_embeddings: 128, "
    "micro_batch_size: 2"
)


@pytest.fixture
def train(campaign, tmp_path):
    """Return a way to write a campaign that trains; the script is there and empty."""
    folder = tmp_path / "it's Megatron"
    folder.mkdir()
    (folder / "pretrain_gpt.py").touch()

    def write(args="", more="", sweep="", slurm="{sbatch: {gpus-per-node: 4}}"):
        args = args if re.search(r"\blr:", args) else f"lr: 1.0e-3, {args}"
        return campaign.root(
            f"slurm: {slurm}\nbackend:\n  class_name: AutoMegatronBackend\n  schema: packaged\n"
            f"  megatron_path: {json.dumps(str(folder))}\n  args: {{{SHAPE}, {args}}}\n{more}",
            sweep=sweep,
        )

    write.folder = folder
    return write


def flags(entry):
    """Return what stands behind the script."""
    (place,) = (index for index, word in enumerate(entry.argv) if word.endswith(".py"))
    return entry.argv[place + 1 :]


def test_torchrun_starts_the_script_with_what_is_no_default(train):
    entry = train('lr: 3.0e-4, bf16: true, add_bias_linear: false, min_lr: 0.0, tokenizer_model: "a\'b $c"').entry()
    assert entry.argv[:4] == ("torchrun", "--standalone", "--nproc_per_node=4", str(train.folder / "pretrain_gpt.py"))
    assert flags(entry) == (
        *("--disable-bias-linear", "--bf16", "--hidden-size", "64", "--lr", "0.0003"),
        *("--max-position-embeddings", "128", "--micro-batch-size", "2"),
        *("--num-attention-heads", "4", "--num-layers", "4", "--seq-length", "128", "--tokenizer-model", "a'b $c"),
    )


def test_the_torchrun_of_the_interpreter_is_used_unless_another_one_is_named(train):
    python = "  python: /venv/bin/python\n"
    assert train(more=python).entry().argv[:4] == ("/venv/bin/python", "-m", "torch.distributed.run", "--standalone")
    assert train(more=f"{python}  distributed: {{torchrun: /t}}\n").entry().argv[0] == "/t"
    none = train(more=f"{python}  distributed: {{launch: none}}\n").entry()
    assert none.argv[:2] == ("/venv/bin/python", str(train.folder / "pretrain_gpt.py"))


def test_placeholders_are_filled_in_and_further_arguments_follow(train):
    entry = train(
        "tensorboard_dir: '{session_entry_dir}/tb', lr: '{lr}'",
        "  extra_args: [--my-own, '{lr}']\n",
        "axes: {lr: [0.5]}",
    ).entry()
    assert entry.argv[-2:] == ("--my-own", "0.5")
    assert f"{campaign_dir(entry)}/tb" in entry.argv and entry.argv[entry.argv.index("--lr") + 1] == "0.5"


def campaign_dir(entry):
    return next(word for word in entry.argv if word.endswith("/tb")).removesuffix("/tb")


def test_the_order_in_which_arguments_are_said_makes_no_other_entry(train):
    assert train("lr: 1.0e-3, seed: 5").entry().id == train("seed: 5, lr: 1.0e-3").entry().id
    swept = train("", sweep="axes: {backend.args.lr: [1.0e-3]}\nname_template: x").entry()
    assert swept.argv[-4:] == ("--num-layers", "4", "--seq-length", "128")


def test_a_sweep_of_tokens_and_sizes_is_worked_out_for_each_point(train):
    entries = train(
        "train_tokens: 1M, lr_decay_fraction: 0.5",
        sweep="axes: {backend.args.global_batch_size: [8, 16]}",
    ).entries()
    told = [dict(zip(flags(entry)[::2], flags(entry)[1::2], strict=True)) for entry in entries]
    assert [row["--train-iters"] for row in told] == ["977", "489"]
    assert [row["--lr-decay-iters"] for row in told] == ["488", "244"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["~backend.args.hidden_size"],
            "hidden_size is missing, and Megatron-LM has no default for it; give it in args",
        ),
        (["~backend.args.lr"], "lr is missing"),
        (["~backend.args.num_layers", "~backend.args.seq_length"], "num_layers, seq_length are missing"),
        (["backend.args.micro_batch_size=null"], "micro_batch_size is missing"),
        (["backend.args.num_layers=4,null"], "num_layers is missing"),
    ],
)
def test_what_megatron_does_not_begin_without_is_named(train, overrides, said):
    assert f"my.yaml:8: backend.args: {said}" in train().problem(*overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["~backend.args.num_layers", "+backend.args.hybrid_layer_pattern=M*M*"],
        ["~backend.args.seq_length", "+backend.args.encoder_seq_length=64"],
        ["~backend.args.hidden_size", "backend.extra_args=[--hidden-size,64]"],
        ["~backend.args.num_layers", "~backend.args.lr", "backend.extra_args=[--use-checkpoint-args]"],
        ["~backend.args.lr", "+backend.args.skip_train=true"],
        ["backend.args={use_checkpoint_args: true, load: /base}"],
        ["backend.args={yaml_cfg: /model.yaml}"],
        ["backend.args={}", "backend.script=own.py"],
    ],
)
def test_what_may_come_from_elsewhere_is_not_missed(train, overrides):
    (train.folder / "own.py").touch()
    assert train().entries(*overrides)


def test_everything_that_is_wrong_is_told_at_once_with_its_line(train):
    found = train("lrr: 1, train_iters: many, bf16: 3, train_tokens: 5").problems()
    assert [problem.split(": ", 2)[1] for problem in found] == [
        *("backend.args.lrr", "backend.args.train_iters", "backend.args.bf16"),
    ]
    assert found[0].endswith("did you mean 'lr'?")


def test_what_is_passed_unseen_says_nothing_that_is_checked(train):
    more = "  extra_args: [--lr=1, --seed, 5, --my-own, --tensor-model-parallel-size, 8]\n"
    assert [problem.partition(": ")[2] for problem in train("lr: 0.5", more).problems()] == [
        "backend.extra_args: --lr is an argument that args know, and say; write it as args.lr",
        "backend.extra_args: --tensor-model-parallel-size is an argument that args know; "
        "write it as args.tensor_model_parallel_size",
    ]


def test_sizes_are_held_against_the_job(train):
    (problem, _) = train("tensor_model_parallel_size: 8").problems()
    assert "tensor 8 x pipeline 1 x context 1 = 8 does not divide the 4 processes (1 node with 4 each)" in problem
    slurm = "{sbatch: {nodes: 2, gpus-per-node: 4}, srun: {ntasks-per-node: 1}}"
    assert train("tensor_model_parallel_size: 4", slurm=slurm).entry().resources.gpus == 8


def test_a_checkout_that_is_not_there_is_told(train, tmp_path):
    assert "no such folder '/nowhere'" in train().problem("backend.megatron_path=/nowhere")
    assert "give a path below megatron_path" in train().problem("backend.script=pretrain_bert.py")
    assert train().entry("backend.megatron_path=/nowhere", "slurm.launcher_cmd=[apptainer,exec,i.sif]").argv


def test_a_script_elsewhere_finds_megatron_by_the_path(train):
    (train.folder / "tools").mkdir()
    (train.folder / "tools" / "own.py").touch()
    entry = train(more="  environment: {PYTHONPATH: /more}\n  script: tools/own.py\n").entry()
    assert entry.environment["PYTHONPATH"] == f"{train.folder}:/more"
    assert "PYTHONPATH" not in train().entry().environment


def test_checkpoints_go_into_the_entrys_folder_and_a_restart_goes_on_from_them(train, tmp_path):
    plan = train("save_interval: 10, load: /base, finetune: true, ckpt_step: 7, no_load_optim: true").plan().plan
    (entry,) = plan.entries
    save = entry.argv[entry.argv.index("--save") + 1]
    assert save.endswith("/entries/my/checkpoints")
    assert entry.resume == Resume(
        pattern=f"{save}/iter_*",
        complete=".metadata",
        arguments=("--load", save, "--ckpt-step={checkpoint_iteration}"),
        tracker="latest_checkpointed_iteration.txt",
        without=("--load=/base", "--ckpt-step=7", "--finetune", "--no-load-optim"),
    )
    again = entry.resume.resumed(entry.argv, f"{save}/iter_0000020")
    assert again[-3:] == ("--load", save, "--ckpt-step=20")
    assert set(entry.argv) - set(again) == set(entry.resume.without)
    (tmp_path / "sweep.json").write_text(to_text(plan))
    assert read_entry(tmp_path / "sweep.json", index=0).resume == entry.resume


def test_what_is_not_saved_is_not_loaded_again_either(train):
    entry = train("save_interval: 10, no_save_optim: true, no_load_optim: true, no_load_rng: true").entry()
    assert entry.resume is not None and entry.resume.without == ("--no-load-rng",)


@pytest.mark.parametrize("args", ["save_interval: 10, save: null", "lr: 1.0"])
def test_without_checkpoints_there_is_nothing_to_go_on_from(train, args):
    entry = train(args).entry()
    assert entry.resume is None and "--save" not in entry.argv


def test_an_own_folder_and_format_of_checkpoints_are_taken(train):
    entry = train("save_interval: 10, save: '/p/{entry_name}', ckpt_format: torch").entry()
    assert entry.resume is not None
    assert (entry.resume.pattern, entry.resume.complete) == ("/p/my/iter_*", "")
    assert train("save_interval: 10", "  resume: false\n").entry().resume is None


def test_a_folder_to_save_in_is_a_path_and_no_pattern(train, tmp_path):
    saved = tmp_path / "run[1]" / "my"
    entry = train(f"save_interval: 10, train_iters: 10, save: '{saved.parent}/{{entry_name}}'").entry()
    whole = saved / "iter_0000010"
    whole.mkdir(parents=True)
    (whole / ".metadata").touch()
    (saved / "latest_checkpointed_iteration.txt").write_text("10")
    assert newest_checkpoint(entry.resume) == str(whole)


def test_the_checkouts_own_arguments_hold_where_it_answers(campaign, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("STAND_IN_ASKED", str(tmp_path / "asked"))
    checkout = make_checkout(tmp_path / "checkout", tmp_path / "asked")
    campaign.root(
        f"backend: {{class_name: AutoMegatronBackend, megatron_path: {checkout.folder}, python: {sys.executable}}}",
        sweep="axes: {backend.args.num_layers: [1, 2, 3]}",
    )
    entries = campaign.entries("+backend.args.export_dir=/x", "+backend.args.skip=true")
    assert [flags(entry)[3] for entry in entries] == ["1", "2", "3"]
    assert flags(entries[0]) == ("--export-dir", "/x", "--num-layers", "1", "--skip")
    assert checkout.times_asked == 1
    assert "Megatron-LM has no argument 'hidden_size'" in campaign.problems("+backend.args.hidden_size=8")[0]


def test_a_checkout_that_cannot_answer_is_told_of_and_the_packaged_table_holds(train, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    python = f"  python: {sys.executable}\n"
    entry = train("lr: 1.0", python).entry("backend.schema=auto")
    assert flags(entry)[-2:] == ("--seq-length", "128") and caplog.text == ""  # there is nothing to ask
    parser = train.folder / "megatron" / "training" / "arguments.py"
    parser.parent.mkdir(parents=True)
    parser.write_text("import torch_of_the_run\n")
    assert train("lr: 1.0", python).entry("backend.schema=auto").argv == entry.argv
    assert "the packaged table" in caplog.text and "cannot import 'torch_of_the_run'" in caplog.text
    assert "cannot import 'torch_of_the_run'" in train("lr: 1.0", python).problem("backend.schema=checkout")


@pytest.mark.parametrize(
    ("more", "prefix"),
    [
        ("", ()),
        ("slurm: {launcher_cmd: [srun, apptainer, exec, i.sif]}", ("apptainer", "exec", "i.sif")),
        ("container: {class_name: PyxisLauncher, image: i.sqsh}\nslurm: {srun: {ntasks: 1}}", ()),
        ("slurm: {launcher_cmd: [srun]}", ()),
    ],
)
def test_a_checkout_is_asked_where_the_training_will_run_if_that_can_be_done_outside_of_a_job(campaign, more, prefix):
    assert backend_job_spec(campaign.root(more).project()).inside(("/m",)) == prefix


def test_in_a_container_the_checkout_can_be_seen(campaign):
    container = "container: {class_name: ApptainerLauncher, image: i.sif}"
    prefix = backend_job_spec(campaign.root(container).project()).inside(("/m",))
    assert prefix[0] == "apptainer" and any("/m" in word for word in prefix)


def test_a_folder_without_megatron_is_no_checkout_to_ask(train):
    assert "is no checkout of Megatron-LM" in train("lr: 1.0").problem("backend.schema=checkout")


LINE = (
    " [2026-08-22 10:00:00] iteration      120/    1000 | consumed samples:        15360 | elapsed time per iteration "
    "(ms): 123.4 | throughput per GPU (TFLOP/s/GPU): 456.7 | learning rate: 1.000000E-04 | global batch size:   128 | "
    "lm loss: {loss} | loss scale: 1.0 | grad norm: 0.345 | number of skipped iterations:   0 | "
    "number of nan iterations:   {nan} |"
)


def test_progress_is_read_from_megatrons_own_line():
    match = re.search(PROGRESS.encode(), LINE.format(loss="2.345678E+00", nan=0).encode())
    assert match is not None
    assert {name: value.decode() for name, value in match.groupdict().items()} == {
        "iteration": "120",
        "iterations": "1000",
        "samples": "15360",
        "iteration_ms": "123.4",
        "tflops_per_gpu": "456.7",
        "learning_rate": "1.000000E-04",
        "loss": "2.345678E+00",
        "grad_norm": "0.345",
    }
    bare = re.search(PROGRESS.encode(), b" iteration        5/      10 | consumed samples:          40 |")
    assert bare is not None and bare["iteration"] == b"5" and bare["loss"] is None


def monitoring():
    groups = {name: yaml.safe_load((ROOT / "config" / "monitoring" / f"{name}.yaml").read_text()) for name in NAMES}
    merged = {**groups["default"], **groups["megatron"]}
    merged["signatures"] = {**groups["default"]["signatures"], **groups["megatron"]["signatures"]}
    return parse(MonitoringConfig, {key: value for key, value in merged.items() if key != "defaults"}, "monitoring")


NAMES = ("default", "megatron")
SEEN = {
    "  successfully saved checkpoint from iteration     100 to /p/a b/ckpt [ t 1/2, p 1/1 ]": {
        "checkpoint_saved": {"iteration": "100", "path": "/p/a b/ckpt"}
    },
    "  successfully saved checkpoint from iteration     100 to /p/ckpt": {
        "checkpoint_saved": {"iteration": "100", "path": "/p/ckpt"}
    },
    "  successfully loaded checkpoint from /p/ckpt [ t 1/2, p 1/1 ] at iteration 100": {
        "checkpoint_loaded": {"iteration": "100", "path": "/p/ckpt"}
    },
    " validation loss at iteration 50 on validation set | lm loss value: 2.5E+00 | lm loss PPL: 1.2E+01 | ": {
        "validation": {"iteration": "50", "loss": "2.5E+00"}
    },
    LINE.format(loss="2.345678E+00", nan=0): {},
    LINE.format(loss="NaN", nan=1): {"nan_loss": {"iteration": "120"}, "nan_iterations": {"count": "1"}},
}


@pytest.mark.parametrize("line", SEEN)
def test_signals_are_seen_in_what_megatron_prints(line):
    found = {signal.name: re.search(signal.pattern, line) for signal in monitoring().log_signals}
    assert {name: match.groupdict() for name, match in found.items() if match} == SEEN[line]


@pytest.mark.parametrize(
    ("line", "mode"),
    [
        (LINE.format(loss="2.345678E+00", nan=0), None),
        ("RuntimeError: Rank 3, node n1, device 0: found NaN in local grad norm for bucket #0", "nan"),
        ("AssertionError: world size (6) is not divisible by total_model_size (total_model_size=4)", "config_error"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "gpu_oom"),
        ("[rank3]: Watchdog caught collective operation timeout: WorkNCCL(SeqNum=42)", "nccl"),
    ],
)
def test_causes_are_told_from_what_megatron_prints(line, mode):
    cause = Signatures(monitoring().signatures).cause([f"begin\n{line}\n"])
    assert (cause and cause.mode.value) == mode


def test_the_monitoring_group_is_sound(campaign):
    assert [*signal_problems(monitoring()), *signature_problems(monitoring().signatures)] == []
    project = campaign.root().project("monitoring=megatron")
    assert {"checkpoint_saved", "nan_loss"} <= {signal.name for signal in project.monitoring.log_signals}
    assert {"gpu_out_of_memory", "megatron_nan"} <= set(project.monitoring.signatures)


def test_help_reaches_nothing_of_the_table(cli):
    code = "import sys; from oellm_bench.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    done = cli.python("-c", f"{code}print([name for name in sys.modules if 'megatron' in name])")
    assert done.stdout.splitlines()[-1] == "['oellm_bench.cli.megatron_arguments']"
