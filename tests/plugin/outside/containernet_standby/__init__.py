"""A dataplane that stands by while others route, and a route store that is a file."""
