#!/bin/bash
# Pretrains on several nodes under SLURM: sbatch slurm.sh. Change the paths, the sizes and the recipe.
#SBATCH --job-name=keras-mae
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@180
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail

DATA=${DATA:-tfrecord:/shared/photos-records/*.tfrecord}
OUTPUT=${OUTPUT:-/shared/runs/photos}
PORT=${PORT:-12345}

if [[ -e $OUTPUT/results.json ]]; then
  echo "$OUTPUT is finished"
  exit 0
fi
resume=()
if [[ -e $OUTPUT/config.json ]]; then
  resume=(--resume)
fi

# TF_CONFIG: the addresses of all nodes, and the number of this one, which SLURM gives as SLURM_PROCID.
workers=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed "s/.*/\"&:$PORT\"/" | paste -sd, -)
export CLUSTER="{\"worker\": [$workers]}"
srun bash -c '
  export TF_CONFIG="{\"cluster\": $CLUSTER, \"task\": {\"type\": \"worker\", \"index\": $SLURM_PROCID}}"
  exec "$@"
' worker keras-mae pretrain --strategy=multiworker --recipe=mae_vit_base --data="$DATA" --output="$OUTPUT" \
  --set checkpoint_minutes=10 "${resume[@]}"
code=$?

# 143: SIGTERM came, and the run has saved its state. It goes back into the queue, and continues there.
if [[ $code -eq 143 ]]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
