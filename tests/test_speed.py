"""What a run takes here: the instructions of the processor, timed steps, and what the demo says of itself."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from seg.config.sections import Config
from seg.config.training import TrainConfig
from seg.engine.device import Compute, choose_compute
from seg.engine.events import Epoch, Step
from seg.engine.instructions import cpu_instructions
from seg.engine.rehearsal import Rehearsal
from seg.engine.speed import Speed, _timed, measure_speed
from seg.runs import demonstration
from seg.runs.demonstration import DEMO, Outlook, demo_plan
from seg.runs.expectation import duration, in_words, published_epoch_hours, rehearsed_epoch_hours

ZEN5 = {"architecture": "x86_64", "avx2": True, "avx512_f": True, "avx512_bf16": True, "sse4_1": True}
XEON = {**ZEN5, "amx_bf16": True}
SKYLAKE = {**ZEN5, "avx512_bf16": False}
LAPTOP = {"architecture": "x86_64", "avx2": True, "avx512_f": False, "sse4_1": True}
GRAVITON = {"architecture": "aarch64", "neon": True, "bf16": True}


@pytest.mark.parametrize(
    ("capabilities", "limit", "name", "bfloat16"),
    [
        (XEON, "", "AMX", True),
        (XEON, "AVX512_CORE_BF16", "AVX-512 with bfloat16", True),
        (ZEN5, "", "AVX-512 with bfloat16", True),
        (ZEN5, "DEFAULT", "AVX-512 with bfloat16", True),
        (ZEN5, "AVX512_CORE", "AVX-512", False),
        (ZEN5, "avx2", "AVX2", False),
        (ZEN5, "AVX2_VNNI_2", "AVX2", False),
        (ZEN5, "SSE41", "SSE", False),
        (SKYLAKE, "", "AVX-512", False),
        (LAPTOP, "", "AVX2", False),
        (LAPTOP, "AVX512_CORE_AMX", "AVX2", False),
        (GRAVITON, "", "NEON with bfloat16", True),
        ({**GRAVITON, "bf16": False}, "", "NEON", False),
        ({"architecture": "riscv64"}, "", "riscv64", False),
    ],
)
def test_instructions(capabilities, limit, name, bfloat16):
    found = cpu_instructions(capabilities, limit, onednn=True)
    assert (found.name, found.bfloat16) == (name, bfloat16)
    assert not cpu_instructions(capabilities, limit, onednn=False).bfloat16


def test_auto_precision_is_what_onednn_would_really_do():
    """oneDNN itself is asked, in a process in which it was held to AVX2 before torch was loaded."""
    code = (
        "import torch; from seg.engine.device import choose_compute; from seg.config.training import TrainConfig; "
        "print(torch.ops.mkldnn._is_mkldnn_bf16_supported(), choose_compute(TrainConfig(device='cpu')).dtype)"
    )
    for limit, asked in (("AVX2", ("False", "torch.float32")), (None, None)):
        environment = {"PATH": "", "PYTHONPATH": str(Path(__file__).parents[1])}
        environment |= {"ONEDNN_MAX_CPU_ISA": limit} if limit else {}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        onednn, dtype = done.stdout.split()
        if asked:
            assert (onednn, dtype) == asked
        elif dtype == "torch.bfloat16":
            assert onednn == "True"


def test_float32_follows_from_the_environment(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    compute = choose_compute(TrainConfig(device="cpu"))
    assert compute.dtype == torch.float32
    assert not compute.channels_last
    assert in_words(compute) in ("float32, AVX2", "float32, NEON", "float32, SSE")


# --- timed steps -----------------------------------------------------------------------------------------------------


def test_the_first_step_does_not_count():
    calls = []

    def step():
        time.sleep(0.3 if not calls else 0.02)
        calls.append(1)
        return torch.zeros(3)

    each, steps = _timed(step, 0.1)
    assert len(calls) == steps + 1
    assert steps >= 2
    assert 0.02 <= each < 0.15


def test_speed_of_a_network():
    config = Config.model_validate({"model": {"encoder": "tu-test_resnet"}, "data": {"bands": "s1"}})
    compute = Compute(torch.device("cpu"), torch.float32, channels_last=False)
    before = torch.get_rng_state()
    began = time.perf_counter()
    speed = measure_speed(config, compute, batch_size=2, seconds=0.1)
    took = time.perf_counter() - began
    assert torch.equal(torch.get_rng_state(), before)
    assert speed.batch_size == 2
    # What it says it timed cannot have taken longer than the whole.
    assert 0 < speed.steps * speed.batch_size / speed.training < took
    assert speed.running > 0


def test_hours_of_an_epoch_of_the_published_split():
    speed = Speed(training=100.0, running=400.0, batch_size=8, steps=3)
    assert published_epoch_hours(speed) == pytest.approx((237_871 / 100 + 122_342 / 400) / 3600)


def test_hours_of_reben_from_a_rehearsal():
    """2 s for a step of 8 and 0.1 s for a patch of validation: what a small store says of the large one."""
    rehearsal = Rehearsal(
        2.0, 20 * 2.0 + 81 * 0.1, 0.0, steps=20, epochs=1, memory_bytes=0, memory_total=None, loss=0.0
    )
    patches = {"train": 175, "validation": 81}
    record = {"data": {"patches": patches}, "batch": {"effective_batch": 8}}
    assert rehearsed_epoch_hours(rehearsal, record) == pytest.approx((237_871 / 4 + 122_342 * 0.1) / 3600)
    patches["train"] = 237_871
    assert rehearsed_epoch_hours(rehearsal, record) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "5 seconds"), (52, "50 seconds"), (94, "95 seconds"), (96, "1.5 minutes"), (170, "3 minutes"),
     (580, "9.5 minutes"), (600, "10 minutes"), (3 * 3600, "3.0 hours")],
)  # fmt: skip
def test_durations(seconds, words):
    assert duration(seconds) == words


# --- what the demo says ----------------------------------------------------------------------------------------------


def _epoch(number: int, seconds: float) -> Epoch:
    return Epoch(number, 1, 1e-3, {}, {}, 1.0, seconds, True)


def _outlook(monkeypatch, tmp_path, clock):
    monkeypatch.setattr("seg.engine.speed.measure_speed", lambda *_: Speed(40.0, 160.0, 8, 2))
    said, seen = [], []
    outlook = Outlook(demo_plan(tmp_path / "run", tmp_path / "store"), DEMO, seen.append, said.append, clock)
    return outlook, said, seen


def test_the_demo_says_how_long_it_takes(monkeypatch, tmp_path):
    _, said, _ = _outlook(monkeypatch, tmp_path, lambda: 0.0)
    # 400 patches: about 176 to train on, 84 of each of the other splits.
    whole = demonstration._REST_SECONDS + DEMO.epochs * (176 / 40 + 84 / 160) + 2 * 84 / 160
    (line,) = said
    assert line.startswith(f"It takes about {duration(whole)} on this machine (")
    assert in_words(choose_compute(TrainConfig())) in line


@pytest.mark.parametrize(("slower", "again"), [(1.0, False), (1.2, False), (5.0, True), (0.2, True)])
def test_it_says_so_again_where_the_first_epoch_differs(monkeypatch, tmp_path, slower, again):
    now = [0.0]
    outlook, said, seen = _outlook(monkeypatch, tmp_path, lambda: now[0])
    each = 176 / 40 + 84 / 160
    now[0] = demonstration._REST_SECONDS / 2 + slower * each
    events = [Step(0, 1, 10, 1.0, 1e-3, 40.0), _epoch(0, slower * each), _epoch(1, 100 * each)]
    for event in events:
        outlook(event)
    assert seen == events
    assert len(said) == 1 + again
    if again:
        rest = demonstration._REST_SECONDS / 2 + (DEMO.epochs - 1) * slower * each + 2 * 84 / 160
        assert f"another {duration(rest)}" in said[1]
