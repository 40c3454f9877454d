"""Publish what ``seg demo`` made: the run's settings, record, log, evidence and tables, and the picture of a map.

    seg demo --out seg-demo
    python scripts/demo_results.py seg-demo --out results/demo

Weights, data and pictures of patches stay where they are. ``seg report results/demo/run --check`` then shows that every
published number follows from the published evidence; the tests run it.
"""

import argparse
import shutil
from pathlib import Path

from seg.config.load import dump_config, load_config
from seg.metrics.evidence_file import FILE_NAME
from seg.pipeline.export import OVERVIEW
from seg.report.log import FILE_NAME as LOG_FILE
from seg.runs.folder import CONFIG_FILE, EVALUATION_FILE, EVALUATIONS, EVIDENCE, RECORD_FILE

TABLES = ("scores.json", "per_class.csv", "tables.md", "tables.tex", "tables.csv", EVALUATION_FILE)


def main() -> None:
    parser = argparse.ArgumentParser(description="Publish what seg demo made.")
    parser.add_argument("demo", type=Path, help="Folder of a finished demo.")
    parser.add_argument("--out", type=Path, required=True, help="Folder to publish in; what it holds is replaced.")
    arguments = parser.parse_args()
    run, published = arguments.demo / "run", arguments.out / "run"
    scored = run / EVALUATIONS / "test"
    shutil.rmtree(arguments.out, ignore_errors=True)
    (published / EVALUATIONS / "test" / EVIDENCE).mkdir(parents=True)
    shutil.copy(arguments.demo / "maps" / OVERVIEW, arguments.out)
    # Where the data lay concerns nobody.
    config = load_config(run / CONFIG_FILE)
    config = config.model_copy(update={"data": config.data.model_copy(update={"store": None})})
    (published / CONFIG_FILE).write_text(dump_config(config), encoding="utf-8")
    for name in (RECORD_FILE, LOG_FILE):
        shutil.copy(run / name, published)
    for name in (*TABLES, f"{EVIDENCE}/{FILE_NAME}"):
        shutil.copy(scored / name, published / EVALUATIONS / "test" / name)
    print(
        f"{sum(file.stat().st_size for file in arguments.out.rglob('*') if file.is_file()):,} bytes in {arguments.out}"
    )


if __name__ == "__main__":
    main()
