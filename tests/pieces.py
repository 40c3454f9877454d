"""Pieces of work that test_executors.py has done by other processes, which import this module."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from seg.engine.stopping import Interrupted, stop_signals
from seg.errors import SceneError
from seg.maps import parts
from seg.region import cut_product


@dataclass(frozen=True)
class Step:
    """A piece: what is done, and a folder to leave traces in."""

    name: str
    what: str
    folder: Path

    def trace(self, word: str) -> Path:
        return self.folder / f"{self.name}.{word}"


def do(step: Step) -> str:
    """Do what a step says; gives its name, or what was found."""
    if step.what == "refuse":
        raise SceneError("B02 is empty; leave it out")
    if step.what == "break":
        raise AssertionError("this is a bug")
    if step.what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if step.what == "die once" and not step.trace("died").exists():
        step.trace("died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if step.what == "train" and not step.trace("saved").exists():
        with stop_signals() as asked:
            step.trace("pid").write_text(str(os.getpid()))
            deadline = time.monotonic() + 50
            while not asked and time.monotonic() < deadline:
                time.sleep(0.02)
        step.trace("saved").write_text(str(asked))
        raise Interrupted("stopped")
    if step.what == "wait":
        step.trace("pid").write_text(str(os.getpid()))
        time.sleep(50)
    return step.name


def die_after_a_strip(marker: str) -> None:
    """Let the first process of all that cuts a product be killed in the middle of it."""
    cut_strips = cut_product.cut_strips

    def dying(task, codes):
        for strip in cut_strips(task, codes):
            yield strip
            try:
                Path(marker).touch(exist_ok=False)
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)

    cut_product.cut_strips = dying


def die_after_a_strip_of_a_map(marker: str) -> None:
    """Let the first process of all that keeps a strip of a map be killed right after it."""
    write = parts.Unfinished.write

    def dying(unfinished, piece):
        write(unfinished, piece)
        try:
            Path(marker).touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    parts.Unfinished.write = dying
