"""Processes of tests, forked from one that has loaded torch: loading takes longer than what they do."""

import os
import signal
import socket
import sys
from collections.abc import Callable
from multiprocessing import connection, forkserver, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

LOADED = [
    "forks",
    "several_processes",
    "seg.cli.main",
    "seg.pipeline.predict",
    "seg.pipeline.train",
    "seg.prepare.audit",
    "seg.region.making",
]
"""Modules that are loaded before a process begins."""


def context() -> Any:
    """In the place of what `multiprocessing.get_context` gives."""
    forking = get_context("forkserver")
    forking.set_forkserver_preload(LOADED)
    # Now, as whoever asks may be about to hold signals back, and all processes would inherit that.
    forkserver.ensure_running()
    return forking


def alone(said: Path, function: Callable[..., object], *arguments: object) -> int | None:
    """Run a function of a module in a process of its own; its exit code, negative for a signal.

    Args:
        said: File for what it prints.
        function: What is run.
        arguments: What it is given.
    """
    process = _begin(said, {}, function, arguments)
    process.join()
    return process.exitcode


def train_and_die(folder: Path, batch: int, settings: dict[str, Any], threads: int | None = None) -> None:
    """Train until a batch, counted from 1, kills the process.

    Args:
        folder, settings: Of the run.
        batch: Which one.
        threads: Of torch; None: as many as it takes.
    """
    import torch

    import seg.engine.train
    from seg.pipeline.train import train
    from seg.runs.plan import plan

    if threads is not None:
        torch.set_num_threads(threads)
    step, calls = seg.engine.train.train_step, 0

    def deadly(run: Any, rows: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == batch:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(run, rows)

    seg.engine.train.train_step = deadly
    train(plan(out=folder, **settings))


def together(count: int, folder: Path, function: Callable[..., object], *arguments: object) -> None:
    """Run a function in several processes that find each other as those of torchrun do; one that fails stops all.

    Args:
        count: How many.
        folder: For what they print, a file each.
        function: What each of them runs.
        arguments: What it is given.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(count)}
    files = [folder / f"rank{rank}.txt" for rank in range(count)]
    processes = [
        _begin(file, {**place, "RANK": str(rank), "LOCAL_RANK": str(rank)}, function, arguments)
        for rank, file in enumerate(files)
    ]
    running = list(processes)
    while running and not any(process.exitcode for process in processes):
        connection.wait([process.sentinel for process in running])
        running = [process for process in running if process.is_alive()]
    for process in running:
        process.kill()
    for process in processes:
        process.join()
    codes = [process.exitcode for process in processes]
    assert not any(codes), (codes, *(file.read_text()[-2000:] for file in files))


def command(*arguments: object) -> None:
    """A command of seg, for `together`."""
    from seg.cli.main import main

    sys.argv = ["seg", *map(str, arguments)]
    main()


def _begin(
    said: Path, environment: dict[str, str], function: Callable[..., object], arguments: tuple[object, ...]
) -> BaseProcess:
    process: BaseProcess = context().Process(target=_work, args=(said, environment, function, arguments))
    process.start()
    return process


def _work(
    said: Path, environment: dict[str, str], function: Callable[..., object], arguments: tuple[object, ...]
) -> None:
    import torch

    os.environ.update(environment)
    with said.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    function(*arguments)
