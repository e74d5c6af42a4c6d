"""What differential privacy spends: accounting by dp-accounting, and who has spent how much. It adds no noise."""
