"""What others see of NeuroGrid while it works: Prometheus metrics of a warehouse's records, traces of a run's rounds.

`exporter` reads durable records and serves them; it runs beside the jobs, for as long as there is a warehouse.
`tracing` runs inside a training's driver, as an observer of its rounds. Neither is imported by what they watch.
"""
