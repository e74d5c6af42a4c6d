"""Run while the image is built: everything that jobs import, and Spark with a Python worker, Arrow and MLlib."""

import dp_accounting
import torch
from dp_accounting import pld, rdp
from pyarrow import flight, fs
from pyspark.ml.clustering import KMeans
from pyspark.ml.functions import array_to_vector
from pyspark.ml.torch import distributor
from pyspark.sql import SparkSession
from torch import distributed
from torch.distributed import run
from torch.nn import parallel

import neurogrid.cli.bench
import neurogrid.cli.job
import neurogrid.telemetry.exporter
from neurogrid.teacher import distribute

assert neurogrid.cli.job.main
assert neurogrid.cli.bench.bench_app
assert neurogrid.telemetry.exporter
assert flight.FlightServerBase
assert fs.S3FileSystem
assert dp_accounting.GaussianDpEvent
assert pld.PLDAccountant
assert rdp.RdpAccountant
lstm = torch.nn.LSTM(4, 8)
lstm(torch.zeros(3, 2, 4))[0].sum().backward()
torch.optim.Adam(lstm.parameters()).step()
with SparkSession.builder.master("local[1]").config("spark.ui.enabled", "true").getOrCreate() as spark:
    assert spark.sparkContext.parallelize(range(4), 2).map(lambda x: x + 1).sum() == 10
    frame = spark.createDataFrame([(float(i), [float(i), 1.0]) for i in range(8)], ["row", "profile"])
    frame = frame.withColumn("features", array_to_vector("profile"))
    assert KMeans(k=2, seed=1).fit(frame).summary.k == 2
    assert frame.mapInArrow(lambda batches: batches, frame.schema).count() == 8

# What a teacher's rank does: torchrun's module, processes that find each other over gloo, a step of DDP.
assert run.main
assert distribute.distribute
assert distributor.TorchDistributor
distributed.init_process_group("gloo", init_method="tcp://127.0.0.1:29511", rank=0, world_size=1)
with torch.autocast("cpu", torch.bfloat16):
    parallel.DistributedDataParallel(torch.nn.Linear(2, 1))(torch.ones(1, 2)).sum().backward()
distributed.destroy_process_group()
