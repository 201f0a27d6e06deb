"""A module for each layout of a data set on disk."""
