"""From raw meter files to training windows: pyarrow, pyspark and numpy. Never imports fl or torch."""
