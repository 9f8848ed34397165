"""What a classification's results are: accuracy, and the epochs to a target of it (Pamuk et al. 2025, C1 and C2)."""

from superpositional.records.measures import ACCURACY_FIRST

MEASURES = ACCURACY_FIRST
