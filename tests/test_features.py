"""Features of a frozen encoder that are kept: never those of another picture, and the run that they save time in."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forks
import pytest
import torch
from entries import small_store
from hypothesis import given, settings
from hypothesis import strategies as st
from quick import TINY, quick_run
from safetensors.torch import load_file
from torch import Tensor, nn

from seg.engine.feature_file import FeatureFile
from seg.engine.features import FILE_NAME, Recalled
from seg.errors import ForeignFileError, WrongUseError
from seg.pipeline.train import train
from seg.runs.plan import plan

ABOUT = b"sixteen bytes .."
KEPT = {"model__encoder_mode": "frozen", "train__cache_features": 1.0, "data__augment": ()}
RUN = {
    **KEPT,
    "model__weights": None,
    "train__epochs": 2,
    "train__batch_size": 4,
    "train__precision": "float32",
    "train__patience": 0,
}


def key(number: int) -> bytes:
    return number.to_bytes(16, "little")


# --- the file ----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(
    contents=st.lists(st.binary(max_size=40), min_size=1, max_size=6),
    cut=st.floats(0, 1),
    spoiled=st.floats(0, 0.999),
)
def test_whatever_becomes_of_the_file_no_content_is_wrong(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], cut: float, spoiled: float
) -> None:
    path = tmp_path_factory.mktemp("features") / "features.bin"
    file = FeatureFile(path, ABOUT, 10**6)
    for number, content in enumerate(contents):
        file.add(key(number), content)
        file.add(key(number), b"another")
    assert [file.read(key(number)) for number in range(len(contents))] == contents
    assert file.read(key(99)) is None
    file.close(remove=False)
    whole = path.read_bytes()

    def found() -> list[bytes | None]:
        again = FeatureFile(path, ABOUT, 10**6)
        kept = [again.read(key(number)) for number in range(len(contents))]
        # It goes on from there.
        again.add(key(99), b"new")
        assert again.read(key(99)) == b"new"
        again.close(remove=False)
        return kept

    path.write_bytes(whole[: round(cut * len(whole))])
    kept = found()
    there = sum(one is not None for one in kept)
    assert kept == [*contents[:there], *[None] * (len(contents) - there)]
    path.write_bytes(whole)
    assert found() == contents
    place = len(whole) - 1 - int(spoiled * sum(map(len, contents)))
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert all(one in (None, content) for one, content in zip(found(), contents, strict=True))


def test_a_file_about_something_else_begins_anew_and_one_of_somebody_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "features.bin"
    file = FeatureFile(path, ABOUT, 1000)
    file.add(key(1), b"a")
    file.close(remove=False)
    other = FeatureFile(path, ABOUT[::-1], 1000)
    assert (len(other), other.read(key(1))) == (0, None)
    other.close(remove=True)
    assert not path.exists()
    path.write_bytes(b"mine")
    with pytest.raises(ForeignFileError, match=r"seg has not made it; move it away"):
        FeatureFile(path, ABOUT, 1000)
    assert path.read_bytes() == b"mine"


def test_no_more_is_kept_than_there_is_room_for(tmp_path: Path) -> None:
    path = tmp_path / "features.bin"
    file = FeatureFile(path, ABOUT, 1010)
    for number in range(20):
        file.add(key(number), bytes(100))
    assert path.stat().st_size <= 1010
    assert 1 < len(file) < 10
    file.add(key(50), b"")
    assert file.read(key(50)) == b""

    class Full:
        """A disk that takes a part of what is written."""

        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def write(self, content: bytes) -> int:
            self.inner.write(content[:5])
            raise OSError(28, "No space left on device")

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

    before, file._most, file._file = path.read_bytes(), 10**6, Full(file._file)
    file.add(key(60), b"more")
    assert (file.read(key(60)), file.read(key(0))) == (None, bytes(100))
    assert path.read_bytes() == before
    file.close(remove=True)


# --- the forward pass ----------------------------------------------------------------------------------------------


class Encoder(nn.Module):
    """Gives what encoders give: the image itself, features in several layouts and dtypes, and that there are no tokens.

    Attributes:
        pictures: How many it has computed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.near = nn.Conv2d(3, 5, 3, padding=1)
        with torch.no_grad():
            for parameter in self.near.parameters():
                parameter.copy_(torch.randint(-3, 4, parameter.shape))
        self.pictures = 0

    def forward(self, images: Tensor, sensors: tuple[str, ...] = ("s2",), factor: float = 1.0) -> Any:
        self.pictures += len(images)
        features = self.near(images) * factor * len(sensors)
        tokens = features.flatten(2).transpose(1, 2)
        return (
            [images, features.contiguous(memory_format=torch.channels_last)],
            {"t": (tokens[:, 1:], None)},
            tokens.bfloat16(),
        )


def parted(output: Any) -> list[Tensor]:
    (images, features), rest, small = output
    assert rest["t"][1] is None
    return [images, features, rest["t"][0], small]


def order(tensor: Tensor) -> list[int]:
    """Axes from outer to inner, by which kernels are chosen."""
    return sorted(range(1, tensor.ndim), key=lambda axis: -tensor.stride(axis))


def same(one: Any, other: Any) -> bool:
    pairs = zip(parted(one), parted(other), strict=True)
    return all(torch.equal(a, b) and a.dtype == b.dtype and order(a) == order(b) for a, b in pairs)


def whole_numbers(count: int) -> Tensor:
    """Pictures whose sums are exact: kernels round by how many pictures there are."""
    return torch.randint(-9, 10, (count, 3, 8, 8)).float()


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder().eval().requires_grad_(False)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[FeatureFile]:
    opened = FeatureFile(tmp_path / "features.bin", ABOUT, 10**7)
    yield opened
    opened.close(remove=True)


def test_each_picture_is_computed_once_and_comes_back_as_it_was(encoder: Encoder, file: FeatureFile) -> None:
    pictures = whole_numbers(6)
    plain = Encoder.forward
    memory = Recalled("encoder", encoder, file)
    assert same(memory.forward(pictures[:4]), plain(encoder, pictures[:4]))
    encoder.pictures = 0
    # In another order, some of them new, one twice.
    mixed = pictures[[5, 2, 0, 2]]
    found = memory.forward(mixed)
    assert encoder.pictures == 1
    assert found[0][0] is mixed
    assert same(found, plain(encoder, mixed))
    encoder.pictures = 0
    assert same(memory.forward(mixed), plain(encoder, mixed))
    assert encoder.pictures == len(mixed)  # of the plain pass
    # What is given beside them counts, and so does what else is done to them.
    encoder.pictures = 0
    for one, others in (
        (mixed, {"factor": 2.0}),
        (mixed, {"sensors": ("s1", "s2")}),
        (mixed.flip(-1), {}),
        (mixed[:, [1, 0, 2]], {}),
    ):
        before = encoder.pictures
        found = memory.forward(one, **others)
        assert encoder.pictures > before
        assert same(found, plain(encoder, one, **others))
    # A new process knows what an old one has kept, but for the first batch, which shows what is given.
    later = Recalled("encoder", encoder, file)
    later.forward(pictures[:1])
    encoder.pictures = 0
    assert later.forward(pictures[[5, 2]])[0][1].shape == (2, 5, 8, 8)
    assert encoder.pictures == 0
    other = Recalled("another", encoder, file)
    other.forward(pictures[:1])
    other.forward(pictures[[5, 2]])
    assert encoder.pictures == 3


def test_what_learns_is_never_recalled(encoder: Encoder, file: FeatureFile) -> None:
    pictures = torch.randn(2, 3, 8, 8)
    memory = Recalled("encoder", encoder, file)
    encoder.train()
    for _ in range(2):
        memory.forward(pictures)
    assert (encoder.pictures, len(file)) == (4, 0)
    encoder.eval()
    learned = pictures.clone().requires_grad_()
    for _ in range(2):
        memory.forward(learned)[0][1].sum().backward()
    assert (encoder.pictures, len(file)) == (8, 0)
    assert learned.grad is not None
    with torch.no_grad():
        memory.forward(learned)
    assert len(file) == 2


@pytest.mark.parametrize(
    "gives", [lambda x: (x, x.sum()), lambda x: (x.sum(1), 3), lambda x: x.sum(0)], ids=["scalar", "number", "no axis"]
)
def test_what_is_not_of_one_picture_each_is_computed_every_time(
    file: FeatureFile, gives: Callable[[Tensor], Any]
) -> None:
    class Odd(nn.Module):
        calls = 0

        def forward(self, images: Tensor) -> Any:
            self.calls += 1
            return gives(images)

    odd = Odd().eval()
    memory = Recalled("encoder", odd, file)
    pictures = torch.randn(2, 3, 8, 8)
    for _ in range(2):
        torch.testing.assert_close(memory.forward(pictures), gives(pictures))
    assert (odd.calls, len(file)) == (2, 0)


def test_a_compiled_network_recalls_too(encoder: Encoder, file: FeatureFile) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, images: Tensor) -> Tensor:
            return self.encoder(images)[0][1].relu() + 1

    pictures = torch.randn(2, 3, 8, 8)
    network = Network()
    expected = network(pictures)
    compiled = torch.compile(network, backend="eager")
    encoder.forward = torch.compiler.disable(Recalled("encoder", encoder, file).forward)
    encoder.pictures = 0
    for _ in range(3):
        assert torch.equal(compiled(pictures), expected)
    assert encoder.pictures == 2


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_store(tmp_path_factory.mktemp("small"), 20).folder


def log(run: Path) -> list[list[str]]:
    """All but how long it took."""
    rows = [row.split(",") for row in (run / "log.csv").read_text().splitlines()]
    timed = {rows[0].index(name) for name in ("patches_per_second", "seconds")}
    return [[value for place, value in enumerate(row) if place not in timed] for row in rows]


def assert_same_run(one: Path, other: Path) -> None:
    assert log(one) == log(other)
    for place in ("best", "last"):
        first, second = (load_file(run / "checkpoints" / place / "model.safetensors") for run in (one, other))
        assert all(torch.equal(first[name], second[name]) for name in first), place


OWN = """
from torch import nn


class Plain(nn.Module):
    def __init__(self, bands, classes):
        super().__init__()
        self.learns = nn.Conv2d(len(bands), 4, 1)
        self.encoder = nn.Sequential(nn.Conv2d(len(bands), 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.again = nn.Conv2d(4, len(bands), 1)
        self.head = nn.Conv2d(16, classes, 1)

    def forward(self, images):
        import torch
        # The same encoder twice, once of what changes with every step.
        other = self.encoder(self.again(self.learns(images)))
        return self.head(torch.cat([self.encoder(images), other], 1))
"""


@pytest.mark.parametrize(
    "settings",
    [
        {"model__arch": "segformer", "model__encoder": "mit_b0", "train__ema": 0.5},
        {
            "data__bands": "s1s2",
            "model__fusion": "dual",
            "train__modality_dropout": 0.5,
            "model__scene_head": "learned",
        },
        {
            "model__arch": "own.py:Plain",
            "model__scene_head": "derived",
            "model__encoder": "none",
            "data__augment": ({"HorizontalFlip": {"p": 0.5}},),
        },
    ],
    ids=["averaged", "two sensors", "own"],
)
@pytest.mark.usefixtures("one_thread")
def test_a_run_with_kept_features_is_that_without(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("own.py").write_text(OWN)
    kept = []
    close = FeatureFile.close

    def counted(file: FeatureFile, remove: bool) -> None:
        kept.append(len(file))
        close(file, remove)

    monkeypatch.setattr(FeatureFile, "close", counted)
    task = {**RUN, **settings}
    one = quick_run(tmp_path / "kept", store, **task)
    other = quick_run(tmp_path / "plain", store, **task | {"train__cache_features": 0.0})
    assert_same_run(one, other)
    patches = json.loads((one / "run.json").read_text())["data"]["patches"]
    assert len(kept) == 1
    assert kept[0] >= patches["train"] // 4 * 4 + patches["validation"]
    assert not (one / "checkpoints" / FILE_NAME).exists()


@pytest.mark.usefixtures("one_thread")
def test_a_run_that_was_killed_goes_on_with_them(store: Path, tmp_path: Path) -> None:
    settings = {**TINY, **RUN, "data__store": str(store), "train__save_every_steps": 1}
    train(plan(out=tmp_path / "whole", **settings))
    assert forks.alone(tmp_path / "said.txt", forks.train_and_die, tmp_path / "cut", 4, settings, 1) == -signal.SIGKILL
    assert (tmp_path / "cut" / "checkpoints" / FILE_NAME).stat().st_size > 10_000
    # It may go on with another bound, since the numbers stay.
    train(plan(tmp_path / "cut" / "config.yaml", ["train.cache_features=0.5"], tmp_path / "cut", True))
    assert_same_run(tmp_path / "cut", tmp_path / "whole")
    assert not (tmp_path / "cut" / "checkpoints" / FILE_NAME).exists()


def test_settings_under_which_no_picture_comes_again_are_refused(store: Path, tmp_path: Path) -> None:
    for given_settings, said in (
        ({"data__augment": ({"GaussianBlur": {}},)}, "with data.augment as it is none does; use --set data.augment="),
        ({"train__cutmix": 0.5}, "with train.cutmix as it is none does; use --set train.cutmix=0"),
        ({"train__window": 64}, "with train.window as it is none does; use --set train.window=0"),
        ({"train__reflectance_jitter": 0.1}, "use --set train.reflectance_jitter=0"),
        ({"train__copy_paste": 0.5}, "with train.copy_paste as it is none does; use --set train.copy_paste=0"),
    ):
        with pytest.raises(WrongUseError, match=said):
            quick_run(tmp_path / "run", store, **{**RUN, **given_settings})
    with pytest.raises(WrongUseError, match=r"cache_features=1.0 has an effect only with model.encoder_mode=frozen"):
        plan(None, ["train.cache_features=1"], tmp_path / "run")
