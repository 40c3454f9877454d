"""Starts processes that work together as `torchrun` does, but loads torch once instead of in each of them."""

import os
import socket
import sys
from collections.abc import Callable
from multiprocessing import connection, get_context
from pathlib import Path

LOADED = ["ranks", "several_processes", "seg.cli.main", "seg.pipeline.predict", "seg.inference.tiled"]
"""What the processes need; each of them is a fork of one that has it."""


def together(count: int, log: Path, function: Callable[..., object], *arguments: object) -> None:
    """Run a function of a module in several processes until all are done; one that fails stops the others.

    Args:
        count: How many.
        log: Folder for what they print, a file each.
        function: What each of them runs.
        arguments: What it is given.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    processes = []
    for rank in range(count):
        said = log / f"rank{rank}.txt"
        processes.append(context.Process(target=_work, args=(rank, count, port, said, function, arguments)))
        processes[-1].start()
    running = list(processes)
    while running and not any(process.exitcode for process in processes):
        connection.wait([process.sentinel for process in running])
        running = [process for process in running if process.is_alive()]
    for process in running:
        process.kill()
    for process in processes:
        process.join()
    codes = [process.exitcode for process in processes]
    assert not any(codes), (codes, *((log / f"rank{rank}.txt").read_text()[-2000:] for rank in range(count)))


def command(*arguments: object) -> None:
    """A command of seg, where it is run by `together`."""
    from seg.cli.main import main

    sys.argv = ["seg", *map(str, arguments)]
    main()


def _work(
    rank: int, count: int, port: int, said: Path, function: Callable[..., object], arguments: tuple[object, ...]
) -> None:
    import torch

    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    with said.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    function(*arguments)
