"""The program `containernet`."""
