"""The kernel backend for Linux."""
