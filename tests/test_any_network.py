"""Networks of one's own: built by code that is known by its hash, and run where its user has named it."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forks
import pytest
import segmentation_models_pytorch as smp
import torch
from commands import printed, run_seg
from entries import small_store
from quick import TINY, quick_run

import seg
from seg.config.load import load_config
from seg.config.sections import ModelConfig
from seg.errors import OWN_CODE, CheckpointError, ModelError
from seg.models.architectures import ARCHITECTURES, find_architecture
from seg.models.card import Data
from seg.models.checkpoint import load_checkpoint, make_card, read_checkpoint, save_checkpoint
from seg.models.onnx import write_onnx
from seg.models.segmenter import Segmenter, build_segmenter
from seg.own.code import code_of, compiled, registered, require_name, trust
from seg.own.network import outputs_of
from seg.pipeline.evaluate import evaluate
from seg.pipeline.train import train
from seg.runs.plan import plan

PLAIN = """
from torch import nn


class Plain(nn.Module):
    def __init__(self, bands, classes):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(len(bands), 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Conv2d(8, classes, 1)

    def forward(self, images):
        return self.head(self.encoder(images))


class WithFeatures(Plain):
    def forward(self, images):
        features = self.encoder(images)
        return {"logits": self.head(features), "features": nn.functional.avg_pool2d(features, 4)}
"""
BANDS = ("B02", "B03", "B04")
RAN = "was run"


def leaving_a_mark(mark: Path) -> str:
    return f"{PLAIN}\nfrom pathlib import Path\n\nPath({str(mark)!r}).touch()\n"


def forget() -> None:
    """As in a new process."""
    for name in [name for name in sys.modules if name.startswith(OWN_CODE)]:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which no code has been named."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    forget()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_store(tmp_path_factory.mktemp("own")).folder


def written(folder: Path, text: str = PLAIN, name: str = "mine.py") -> Path:
    (folder / name).write_text(text)
    return folder / name


def own(folder: Path, text: str = PLAIN, name: str = "Plain", **settings: Any) -> Segmenter:
    config = ModelConfig(arch=f"{written(folder, text)}:{name}", **{"scene_head": "derived", **settings})
    trust(code_of(config))
    return build_segmenter(config, BANDS)


def test_a_plain_module_is_a_network(tmp_path: Path) -> None:
    model = own(tmp_path).eval()
    images = torch.randn(2, 3, 33, 47)
    with torch.no_grad():
        pixel, scene = model(images)
        padded = model.frame(33, 47)
        alone = padded.crop(model.network(padded.pad(images)))
    assert torch.equal(pixel, alone)
    assert scene is not None
    assert (pixel.shape, scene.shape) == ((2, 19, 33, 47), (2, 19))
    assert model.config.arch == "mine.py:Plain"
    assert model.config.named == "mine.py:Plain"
    assert model.multiple == 32
    # Its features are a quarter of the image, so that this is where images have to end.
    assert own(tmp_path, name="WithFeatures").multiple == 4


@pytest.fixture(scope="module")
def trained(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of code that leaves a mark, `RAN` beside the run, whenever it is run; its file is gone."""
    folder = tmp_path_factory.mktemp("trained")
    path = written(folder, leaving_a_mark(folder / RAN))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        quick_run(folder / "run", store, model__arch=f"{path}:WithFeatures")
    forget()
    assert (folder / RAN).exists()
    path.unlink()
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """The same, copied to a machine on which nobody has named its code."""
    (trained.parent / RAN).unlink(missing_ok=True)
    return shutil.copytree(trained, tmp_path / "run")


def test_the_record_names_the_code(trained: Path) -> None:
    config = load_config(trained / "config.yaml")
    for folder in ("best", "last"):
        card = json.loads((trained / "checkpoints" / folder / "card.json").read_text())
        assert (card["arch"], card["encoder"], card["format"]) == ("mine.py:WithFeatures", "none", 5)
        content = (trained / "checkpoints" / folder / "network.py").read_bytes()
        assert hashlib.sha256(content).hexdigest() == card["code"] == config.model.code
    assert (config.model.arch, config.model.code_folder) == ("mine.py:WithFeatures", trained.parent)


DIVIDED = """
import torch
from torch import nn


class Divided(nn.Module):
    by, only = {by}, {only}

    def __init__(self, bands, classes):
        super().__init__()
        self.head = nn.Conv2d(len(bands), classes, 1)

    def forward(self, images):
        height, width = images.shape[-2:]
        if height % self.by or width % self.by or self.only and (height, width) != (self.only, self.only):
            raise RuntimeError("a size that is not taken")
        return self.head(images)
"""


@pytest.mark.parametrize(
    ("by", "only", "says", "multiple"),
    [
        (1, None, "", 32),
        (1, None, "multiple = 1", 1),
        (24, None, "multiple = 24", 24),
        (4, None, "", 32),
        (64, None, "", 64),
        (1, 144, "", 8),
        (1, 120, "", 8),
    ],
)
def test_what_sizes_it_takes_is_found_out(tmp_path: Path, by: int, only: int | None, says: str, multiple: int) -> None:
    model = own(tmp_path, f"{DIVIDED.format(by=by, only=only)}\n    {says}\n", "Divided")
    assert (model.fixed_size, model.multiple) == (only, multiple)
    for size in [(1, 1), (7, 100), (120, 120)] + ([(130, 61), (200, 333)] if only is None else []):
        assert model.eval()(torch.zeros(1, 3, *size))[0].shape == (1, 19, *size)
    if only:
        with pytest.raises(ModelError, match=f"mine.py:Divided takes images of at most {only} x {only}"):
            model(torch.zeros(1, 3, 300, 300))


def test_a_missing_sensor_counts_as_the_mean(tmp_path: Path) -> None:
    config = ModelConfig(arch=f"{written(tmp_path)}:Plain", scene_head="derived")
    trust(code_of(config))
    model = build_segmenter(config, ("VV", "B02")).eval()
    images = torch.randn(1, 2, 120, 120)
    blank = images * torch.tensor([0.0, 1.0])[:, None, None]
    assert torch.equal(model(images, torch.tensor([[False, True]]))[0], model(blank)[0])
    assert not torch.equal(model(images)[0], model(blank)[0])


MADE_OF = """
import torch
from torch import nn


class Plain(nn.Module):
    def __init__(self, bands, classes):
        super().__init__()
        self.c = nn.Conv2d(len(bands), classes, 1)

    def forward(self, x):
        """


def body(text: str) -> str:
    return f"{MADE_OF}{text}\n"


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        (PLAIN, "Plane", "mine.py has no 'Plane' that can be called; it has Plain, WithFeatures"),
        ("Plain = 3", "Plain", "mine.py has no 'Plain' that can be called; it has nothing that can be called"),
        (
            "def Plain(channels): ...",
            "Plain",
            "called with bands and classes; write it as Plain(bands, classes)",
        ),
        ("def Plain(bands, classes): return 3", "Plain", "mine.py:Plain gives int, and has to give a network"),
        ("import not_there_at_all", "Plain", "imports 'not_there_at_all', which is not installed; install it"),
        ("import beside", "Plain", "imports 'beside', which is not installed; put what it needs into the one file"),
        ("def Plain(:", "Plain", "mine.py is no Python: invalid syntax (line 1)"),
        (body("return self.c(x)[:, :5]"), "Plain", "gives logits of shape (1, 5, 128, 128) for an image of 128 x 128"),
        (body("return self.c(x)[..., ::4, ::4]"), "Plain", "gives logits of shape (1, 19, 32, 32) for an image of 128"),
        (body("return None"), "Plain", "mine.py:Plain gives NoneType; return logits"),
        (body("return {'aux': x}"), "Plain", "mine.py:Plain gives a dictionary with aux; return logits"),
        (body("return self.c(x), x.mean((2, 3))"), "Plain", "gives features of shape (1, 3); return a tensor (batch, "),
        (body("return self.c(x), x[:1]"), "Plain", "gives features for 1 of 2 images; return them for each image"),
        (body("return self.c(x)[:1]"), "Plain", "gives logits for 1 of 2 images; return them for each image"),
        (body("return self.c(x).argmax(1, keepdim=True).expand(-1, 19, -1, -1)"), "Plain", "logits of the type int64"),
        (body("return torch.complex(self.c(x), self.c(x))"), "Plain", "logits of the type complex64"),
        (body("return self.c(x) / 0 * 0"), "Plain", "logits that are no numbers (NaN) for an image of zeros"),
        (
            body("return self.c(x).detach()"),
            "Plain",
            "such as 'c.weight', and its logits have no gradient",
        ),
        (
            body("open('/not/there')"),
            "Plain",
            "the network fails with FileNotFoundError: [Errno 2] No such",
        ),
        (body("raise SystemExit"), "Plain", "the code of the network ends the program"),
        ("open('/not/there')\ndef Plain(bands, classes): ...", "Plain", "fails with FileNotFoundError"),
        ("import sys\nsys.exit()\ndef Plain(bands, classes): ...", "Plain", "the code of the network ends the program"),
        (body("return self.c(x).to('meta')"), "Plain", "gives logits on meta for images on cpu"),
        (body("return self.c(x)\n\nPlain = Plain(['B02'], 19)"), "Plain", "is a network already; name the class or"),
        (
            body("return self.c(x)\n\n    def get_extra_state(self):\n        return {'k': 1}"),
            "Plain",
            "keeps '_extra_state' in its state, which is no tensor",
        ),
        (
            body("return self.c(x)\n\n    def state_dict(self, **_):\n        return {'more': torch.ones(1)}"),
            "Plain",
            "mine.py:Plain does not take back what its state_dict() gives: Error(s) in loading state_dict for Plain",
        ),
        (MADE_OF.partition("super")[0] + "pass\n", "Plain", "mine.py:Plain does not call super().__init__()"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path: Path, text: str, name: str, said: str) -> None:
    written(tmp_path, "", "beside.py")
    with pytest.raises(ModelError) as caught:
        own(tmp_path, text, name)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


NAMES = {
    "as it stands": ("class Net: ...", True),
    "assigned": ("Net = print", True),
    "imported": ("from os import path as Net", True),
    "of a branch": ("try:\n    import x\nexcept ImportError:\n    def Net(): ...", True),
    "by the walrus": ("if (Net := 3): ...", True),
    "of a loop": ("for Net in (print,): ...", True),
    "of a function that says so": ("def f():\n    global Net\n    Net = print\nf()", True),
    "by a star": ("from os import *", True),
    "made when run": ("globals()['N' + 'et'] = print", True),
    "set when run": ("import sys\nsetattr(sys.modules[__name__], 'N' + 'et', print)", True),
    "asked for when run": ("def __getattr__(name): return print", True),
    "Latin 1": ("# -*- coding: latin-1 -*-\n# \xe4\nclass Net: ...", True),
    "of a class": ("class Other:\n    def Net(self): ...", False),
    "of a function": ("def other():\n    Net = 3", False),
    "in a text": ("'Net'\nNetwork = 3  # Net", False),
    "used alone": ("print(Net)", False),
    "nothing": ("", False),
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_name_that_a_file_cannot_have_is_told_by_its_text(tmp_path: Path, kind: str) -> None:
    text, has = NAMES[kind]
    path = tmp_path / "mine.py"
    path.write_bytes(text.encode("latin-1"))
    code = code_of(ModelConfig(arch=f"{path}:Net"))
    if has:
        require_name(code)
        return
    with pytest.raises(ModelError, match="has no 'Net' that can be called; it has "):
        require_name(code)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"return 3", "'return' outside function (line 1)"),
        (b"Net = 3\n\0", "source code string cannot contain null bytes"),
        (b"Net = '\xe4'", "utf-8"),
        (b"# coding: nothing\nNet = 3", "unknown encoding"),
    ],
)
def test_a_file_that_is_no_python_is_told_as_such(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "mine.py"
    path.write_bytes(content)
    code = code_of(ModelConfig(arch=f"{path}:Net"))
    for look in (require_name, compiled):
        with pytest.raises(ModelError, match=r"mine.py is no Python: .*; mend it$") as caught:
            look(code)
        assert why in str(caught.value)


@pytest.mark.parametrize("head", ["masked", "learned"])
def test_heads_that_look_at_features_need_them(tmp_path: Path, head: str) -> None:
    with pytest.raises(ModelError, match=rf"'{head}' looks at features.*logits alone; return \(logits, features\), or"):
        own(tmp_path, scene_head=head)
    model = own(tmp_path, name="WithFeatures", scene_head=head)
    pixel, scene = model.eval()(torch.randn(2, 3, 50, 61))
    assert scene is not None
    assert (pixel.shape, scene.shape) == ((2, 19, 50, 61), (2, 19))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"fusion": "dual"}, "model.fusion has no effect on"),
        ({"drop_path": 0.1}, "model.drop_path has no effect on"),
        ({"weights": "imagenet"}, "--weights imagenet is no folder of a run"),
    ],
)
def test_settings_of_encoders_are_refused(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError) as caught:
        own(tmp_path, **settings)
    assert said in str(caught.value)


@pytest.mark.parametrize("setting", ["model.encoder_mode=frozen", "train.freeze_epochs=1", "train.layer_decay=0.5"])
def test_settings_of_the_encoder_need_a_part_of_that_name(store: Path, tmp_path: Path, setting: str) -> None:
    path = written(tmp_path, PLAIN.replace("self.encoder", "self.body"))
    task = plan(
        None, [setting], tmp_path / "run", model__arch=f"{path}:Plain", model__scene_head="derived", data__store=store
    )
    with pytest.raises(ModelError, match="has no part that is called so; leave it out, or name that part 'encoder'"):
        train(task)


def test_a_frozen_encoder_of_ones_own_stays(run: Path, store: Path, tmp_path: Path) -> None:
    _, before = read_checkpoint(run / "checkpoints" / "best")
    path = run / "checkpoints" / "best" / "network.py"
    settings = {"model__arch": f"{path}:WithFeatures", "model__encoder_mode": "frozen", "model__weights": str(run)}
    again = quick_run(tmp_path / "again", store, **settings)
    after, _ = load_checkpoint(again / "checkpoints" / "best")
    named = dict(after.named_parameters())
    moved = {name for name, value in after.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {name for name in named if not name.startswith("network.encoder.")}
    record = json.loads((again / "run.json").read_text())
    assert record["weights"][0]["source"] == "run run, trained on SYNTHETIC data"
    assert record["parameters_trained"] == sum(named[name].numel() for name in moved)


WITHOUT_STATISTICS = PLAIN.replace(" nn.BatchNorm2d(8),", "")
"""Batch statistics are those of each process, so that a network with such is another one on several."""


def trained_here(out: Path, cache: Path, settings: dict[str, Any]) -> None:
    """What each of the processes does that ``torchrun`` starts."""
    os.environ["XDG_CACHE_HOME"] = str(cache)
    torch.set_num_threads(1)
    train(plan(out=out, **settings))


def scored_here(run: Path, cache: Path) -> None:
    os.environ["XDG_CACHE_HOME"] = str(cache)
    torch.set_num_threads(1)
    evaluate(run)


@pytest.mark.usefixtures("one_thread", "no_page")
def test_two_processes_train_and_score_it_as_one_does(store: Path, tmp_path: Path) -> None:
    path, cache = written(tmp_path, WITHOUT_STATISTICS), tmp_path / "cache"
    settings = {
        **TINY,
        "model__arch": f"{path}:WithFeatures",
        "model__encoder": "none",
        "data__store": str(store),
        "train__batch_size": 4,
        "train__optimiser": "sgd",
        "train__precision": "float32",
        "model__dropout": 0.0,
        # Two batches, a whole one for each process: kernels may round other sizes of batches otherwise.
        "eval__batch_size": 5,
    }
    trained_here(tmp_path / "alone", cache, settings)
    forget()
    forks.together(2, tmp_path, trained_here, tmp_path / "both", cache, {**settings, "train__batch_size": 2})
    one, both = (load_checkpoint(tmp_path / name / "checkpoints" / "last")[0] for name in ("alone", "both"))
    start = build_segmenter(ModelConfig(arch=f"{path}:WithFeatures", encoder="none"), one.bands).state_dict()
    assert both.code is not None
    assert both.code.sha256 == one.code.sha256
    for name, value in one.state_dict().items():
        # Gradients are the mean over both, summed in another order, and weights of a pixel's loss lie close together.
        torch.testing.assert_close(both.state_dict()[name], value, rtol=1e-3, atol=1e-5)
    assert any(not torch.equal(value, start[name]) for name, value in one.state_dict().items())
    forks.together(2, tmp_path, scored_here, tmp_path / "both", cache)
    shared = (tmp_path / "both" / "eval" / "test" / "scores.json").read_bytes()
    evaluate(tmp_path / "both")
    assert (tmp_path / "both" / "eval" / "test" / "scores.json").read_bytes() == shared


ERRS = "\n\nclass Errs(Plain):\n    def forward(self, images):\n        return self.head(undefined)\n"


def test_an_error_of_the_network_shows_where_it_is(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, PLAIN + ERRS)
    with pytest.raises(NameError, match="undefined") as caught:
        run_seg("train", "--model", f"{path}:Errs", "--data", store, "--out", tmp_path / "run", "--scene-head", "none")
    files = [Path(str(entry.path)) for entry in caught.traceback]
    assert files[-1] == path
    # None of seg between whoever typed the command and the network.
    assert not [file for file in files if file.is_relative_to(Path(seg.__file__).parent)]
    assert caught.value.__notes__ == [f"This is an error of the network, in {path}, which seg runs as it is."]


MISFIT = """
from torch import nn


def make(bands, classes):
    return nn.Sequential(nn.Conv2d(len(bands), 8, 1), nn.Conv2d(16, classes, 1))
"""


def test_an_error_within_layers_of_others_is_the_networks_too(store: Path, tmp_path: Path) -> None:
    path = written(tmp_path, MISFIT)
    with pytest.raises(RuntimeError, match="channels") as caught:
        run_seg("train", "--model", f"{path}:make", "--data", store, "--out", tmp_path / "run", "--scene-head", "none")
    assert caught.value.__notes__ == ["This is an error of the network, which seg runs as it is."]


def test_what_a_network_gives_back_when_its_mode_changes_does_not_matter(tmp_path: Path) -> None:
    model = own(tmp_path, body("return self.c(x)\n\n    def train(self, mode=True): super().train(mode)"))
    assert model.network.training


DOUBLE = body("return self.double().c(x.double()).float()")


def test_what_onnx_runtime_cannot_run_is_no_damaged_file(tmp_path: Path) -> None:
    model = own(tmp_path, DOUBLE).eval()
    card = make_card(model, [(0.0, 1.0)] * 3, "bilinear", Data(fingerprint="x", synthetic=True, train_patches=1))
    with pytest.raises(CheckpointError, match=r"does not run mine.py:Plain \(Could not find .*\); leave out --onnx"):
        write_onnx(tmp_path / "model.onnx", model, card)


def test_a_network_that_writes_into_images_leaves_those_of_the_caller(tmp_path: Path) -> None:
    model = own(tmp_path, body("return self.c(x.mul_(0.5))")).eval()
    for edge in (128, 120):
        images = torch.randn(1, 3, edge, edge)
        kept = images.clone()
        with torch.no_grad():
            model(images)
        assert torch.equal(images, kept)


def test_code_that_nobody_has_named_here_is_not_run(
    trained: Path, run: Path, store: Path, tmp_path: Path, no_page: None
) -> None:
    mark, card = trained.parent / RAN, tmp_path / "card"
    more = ("--set", "train.epochs=2", "--allow", "train.epochs", "--data", store)
    for words in (
        ("eval", run, "--data", store),
        ("export", run, "--out", tmp_path / "maps", "--data", store),
        ("card", run, "--out", card),
        ("train", "--resume", "--out", run, *more),
    ):
        code, text = run_seg(*words)
        assert code == 2, text
        assert "so it was not run; read it, and if you trust it, say so once with: seg models --model" in text
    with pytest.raises(CheckpointError, match="was not run"):
        seg.load_model(run)
    assert not mark.exists()
    (cure,) = printed(text)
    code, text = run_seg(*cure[1:])
    assert (code, "network.py:WithFeatures" in text) == (0, True), text
    assert mark.exists()
    code, text = run_seg("eval", run, "--data", store)
    assert code == 0, text
    assert f"The network is built by the code in {run}/checkpoints/best/network.py (SHA-256" in text
    assert run_seg("card", run, "--out", card)[0] == 0
    assert "`seg models --model card/network.py:WithFeatures`" in (card / "README.md").read_text()
    assert seg.load_model(card).network.config.arch == "mine.py:WithFeatures"
    # It goes on with the copy that it has kept, and with nothing else.
    other = f"{written(tmp_path)}:WithFeatures"
    code, text = run_seg("train", "--resume", "--out", run, "--model", other, *more)
    assert (code, "the run has model.code=" in text) == (1, True), text
    code, text = run_seg("train", "--resume", "--out", run, *more)
    assert (code, json.loads((run / "run.json").read_text())["training"]["epochs"]) == (0, 2), text


def test_code_that_was_changed_is_not_run(run: Path, tmp_path: Path) -> None:
    inside = run / "checkpoints" / "best" / "network.py"
    inside.write_text(leaving_a_mark(tmp_path / RAN))
    trust(code_of(ModelConfig(arch=f"{inside}:Plain")))
    with pytest.raises(CheckpointError, match=r"is not the code that its card names.*nothing of it was run"):
        load_checkpoint(inside.parent)
    inside.unlink()
    with pytest.raises(CheckpointError, match=r"has no network\.py, which builds its network mine\.py:WithFeatures"):
        load_checkpoint(inside.parent)
    assert not (tmp_path / RAN).exists()
    # Nor is it told that the network is built by it.
    for command in (("eval", run), ("card", run, "--out", tmp_path / "card")):
        code, text = run_seg(*command)
        assert (code, "has no network.py" in text, "is built by the code" in text) == (1, True, False), text


def test_a_file_that_a_configuration_names_is_not_run_for_that(store: Path, tmp_path: Path) -> None:
    path = written(tmp_path)
    (tmp_path / "theirs.yaml").write_text(f"model: {{arch: '{path}:Plain', scene_head: derived}}\n")
    with pytest.raises(CheckpointError, match="was not run"):
        train(plan(tmp_path / "theirs.yaml", (), tmp_path / "run", data__store=store, train__epochs=1))


def test_what_a_network_may_give() -> None:
    logits, features = torch.zeros(1, 19, 4, 4), torch.zeros(1, 8, 2, 2)
    for given in (logits, {"logits": logits}, {"out": logits, "aux": None}, (logits, None)):
        assert outputs_of(given, "mine")[0] is logits
        assert outputs_of(given, "mine")[1] is None
    for given in ((logits, features), [logits, [logits, features]], {"logits": logits, "features": features}):
        assert outputs_of(given, "mine")[0] is logits
        assert outputs_of(given, "mine")[1] is features


def test_packages_register_networks_and_encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, PLAIN + ENCODER, "theirs_net.py")
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    points = "[seg.architectures]\ntheirs = theirs_net:Plain\n\n[seg.encoders]\ntheirs-small = theirs_net:SMALL\n"
    (info / "entry_points.txt").write_text(points)
    look = (
        "from seg.models.architectures import ARCHITECTURES, encoder_names; "
        "print(ARCHITECTURES['theirs'].own, 'theirs-small' in encoder_names())"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    told = subprocess.run(
        [sys.executable, "-c", look], env=os.environ | {"PYTHONPATH": path}, check=True, capture_output=True, text=True
    )
    assert told.stdout.split() == ["True", "True"]
    monkeypatch.syspath_prepend(tmp_path)
    registered.cache_clear()
    monkeypatch.setitem(ARCHITECTURES, "theirs", find_architecture("x.py:y"))
    try:
        model = build_segmenter(ModelConfig(arch="theirs", scene_head="derived"), BANDS).eval()
        assert model(torch.zeros(1, 3, 120, 120))[0].shape == (1, 19, 120, 120)
        assert (model.config.named, model.code) == ("theirs", None)
        save_checkpoint(
            tmp_path / "saved",
            model,
            make_card(model, [(0.0, 1.0)] * 3, "bilinear", Data(fingerprint="x", synthetic=True, train_patches=1)),
        )
        again, card = load_checkpoint(tmp_path / "saved")
        assert (card.arch, card.encoder, card.code) == ("theirs", "none", None)
        assert torch.equal(again.network.head.weight, model.network.head.weight)
        unet = build_segmenter(ModelConfig(arch="unet", encoder="theirs-small"), BANDS).eval()
        assert unet(torch.zeros(1, 3, 120, 120))[0].shape == (1, 19, 120, 120)
        with pytest.raises(ModelError, match="did you mean theirs-small"):
            build_segmenter(ModelConfig(arch="unet", encoder="theirs-smal"), BANDS)
    finally:
        registered.cache_clear()
        smp.encoders.encoders.pop("theirs-small", None)


ENCODER = """

from segmentation_models_pytorch.encoders import encoders

SMALL = encoders["resnet18"]
"""


def test_a_card_that_names_a_file_and_no_hash_is_refused(run: Path, tmp_path: Path) -> None:
    path = run / "checkpoints" / "best" / "card.json"
    card = json.loads(path.read_text())
    for changed in ({"code": None}, {"encoder": "resnet18"}, {"arch": "unet"}):
        path.write_text(json.dumps(card | changed))
        with pytest.raises(CheckpointError, match=r"has FILE\.py:NAME, the hash of that file, and the encoder 'none'"):
            load_checkpoint(path.parent)
