"""The game, as pure functions of arrays."""
