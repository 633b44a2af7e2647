"""Where a model runs when nobody says, found out without torch: a recipe is checked without it."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version


def default_device() -> str:
    """cuda where there is a device and a torch for it, mps on Apple's own chips, else cpu."""
    if sys.platform == "darwin":
        return "mps" if platform.machine() == "arm64" else "cpu"
    try:
        on_cpu = "+cpu" in version("torch")
    except PackageNotFoundError:
        on_cpu = False
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return "cpu" if on_cpu or hidden or not _gpus() else "cuda"


def _gpus() -> int:
    """NVIDIA devices, as their driver's library counts them."""
    try:
        library = ctypes.CDLL("nvml.dll" if os.name == "nt" else "libnvidia-ml.so.1")
    except OSError:
        return 0
    count = ctypes.c_uint(0)
    if library.nvmlInit_v2() == 0:
        library.nvmlDeviceGetCount_v2(ctypes.byref(count))
        library.nvmlShutdown()
    return count.value
