"""Files of the Hugging Face hub: from the local cache, else fetched, else one sentence at once."""

import errno
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import errors
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from seg.errors import CheckpointError

_TIMEOUT = 5.0
"""Seconds within which the hub has to answer."""
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
"""What a disk says that takes no file; it has its own sentence."""


def fetch(repository: str, file: str, revision: str, cure: str, notify: Callable[[str], None] = lambda _: None) -> Path:
    """A file of the hub, on this machine.

    Args:
        repository: ``owner/name``.
        file: Its path there.
        revision: Commit, branch or tag.
        cure: What to do without a network, as the end of a sentence that begins with "fetch it".
        notify: Is told before a download how large the file is, and its hash as the hub gives it.

    Raises:
        CheckpointError: At once, without tries that wait for each other, if the file is not here and cannot be fetched.
        OSError: If the disk does not take it.
    """
    try:
        return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision, local_files_only=True))
    except errors.LocalEntryNotFoundError:
        pass
    url = huggingface_hub.hf_hub_url(repository, file, revision=revision)
    try:
        # The download itself tries again for half a minute; this question is asked once.
        about = huggingface_hub.get_hf_file_metadata(url, timeout=_TIMEOUT)
        _announce(about, file, repository, notify)
        with silent_hub():
            return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision, etag_timeout=_TIMEOUT))
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise _unreachable(repository, file, revision, cure) from error
        raise CheckpointError(
            f"there is no {file} in {repository} (revision {revision}) on the Hugging Face hub"
        ) from error
    # What a missing network raises depends on the HTTP library of the hub's version.
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            raise
        raise _unreachable(repository, file, revision, cure) from error


def _announce(about: Any, file: str, repository: str, notify: Callable[[str], None]) -> None:
    """Say what is about to be fetched; servers leave out size or hash as they like."""
    size, digest = getattr(about, "size", None), getattr(about, "etag", None)
    known = [f"{size / 1e6:,.0f} MB"] if size else []
    known += [f"hash {digest}"] if digest else []
    notify(f"Fetching {file} of {repository} from the Hugging Face hub{': ' if known else ''}{', '.join(known)}.")


@contextmanager
def silent_hub() -> Iterator[None]:
    """Neither retries nor progress of the hub are printed meanwhile."""
    logger = logging.getLogger("huggingface_hub")
    level, hidden = logger.level, are_progress_bars_disabled()
    logger.setLevel(logging.ERROR)
    if not hidden:
        disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if not hidden:
            enable_progress_bars()


def _unreachable(repository: str, file: str, revision: str, cure: str) -> CheckpointError:
    return CheckpointError(
        f"{file} of {repository} (revision {revision}) on the Hugging Face hub cannot be fetched; on a machine with a "
        f"network, fetch it {cure}"
    )
