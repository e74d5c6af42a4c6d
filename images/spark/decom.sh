#!/bin/bash
# Spark's preStop hook (spark.kubernetes.decommission.script): tells a leaving executor so, and waits until it has ended.
# Its resident tasks see the file, hand back what they have not begun, and end; see docs/kubernetes.md.
: >/tmp/decommissioned
for folder in /proc/[0-9]*; do
  if grep -qs KubernetesExecutorBackend "$folder/cmdline"; then
    executor=${folder#/proc/}
    kill -s PWR "$executor"
    while [ -d "/proc/$executor" ]; do sleep 0.2; done
  fi
done
