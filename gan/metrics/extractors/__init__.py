"""Extractors: functions from pictures to features."""
