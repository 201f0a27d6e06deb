"""Speed, measured beside others'. README.md says how."""
