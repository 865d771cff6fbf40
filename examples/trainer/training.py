"""The loop: iterations, log lines, checkpoints, and the reasons to leave early."""

from __future__ import annotations

import argparse
import math
import platform
import signal
import sys
import time
from datetime import datetime
from pathlib import Path
from types import FrameType

import checkpoints
import faults
import flags
import numpy as np
from corpus import Corpus
from flags import say
from language_model import Adam, Pass, Shape, clip, new_parameters
from learning_rate import agreed, schedule_of


class Training:
    """A model, its optimizer and how far they are."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        heads = options.num_attention_heads
        self.shape = Shape(options.num_layers, options.hidden_size, heads, options.max_position_embeddings)
        self.parameters = new_parameters(self.shape, options.seed, options.init_method_std)
        betas = (options.adam_beta1, options.adam_beta2)
        self.adam = Adam(self.parameters, betas=betas, epsilon=options.adam_eps, decay=options.weight_decay)
        self.schedule = schedule_of(options)
        self.corpus = Corpus(options.data_path or [])
        self.fault = faults.from_environment()
        self.iteration = self.samples = self.not_finite = self.saved_at = 0
        self.first, self.last = options.rank == 0, options.rank == options.world_size - 1
        self.signal_name = ""

    def load(self, folder: Path) -> None:
        """Go on from the newest checkpoint of a folder; where there is none, begin anew, as Megatron does.

        Raises Unusable for one that is not whole, ValueError for one with another model or schedule.
        """
        iteration = self.options.ckpt_step or checkpoints.newest(folder)
        if iteration is None:
            say(f"WARNING: could not find the metadata file {folder / checkpoints.TRACKER}")
            if self.options.exit_on_missing_checkpoint:
                raise checkpoints.Unusable(">> '--exit-on-missing-checkpoint' set ... exiting. <<")
            say("    will not load any checkpoints and will start from random")
            return
        say(f" loading checkpoint from {folder} at iteration {iteration}")
        arrays, state = checkpoints.load(folder, iteration)
        shapes = {f"model/{name}": value.shape for name, value in self.parameters.items()}
        if wrong := sorted(name for name, shape in shapes.items() if name not in arrays or arrays[name].shape != shape):
            raise ValueError(f"the checkpoint is of another model: {', '.join(wrong[:3])} do not fit")
        self.parameters = {name: arrays[f"model/{name}"] for name in self.parameters}
        if not self.options.finetune:
            self.iteration, self.samples = state["iteration"], state["consumed_train_samples"]
            self.schedule = agreed(self.schedule, state["schedule"], self.options)
        if not (self.options.finetune or self.options.no_load_optim):
            self.adam.first = {name: arrays[f"exp_avg/{name}"] for name in self.parameters}
            self.adam.second = {name: arrays[f"exp_avg_sq/{name}"] for name in self.parameters}
            self.adam.steps = state["steps"]
        self.saved_at = self.iteration
        say(f"  successfully loaded checkpoint from {folder} [ t 1/1, p 1/1 ] at iteration {self.iteration}")

    def run(self) -> None:
        """Train until all iterations are done, or something else ends it."""
        options, began = self.options, time.monotonic()
        since, counted, loss_sum, computed = began, 0, 0.0, 0
        self._date("before the start of training step")
        while self.iteration < options.train_iters:
            self.fault.before(self.iteration + 1)
            rate, loss, norm = self.step()
            counted += 1
            if math.isfinite(loss):
                loss_sum, computed = loss_sum + loss, computed + 1
            if self.iteration % options.log_interval == 0:
                now = time.monotonic()
                self._log((now - since) / counted, rate, loss_sum / max(1, computed), norm)
                since, counted, loss_sum, computed = now, 0, 0.0, 0
            if options.eval_interval and self.iteration % options.eval_interval == 0:
                self.evaluate()
            if self._leaves(began):
                return
        self._date("after training is done")
        if options.save and self.saved_at != self.iteration:
            self.save()

    def step(self) -> tuple[float, float, float]:
        """Do one iteration; returns learning rate, loss and the norm of the gradient.

        Raises RuntimeError for a loss that is no number; without that check the iteration changes nothing.
        """
        options, batch = self.options, self.options.global_batch_size
        rate = self.schedule.at(self.samples)
        passes, loss = Pass(self.parameters, self.shape), 0.0
        micro = options.micro_batch_size
        for first in range(self.samples, self.samples + batch, micro):
            tokens, targets = self.corpus.sample(options.seed, first, micro, options.seq_length)
            loss += passes.loss(tokens, targets)[0] * micro / batch
            passes.backward(micro / batch)
        if self.fault.spoils(self.iteration + 1):
            loss = math.nan
        self.iteration, self.samples = self.iteration + 1, self.samples + batch
        if not math.isfinite(loss):
            self._not_finite(loss)
            return rate, loss, math.nan
        norm = clip(passes.gradients, options.clip_grad)
        self.adam.step(self.parameters, passes.gradients, rate)
        return self.schedule.at(self.samples), loss, norm

    def _not_finite(self, loss: float) -> None:
        if self.options.check_for_nan_in_loss_and_grad:
            raise RuntimeError(
                f"Rank {self.options.rank}, node {platform.node()}, device 0, iteration {self.iteration}: Unexpected "
                f"result {loss} (message='found NaN in local forward loss calculation')"
            )
        self.not_finite += 1

    def evaluate(self) -> None:
        """Print the loss of the text that is not trained on."""
        windows = self.corpus.windows(self.options.seq_length, self.options.eval_iters)
        loss = float(np.mean([Pass(self.parameters, self.shape).loss(*window)[0] for window in windows]))
        if self.last:
            text = f" validation loss at iteration {self.iteration} on validation set | lm loss value: {loss:.6E} |"
            say(f"{text} lm loss PPL: {math.exp(min(20, loss)):.6E} |")

    def save(self) -> None:
        """Write a checkpoint; the first rank does."""
        self.saved_at = self.iteration
        if not self.first:
            return
        folder = Path(self.options.save)
        say(f"saving checkpoint at iteration {self.iteration:7d} to {folder} in npz format")
        parts = {"model": self.parameters, "exp_avg": self.adam.first, "exp_avg_sq": self.adam.second}
        arrays = {f"{part}/{name}": value for part, found in parts.items() for name, value in found.items()}
        state = {
            "iteration": self.iteration,
            "consumed_train_samples": self.samples,
            "steps": self.adam.steps,
            "schedule": self.schedule.values(),
            "shape": vars(self.shape),
        }
        checkpoints.save(
            folder,
            self.iteration,
            arrays,
            state,
            metadata=self.options.ckpt_format != "torch",
            halfway=lambda: self.fault.halfway(self.iteration),
        )
        say(f"  successfully saved checkpoint from iteration {self.iteration:7d} to {folder} [ t 1/1, p 1/1 ]")

    def _leaves(self, began: float) -> bool:
        """Save what is due; tell whether this was the last iteration, in the order in which Megatron looks."""
        options, minutes = self.options, (time.monotonic() - began) / 60
        why = ""
        if self.signal_name:
            why = f"exiting program after receiving {self.signal_name}."
        elif options.exit_duration_in_mins and minutes > options.exit_duration_in_mins:
            why = f"exiting program after {minutes} minutes"
        elif options.exit_interval and self.iteration % options.exit_interval == 0:
            why = f"exiting program at iteration {self.iteration}"
        if options.save and (why or self.iteration % options.save_interval == 0):
            self.save()
        if why:
            self._date(why)
        return bool(why)

    def _log(self, seconds: float, rate: float, loss: float, norm: float) -> None:
        if not self.last:
            return
        options = self.options
        parts = [
            f" [{datetime.now():%Y-%m-%d %H:%M:%S}] iteration {self.iteration:8d}/{options.train_iters:8d}",
            f"consumed samples: {self.samples:12d}",
            f"elapsed time per iteration (ms): {seconds * 1000:.1f}",
            *([f"throughput per GPU (TFLOP/s/GPU): {self._tflops() / seconds:.1f}"] if options.log_throughput else []),
            f"learning rate: {rate:.6E}",
            f"global batch size: {options.global_batch_size:5d}",
            *([f"lm loss: {loss:.6E}"] if loss > 0 else []),
            "loss scale: 1.0",
            f"grad norm: {norm:.3f}",
            f"number of skipped iterations: {0:3d}",
            f"number of nan iterations: {self.not_finite:3d} |",
        ]
        say(" | ".join(parts))
        self.not_finite = 0

    def _tflops(self) -> float:
        """Return the work of an iteration for each rank: six operations for each weight and token."""
        weights = sum(value.size for value in self.parameters.values())
        return 6e-12 * weights * self.options.global_batch_size * self.options.seq_length / self.options.world_size

    def _date(self, text: str) -> None:
        if self.last:
            say(f"[{text}] datetime: {datetime.now():%Y-%m-%d %H:%M:%S} ")

    def notice(self, number: int, _: FrameType | None) -> None:
        """Note that a signal asks for the end."""
        self.signal_name = signal.Signals(number).name


def main() -> int:
    """Read the flags and train; returns the exit status."""
    options = flags.read()
    training = Training(options)
    if options.exit_signal_handler:
        signal.signal(options.exit_signal_number, training.notice)
    if training.first and options.ignored:
        say(f"flags of Megatron that mean nothing here: {', '.join(options.ignored)}")
    try:
        if options.load:
            training.load(Path(options.load))
    except (checkpoints.Unusable, ValueError) as err:
        print(f"{type(err).__name__}: {err}", file=sys.stderr)
        return 1
    training.run()
    return 0
