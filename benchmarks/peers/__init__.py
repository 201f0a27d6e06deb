"""The programs that ours is compared with, and how each is timed."""
