"""The job that compiles for hardware that is not here."""
