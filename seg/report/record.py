"""The run record: what a reader needs to know of where and how a run came about."""

import importlib.metadata
import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from seg.config.version import VERSION
from seg.store.atomic import write_text

_PACKAGES = (
    "albumentations",
    "h5py",
    "lmdb",
    "numpy",
    "olmoearth-pretrain-minimal",
    "rasterio",
    "safetensors",
    "segmentation-models-pytorch",
    "terratorch",
    "timm",
    "torch",
    "torchgeo",
    "torchmetrics",
    "zarr",
)
_CUDA_PACKAGES = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu13", "nvidia-cuda-runtime-cu12")
_SOURCE = Path(__file__).resolve().parents[2]
"""The folder that holds the package ``seg``: a source checkout, or the site-packages of an installation."""


def run_record(**sections: Any) -> dict[str, Any]:
    """The content of ``run.json``: time, versions, source and hardware of this process, then the given sections.

    What is gathered here names neither the host nor the user nor a folder.

    Args:
        **sections: What only the caller knows, such as ``data``, ``seeds``, ``parameters`` or ``throughput``; whatever
            `write_json` takes.
    """
    gathered = {
        "written_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "source": source_state(),
        "hardware": hardware(),
    }
    assert not gathered.keys() & sections.keys(), f"sections {sorted(sections)} hide what is gathered"
    return gathered | sections


def versions() -> dict[str, str | None]:
    """Versions of Python, ``seg`` and the packages that decide about numbers; None for what is not installed."""
    found = {name: _version(name) for name in _PACKAGES}
    found["cuda"] = next((v for name in _CUDA_PACKAGES if (v := _version(name))), None)
    found["gdal"] = _gdal_version()
    return {"python": platform.python_version(), "seg": VERSION} | dict(sorted(found.items()))


def source_state(folder: Path = _SOURCE) -> dict[str, Any] | None:
    """Commit of the source checkout, and whether the code differs from it.

    Args:
        folder: The folder that holds the package.

    Returns:
        ``commit`` and ``dirty`` (whether files of the package are changed, new or missing), or None if the package was
        installed, git is missing, or there is no commit yet.
    """
    # An installation may lie inside a repository of somebody else, whose commit would say nothing.
    top = git(folder, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != folder.resolve():
        return None
    commit = git(folder, "rev-parse", "--verify", "HEAD")
    changes = git(folder, "status", "--porcelain", "--untracked-files=all", "--", "seg")
    if commit is None or changes is None:
        return None
    return {"commit": commit, "dirty": bool(changes)}


def hardware() -> dict[str, Any]:
    """Operating system, CPU model, cores that this process may use, memory in bytes, names of CUDA devices."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "gpus": _gpu_names(),
    }


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document as JSON, see `json_text`. The file appears complete or not at all.

    Raises:
        OSError: If the file cannot be written.
        TypeError: If the document holds something that `json_text` does not take.
    """
    write_text(path, json_text(document))


def json_text(document: Mapping[str, Any]) -> str:
    """A document as JSON in the order of its keys.

    NaN and infinite numbers become null, because JSON has neither; NumPy values become numbers and lists, dates ISO
    8601, and a path its last part, because a record must not tell where its writer keeps files.

    Raises:
        TypeError: If the document holds something else.
    """
    return json.dumps(_plain(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    match value:
        case Mapping():
            plain: Any = {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            plain = [_plain(item) for item in value]
        case set() | frozenset():
            plain = sorted(_plain(item) for item in value)
        case np.ndarray() | np.generic():
            plain = _plain(value.tolist())
        case float():
            plain = value if math.isfinite(value) else None
        case date():
            plain = value.isoformat()
        case PurePath():
            plain = value.name
        case _:
            plain = value
    return plain


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _gdal_version() -> str | None:
    try:
        import rasterio
    except ImportError:
        return None
    return str(rasterio.__gdal_version__)


def git(folder: Path, *arguments: str) -> str | None:
    """What git prints, None where it fails or does not exist.

    Args:
        folder: Where it is asked.
        arguments: What it is asked; names of files that are no UTF-8 come as `os.fsdecode` has them.
    """
    # Within a hook, git points to the repository of the hook; and a status must not touch the index.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    command = ("git", "-C", str(folder), *arguments)
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cpu_model() -> str:
    # platform.processor() is empty or a mere architecture on Linux, which keeps the model here instead.
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return None


def _gpu_names() -> list[str]:
    import torch  # not at the top: reports are made without it

    if not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
