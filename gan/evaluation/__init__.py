"""Scores checkpoints and other pictures, and shows what was found."""
