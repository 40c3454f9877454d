"""The section of the loss."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from seg.config.section import Section, refuse_idle
from seg.config.terms import Terms

Balance = Literal["none", "inverse", "effective"]
"""Weights by frequency: none, the inverse of the frequency, or that of the effective number (Cui et al. 2019)."""


class LossConfig(Section):
    """The loss: ``pixel_weight * pixel + scene_weight * scene``.

    Attributes:
        pixel: Pixel losses by name, with weights; unlabelled pixels take no part in any of them.
        scene: Scene losses by name, with weights.
        pixel_weight: Weight of the pixel loss; 0 trains the scene head alone, and what it rests on.
        scene_weight: Weight of the scene loss; 0 trains the pixel part alone. At 0.3 the masked head costs the mask
            nothing, at 1 it does (docs/tried.md).
        class_weights: Weights of the classes in cross-entropy and focal pixel loss, from the pixels of the train split.
        positive_weights: Weights of the positives in bce and focal scene loss, from the labels of the train split.
        effective_beta: With ``effective``, from 0 (no weighting) towards 1 (as ``inverse``).
        label_smoothing: Share of the target of cross-entropy that is spread over all classes.
        focal_gamma: How much the focal losses look away from what is right already; 0 is cross-entropy.
        tversky_beta: Weight of missed pixels in the Tversky loss; wrongly claimed ones weigh 1 less it, so 0.5 is Dice.
        asymmetric_positive, asymmetric_negative: Focus of the asymmetric loss on hard positives and negatives.
        asymmetric_margin: Probability up to which it takes a negative for right.
        symmetric_alpha, symmetric_beta: Weights of cross-entropy and of its reverse in symmetric cross-entropy.
        generalised_q: Of generalised cross-entropy: towards 0 it is cross-entropy, at 1 it bears most wrong labels.
        border_metres: How far from a class border of the map its pixels may belong to the other side, for border and
            relaxed cross-entropy.
        border_weight: What pixels so near to a border count in border cross-entropy; others count 1.
    """

    # Pydantic copies defaults; a linter cannot see that the class is one of its models.
    pixel: Terms = {"cross_entropy": 1.0}  # noqa: RUF012
    scene: Terms = {"bce": 1.0}  # noqa: RUF012
    pixel_weight: Annotated[float, Field(ge=0)] = 1.0
    scene_weight: Annotated[float, Field(ge=0)] = 0.3
    class_weights: Balance = "none"
    positive_weights: Balance = "none"
    effective_beta: Annotated[float, Field(ge=0, lt=1)] = 0.9999
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    focal_gamma: Annotated[float, Field(ge=0, le=10)] = 2.0
    tversky_beta: Annotated[float, Field(ge=0, le=1)] = 0.7
    asymmetric_positive: Annotated[float, Field(ge=0, le=10)] = 0.0
    asymmetric_negative: Annotated[float, Field(ge=0, le=10)] = 4.0
    asymmetric_margin: Annotated[float, Field(ge=0, lt=1)] = 0.05
    symmetric_alpha: Annotated[float, Field(ge=0, le=100)] = 0.1
    symmetric_beta: Annotated[float, Field(ge=0, le=100)] = 1.0
    generalised_q: Annotated[float, Field(gt=0, le=1)] = 0.7
    border_metres: Annotated[float, Field(ge=10, le=100)] = 20.0
    border_weight: Annotated[float, Field(ge=0, le=1)] = 0.25

    @model_validator(mode="after")
    def _check(self) -> Self:
        effective = "effective" in (self.class_weights, self.positive_weights)
        refuse_idle(self, ("effective_beta",), effective, "with class_weights or positive_weights=effective")
        if not (self.symmetric_alpha or self.symmetric_beta):
            raise ValueError(
                "symmetric_alpha=0 and symmetric_beta=0 leave nothing of symmetric cross-entropy; raise one of them"
            )
        return self
