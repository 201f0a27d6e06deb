"""Networks, losses and the training step, as pure functions of arrays."""
