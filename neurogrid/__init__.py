"""NeuroGrid: federated load forecasting for smart meters on Apache Spark."""

__version__ = "0.1.0"
