"""The vector instructions of the processor, as far as oneDNN, which computes the convolutions, uses them."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

_WITHOUT_AVX512 = {"sse41", "avx", "avx2", "avx2_vnni", "avx2_vnni_2"}
_WITHOUT_BFLOAT16 = {*_WITHOUT_AVX512, "avx512_core", "avx512_core_vnni"}
_WITHOUT_AMX = {*_WITHOUT_BFLOAT16, "avx512_core_bf16", "avx512_core_fp16", "avx10_1_512"}
"""Values of ``ONEDNN_MAX_CPU_ISA`` (oneDNN developer guide, "CPU Dispatcher Control") that forbid the instructions."""


@dataclass(frozen=True)
class Instructions:
    """What a processor computes with.

    Attributes:
        name: ``AMX``, ``AVX-512 with bfloat16``, ``AVX-512``, ``AVX2``, ``SSE``, ``NEON with bfloat16``, ``NEON``, or
            the architecture where none of them is there.
        bfloat16: Whether it multiplies bfloat16 itself and the installed torch would let it.
    """

    name: str
    bfloat16: bool


def cpu_instructions(
    capabilities: Mapping[str, Any] | None = None,
    limit: str | None = None,
    onednn: bool | None = None,
) -> Instructions:
    """The instructions that this processor computes networks with.

    What the processor can do is not all that is used: ``ONEDNN_MAX_CPU_ISA`` (or ``DNNL_MAX_CPU_ISA``) holds oneDNN to
    older instructions, and without oneDNN torch has no fast kernels for bfloat16.

    Args:
        capabilities: Of the processor; None: what torch finds.
        limit: Name of the newest instructions that oneDNN may use; None: what the environment says.
        onednn: Whether torch was built with oneDNN; None: ask it.
    """
    can = torch.cpu.get_capabilities() if capabilities is None else capabilities
    if limit is None:
        limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "default"
    kernels: bool = torch.backends.mkldnn.is_available() if onednn is None else onednn  # type: ignore[no-untyped-call]
    level = limit.strip().lower()
    if can.get("amx_bf16") and level not in _WITHOUT_AMX:
        found = Instructions("AMX", kernels)
    elif can.get("avx512_bf16") and level not in _WITHOUT_BFLOAT16:
        found = Instructions("AVX-512 with bfloat16", kernels)
    elif can.get("avx512_f") and level not in _WITHOUT_AVX512:
        found = Instructions("AVX-512", False)
    elif can.get("avx2") and level not in ("sse41", "avx"):
        found = Instructions("AVX2", False)
    elif can.get("sse4_1") or can.get("sse2"):
        found = Instructions("SSE", False)
    elif can.get("sve_bf16") or can.get("bf16"):
        found = Instructions("NEON with bfloat16", kernels)
    elif can.get("neon"):
        found = Instructions("NEON", False)
    else:
        found = Instructions(str(can.get("architecture") or platform.machine()), False)
    return found
