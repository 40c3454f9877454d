"""Several processes, really started: the same counts, the right gradients, one that stops stops all."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import forks
import numpy as np
import pyarrow as pa
import pytest
import several_processes
import torch
from made_up import dense_counts, made_up_evidence

from seg.engine.distributed import ALONE, Ranks, Vote, check_shares, joined, started_ranks
from seg.errors import WorkerError
from seg.metrics.evidence import merge_evidence, take_patches
from seg.metrics.evidence_file import unpack_evidence
from seg.metrics.scores import headline, score_evidence

ROOT = Path(__file__).resolve().parents[1]
OTHERS = pa.array([f"S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_90_9{n}" for n in range(4)])


@pytest.fixture(scope="module")
def store(ten_metres):
    return ten_metres


@pytest.fixture(scope="module")
def alone(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone")
    threads = torch.get_num_threads()
    several_processes.main(store, out)
    torch.set_num_threads(threads)
    return json.loads((out / "document.json").read_text()), (out / "evidence.parquet").read_bytes()


@pytest.fixture(scope="module")
def together(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("together")
    forks.together(3, out, several_processes.main, store, out)
    return json.loads((out / "document.json").read_text()), (out / "evidence.parquet").read_bytes()


def test_any_number_of_processes_counts_the_same(alone, together, store, tmp_path):
    """Every count, every probability and every loss of every patch, to the last bit."""
    assert len(unpack_evidence(alone[1])) == several_processes.SCORED
    assert together[1] == alone[1]
    forks.together(2, tmp_path, several_processes.only_score, store, tmp_path)
    assert (tmp_path / "evidence.parquet").read_bytes() == alone[1]


def test_a_collection_counts_every_patch_once(tmp_path):
    """Where a process repeats patches as a sampler does that pads, and where one has no patch at all."""
    evidence = made_up_evidence(24, 3, details=False)
    expected = headline(score_evidence(evidence))
    counts = torch.from_numpy(dense_counts(evidence, np.arange(24)))
    scene = {"probabilities": torch.from_numpy(evidence.probabilities), "label": torch.from_numpy(evidence.labels)}
    whole = {"counts": counts, **scene, "patch_id": evidence.patch_ids.to_pylist()}
    batches = [{key: part[begin : begin + 4] for key, part in whole.items()} for begin in range(0, 24, 4)]
    shares = {"padded": [batches[:3], [*batches[3:], batches[0]]], "one alone": [[], batches]}
    torch.save(shares, tmp_path / "shares.pt")
    forks.together(2, tmp_path, several_processes.collect, tmp_path)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    for found in (first["padded"], first["one alone"], first["one alone without names"]):
        assert found == pytest.approx(expected, rel=0, abs=1e-9)
    # Without names what is repeated counts twice.
    repeated = merge_evidence([evidence, replace(take_patches(evidence, np.arange(4)), patch_ids=OTHERS)])
    doubled = headline(score_evidence(repeated))
    assert first["padded without names"] == pytest.approx(doubled, rel=0, abs=1e-9)
    assert doubled != pytest.approx(expected, rel=0, abs=1e-9)


def test_gradients_are_the_mean_over_processes_and_accumulated_batches(alone, together):
    for document, _ in (alone, together):
        assert document["gradients"] < 1e-6


def test_all_processes_end_with_the_same_weights_losses_and_scores(together):
    document, _ = together
    assert document["agreed"]
    assert len(set(document["patches"])) == 1


def test_a_signal_to_one_process_stops_all_and_they_resume_bit_for_bit(alone, together):
    for document, _ in (alone, together):
        assert document["stopped"].startswith("stopped in epoch 1 after step")
        assert document["resumed"] == document["whole"]
        assert document["resumed_losses"] == document["losses"]


def test_a_loss_that_is_not_finite_in_one_process_stops_all_before_the_step(alone, together):
    """Only the patches of its batch are named; the run goes on from there as if nothing had been."""
    for document, _ in (alone, together):
        spoiled = document["spoiled"]
        assert spoiled["agreed"]
        assert "no longer finite at step 2, in epoch 1" in spoiled["said"]
        assert spoiled["listed"] == {"step": 2, "epoch": 1, "patch_ids": spoiled["ids"]}
        assert len(spoiled["ids"]) == 1
        assert spoiled["resumed"] == document["whole"]


def test_messages_of_any_length_arrive(together):
    document, _ = together
    count = document["count"]
    assert document["sizes"] == list(range(count))
    assert document["total"] == [count * count / 2]


def test_a_process_without_work_is_refused(together):
    document, _ = together
    assert document["refused"] == (
        f"{document['count']} processes need 3 patches each, but the train split has 5; start at most 1"
    )


def test_one_process_always_has_work():
    check_shares(1, 64, ALONE, "train", "")
    with pytest.raises(WorkerError, match="4 processes need a patch each, but the test split has 3; start at most 3"):
        check_shares(3, 1, Ranks(0, 4), "test", "")


def test_alone_nothing_is_exchanged():
    assert ALONE.gather(b"abc") == [b"abc"]
    assert ALONE.from_first({"a": float("inf")}) == {"a": float("inf")}
    assert (ALONE.any(True), ALONE.any(False), ALONE.total([1.5, 2.0])) == (True, False, [1.5, 2.0])
    assert Vote(ALONE).ask(True, False) == (True, False)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1, 0)),
        ({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}, (5, 8, 1)),
        ({"RANK": "8", "WORLD_SIZE": "8"}, "RANK=8 is not among WORLD_SIZE=8"),
        ({"RANK": "x", "WORLD_SIZE": "8"}, "must be numbers"),
    ],
)
def test_what_torchrun_says(monkeypatch, environment, expected):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if isinstance(expected, str):
        with pytest.raises(WorkerError, match=expected):
            started_ranks()
    else:
        started = started_ranks()
        assert (started.rank, started.count, started.local_rank) == expected


def test_a_device_that_several_processes_cannot_share():
    with (
        pytest.raises(WorkerError, match="several processes cannot share mps"),
        joined(Ranks(0, 2), torch.device("mps")),
    ):
        pass


# --- SLURM -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def slurm(tmp_path):
    """Run the script where srun and scontrol only say what they were asked for."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, says in {"srun": 'echo "srun $*"', "scontrol": "echo node1; echo node2"}.items():
        (programs / name).write_text(f"#!/bin/bash\n{says}\n")
        (programs / name).chmod(0o755)
    job = {
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_CPUS_PER_TASK": "32",
        "SLURM_GPUS_ON_NODE": "4",
        "PATH": f"{programs}:{os.environ['PATH']}",
    }

    def run(*arguments, **environment):
        command = ["bash", str(ROOT / "scripts" / "train_slurm.sh"), *map(str, arguments)]
        return subprocess.run(
            command, env={**os.environ, **job, **environment}, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    return run


def test_a_job_starts_a_process_per_gpu_on_every_node(slurm, tmp_path):
    done = slurm("--data", "a b", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    for option, value in {"--nnodes": "2", "--nproc-per-node": "4", "--rdzv-endpoint": "node1:29500"}.items():
        assert words[words.index(option) + 1] == value
    assert done.stdout.strip().endswith(f"-m seg train --data a b --out {tmp_path / 'run'}")


@pytest.mark.parametrize("joined_by", ["=", " "])
def test_a_job_that_was_stopped_is_continued(slurm, tmp_path, joined_by):
    state = tmp_path / "run" / "checkpoints" / "last" / "state.json"
    state.parent.mkdir(parents=True)
    state.write_text("{}")
    done = slurm("--data", "store", *f"--out{joined_by}{tmp_path / 'run'}".split(" "), SLURM_RESTART_COUNT="1")
    assert done.stdout.strip().endswith(f"-m seg train --out {tmp_path / 'run'} --resume")


def test_a_job_that_was_stopped_early_begins_anew(slurm, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("mine")
    done = slurm("--out", tmp_path / "run", SLURM_RESTART_COUNT="1")
    assert "--resume" not in done.stdout
    assert (tmp_path / "run.stopped-1" / "config.yaml").read_text() == "mine"


def test_a_job_needs_a_folder(slurm):
    done = slurm("--data", "store")
    assert done.returncode == 2
    assert "--out" in done.stderr
