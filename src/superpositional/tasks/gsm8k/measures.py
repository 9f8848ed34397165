"""What fine-tuning's results are: losses (Pamuk et al. 2025, C5), and answers that match."""

from superpositional.records.measures import LOSS_FIRST

MEASURES = LOSS_FIRST
