"""The small trainer: it learns, it goes on exactly where it was, it fails as it is told to."""

from __future__ import annotations

import json
import pickle
import signal
import time

import numpy as np
import psutil
import pytest

from oellm_bench.megatron.table import packaged_table
from tests.experiments.trainer import LINE, TRAINER, command, losses, ran, rates, start, trained
from tests.waiting import wait_until

CHECKPOINT = "mp_rank_00/model_optim_rng.npz"


def weights(folder, iteration):
    with np.load(folder / f"iter_{iteration:07d}" / CHECKPOINT) as packed:
        return {name: packed[name].tobytes() for name in packed.files}


def test_it_learns_and_its_gradients_are_right(monkeypatch):
    monkeypatch.syspath_prepend(str(TRAINER))
    from language_model import Pass, Shape, new_parameters

    shape, random = Shape(layers=2, hidden=8, heads=2, positions=6), np.random.default_rng(1)
    parameters = new_parameters(shape, seed=1, std=0.5)
    tokens, targets = random.integers(0, 9, (2, 3, 6))
    subject = Pass(parameters, shape)
    subject.loss(tokens, targets)
    subject.backward()
    for name, value in parameters.items():
        place = (int(tokens[0, 0]), 1) if name == "embedding" else tuple(size - 1 for size in value.shape)
        sides = []
        for step in (1e-5, -2e-5):
            value[place] += step
            sides.append(Pass(parameters, shape).loss(tokens, targets)[0])
        value[place] += 1e-5
        assert subject.gradients[name][place] == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-4, abs=1e-8), name
    found = losses(trained(train_iters=50))
    assert float(found[50]) < 0.8 * float(found[1])


def test_a_resumed_training_is_bitwise_the_uninterrupted_one(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    schedule = {"lr_decay_style": "cosine", "lr_warmup_iters": 5, "min_lr": 0.001}
    uninterrupted = losses(trained(save=whole, **schedule))
    first = trained(save=parts, load=parts, exit_interval=10, **schedule)
    second = trained(save=parts, load=parts, exit_interval=20, **schedule)
    third = trained(save=parts, load=parts, **schedule)
    assert "will start from random" in first and f"loaded checkpoint from {parts} [ t 1/1, p 1/1 ]" in second
    assert [len(losses(log)) for log in (first, second, third)] == [10, 10, 10]
    assert losses(first) | losses(second) | losses(third) == uninterrupted
    assert weights(parts, 30) == weights(whole, 30)


def test_its_log_and_its_folders_are_those_of_megatron(tmp_path):
    save = tmp_path / "checkpoints"
    log = trained(save=save, train_iters=25, log_interval=10, eval_interval=20, log_throughput=True, bf16=True)
    assert [match["iteration"] + ":" + match["samples"] for match in LINE.finditer(log)] == ["10:40", "20:80"]
    assert log.count(" throughput per GPU (TFLOP/s/GPU): ") == 2
    for iteration in (10, 20, 25):
        assert f"saving checkpoint at iteration {iteration:7d} to {save} " in log
        assert f"  successfully saved checkpoint from iteration {iteration:7d} to {save} [" in log
        assert (save / f"iter_{iteration:07d}" / CHECKPOINT).is_file()
        assert (save / f"iter_{iteration:07d}" / ".metadata").is_file()
    assert (save / "latest_checkpointed_iteration.txt").read_text() == "25"
    assert log.count(" validation loss at iteration 20 on validation set | lm loss value: ") == 1
    assert "flags of Megatron that mean nothing here: bf16" in log
    assert sorted(path.name for path in save.iterdir())[-1] == "latest_checkpointed_iteration.txt"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"lr_decay_style": "constant", "lr_warmup_iters": 4}, {2: 0.005, 4: 0.01, 8: 0.01}),
        ({"lr_decay_style": "linear", "min_lr": 0.002}, {4: 0.006, 8: 0.002}),
        ({"lr_decay_style": "cosine", "lr_warmup_fraction": 0.5}, {2: 0.005, 4: 0.01, 6: 0.005, 8: 0}),
        (
            {"lr_decay_style": "WSD", "lr_wsd_decay_iters": 4, "lr_wsd_decay_style": "linear"},
            {4: 0.01, 6: 0.005, 8: 0},
        ),
        (
            {"train_iters": None, "train_samples": 35, "lr_decay_samples": 16, "lr_decay_style": "linear"},
            {2: 0.005, 4: 0, 8: 0},
        ),
    ],
    ids=["constant", "linear", "cosine", "WSD", "samples"],
)
def test_learning_rates_follow_the_schedule(flags, expected):
    found = rates(trained(**{"train_iters": 8, **flags}))
    assert len(found) == 8
    assert {iteration: found[iteration] for iteration in expected} == pytest.approx(expected, abs=1e-9)


def test_another_schedule_than_the_checkpoints_is_refused_until_it_is_said_to_count(tmp_path):
    stable, decay = tmp_path / "stable", tmp_path / "decay"
    trained(save=stable, train_iters=10, lr_decay_style="constant")
    flags = {"load": stable, "save": decay, "train_iters": 20, "lr_decay_style": "linear"}
    code, _, err = ran("pretrain_gpt", **flags)
    assert code == 1 and "class input value linear and checkpoint value constant for style do not match" in err
    log = trained(**flags, override_opt_param_scheduler=True)
    assert sorted(losses(log)) == list(range(11, 21))
    assert rates(log)[20] == 0


def test_a_signal_ends_it_with_a_checkpoint(tmp_path):
    flags = {"save": tmp_path, "save_interval": 999_999, "exit_signal_handler": True, "lr_decay_iters": 100}
    argv = command("pretrain_gpt", **flags, train_iters=1_000_000)
    with start(argv) as process:
        while LINE.match(line := process.stdout.readline()) is None:
            assert line, process.stderr.read()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "[exiting program after receiving SIGTERM.] datetime: " in out
    last = max(losses(out), default=1)
    assert (tmp_path / "latest_checkpointed_iteration.txt").read_text() == str(last)
    assert sorted(losses(trained(load=tmp_path, lr_decay_iters=100, train_iters=last + 2))) == [last + 1, last + 2]


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("crash", "RuntimeError: TRAINER_FAULT=crash at iteration 15"),
        ("oom", "\nMemoryError\n"),
        ("gpu-oom", "torch.OutOfMemoryError: CUDA out of memory"),
        ("nan", "iteration 15: Unexpected result nan (message='found NaN in local forward loss calculation')"),
        ("kill-while-saving", ""),
    ],
)
def test_it_fails_as_it_is_told_and_the_next_attempt_goes_on(tmp_path, fault, text):
    env = {"TRAINER_FAULT": fault, "TRAINER_FAULT_AT": "15"}
    code, out, err = ran("pretrain_gpt", {**env, "OELLM_BENCH_ATTEMPT": "1"}, save=tmp_path, train_iters=20)
    assert code == (-signal.SIGKILL if fault == "kill-while-saving" else 1)
    assert text in err and max(losses(out)) == (20 if fault == "kill-while-saving" else 14)
    assert (tmp_path / "latest_checkpointed_iteration.txt").read_text() == "10"
    log = trained({**env, "OELLM_BENCH_ATTEMPT": "2"}, save=tmp_path, load=tmp_path, train_iters=20)
    assert sorted(losses(log)) == list(range(11, 21))
    assert losses(log).items() >= {k: v for k, v in losses(out).items() if k > 10}.items()


def test_a_hang_says_nothing_more():
    env = {"TRAINER_FAULT": "hang", "TRAINER_FAULT_AT": "3"}
    with start(command("pretrain_gpt", train_iters=1_000_000), env) as process:
        spent = psutil.Process(process.pid).cpu_times
        began = [process.stdout.readline() for _ in range(3)]
        wait_until(lambda: spent() == (time.sleep(0.3), spent())[1], 30)
        process.terminate()
        out, _ = process.communicate(timeout=30)
    assert max(losses("".join(began))) == 2 and not out


def test_a_loss_that_is_no_number_can_be_passed_over():
    env = {"TRAINER_FAULT": "nan", "TRAINER_FAULT_AT": "3"}
    log = trained(env, train_iters=5, no_check_for_nan_in_loss_and_grad=True)
    assert {int(match["iteration"]): int(match["nan"]) for match in LINE.finditer(log)} == {
        **dict.fromkeys((1, 2, 4, 5), 0),
        3: 1,
    }


def test_of_several_ranks_the_first_writes_and_the_last_speaks(tmp_path):
    logs = [trained({"RANK": rank, "WORLD_SIZE": "2"}, save=tmp_path, train_iters=10) for rank in "01"]
    assert [len(losses(log)) for log in logs] == [0, 10]
    assert ["saved checkpoint" in log for log in logs] == [True, False]


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({"num_layrs": 3}, "unrecognized arguments: --num-layrs 3"),
        ({"lr_decay_style": "wsd"}, "invalid choice: 'wsd'"),
        ({"global_batch_size": 3}, "global batch size (3) is not divisible by micro batch size (2)"),
        ({"tensor_model_parallel_size": 2}, "world size (1) is not divisible by total_model_size (2)"),
        ({"lr_decay_samples": 9}, "lr_decay_samples does not go with training by iterations"),
    ],
)
def test_what_megatron_refuses_is_refused(flags, text):
    code, out, err = ran("pretrain_gpt", **flags)
    assert (code, out) == (2, "") and text in err


def test_every_flag_of_megatron_is_known(monkeypatch):
    monkeypatch.syspath_prepend(str(TRAINER))
    from flags import parser

    known = {flag for action in parser()._actions for flag in action.option_strings}
    assert {flag for argument in packaged_table().arguments for flag in argument.flags} <= known


def test_a_checkpoint_becomes_a_model_and_the_model_a_result(tmp_path):
    checkpoints, model, results = (tmp_path / name for name in ("checkpoints", "model", "results"))
    trained(save=checkpoints)
    assert ran("convert", load=checkpoints, save=model)[0] == 0
    config = json.loads((model / "config.json").read_text())
    assert (config["hidden_size"], config["num_hidden_layers"], config["iteration"]) == (16, 1, 30)
    code, _, err = ran("evaluate", model=model, benchmark_results_path=results)
    assert code == 0, err
    metrics = json.loads((results / "metrics.json").read_text())
    tasks = pickle.loads((results / "tasks.pkl").read_bytes())
    assert metrics["is_success"] and metrics["iteration"] == 30
    assert 2 < metrics["loss"] < np.log(256) and 0 < metrics["accuracy"] < 1
    assert metrics["tokens"] == sum(task["tokens"] for task in tasks)
    assert json.loads((results / "params.json").read_text())["model"] == str(model)


def test_half_a_checkpoint_becomes_no_model(tmp_path):
    checkpoints, model = tmp_path / "checkpoints", tmp_path / "model"
    assert "nothing has been saved there" in ran("convert", load=checkpoints, save=model)[2]
    env = {"TRAINER_FAULT": "kill-while-saving", "TRAINER_FAULT_AT": "20"}
    ran("pretrain_gpt", env, save=checkpoints)
    code, _, err = ran("convert", load=checkpoints, save=model, ckpt_step=20)
    assert code == 1 and "could not load the checkpoint" in err and not model.exists()
    assert "converted iteration 10 " in ran("convert", load=checkpoints, save=model)[1]
