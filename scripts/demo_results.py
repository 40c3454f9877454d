"""Publish what ``seg demo`` made: the run's settings, record, log, evidence and tables, and the picture of a map.

    seg demo --out seg-demo
    python scripts/demo_results.py seg-demo --out results/demo

Weights, data and pictures of patches stay where they are. ``seg report results/demo/run --check`` then shows that every
published number follows from the published evidence; the tests run it.
"""

import argparse
from pathlib import Path

from seg.config.load import dump_config, load_config
from seg.metrics.evidence_file import FILE_NAME
from seg.pipeline.export import OVERVIEW
from seg.report.log import FILE_NAME as LOG_FILE
from seg.runs.folder import CONFIG_FILE, EVALUATION_FILE, EVALUATIONS, EVIDENCE, RECORD_FILE
from seg.store.atomic import write_bytes
from seg.store.until_exit import claim_until_exit

TABLES = ("scores.json", "per_class.csv", "tables.md", "tables.tex", "tables.csv", EVALUATION_FILE)


def main() -> None:
    parser = argparse.ArgumentParser(description="Publish what seg demo made.")
    parser.add_argument("demo", type=Path, help="Folder of a finished demo.")
    parser.add_argument("--out", type=Path, required=True, help="Folder to publish in.")
    arguments = parser.parse_args()
    run, published = arguments.demo / "run", arguments.out / "run"
    scored = run / EVALUATIONS / "test"
    to = published / EVALUATIONS / "test"
    copies = {arguments.out / OVERVIEW: arguments.demo / "maps" / OVERVIEW}
    copies |= {published / name: run / name for name in (RECORD_FILE, LOG_FILE)}
    copies |= {to / name: scored / name for name in (*TABLES, f"{EVIDENCE}/{FILE_NAME}")}
    # Where the data lay concerns nobody.
    config = load_config(run / CONFIG_FILE)
    config = config.model_copy(update={"data": config.data.model_copy(update={"store": None})})
    contents = {published / CONFIG_FILE: dump_config(config).encode()}
    contents |= {target: source.read_bytes() for target, source in copies.items()}
    names = [target.relative_to(arguments.out).as_posix() for target in contents]
    claim_until_exit(arguments.out, names)
    for target, content in contents.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target, content)
    print(f"{sum(map(len, contents.values())):,} bytes in {arguments.out}")


if __name__ == "__main__":
    main()
