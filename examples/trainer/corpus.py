"""What the model reads: text files, or, where none are named, the sources of this trainer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

HELD_OUT = 0.1  # the end of the text, which no training sees
_OF_TRAINING = 1  # streams of random numbers; 0 makes the weights


class Corpus:
    """A text as bytes, cut into what is trained on and what is held out."""

    def __init__(self, paths: Sequence[str]) -> None:
        files = [Path(path) for path in paths] or sorted(Path(__file__).parent.glob("*.py"))
        missing = [str(path) for path in files if not path.is_file()]
        if missing:
            raise SystemExit(f"FileNotFoundError: --data-path wants text files here; no file {', '.join(missing)}")
        text = np.frombuffer(b"\n".join(path.read_bytes() for path in files), dtype=np.uint8).astype(np.int64)
        cut = int(len(text) * (1 - HELD_OUT))
        self.training, self.held_out = text[:cut], text[cut:]

    def sample(self, seed: int, first: int, count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Return tokens and targets of the samples from `first` on, the same whenever they are asked for."""
        last = len(self.training) - length - 1
        if last < 0:
            raise SystemExit(f"ValueError: the text has {len(self.training)} bytes, fewer than --seq-length {length}")
        starts = [int(np.random.default_rng((seed, _OF_TRAINING, first + i)).integers(last + 1)) for i in range(count)]
        rows = np.stack([self.training[start : start + length + 1] for start in starts])
        return rows[:, :-1], rows[:, 1:]

    def windows(self, length: int, most: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return tokens and targets of at most `most` windows of the held-out text, one after the other."""
        starts = range(0, len(self.held_out) - length, length)[:most]
        return [
            (self.held_out[None, start : start + length], self.held_out[None, start + 1 : start + length + 1])
            for start in starts
        ]
