"""Networks and scene heads: against smp's own networks, NumPy's padding and brute force in float64."""

import math

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segmentation_models_pytorch.base import SegmentationHead
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3Decoder
from torch import Tensor, nn

from seg.config.sections import ModelConfig
from seg.errors import ModelError, UnknownNameError
from seg.models.architectures import ARCHITECTURES, check_encoder, encoder_names
from seg.models.frame import Frame
from seg.models.padding import InsidePool, pool_inside
from seg.models.scene import DerivedSceneHead, MaskedSceneHead, log_mean_exp
from seg.models.segmenter import Segmenter, build_segmenter, count_parameters
from seg.reben.bands import MODALITIES
from seg.reben.classes import NUM_CLASSES

BANDS = MODALITIES["s1s2"]
FAST = {"dpt": "tu-test_vit", "segformer": "mit_b0"}
POOLING = ("deeplabv3", "deeplabv3plus", "manet", "pan", "pspnet", "upernet")


def build(arch: str = "unet", bands: tuple[str, ...] = BANDS, **settings: object) -> Segmenter:
    torch.manual_seed(0)
    encoder = settings.pop("encoder", FAST.get(arch, "resnet18"))
    return build_segmenter(ModelConfig(arch=arch, encoder=encoder, **settings), bands)


def images(height: int = 120, width: int = 120, batch: int = 2, bands: int = len(BANDS)) -> Tensor:
    return torch.randn(batch, bands, height, width, generator=torch.Generator().manual_seed(1))


# ------------------------------------------------------------------------------------------------ every architecture


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_trains_on_patches_and_takes_any_size(arch: str):
    model = build(arch)
    assert model.training
    pixel_logits, scene_logits = model(images())
    assert pixel_logits.shape == (2, NUM_CLASSES, 120, 120)
    assert scene_logits.shape == (2, NUM_CLASSES)
    (pixel_logits.square().mean() + scene_logits.square().mean()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    # The gradient reaches the first layer that sees the bands.
    stem = next(name for name, p in model.named_parameters() if p.ndim == 4)
    assert gradients[stem].shape[1] == len(BANDS)
    assert gradients[stem].abs().sum() > 0

    model.eval()
    for height, width in ((1, 1), (2, 37), (144, 33)):
        with torch.no_grad():
            pixel_logits, scene_logits = model(images(height, width, 1))
        assert pixel_logits.shape == (1, NUM_CLASSES, height, width)
        assert pixel_logits.isfinite().all()
        assert scene_logits.isfinite().all()


def test_the_architectures_are_those_of_smp():
    assert set(ARCHITECTURES) == set(smp.MODEL_ARCHITECTURES_MAPPING)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_default_encoder_exists(arch: str):
    check_encoder(ARCHITECTURES[arch].encoder)


@pytest.mark.parametrize("arch", POOLING)
def test_without_padding_it_is_smps_own_network(arch: str):
    model = build(arch).eval()
    plain = smp.create_model(arch, "resnet18", None, len(BANDS), NUM_CLASSES).eval()
    plain.load_state_dict(model.network.state_dict())
    batch = images(128, 128, 1)
    with torch.no_grad():
        assert torch.equal(model(batch)[0], plain(batch))
    pools = [m for m in model.network.decoder.modules() if isinstance(m, nn.AdaptiveAvgPool2d)]
    assert pools
    assert all(isinstance(pool, InsidePool) for pool in pools)


@pytest.mark.parametrize("arch", ["unet", "dpt"])
def test_with_padding_it_is_smps_own_network_on_the_reflected_image_cropped(arch: str):
    model = build(arch).eval()
    batch = images(120, 100, 1)
    padded = torch.from_numpy(np.pad(batch.numpy(), ((0, 0), (0, 0), (4, 4), (14, 14)), mode="reflect"))
    with torch.no_grad():
        assert torch.equal(model(batch)[0], model.network(padded)[..., 4:124, 14:114])


# ------------------------------------------------------------------------------------------------------------ padding


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    multiple=st.sampled_from([1, 8, 16, 32]),
    least=st.integers(0, 70),
)
def test_padding_is_numpys_reflection_and_cropping_undoes_it(height: int, width: int, multiple: int, least: int):
    frame = Frame.around(height, width, multiple, least)
    for edge, full in ((height, frame.full_height), (width, frame.full_width)):
        assert full == least or full % multiple == 0
        assert max(edge, least) <= full < max(edge, least) + multiple
    batch = torch.arange(2.0 * height * width).reshape(1, 2, height, width)
    rows = (frame.top, frame.full_height - height - frame.top)
    columns = (frame.left, frame.full_width - width - frame.left)
    assert 0 <= rows[1] - rows[0] <= 1
    assert 0 <= columns[1] - columns[0] <= 1
    padded = frame.pad(batch)
    assert np.array_equal(padded.numpy(), np.pad(batch.numpy(), ((0, 0), (0, 0), rows, columns), mode="reflect"))
    assert torch.equal(frame.crop(padded), batch)
    assert frame.is_padded == (padded.shape != batch.shape)


def test_flipping_commutes_with_padding():
    frame = Frame.around(120, 120, 32, 32)
    batch = images(bands=1)
    assert torch.equal(frame.pad(batch.flip(2, 3)), frame.pad(batch).flip(2, 3))


@given(height=st.integers(1, 70), width=st.integers(1, 70), cell=st.sampled_from([1, 4, 8, 16]))
def test_shares_are_counted_pixels(height: int, width: int, cell: int):
    frame = Frame.around(height, width, 16, 48)
    inside = np.zeros((frame.full_height, frame.full_width))
    inside[frame.top : frame.top + height, frame.left : frame.left + width] = 1
    rows, columns = frame.full_height // cell, frame.full_width // cell
    counted = inside.reshape(rows, cell, columns, cell).mean(axis=(1, 3))
    np.testing.assert_allclose(frame.shares(rows, columns, torch.device("cpu")), counted, atol=1e-6)


# ------------------------------------------------------------------------------------------------------------ pooling


def weighted_pool(features: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    """Weighted means over the bins of adaptive pooling: from floor(i n / size) to ceil((i + 1) n / size)."""
    rows, columns = weights.shape
    pooled = np.zeros((*features.shape[:2], size, size))
    for i in range(size):
        for j in range(size):
            top, bottom = i * rows // size, -(-(i + 1) * rows // size)
            left, right = j * columns // size, -(-(j + 1) * columns // size)
            w = weights[top:bottom, left:right]
            pooled[:, :, i, j] = (features[:, :, top:bottom, left:right] * w).sum(axis=(2, 3)) / w.sum()
    return pooled


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(17, 200), width=st.integers(17, 200), stride=st.sampled_from([8, 16, 32]), size=st.integers(1, 6)
)
def test_pooling_weights_each_cell_by_its_share_inside(height: int, width: int, stride: int, size: int):
    frame = Frame.around(height, width, stride, stride)
    rows, columns = frame.full_height // stride, frame.full_width // stride
    features = torch.randn(2, 3, rows, columns)
    shares = frame.shares(rows, columns, torch.device("cpu")).double().numpy()
    expected = weighted_pool(features.double().numpy(), shares, size)
    np.testing.assert_allclose(pool_inside(features, size, frame), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, (3, None)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pooling_without_padding_is_torchs(size: int, dtype: torch.dtype):
    features = torch.randn(2, 3, 4, 4).to(dtype)
    plain = nn.AdaptiveAvgPool2d(size)(features)
    assert torch.equal(pool_inside(features, size, None), plain)
    assert torch.equal(pool_inside(features, size, Frame(128, 128, 128, 128)), plain)


def test_pooling_does_not_see_cells_outside_and_an_empty_bin_is_zero():
    frame = Frame.around(32, 32, 32, 128)
    features = torch.randn(1, 2, 8, 8)
    outside = frame.shares(8, 8, torch.device("cpu")) == 0
    other = torch.where(outside, 1e6, features)
    assert outside.sum() == 64 - 4
    assert torch.equal(pool_inside(features, 1, frame), pool_inside(other, 1, frame))
    assert torch.equal(pool_inside(other, 4, frame)[..., 0, 0], torch.zeros(1, 2))


class PixelwiseEncoder(nn.Module):
    """An encoder that looks at single pixels, so that what stands in the margins stays in the margins."""

    out_channels = (len(BANDS), 8)
    output_stride = 32

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(len(BANDS), 8, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x, self.convolution(x)]


class PixelwiseNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = PixelwiseEncoder()
        self.decoder = DeepLabV3Decoder(8, 16, (1, 2, 3), aspp_separable=False, aspp_dropout=0.0)
        self.segmentation_head = SegmentationHead(16, NUM_CLASSES, kernel_size=1)


def test_nothing_pooled_sees_the_padding(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    model = Segmenter(ModelConfig(arch="deeplabv3", scene_head="learned"), BANDS, PixelwiseNetwork()).eval()
    (pool,) = (m for m in model.network.decoder.modules() if isinstance(m, InsidePool))
    seen: list[tuple[Tensor, Tensor]] = []
    pool.register_forward_hook(lambda _module, inputs, output: seen.append((inputs[0], output)))
    batch = images(40, 50)

    def noisy(frame: Frame, batch: Tensor) -> Tensor:
        full = 1e3 * torch.randn(*batch.shape[:2], frame.full_height, frame.full_width)
        frame.crop(full).copy_(batch)
        return full

    with torch.no_grad():
        _, scene = model(batch)
        monkeypatch.setattr(Frame, "pad", noisy)
        _, noisy_scene = model(batch)
    (features, pooled), (noisy_features, noisy_pooled) = seen
    assert torch.equal(pooled, noisy_pooled)
    assert torch.equal(scene, noisy_scene)
    # The plain pool would have seen it, and the pooled vector is the mean over the image.
    assert (features.mean(dim=(2, 3)) - noisy_features.mean(dim=(2, 3))).abs().max() > 1
    torch.testing.assert_close(pooled.flatten(1), model.network.encoder(batch)[-1].mean(dim=(2, 3)))


def test_the_pool_of_a_real_network_gets_the_frame_of_each_image():
    model = build("deeplabv3plus").eval()
    (pool,) = (m for m in model.network.decoder.modules() if isinstance(m, InsidePool))
    seen: list[tuple[Tensor, Tensor]] = []
    pool.register_forward_hook(lambda _module, inputs, output: seen.append((inputs[0], output)))
    with torch.no_grad():
        for height, width in ((120, 120), (128, 128), (60, 120)):
            model(images(height, width, 1))
            features, pooled = seen[-1]
            rows, columns = features.shape[-2:]
            shares = np.ones((rows, columns))
            for edge, axis in ((height, 0), (width, 1)):
                outside = (-edge % 16) / 2 / 16
                np.moveaxis(shares, axis, 0)[0] *= 1 - outside
                np.moveaxis(shares, axis, 0)[-1] *= 1 - outside
            expected = weighted_pool(features.double().numpy(), shares, 1)
            np.testing.assert_allclose(pooled, expected, rtol=1e-4, atol=1e-6)


# -------------------------------------------------------------------------------------------------------- scene heads


@settings(deadline=None)
@given(r=st.floats(0.01, 20), scale=st.floats(0, 30), shift=st.floats(-100, 100), seed=st.integers(0, 1000))
def test_log_mean_exp_against_brute_force(r: float, scale: float, shift: float, seed: int):
    logits = torch.from_numpy(np.random.default_rng(seed).normal(shift, scale, (2, NUM_CLASSES, 5, 7))).float()
    wide = logits.double().numpy()
    top = wide.max(axis=(2, 3))
    expected = top + np.log(np.exp(r * (wide - top[..., None, None])).mean(axis=(2, 3))) / r
    pooled = log_mean_exp(logits, torch.full((NUM_CLASSES,), r))
    np.testing.assert_allclose(pooled, expected, rtol=1e-5, atol=1e-4 + 2e-6 / r)
    assert (pooled <= logits.amax(dim=(2, 3)) + 2e-3).all()
    assert (pooled >= logits.mean(dim=(2, 3)) - 2e-3).all()


def test_log_mean_exp_runs_from_the_mean_to_the_maximum():
    logits = torch.randn(2, NUM_CLASSES, 12, 12, dtype=torch.float64)
    flat = log_mean_exp(logits, torch.full((NUM_CLASSES,), 1e-6, dtype=torch.float64))
    torch.testing.assert_close(flat, logits.mean(dim=(2, 3)), atol=1e-5, rtol=0)
    sharp = log_mean_exp(logits, torch.full((NUM_CLASSES,), 1e6, dtype=torch.float64))
    torch.testing.assert_close(sharp, logits.amax(dim=(2, 3)), atol=1e-4, rtol=0)


def test_the_derived_head_has_a_sharpness_and_a_bias_for_each_class():
    head = DerivedSceneHead()
    frame, features = Frame(6, 6, 6, 6), torch.empty(0)
    torch.testing.assert_close(head.sharpness, torch.ones(NUM_CLASSES))
    blank = head(torch.zeros(3, NUM_CLASSES, 6, 6), features, frame).sigmoid()
    torch.testing.assert_close(blank.sum(dim=1), torch.full((3,), 2.95))  # as many labels as a patch has on average

    logits = torch.randn(2, NUM_CLASSES, 6, 6)
    with torch.no_grad():
        head.rho.copy_(torch.linspace(-6, 6, NUM_CLASSES))
        head.bias.copy_(torch.linspace(-2, 2, NUM_CLASSES))
    scene = head(logits, features, frame)
    for c in range(NUM_CLASSES):
        r = 0.01 + math.log1p(math.exp(-6 + c * 12 / (NUM_CLASSES - 1)))
        expected = np.log(np.exp(r * logits[:, c].double().numpy()).mean(axis=(1, 2))) / r
        np.testing.assert_allclose(scene[:, c].detach(), expected - 2 + c * 4 / (NUM_CLASSES - 1), atol=1e-3)


@pytest.mark.parametrize("extreme", [1e4, -1e4])
def test_gradients_stay_finite_at_extreme_logits(extreme: float):
    head = DerivedSceneHead()
    logits = torch.randn(2, NUM_CLASSES, 6, 6)
    logits[0, :, 0, 0] = extreme
    logits[1] = extreme
    logits.requires_grad_()
    head(logits, torch.empty(0), Frame(6, 6, 6, 6)).sum().backward()
    for value in (logits.grad, head.rho.grad, head.bias.grad):
        assert value is not None
        assert value.isfinite().all()
    # A pool of shifted logits is shifted as much; float32 knows logits of 1e4 to 1e-3.
    torch.testing.assert_close(logits.grad.sum(dim=(2, 3)), torch.ones(2, NUM_CLASSES), rtol=0, atol=1e-3)


def test_the_derived_head_pools_the_cropped_logits():
    model = build(scene_head="derived").eval()
    with torch.no_grad():
        pixel_logits, scene_logits = model(images())
        expected = log_mean_exp(pixel_logits.double(), torch.ones(NUM_CLASSES)) + math.log(2.95 / 16.05)
    torch.testing.assert_close(scene_logits.double(), expected, atol=1e-5, rtol=1e-5)


def overlaps(cells: int, full: int, start: int, length: int) -> np.ndarray:
    """Share of each pixel that lies in each cell, a pixel at a time."""
    size = full / cells
    shares = np.zeros((cells, length))
    for cell in range(cells):
        for pixel in range(length):
            first, last = max(cell * size, pixel + start), min((cell + 1) * size, pixel + start + 1)
            shares[cell, pixel] = max(last - first, 0)
    return shares


def masked_by_hand(head: MaskedSceneHead, logits: Tensor, features: Tensor, frame: Frame) -> np.ndarray:
    exponents = np.exp(logits.double().numpy() - logits.double().numpy().max(axis=1, keepdims=True))
    probabilities = exponents / exponents.sum(axis=1, keepdims=True)
    rows, columns = features.shape[-2:]
    down = overlaps(rows, frame.full_height, frame.top, frame.height)
    across = overlaps(columns, frame.full_width, frame.left, frame.width)
    weights = np.einsum("iy,bkyx,jx->bkij", down, probabilities, across)
    weights /= weights.sum(axis=(2, 3), keepdims=True)
    under = np.einsum("bkij,bcij->bkc", weights, features.double().numpy())
    seen = np.einsum("bkc,kc->bk", under, head.classifier.weight.detach().double().numpy())
    area = np.log(probabilities.mean(axis=(2, 3)) + 1e-4)
    return seen + head.slope.detach().double().numpy() * area + head.bias.detach().double().numpy()


@settings(deadline=None, max_examples=25)
@given(height=st.integers(1, 40), width=st.integers(1, 40), cells=st.integers(1, 5), seed=st.integers(0, 1000))
def test_the_masked_head_against_one_pixel_at_a_time(height: int, width: int, cells: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    frame = Frame.around(height, width, 8, 8)
    head = MaskedSceneHead(6, dropout=0.5).eval()
    with torch.no_grad():
        head.slope.copy_(torch.rand(NUM_CLASSES, generator=generator))
        logits = 3 * torch.randn(2, NUM_CLASSES, height, width, generator=generator)
        features = torch.randn(2, 6, cells, cells + 1, generator=generator)
        found = head(logits, features, frame)
    np.testing.assert_allclose(found, masked_by_hand(head, logits, features, frame), rtol=1e-4, atol=1e-4)


def test_the_masked_head_starts_at_the_frequency_of_a_class():
    head = MaskedSceneHead(4, dropout=0).eval()
    blank = head(torch.zeros(3, NUM_CLASSES, 8, 8), torch.zeros(3, 4, 2, 2), Frame(8, 8, 8, 8)).sigmoid()
    torch.testing.assert_close(blank.sum(dim=1), torch.full((3,), 2.95), rtol=5e-3, atol=0)


def test_where_the_mask_knows_nothing_the_masked_head_is_linear_in_the_mean_features():
    head = MaskedSceneHead(5, dropout=0).eval()
    features, frame = torch.randn(2, 5, 4, 4), Frame(120, 120, 128, 128)
    with torch.no_grad():
        found = head(torch.zeros(2, NUM_CLASSES, 120, 120), features, frame)
        expected = pool_inside(features, 1, frame).flatten(1) @ head.classifier.weight.T
    torch.testing.assert_close(found - found.mean(0), expected - expected.mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("extreme", [1e4, -1e4])
def test_gradients_of_the_masked_head_stay_finite(extreme: float):
    head = MaskedSceneHead(3, dropout=0)
    logits, features = torch.randn(2, NUM_CLASSES, 8, 8), torch.randn(2, 3, 2, 2, requires_grad=True)
    logits[0, 0] = extreme
    logits[1, :, 0] = extreme
    logits.requires_grad_()
    head(logits, features, Frame(8, 8, 8, 8)).sum().backward()
    for value in (logits.grad, features.grad, *(parameter.grad for parameter in head.parameters())):
        assert value is not None
        assert value.isfinite().all()


def test_a_tenth_of_the_gradient_of_the_scene_reaches_the_mask():
    head = MaskedSceneHead(3, dropout=0)
    features, frame = torch.randn(2, 3, 2, 2), Frame(8, 8, 8, 8)
    logits = torch.randn(2, NUM_CLASSES, 8, 8, requires_grad=True)
    gradients = []
    for train in (True, False):
        head.train(train)
        gradients.append(torch.autograd.grad(head(logits, features, frame).square().sum(), logits)[0])
    torch.testing.assert_close(gradients[0], 0.1 * gradients[1], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("arch", ["unet", "dpt"])
def test_the_learned_head_classifies_the_mean_over_the_image(arch: str):
    model = build(arch, scene_head="learned").eval()
    batch = images(120, 72)
    stride = 32 if arch == "unet" else 16
    with torch.no_grad():
        _, scene_logits = model(batch)
        encoded = model.network.encoder(torch.nn.functional.pad(batch, (12, 12, 4, 4), mode="reflect"))
    features = (encoded[0] if arch == "dpt" else encoded)[-1].double().numpy()
    rows = np.ones(128 // stride)
    rows[[0, -1]] -= 4 / stride
    columns = np.ones(96 // stride)
    columns[[0, -1]] -= 12 / stride
    pooled = weighted_pool(features, np.outer(rows, columns), 1)[..., 0, 0]
    classifier = model.scene_head.classifier
    expected = pooled @ classifier.weight.detach().double().numpy().T + classifier.bias.detach().numpy()
    np.testing.assert_allclose(scene_logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scene_head", ["masked", "learned"])
def test_dropout_acts_on_the_scene_head_in_training_only(scene_head: str):
    model = build("pspnet", scene_head=scene_head, dropout=0.5)
    features = torch.ones(1, model.scene_head.classifier.in_features, 4, 4)
    frame = Frame(32, 32, 32, 32)
    logits = torch.zeros(1, NUM_CLASSES, 32, 32)
    assert not torch.equal(model.scene_head(logits, features, frame), model.scene_head(logits, features, frame))
    model.eval()
    assert torch.equal(model.scene_head(logits, features, frame), model.scene_head(logits, features, frame))


def test_no_scene_head_gives_no_scene_logits():
    model = build("pspnet", scene_head="none").eval()
    assert model(images(16, 16))[1] is None
    assert not any("scene" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize("scene_head", ["masked", "derived", "learned"])
@pytest.mark.parametrize("arch", ["deeplabv3plus", "pan", "segformer"])
def test_bfloat16_and_channels_last_change_little(arch: str, scene_head: str):
    model = build(arch, scene_head=scene_head).eval()
    batch = images()
    with torch.no_grad():
        pixel_logits, scene_logits = model(batch)
        model.to(memory_format=torch.channels_last)
        last = model(batch.to(memory_format=torch.channels_last))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            low = model(batch.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last[0], pixel_logits, rtol=1e-3, atol=1e-4)
    assert low[0].dtype == torch.bfloat16
    assert (low[0].float() - pixel_logits).std() < 0.1 * pixel_logits.std()
    assert low[1].dtype == torch.float32
    torch.testing.assert_close(last[1], scene_logits, rtol=1e-3, atol=1e-4)
    if scene_head == "derived":
        pooled = log_mean_exp(low[0].double(), torch.ones(NUM_CLASSES)) + math.log(2.95 / 16.05)
        torch.testing.assert_close(low[1].double(), pooled, rtol=1e-5, atol=1e-5)
    else:
        torch.testing.assert_close(low[1], scene_logits, rtol=0.05, atol=0.05)


def test_the_network_compiles_in_one_graph():
    model = build("deeplabv3plus").eval()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images()), model(images()))


# ------------------------------------------------------------------------------------------------ encoders and errors


@pytest.mark.parametrize(
    ("arch", "encoder", "words"),
    [
        ("unett", "resnet18", ["no architecture 'unett'", "did you mean unet"]),
        ("unet", "resnet81", ["no encoder 'resnet81'", "resnet18"]),
        ("unet", "convnext_tiny", ["did you mean tu-convnext_tiny"]),
        ("unet", "tu-convnxt_tiny", ["did you mean tu-convnext_tiny"]),
        ("unet", "tu-resnet18.nothing", ["no weights 'nothing'", "tu-resnet18.a1_in1k"]),
        ("dpt", "resnet18", ["does not fit dpt", "vision transformers", "tu-vit_tiny_patch16_224"]),
        ("unet", "tu-test_vit", ["does not fit unet", "feature pyramid", "resnet18"]),
        ("deeplabv3plus", "densenet121", ["does not fit deeplabv3plus", "dilated"]),
        ("pan", "tu-rdnet_tiny", ["does not fit pan", "dilated"]),
        ("linknet", "mit_b0", ["does not fit linknet", "convolutional"]),
    ],
)
def test_what_does_not_exist_or_fit_is_one_sentence(arch: str, encoder: str, words: list[str]):
    with pytest.raises(ModelError) as caught:
        build_segmenter(ModelConfig(arch=arch, encoder=encoder), ("B02", "B03"))
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert all(word in sentence for word in words), sentence


def test_unknown_and_repeated_bands_are_refused():
    for bands in (("B02", "B99"), ("B02", "B02")):
        with pytest.raises(UnknownNameError):
            build_segmenter(ModelConfig(), bands)


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (14, 32, 32), (1, 14, 0, 32)])
def test_images_of_other_bands_or_without_pixels_are_refused(shape: tuple[int, ...]):
    with pytest.raises(
        ModelError, match="takes images of shape \\(batch, 14, height, width\\) with the bands VV, VH, B01"
    ):
        build("pspnet")(torch.zeros(shape))


@pytest.mark.parametrize("arch", ["deeplabv3", "deeplabv3plus", "pan", "upernet"])
def test_a_training_batch_of_one_is_one_sentence_where_it_cannot_work(arch: str):
    model = build(arch)
    with pytest.raises(ModelError, match=f"^{arch} cannot train on a batch of one patch, [^\n]*at least two$"):
        model(images(batch=1))
    assert model.eval()(images(batch=1))[0].shape == (1, NUM_CLASSES, 120, 120)


def test_a_training_batch_of_one_works_where_it_can():
    model = build("unet")
    model(images(batch=1))[0].sum().backward()


def test_encoders_made_for_one_size_are_built_for_the_padded_patch():
    model = build("fpn", ("B02",), encoder="tu-test_maxvit").eval()
    with torch.no_grad():
        assert model(images(9, 120, 1, 1))[0].shape == (1, NUM_CLASSES, 9, 120)
    with pytest.raises(ModelError, match="takes images of at most 128 x 128 pixels, but got 300 x 120; cut the scene"):
        model(images(300, 120, 1, 1))


def test_an_encoder_that_takes_the_patch_by_luck_is_not_believed_to_take_any_size():
    # Its windows of 5 cells divide the 120 pixels that a PSPNet does not pad.
    model = build("pspnet", ("B02",), encoder="tu-test_maxvit").eval()
    with torch.no_grad():
        assert model(images(96, 96, 1, 1))[0].shape == (1, NUM_CLASSES, 96, 96)


def test_encoders_that_can_be_told_to_take_any_size_are_told():
    model = build("fpn", ("B02",), encoder="tu-swin_tiny_patch4_window7_224").eval()
    assert model.fixed_size is None
    with torch.no_grad():
        assert model(images(50, 50, 1, 1))[0].shape == (1, NUM_CLASSES, 50, 50)


def test_encoder_names_hold_both_libraries():
    names = encoder_names()
    assert {"resnet18", "mit_b0", "tu-convnext_tiny"} <= set(names)
    assert len(names) == len(set(names))


def test_count_parameters_counts_tied_ones_once():
    one, two = nn.Linear(3, 4), nn.Linear(3, 4)
    two.weight = one.weight
    assert count_parameters(nn.Sequential(one, two, nn.BatchNorm1d(4))) == 3 * 4 + 4 + 4 + 8
