"""Conditional generative adversarial networks in JAX: faces with chosen attributes."""

__version__ = "0.1.0"
