"""From the archive to the end of the first epoch: what fast tools give. From the figures of the benchmarks alone.

The steps are put together from ``results/performance/data.json`` and ``train.json`` for the official train split;
nothing is measured here. A loop takes as long as the slower of reading and computing.

    python scripts/bench_data.py --json results/performance/data.json     # first, on the machine to ask about
    python scripts/bench_train.py --out results/performance/train
    python scripts/questions/speed.py
"""

import argparse
import json
from pathlib import Path
from typing import Any

from asking import claim
from rich.console import Console

from seg.report.formats import Column, Table, document, markdown, tidy_csv, to_rich
from seg.report.record import run_record, write_json
from seg.store.atomic import write_text

QUESTION = "From the archive to the first epoch, what do fast tools give?"
PATCHES, TRAIN = 549_488, 237_871
"""All patches that a store holds, and those of an epoch over the official train split."""
RICO_HDL = 64.0
"""Patches per second that rico-hdl converted from unpacked GeoTIFFs with two workers on another 2-core machine."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--performance", type=Path, default=Path("results/performance"), help="Figures to read.")
    parser.add_argument("--out", type=Path, default=Path("results/questions"), help="Folder for the answer.")
    args = parser.parse_args()
    claim(args.out)
    data, train = (json.loads((args.performance / f"{name}.json").read_text()) for name in ("data", "train"))
    table = way_table(data["figures"], train["patches_per_second"])
    shows = sentence(table)
    does_not = (
        "Reading is from a warm cache, training is on two CPU cores; on a GPU, reading decides more. rico-hdl was "
        "measured on another machine, from GeoTIFFs that lay unpacked, which takes a further 8 million files."
    )
    text = f"# {QUESTION}\n\n{markdown(table)}\n**What it shows.** {shows}\n\n**What it does not show.** {does_not}\n"
    write_text(args.out / "speed.md", text + "\n`python scripts/questions/speed.py`\n")
    write_text(args.out / "speed.csv", tidy_csv([table]))
    found = {"question": QUESTION, "shows": shows, "does_not_show": does_not, "tables": [document(table)]}
    write_json(args.out / "speed.json", run_record(**found))
    Console().print(to_rich(table))


def way_table(figures: list[dict[str, Any]], training: dict[str, float]) -> Table:
    """Hours of each step, by way."""
    values = {figure["case"]: figure["value"] for figure in figures if figure["unit"] == "patches/s"}
    build = values["seg data build, tar.zst, read and written at once"]
    ways = {
        "seg: archive to store, batches, bfloat16": (build, values["seg, batches of 64, one core"], training["seg"]),
        "rico-hdl, ConfigILM's reader, plain loop": (
            RICO_HDL,
            values["ConfigILM: S1 + S2, nearest, no map, not normalised, not batched"],
            training["plain"],
        ),
        "GeoTIFFs, torchgeo's reader, plain loop": (
            None,
            values["torchgeo: S1 + S2 + map from GeoTIFF, bilinear, not normalised, not batched"],
            training["plain"],
        ),
    }
    rows = []
    for name, (convert, read, compute) in ways.items():
        conversion = PATCHES / convert / 3600 if convert else 0.0
        epoch = TRAIN / min(read, compute) / 3600
        rows.append((name, conversion, TRAIN / read / 3600, TRAIN / compute / 3600, conversion + epoch))
    columns = (
        Column("way", "Way", "text"),
        Column("convert", "Convert all, hours", "number"),
        Column("read", "Read an epoch", "number"),
        Column("train", "Train an epoch", "number"),
        Column("first", "To the end of the first epoch", "number"),
    )
    note = (
        f"{PATCHES:,} patches converted, an epoch of {TRAIN:,}; U-Net with ResNet-18 on 14 bands, two CPU cores. "
        "Reading runs beside training, so an epoch takes as long as the slower of the two."
    )
    return Table("way", QUESTION, columns, tuple(rows), (note,))


def sentence(table: Table) -> str:
    """What the table shows."""
    (_, *_, ours), *others = table.rows
    rest = " and ".join(f"{float(row[-1]) / float(ours):.1f} times with {row[0]}" for row in others)
    return f"The end of the first epoch comes after {float(ours):.1f} hours with seg; it takes {rest}."


if __name__ == "__main__":
    main()
