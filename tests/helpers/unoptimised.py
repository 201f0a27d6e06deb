"""How programs are compiled where their speed does not matter: in half the time."""

FLAGS = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
