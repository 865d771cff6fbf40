"""Look at the GPUs from a thread of its own: a driver that hangs must not keep all the rest from going on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from typing import Any

from oellm_bench.observer.gpus import Gpus

_START_LIMIT_S, _SAMPLE_LIMIT_S = 20.0, 2.0  # a driver that nothing keeps loaded takes seconds to start


class GpuThread:
    """The same as Gpus, and nothing where there is no answer in time."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._questions: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._waits = False
        threading.Thread(target=self._work, args=(environment,), daemon=True).start()

    def describe(self) -> dict[str, Any]:
        """Return driver, CUDA version and the GPUs; empty where there is none."""
        return dict(self._ask("describe", _START_LIMIT_S) or {})

    def sample(self) -> list[dict[str, Any]]:
        """Return what each GPU does now."""
        return list(self._ask("sample", _SAMPLE_LIMIT_S) or ())

    def _work(self, environment: Mapping[str, str]) -> None:
        gpus = Gpus(environment)
        while True:
            self._answers.put(gpus.describe() if self._questions.get() == "describe" else gpus.sample())

    def _ask(self, question: str, limit_s: float) -> Any:
        """Return the answer; None, and at once, as long as an earlier question is without one."""
        try:
            if self._waits:
                self._answers.get_nowait()  # of then, not of now
            self._waits = True
            self._questions.put(question)
            answer = self._answers.get(timeout=limit_s)
        except queue.Empty:
            return None
        self._waits = False
        return answer
