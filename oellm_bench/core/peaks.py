"""The highest figures of an attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """What an attempt used at the most, over all samples; GPU figures over all of its GPUs on that node."""

    peak_rss_bytes: int = 0
    peak_processes: int = 0
    peak_gpu_memory_bytes: int | None = None
    peak_gpu_power_w: float | None = None
    gpu_utilization_percent: float | None = None
    gpu_samples: int = 0

    def with_sample(self, rss_bytes: int, processes: int, gpus: Sequence[Mapping[str, Any]]) -> Peaks:
        """Return the peaks with one more sample; `gpu_utilization_percent` is the mean of all."""
        grown = replace(
            self,
            peak_rss_bytes=max(self.peak_rss_bytes, rss_bytes),
            peak_processes=max(self.peak_processes, processes),
            peak_gpu_memory_bytes=_highest(self.peak_gpu_memory_bytes, _total(gpus, "memory_used_bytes")),
            peak_gpu_power_w=_highest(self.peak_gpu_power_w, _total(gpus, "power_w")),
        )
        busy = _known(gpus, "utilization_percent")
        if not busy:
            return grown
        mean = (self.gpu_utilization_percent or 0.0) * self.gpu_samples + sum(busy) / len(busy)
        samples = self.gpu_samples + 1
        return replace(grown, gpu_utilization_percent=mean / samples, gpu_samples=samples)

    def to_document(self) -> dict[str, Any]:
        """Return plain JSON values, without what is not known: no process at all was seen of one that ended at once."""
        unseen = ("gpu_samples",) if self.peak_processes else ("gpu_samples", "peak_rss_bytes", "peak_processes")
        return {name: value for name, value in asdict(self).items() if value is not None and name not in unseen}


def _highest(before: Any, value: Any) -> Any:
    return value if before is None else before if value is None else max(before, value)


def _total(gpus: Sequence[Mapping[str, Any]], name: str) -> Any:
    values = _known(gpus, name)
    return sum(values) if values else None


def _known(gpus: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in gpus if row[name] is not None]
