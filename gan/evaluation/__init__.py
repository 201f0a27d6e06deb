"""The job that scores, and what the user gets of it."""
