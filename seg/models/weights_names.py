"""What ``model.weights`` may say. Without torch, so that settings are checked before it is loaded."""

from pathlib import Path

from seg.foundation.catalogue import PUBLISHED

REBEN, SSL4EO, IMAGENET = "reben", "ssl4eo", "imagenet"


def split_weights(weights: str) -> tuple[str, str]:
    """The kind of ``model.weights`` and what follows its colon; the kind of a file or folder is empty."""
    kind, _, detail = weights.partition(":")
    return (kind, detail) if kind in (REBEN, SSL4EO, IMAGENET, PUBLISHED) else ("", weights)


def whole_path(weights: str) -> str:
    """The same weights; a file or folder by its whole path, so that they are found from any folder."""
    kind, detail = split_weights(weights)
    path = Path(detail).expanduser()
    if kind in (IMAGENET, PUBLISHED) or not detail or not path.exists():
        return weights
    return f"{kind}:{path.resolve()}" if kind else str(path.resolve())
