# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Memory of tensors on a CPU, which the C library would give back to the system and fetch again in each step."""

import ctypes
import os
import platform


# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
OF_THE_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> None:
    """
    Makes this process keep the memory of freed tensors on the CPU for the next ones.

    Otherwise glibc gives much of it back to the system, which has to find and clear it anew in each step; how much
    slower that is stands in `docs/speed.md`. What the process needed at its peak stays with it until its end.
    [`TimeMAETrainer`] and [`extract_features`] call this where they compute on a CPU; call it yourself before
    predicting with a pipeline or a model. It does nothing without glibc, or where the environment has settings of its
    malloc.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in OF_THE_USER):
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    libc.mallopt(M_MMAP_THRESHOLD, 2**25)  # the most that it chooses by itself
