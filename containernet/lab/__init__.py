"""A cluster of network namespaces on one machine, as root or as an ordinary user."""
