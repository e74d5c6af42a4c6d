#!/bin/bash
# What Spark on Kubernetes runs in a container of this image: `driver ARGS...` as spark-submit passes them, or `executor`
# with its orders in SPARK_* variables. Anything else is run as it stands, for example `neurogrid exporter`.
# It ends in one exec: after that no shell is left, and tini hands signals on and buries the dead.
set -euo pipefail

# The settings that Spark mounts there win over ours; a file that is missing is no reason to stop.
export SPARK_CONF_DIR=${SPARK_CONF_DIR:-$SPARK_HOME/conf}

# Spark's classes, loaded and checked while the image was built (classes.sh). They are for these jars in this order, before
# anything else; the JVM loads classes as ever where it can't use them. Readings stay in Arrow and Python, so code that is
# compiled once, simply, is soon enough for what a JVM does here.
jars=$(LC_ALL=C; printf '%s:' "$SPARK_HOME"/jars/*.jar)
quick=(-XX:TieredStopAtLevel=1 -XX:SharedArchiveFile=/opt/spark/classes.jsa -Xlog:cds=error)

# OpenShift gives pods a user of its own choice. Java and Spark do not start under one that /etc/passwd does not name, and
# that file can't be changed here.
if ! id -un >/dev/null 2>&1; then
  printf 'spark:x:%s:%s::/tmp:/usr/sbin/nologin\n' "$(id -u)" "$(id -g)" > "$HOME/passwd"
  export LD_PRELOAD=libnss_wrapper.so NSS_WRAPPER_PASSWD=$HOME/passwd NSS_WRAPPER_GROUP=/etc/group
fi

driver() {
  # Spark's launcher knows the memory, class path and JVM flags that the settings ask for. It answers with one NUL-ended
  # word after another, behind a first NUL that ends whatever the JVM had to say before.
  local words=() word
  while IFS= read -r -d '' word; do words+=("$word"); done < <(
    java "${quick[@]}" -Xmx128m -cp "$jars" org.apache.spark.launcher.Main org.apache.spark.deploy.SparkSubmit \
      --deploy-mode client --conf "spark.driver.bindAddress=${SPARK_DRIVER_BIND_ADDRESS:-0.0.0.0}" "$@"
  )
  words=("${words[@]:1}") # without what came before the first NUL
  if [ ${#words[@]} -eq 0 ]; then
    echo "entrypoint: Spark's launcher made no command of: $*" >&2
    exit 1
  fi
  words[0]=${words[0]#$'\n'}
  # Its class path is the settings, then all jars, unless somebody asks for more.
  local word
  for word in "${!words[@]}"; do
    case ${words[word]} in "$SPARK_CONF_DIR"/:"$SPARK_HOME"/jars/*) words[word]=$jars$SPARK_CONF_DIR/ ;; esac
  done
  exec tini -s -- "${words[0]}" "${quick[@]}" "${words[@]:1}"
}

executor() {
  local options=() name address=${SPARK_DRIVER_URL##*@}
  # A NetworkPolicy takes a moment to know a new pod; Spark would try the driver three times in a row and give up.
  for _ in {1..60}; do
    timeout 2 bash -c "exec 3<>/dev/tcp/${address%:*}/${address##*:}" 2>/dev/null && break
    sleep 0.5
  done
  # SPARK_JAVA_OPT_0, _1, ... in their order
  for name in $(compgen -v SPARK_JAVA_OPT_ | sort -t_ -k4 -n); do options+=("${!name}"); done
  exec tini -s -- java "${quick[@]}" "${options[@]}" \
    -Xms"$SPARK_EXECUTOR_MEMORY" -Xmx"$SPARK_EXECUTOR_MEMORY" -cp "$jars$SPARK_CONF_DIR" \
    org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
    --driver-url "$SPARK_DRIVER_URL" --executor-id "$SPARK_EXECUTOR_ID" --cores "$SPARK_EXECUTOR_CORES" \
    --app-id "$SPARK_APPLICATION_ID" --hostname "$SPARK_EXECUTOR_POD_IP" \
    --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" --podName "$SPARK_EXECUTOR_POD_NAME"
}

case ${1:-} in
  driver) shift; driver "$@" ;;
  executor) shift; executor ;;
  '') echo "entrypoint: driver, executor or a command is needed" >&2; exit 2 ;;
  *) exec tini -s -- "$@" ;;
esac
