"""Architectures: every module here defines a `Generator` and a `Discriminator`."""
