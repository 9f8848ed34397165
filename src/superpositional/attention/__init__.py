"""Quantum attention (Pamuk et al. 2025, eqs. 3 and 4): the module, its fast core, and its controls."""

from superpositional.attention.module import QuantumAttention

__all__ = ["QuantumAttention"]
