"""The packages that foundation models come from: imported when one is built, and only then."""

import warnings
from importlib import import_module
from typing import Any

from seg.errors import ModelError


def imported(module: str) -> Any:
    """A module of such a package; what it warns of while it is loaded is not for users of seg.

    Raises:
        ModelError: If it is there but cannot be loaded, as when something that it needs has another version.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(module)
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{module.partition('.')[0]} is installed but cannot be loaded ({reason}); install the versions that fit "
            f"together with pip install 'seg[geofm]'"
        ) from error
