"""Scores: functions of reference and generated pictures."""
