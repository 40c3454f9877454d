#!/bin/bash
# Train on several nodes under SLURM: one torchrun per node, one process per GPU.
#
#   sbatch --nodes 2 --gpus-per-node 4 scripts/train_slurm.sh --config configs/unet-s1s2.yaml --data STORE --out RUN
#
# What follows the script goes to 'seg train'. The job is told two minutes before its time is over, saves its state and is
# queued again, which continues it; so --out is needed, and RUN must be on a file system that all nodes see. The store is
# read on every node; a copy on a local disk is faster.
#SBATCH --job-name=seg-train
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log

set -euo pipefail

run=""
for ((i = 1; i <= $#; i++)); do
    if [[ "${!i}" == "--out" ]]; then
        next=$((i + 1))
        run="${!next:-}"
    elif [[ "${!i}" == --out=* ]]; then
        run="${!i#--out=}"
    fi
done
if [[ -z "$run" ]]; then
    echo "name the run folder with --out, so that the job can continue it" >&2
    exit 2
fi

arguments=("$@")
if [[ -f "$run/checkpoints/last/state.json" ]]; then
    # Its settings are in the run folder; others would be refused.
    arguments=(--out "$run" --resume)
elif [[ -d "$run" ]] && [[ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]]; then
    # It was stopped before its state was saved for the first time, and begins anew.
    mv "$run" "$run.stopped-$SLURM_RESTART_COUNT"
fi

mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
gpus=${SLURM_GPUS_ON_NODE:-$(nvidia-smi --list-gpus | wc -l)}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((SLURM_CPUS_PER_TASK / gpus))}

srun --kill-on-bad-exit=1 torchrun \
    --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "$gpus" \
    --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "${hosts[0]}:29500" \
    -m seg train "${arguments[@]}" &
child=$!

stopped=0
stop() {
    stopped=1
    scancel --signal=TERM "$SLURM_JOB_ID.0" || kill -TERM "$child"
}
trap stop TERM
# The signal ends the first wait; the second one waits for the state to be saved.
status=0
wait "$child" || status=$?
if ((stopped)); then
    wait "$child" || true
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
exit "$status"
