"""Turns pictures on a disk into the batches of a step: source -> store -> feed."""
