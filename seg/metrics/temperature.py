"""The temperature that pixel logits are divided by to be calibrated, and the pixels that it is fitted on."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seg.metrics.calibration import check_finite
from seg.metrics.sparse import Counts
from seg.reben.classes import IGNORE_INDEX

if TYPE_CHECKING:
    import torch

SAMPLED_PIXELS = 200_000
TEMPERATURES = (0.05, 20.0)
"""Range in which the temperature is sought."""


class LogitSample:
    """Logits of some labelled pixels of a split, for `fit_temperature`.

    With the pixels of all patches numbered one after the other, every n-th is taken. As n shares no factor with the
    pixels of a patch, the sample is spread evenly over patches, rows and columns, and depends neither on the batches
    nor on their order.
    """

    def __init__(self, patches: int, most: int = SAMPLED_PIXELS) -> None:
        """Prepare for a split.

        Args:
            patches: Patches of the split.
            most: Upper limit for the number of pixels, the unlabelled ones included.
        """
        assert most > 0, "a sample of nothing"
        self._patches = patches
        self._most = most
        self._parts: list[tuple[torch.Tensor, torch.Tensor]] = []

    def add(self, logits_BKHW: "torch.Tensor", target_BHW: "torch.Tensor", numbers_B: npt.ArrayLike) -> None:
        """Take the pixels of a batch that belong to the sample; they stay on their device.

        Args:
            logits_BKHW: Pixel logits.
            target_BHW: Reference classes, or 255 where unlabelled.
            numbers_B: Number of each patch within the split, 0 to patches - 1.
        """
        import torch

        numbers = np.asarray(numbers_B, dtype=np.int64)
        height, width = target_BHW.shape[1:]
        assert numbers.shape == target_BHW.shape[:1], f"{numbers.shape} numbers for {target_BHW.shape}"
        assert ((numbers >= 0) & (numbers < self._patches)).all(), f"there are {self._patches} patches"
        pixels = height * width
        step = _step(self._patches * pixels, self._most, pixels)
        positions = (-numbers * pixels % step)[:, None] + np.arange(0, pixels, step)
        patch, column = np.nonzero(positions < pixels)
        row_column = np.divmod(positions[patch, column], width)
        b, y, x = (torch.from_numpy(i).to(logits_BKHW.device) for i in (patch, *row_column))
        self._parts.append((logits_BKHW[b, :, y, x].float(), target_BHW[b, y, x]))

    def pixels(self) -> tuple[npt.NDArray[np.float32], Counts]:
        """Logits, float32 (N, K), and classes, int64 (N,), of the labelled pixels taken so far."""
        if not self._parts:
            return np.zeros((0, 0), np.float32), np.zeros(0, np.int64)
        logits_NK = np.concatenate([logits.cpu().numpy() for logits, _ in self._parts])
        target_N = np.concatenate([target.cpu().numpy() for _, target in self._parts]).astype(np.int64)
        labelled = target_N != IGNORE_INDEX
        return logits_NK[labelled], target_N[labelled]


def _step(total: int, most: int, pixels: int) -> int:
    """The smallest step that takes at most so many of the total and shares no factor with the pixels of a patch."""
    step = max(-(-total // most), 1)
    while np.gcd(step, pixels) != 1:
        step += 1
    return step


def fit_temperature(logits_NK: npt.NDArray[Any], target_N: Counts) -> float | None:
    """The temperature that minimises the negative log-likelihood (Guo et al. 2017), to be fitted on validation.

    Args:
        logits_NK: Logits of labelled pixels, any float dtype.
        target_N: Their classes, integers from 0 to K - 1.

    Returns:
        What logits are divided by, within `TEMPERATURES`; 1 if none is better. None without pixels.

    Raises:
        EvidenceError: If a logit is NaN or infinite.
    """
    from scipy.optimize import minimize_scalar  # takes a while; only evaluations need it

    assert len(logits_NK) == len(target_N), f"{len(logits_NK)} logits for {len(target_N)} pixels"
    if not len(target_N):
        return None
    check_finite(np.isfinite(logits_NK).all())
    below_top_KN = logits_NK.T.astype(np.float64, order="C")
    below_top_KN -= below_top_KN.max(axis=0)
    true_N = below_top_KN[target_N, np.arange(len(target_N))]

    def loss(log_temperature: float) -> float:
        factor = np.exp(-log_temperature)
        odds_KN = below_top_KN * factor
        np.exp(odds_KN, out=odds_KN)
        return float((np.log(odds_KN.sum(axis=0)) - true_N * factor).mean())

    found = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-5})
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0
