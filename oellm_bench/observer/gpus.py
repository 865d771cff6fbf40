"""NVIDIA GPUs of the job, through NVML; nothing where there is no driver."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Mapping
from typing import Any

_LIBRARY = "libnvidia-ml.so.1"  # the name that pynvml loads


class Gpus:
    """The GPUs that the job may use: those in CUDA_VISIBLE_DEVICES, all where that is not set.

    Source: NVML API Reference. NVML itself does not heed CUDA_VISIBLE_DEVICES.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._nvml = _nvml()
        self._handles: dict[int, Any] = {}
        if self._ask("nvmlInit", otherwise=False) is False:
            return
        count = self._ask("nvmlDeviceGetCount", otherwise=0)
        found = {index: self._ask("nvmlDeviceGetHandleByIndex", index) for index in range(count)}
        handles = {index: handle for index, handle in found.items() if handle is not None}
        uuids = {index: self._ask("nvmlDeviceGetUUID", handle, otherwise="") for index, handle in handles.items()}
        visible = _visible(uuids, environment.get("CUDA_VISIBLE_DEVICES"))
        self._handles = {index: handle for index, handle in handles.items() if index in visible}

    def describe(self) -> dict[str, Any]:
        """Return driver, CUDA version and the GPUs; empty where there is none."""
        if not self._handles:
            return {}
        cuda = self._ask("nvmlSystemGetCudaDriverVersion")
        return {
            "driver": self._ask("nvmlSystemGetDriverVersion"),
            "cuda": f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
            "gpus": [
                {
                    "index": index,
                    "uuid": self._ask("nvmlDeviceGetUUID", handle),
                    "name": self._ask("nvmlDeviceGetName", handle),
                    "memory_bytes": self._ask("nvmlDeviceGetMemoryInfo", handle, field="total"),
                    "power_limit_w": _watts(self._ask("nvmlDeviceGetPowerManagementLimit", handle)),
                }
                for index, handle in self._handles.items()
            ],
        }

    def sample(self) -> list[dict[str, Any]]:
        """Return what each GPU does now; None for what it cannot tell (MIG, virtual GPUs)."""
        return [
            {
                "index": index,
                "utilization_percent": self._ask("nvmlDeviceGetUtilizationRates", handle, field="gpu"),
                "memory_used_bytes": self._ask("nvmlDeviceGetMemoryInfo", handle, field="used"),
                "power_w": _watts(self._ask("nvmlDeviceGetPowerUsage", handle)),
                "temperature_c": self._ask("nvmlDeviceGetTemperature", handle, self._nvml.NVML_TEMPERATURE_GPU),
                "sm_clock_mhz": self._ask("nvmlDeviceGetClockInfo", handle, self._nvml.NVML_CLOCK_SM),
            }
            for index, handle in self._handles.items()
        ]

    def _ask(self, function: str, *arguments: Any, field: str = "", otherwise: Any = None) -> Any:
        """Return NVML's answer, `otherwise` where it has none."""
        if self._nvml is None:
            return otherwise
        try:
            found = getattr(self._nvml, function)(*arguments)
        except self._nvml.NVMLError:
            return otherwise
        return getattr(found, field) if field else found


def _nvml() -> Any:
    """Return pynvml where it is of use: it takes as long to import as all the rest of the observer."""
    try:
        ctypes.CDLL(_LIBRARY)
        return importlib.import_module("pynvml")
    except (OSError, ImportError):
        return None


def _visible(uuids: Mapping[int, str], wanted: str | None) -> set[int]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES names, by index or by the beginning of their UUID.

    What follows a name that fits none is not seen either. Source: CUDA C++ Programming Guide, "CUDA Environment
    Variables".
    """
    if wanted is None:
        return set(uuids)
    visible: set[int] = set()
    for item in (part.strip() for part in wanted.split(",")):
        named = {index for index, uuid in uuids.items() if item in (str(index), uuid) or _begins(uuid, item)}
        if not named:
            break
        visible |= named
    return visible


def _begins(uuid: str, item: str) -> bool:
    return item.startswith("GPU-") and uuid.startswith(item)


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000
