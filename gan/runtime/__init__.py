"""The machine: files, processes, devices, logs."""
