#!/bin/bash
# Everything worth knowing of a GPU in eight minutes: results/performance/gpu.md and gpu.json. Options go to bench_gpu.py.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python}" scripts/bench_gpu.py "$@"
