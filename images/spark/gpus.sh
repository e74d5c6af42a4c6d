#!/bin/bash
# Spark's discovery script for executors with GPUs: says which ones this container may use, as Spark reads it.
set -euo pipefail
numbers=$(nvidia-smi --query-gpu=index --format=csv,noheader)
echo "{\"name\": \"gpu\", \"addresses\": [\"${numbers//$'\n'/\", \"}\"]}"
