"""What is learnt: each workload says how an agent's shard is opened and trained on, with what model and loss."""
