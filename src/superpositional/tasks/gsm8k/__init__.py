"""The paper's second experiment: fine-tuning a language model on GSM8K (Pamuk et al. 2025, Table III)."""
