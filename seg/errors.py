"""What can go wrong for reasons that a user can see and mend: one root, and the kinds that somebody tells apart.

The command line turns a `SegError` into its sentence; whatever else is raised is a bug and shows its traceback. All are
ValueErrors, so that callers need not know any of them.
"""

OWN_CODE = "seg_own_network_"
"""How modules are called that are a user's own code: an error in them is theirs."""
OWN_CALL = ("seg.own.network", "called")
"""Module and function through which it is called: what is raised below it is theirs too."""


class SegError(ValueError):
    """Something that a user can mend; its text is one sentence, with the cure where there is one.

    Args:
        message: The sentence.
        wrong_use: Whether the request is at fault, and not what it works with: it names something that is not there or
            is something else. The command line then ends with exit code 2, otherwise with 1.
    """

    wrong_use = False

    def __init__(self, message: str = "", *, wrong_use: bool | None = None) -> None:
        super().__init__(message)
        if wrong_use is not None:
            self.wrong_use = wrong_use


class WrongUseError(SegError):
    """Something was asked for that cannot be, whatever the data are."""

    wrong_use = True


class ForeignFileError(WrongUseError):
    """A file is in the way that seg did not write or that somebody has changed since."""


class ModelError(WrongUseError):
    """There is no such architecture, encoder or head, or its parts do not go together."""


class UnknownNameError(SegError):
    """A patch, scene, tile, band or class has another name than those that exist."""


class UnknownCodeError(SegError):
    """A reference map holds a value that is no CLC code."""


class StoreError(SegError):
    """A store is missing, incomplete or of another version, or lacks what was asked of it."""


class DamagedError(SegError):
    """The database of a store, or a value in it, is not as it was written."""


class MetadataError(SegError):
    """The metadata of patches are missing, damaged or contradict each other."""


class EmptySelectionError(SegError):
    """No patch is left of a split, or of what was selected from it."""


class ArchiveError(SegError):
    """A published archive, tree or download is incomplete, damaged or not what its name says."""


class BuildError(SegError):
    """A store cannot be built of the sources as they are, or not at this place."""


class WorkerError(SegError):
    """Processes that work together did not find each other, or one of them has ended."""


class LandCoverError(SegError):
    """A land-cover raster or polygons cannot be read, or hold something else than CORINE's codes."""


class SceneError(SegError):
    """A scene cannot be read, or holds something else than the model was trained on."""


class BandMissingError(SceneError):
    """A scene lacks bands that are needed.

    Attributes:
        band: The first of them; empty if it is not told.
    """

    def __init__(self, message: str, band: str = "", *, wrong_use: bool | None = None) -> None:
        """Keep the band."""
        super().__init__(message, wrong_use=wrong_use)
        self.band = band


class MapError(SegError):
    """Maps cannot be written or put together."""


class RunError(SegError):
    """A run's folder is incomplete or damaged, or does not fit what is asked of it."""


class CheckpointError(SegError):
    """Weights cannot be read, fetched or written, or belong to another model."""


class EvidenceError(SegError):
    """Evidence, or arrays that were to be scored, are damaged or make no sense."""


class SubmissionError(SegError):
    """A submission to the benchmark is incomplete, was altered, or is against the protocol."""


class PredictionError(SegError):
    """What was predicted of one patch elsewhere cannot be scored; the text is what is wrong with it."""


class TrainingError(SegError):
    """A training cannot go on."""


class OutOfMemoryError(SegError):
    """The device has too little memory for a step."""


class BusyError(SegError):
    """Another process is writing to the same place."""
