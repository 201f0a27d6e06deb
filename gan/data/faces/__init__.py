"""Rendered faces: a data set that is drawn."""
