"""Experiments: each file says only what differs from the defaults in `gan/config.py`."""
