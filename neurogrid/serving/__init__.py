"""A run's model away from its warehouse: the folder that `neurogrid export` writes, and what `neurogrid.load` gives."""
