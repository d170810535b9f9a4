#!/bin/bash
# Makes a TPU VM of one host on Google Cloud, pretrains there, and fetches the run. Change the names below.
# It was not run: no TPU was at hand.
set -euo pipefail

NAME=${NAME:-keras-mae}
ZONE=${ZONE:-us-west4-a}
BUCKET=${BUCKET:-gs://bucket}

gcloud compute tpus tpu-vm create "$NAME" --zone="$ZONE" --accelerator-type=v5litepod-8 --version=v2-alpha-tpuv5-lite
gcloud compute tpus tpu-vm scp --recurse . "$NAME":keras_mae --zone="$ZONE"
gcloud compute tpus tpu-vm ssh "$NAME" --zone="$ZONE" --command='
  set -e
  python3.11 -m venv venv && . venv/bin/activate
  pip install "./keras_mae[tpu]"
  pip install --force-reinstall --no-deps "tensorflow-tpu==2.20.*"
'
gcloud compute tpus tpu-vm ssh "$NAME" --zone="$ZONE" --command="
  . venv/bin/activate
  keras-mae pretrain --strategy=tpu --tpu=local --recipe=mae_vit_base --data=tfrecord:$BUCKET/photos-records/*.tfrecord --output=runs/photos --set dtype_policy=mixed_bfloat16
"
gcloud compute tpus tpu-vm scp --recurse "$NAME":runs/photos runs --zone="$ZONE"
gcloud compute tpus tpu-vm delete "$NAME" --zone="$ZONE" --quiet
