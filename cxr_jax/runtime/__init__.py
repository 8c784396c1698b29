"""Devices, numeric precision, disk, logs and random streams."""
