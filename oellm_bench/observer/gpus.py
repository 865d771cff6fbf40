"""NVIDIA GPUs of the job, through NVML; nothing where there is no driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pynvml  # type: ignore[import-untyped]

_MILLI = 1000


class Gpus:
    """The GPUs that the job may use: those in CUDA_VISIBLE_DEVICES, all where that is not set.

    Source: NVML API Reference. NVML itself does not heed CUDA_VISIBLE_DEVICES.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._handles: dict[int, Any] = {}
        try:
            pynvml.nvmlInit()
            every = {index: pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())}
            names = {index: _value(pynvml.nvmlDeviceGetUUID, handle) for index, handle in every.items()}
        except pynvml.NVMLError:
            return
        wanted = environment.get("CUDA_VISIBLE_DEVICES")
        self._handles = {
            index: handle for index, handle in every.items() if _is_visible(index, str(names[index]), wanted)
        }

    def describe(self) -> dict[str, Any]:
        """Return driver, CUDA version and the GPUs; empty where there is none."""
        if not self._handles:
            return {}
        cuda = _value(pynvml.nvmlSystemGetCudaDriverVersion)
        return {
            "driver": _value(pynvml.nvmlSystemGetDriverVersion),
            "cuda": f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
            "gpus": [
                {
                    "index": index,
                    "uuid": _value(pynvml.nvmlDeviceGetUUID, handle),
                    "name": _value(pynvml.nvmlDeviceGetName, handle),
                    "memory_bytes": _value(pynvml.nvmlDeviceGetMemoryInfo, handle, field="total"),
                    "power_limit_w": _watts(_value(pynvml.nvmlDeviceGetPowerManagementLimit, handle)),
                }
                for index, handle in self._handles.items()
            ],
        }

    def sample(self) -> list[dict[str, Any]]:
        """Return what each GPU does now; None for what it cannot tell (MIG, virtual GPUs)."""
        return [
            {
                "index": index,
                "utilization_percent": _value(pynvml.nvmlDeviceGetUtilizationRates, handle, field="gpu"),
                "memory_used_bytes": _value(pynvml.nvmlDeviceGetMemoryInfo, handle, field="used"),
                "power_w": _watts(_value(pynvml.nvmlDeviceGetPowerUsage, handle)),
                "temperature_c": _value(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
                "sm_clock_mhz": _value(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
            }
            for index, handle in self._handles.items()
        ]


def _is_visible(index: int, uuid: str, wanted: str | None) -> bool:
    """Tell whether CUDA_VISIBLE_DEVICES names a GPU, by index or by the beginning of its UUID."""
    if wanted is None:
        return True
    named = [item.strip() for item in wanted.split(",") if item.strip()]
    return any(item == str(index) or (not item.isdecimal() and uuid.startswith(item)) for item in named)


def _value(ask: Callable[..., Any], *arguments: Any, field: str = "") -> Any:
    try:
        found = ask(*arguments)
        return getattr(found, field) if field else found
    except pynvml.NVMLError:
        return None


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / _MILLI
