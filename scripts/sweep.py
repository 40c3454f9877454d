"""Train and score a grid of configurations x settings x seeds, one after the other or as SLURM jobs.

Every run has a folder of its own below ``--out``, named after its configuration, what the grid varies and the seed.
What is finished there with the same settings and data is skipped, what was interrupted is resumed, and a run that fails
does not stop the others; so the same command, given again, does what is left. The last line is the ``seg compare``
command.

    python scripts/sweep.py configs/unet-s1.yaml configs/unet-s2.yaml --seeds 0,1,2 --data reben.store --out runs/grid
    python scripts/sweep.py configs/unet-s2.yaml --grid train.lr=1e-3,3e-4 --set train.epochs=10 --out runs/lr --dry-run
    python scripts/sweep.py configs/*.yaml --out runs/grid --slurm --sbatch=--gpus=1 --sbatch=--time=24:00:00

With ``--slurm`` the job of each run calls this script again for that run alone, so a job that is requeued resumes, and
a job that comes twice finds the work done; jobs of the same run never overlap. ``--seg`` starts seg otherwise:
``--seg "torchrun --nproc-per-node 4 -m seg"``.
"""

import argparse
import hashlib
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seg.errors import BusyError, WrongUseError
from seg.pipeline.sweep import Sweep, SweepRun, is_scored, look, set_aside, sweep_runs
from seg.store.locks import locked

SLURM_FOLDER = "slurm"


class Stopped(Exception):  # noqa: N818
    """The sweep was asked to stop."""


def run_job(job: SweepRun, sweep: Sweep, seg: Sequence[str]) -> str:
    """Do what is left of a run.

    Args:
        job: The run.
        sweep: The sweep that it belongs to.
        seg: How to start seg.

    Returns:
        What failed, empty if nothing did.

    Raises:
        Stopped: If the sweep was asked to stop meanwhile.
    """
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with locked(job.folder.parent / f".{job.name}.lock", job.folder):
            return _do_the_rest(job, sweep, seg)
    except BusyError as error:
        return str(error)


def _do_the_rest(job: SweepRun, sweep: Sweep, seg: Sequence[str]) -> str:
    # Another sweep may have been at it since the plan was made.
    state = look(job, sweep.split)
    failure = ""
    if state.todo == "blocked":
        return state.why
    if state.todo == "restart":
        print(f"{job.name}: what there was is kept as {set_aside(job.folder)}")
    if state.todo in ("train", "restart"):
        failure = call([*seg, "train", *job.options, *sweep.places, "--out", str(job.folder)])
    elif state.todo == "resume":
        failure = call([*seg, "train", "--out", str(job.folder), "--resume", *sweep.places])
    if not failure and sweep.split and not is_scored(job, sweep.split):
        failure = call([*seg, "eval", str(job.folder), "--split", sweep.split, *sweep.places])
    return failure


def call(command: Sequence[str]) -> str:
    """Run a command, its output going where this script's goes.

    Returns:
        How it failed, empty if it did not.

    Raises:
        Stopped: After Ctrl-C or SIGTERM, once the command has saved what it has and ended.
    """
    print("$ " + shlex.join(command), flush=True)
    stopped: list[int] = []
    try:
        child = subprocess.Popen(command)
    except OSError as error:
        return f"{command[0]} cannot be started ({error.strerror})"

    def pass_on(number: int, _frame: Any) -> None:
        # A terminal sends Ctrl-C to the command as well, but SIGTERM goes to this process alone.
        stopped.append(number)
        if number == signal.SIGTERM:
            child.terminate()

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopped:
        raise Stopped
    return f"'{shlex.join(command)}' ended with exit code {code}" if code else ""


def batch_file(job: SweepRun, sweep: Sweep, options: Sequence[str], again: Sequence[str]) -> str:
    """The text of an sbatch file that does one run.

    Args:
        job: The run.
        sweep: The sweep that it belongs to.
        options: Of sbatch, such as ``--gpus=1``.
        again: The command line of the sweep, as the job calls it.
    """
    digest = hashlib.blake2b(str(job.folder.resolve()).encode(), digest_size=4).hexdigest()
    command = shlex.join([sys.executable, str(Path(__file__).resolve()), *again, "--only", job.name])
    lines = [
        "#!/bin/bash",
        f"#SBATCH --job-name=seg-{job.name}-{digest}",
        f"#SBATCH --output={(sweep.out / SLURM_FOLDER).resolve()}/{job.name}-%j.out",
        "# Never two jobs of one name, which is one run, at a time; and two minutes to save what there is.",
        "#SBATCH --dependency=singleton",
        "#SBATCH --signal=B:TERM@120",
        *(f"#SBATCH {option}" for option in options),
        f"cd {shlex.quote(str(Path.cwd()))}",
        "# The signal goes to this process, which therefore becomes the sweep.",
        f"exec {command}",
    ]
    return "\n".join(lines) + "\n"


def submit(jobs: Sequence[SweepRun], sweep: Sweep, options: Sequence[str], again: Sequence[str]) -> dict[str, str]:
    """Write sbatch files, and hand them over where there is SLURM.

    Returns:
        What failed, by job.
    """
    folder = sweep.out / SLURM_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    sbatch = shutil.which("sbatch")
    failed = {}
    for job in jobs:
        path = folder / f"{job.name}.sbatch"
        path.write_text(batch_file(job, sweep, options, again), encoding="utf-8")
        if not sbatch:
            print(f"sbatch {path}")
        elif failure := call([sbatch, str(path)]):
            failed[job.name] = failure
    if not sbatch:
        print("There is no sbatch here, so nothing was submitted; the commands above do it where there is.")
    return failed


def run(sweep: Sweep, arguments: argparse.Namespace, words: Sequence[str]) -> int:
    """Do what is left of a sweep; the exit code."""
    jobs = sweep_runs(sweep)
    chosen = [job for job in jobs if arguments.only in (None, job.name)]
    if not chosen:
        raise WrongUseError(f"no run of the sweep is called {arguments.only}; --dry-run lists them")
    states = {job.name: look(job, sweep.split) for job in chosen}
    for job in chosen:
        state = states[job.name]
        print(f"{state.todo:<9} {job.folder}{f'  ({state.why})' if state.why else ''}", flush=True)
    compare = f"seg compare {shlex.join(str(job.folder) for job in jobs)} --split {sweep.split or 'test'}"
    if arguments.dry_run:
        print(f"Then: {compare}")
        return 0
    failed = {name: state.why for name, state in states.items() if state.todo == "blocked"}
    left = [job for job in chosen if states[job.name].todo not in ("blocked", "finished")]
    try:
        if arguments.slurm:
            failed |= submit(left, sweep, arguments.sbatch, [word for word in words if word != "--slurm"])
        else:
            seg = shlex.split(arguments.seg)
            failed |= {job.name: failure for job in left if (failure := run_job(job, sweep, seg))}
    except Stopped:
        print("Stopped; the same command does what is left.")
        return 1
    was_there = sum(state.todo == "finished" for state in states.values())
    print(f"{was_there} finished before, {len(left)} {'as SLURM jobs' if arguments.slurm else 'now'}", end="")
    print(f", {len(failed)} of all failed; the same command tries them again." if failed else ", none failed.")
    for name, failure in failed.items():
        print(f"FAILED {name}: {failure}")
    print(f"Compare: {compare}")
    return 1 if failed else 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description="Train and score a grid of configurations x settings x seeds.", allow_abbrev=False
    )
    made.add_argument("configs", type=Path, nargs="+", help="YAML configurations.")
    made.add_argument("--out", type=Path, required=True, help="Folder for the run folders.")
    made.add_argument("--seeds", default="0", help="Seeds, comma-separated.")
    made.add_argument("--grid", action="append", default=[], metavar="KEY=A,B", help="A setting and its values.")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="A setting of every run.")
    made.add_argument("--data", type=Path, help="Store; as of 'seg train'.")
    made.add_argument("--metadata", type=Path, help="Metadata parquet, for a bare LMDB.")
    made.add_argument("--split", default="test", choices=("train", "validation", "test"), help="Split to score.")
    made.add_argument("--no-eval", action="store_true", help="Train only.")
    made.add_argument("--seg", default=shlex.join([sys.executable, "-m", "seg"]), help="How to start seg.")
    made.add_argument("--dry-run", action="store_true", help="Show what would be done.")
    made.add_argument("--only", metavar="NAME", help="One run of the sweep, by the name of its folder.")
    made.add_argument("--slurm", action="store_true", help="Write sbatch files, and submit them if sbatch is here.")
    made.add_argument("--sbatch", action="append", default=[], metavar="OPTION", help="--sbatch=--gpus=1 and so on.")
    return made


def main() -> None:
    words = sys.argv[1:]
    arguments = parser().parse_args(words)
    sweep = Sweep(
        configs=tuple(arguments.configs),
        out=arguments.out,
        seeds=arguments.seeds,
        grid=tuple(arguments.grid),
        overrides=tuple(arguments.set),
        data=arguments.data,
        metadata=arguments.metadata,
        split=None if arguments.no_eval else arguments.split,
    )
    try:
        sys.exit(run(sweep, arguments, words))
    except (ValueError, OSError) as error:
        sys.exit(f"sweep: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
