from neurogrid.pipeline.job import main

main("pipeline")
