#!/bin/bash
# Writes ARCHIVE, Spark's classes as the JVM holds them once they are loaded and checked (class data sharing), so that
# drivers and executors map them instead of doing it again: that is most of the processor's time in which a pod starts.
# Which classes, is seen on a small job and on a driver and an executor that find no cluster. Called while the image is built.
#   classes.sh ARCHIVE
set -euo pipefail
archive=$1 seen=$(mktemp -d)
export LC_ALL=C SPARK_LOCAL_IP=127.0.0.1

job() { # MASTER; it looks for the API server at a port where nobody listens
  SPARK_SUBMIT_OPTS="-XX:DumpLoadedClassList=$seen/${1%%:*}" timeout 120 python - "$1" <<'PYTHON'
import sys

from pyspark.sql import SparkSession

builder = SparkSession.builder.master(sys.argv[1]).config("spark.kubernetes.container.image", "none")
builder = builder.config("spark.kubernetes.executor.useDriverPodIP", "true").config("spark.ui.enabled", "true")
with builder.getOrCreate() as spark:
    assert spark.sparkContext.parallelize(range(4), 2).map(lambda x: x + 1).sum() == 10
PYTHON
}

job 'local[1]'
job k8s://http://127.0.0.1:1 >/dev/null 2>&1 || true
timeout 60 java "-XX:DumpLoadedClassList=$seen/executor" -cp "$SPARK_HOME/jars/*" \
  org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend --driver-url spark://CoarseGrainedScheduler@127.0.0.1:1 \
  --executor-id 1 --cores 1 --app-id none --hostname 127.0.0.1 --resourceProfileId 0 --podName none >/dev/null 2>&1 || true
for list in 'local[1]' k8s executor; do [ "$(wc -l < "$seen/$list")" -gt 4000 ]; done

awk '!/^#/ && !seen[$0]++' "$seen"/* > "$seen.list"
# The jars in the order in which entrypoint.sh names them: for another class path the archive is not used.
java -Xshare:dump -XX:+UseSerialGC -Xlog:cds=error -Xlog:cds+heap=error "-XX:SharedClassListFile=$seen.list" \
  "-XX:SharedArchiveFile=$archive" -cp "$(printf '%s:' "$SPARK_HOME"/jars/*.jar)" >/dev/null
rm -rf "$seen" "$seen.list"
