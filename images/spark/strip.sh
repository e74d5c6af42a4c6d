#!/bin/bash
# Makes SPARK out of pyspark's own files in VENV, and removes from both what no pod runs. Called while the image is built.
#   strip.sh VENV SPARK
set -euo pipefail
venv=$1 spark=$2
packages=$(echo "$venv"/lib/python3.*/site-packages)
machine=$(uname -m)
cd "$packages"

# The Spark that pyspark brings. Its Python half stays where it is: imports find it without a copy under SPARK_HOME.
mkdir -p "$spark/conf"
mv pyspark/jars pyspark/bin "$spark/"
mv pyspark/licenses "$spark/licenses"
mkdir -p "$spark/sbin"
mv pyspark/sbin/{spark-config.sh,spark-daemon.sh,start-history-server.sh,stop-history-server.sh} "$spark/sbin/"
rm -rf pyspark/{sbin,data,examples,python,pandas/tests}
rm -f "$spark"/bin/*.cmd "$spark"/bin/{beeline,pyspark,sparkR,spark-sql,spark-shell,spark-connect-shell,spark-pipelines,docker-image-tool.sh}

# Jars for what is not used here: Hive and its stores, YARN, Connect, thrift, the Scala shell, pipelines, state stores
# on disk (RocksDB), and native libraries of other systems.
cd "$spark/jars"
rm -f hive-*.jar spark-hive*.jar spark-connect*.jar spark-yarn*.jar spark-repl*.jar spark-pipelines*.jar \
  datanucleus-*.jar derby*.jar jdo-api-*.jar javax.jdo-*.jar HikariCP-*.jar bonecp-*.jar commons-dbcp-*.jar commons-pool-1*.jar \
  libthrift-*.jar libfb303-*.jar rocksdbjni-*.jar scala-compiler-*.jar jline-*.jar super-csv-*.jar ST4-*.jar antlr-runtime-*.jar \
  volcano-*.jar
for jar in netty-tcnative-boringssl-static-*-*.jar netty-transport-native-*-*.jar; do
  case $jar in
    *linux-x86_64.jar) [ "$machine" = x86_64 ] || rm -f "$jar" ;;
    *linux-aarch_64.jar) [ "$machine" = aarch64 ] || rm -f "$jar" ;;
    *-osx-*.jar | *-windows-*.jar | *-linux-riscv64.jar) rm -f "$jar" ;;
  esac
done

cd "$packages"
# Tests, headers, static libraries and sources of extensions, in every package.
find . -depth -type d \( -name tests -o -name test -o -name testing -o -name include \) \
  \( -path './numpy/*' -o -path './pandas/tests' -o -path './pyarrow/*' -o -path './scipy/*' -o -path './sklearn/*' \
     -o -path './sympy/*' -o -path './mpmath/*' -o -path './matplotlib/*' -o -path './networkx/*' -o -path './torch/include' \
     -o -path './torch/test' -o -path './psutil/*' -o -path './joblib/*' \) \
  -not -path './numpy/testing*' -not -path './sympy/testing*' -not -path './scipy/*/testing' -not -path './numpy/*/testing' \
  -exec rm -rf {} +
find . -type f \( -name '*.a' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.pyi' -o -name '*.h' -o -name '*.hpp' -o -name '*.cmake' \) -delete
find torch/bin -type f -not -name torch_shm_manager -delete # import torch asks for that one
rm -f "$venv"/bin/pip* # of the module that goes here
rm -rf torch/share torch/utils/benchmark pip pip-*.dist-info setuptools setuptools-*.dist-info pkg_resources _distutils_hack distutils-precedence.pth
# Arrow's tests, and the copies of one library under three names that a wheel holds instead of links.
rm -rf pyarrow/_pyarrow_cpp_tests*.so pyarrow/includes pyarrow/src pyarrow/conftest.py
for library in pyarrow/lib*.so; do
  for copy in "$library".*; do
    if cmp -s "$library" "$copy" && [ ! -L "$copy" ]; then ln -sf "${library##*/}" "$copy"; fi
  done
done
