"""Where does Weights & Biases hear of a run, and who reads what it has left?

The one place that imports wandb. The files on disk are the source of truth; W&B mirrors them.
"""
