"""Weights & Biases, which mirrors the records on disk; the one wing that imports wandb."""
