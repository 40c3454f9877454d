"""The training log: one row per epoch in ``log.csv``, the same as TensorBoard events."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from seg.store.atomic import write_text

FILE_NAME = "log.csv"


class EpochLog:
    """Writes the log of a run.

    Args:
        folder: The run folder.
        epochs: Epochs that are done already. Rows of later ones, which a resumed run does again, are dropped.
    """

    def __init__(self, folder: Path, epochs: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path = folder / FILE_NAME
        self.rows: list[dict[str, str]] = [row for row in read_log(folder) if int(row["epoch"]) <= epochs]
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=epochs + 1)

    def close(self) -> None:
        """Finish the TensorBoard file."""
        self._writer.close()

    def add(self, epoch: int, values: Mapping[str, float]) -> None:
        """Append an epoch.

        Args:
            epoch: From 1.
            values: Numbers by name; every epoch has the same names.
        """
        self.rows.append({"epoch": str(epoch)} | {name: f"{value:.6g}" for name, value in values.items()})
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.rows[-1]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self._path, text.getvalue())
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()


def read_log(folder: Path) -> list[dict[str, str]]:
    """Rows of the log of a run folder, empty if it has none."""
    path = folder / FILE_NAME
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
