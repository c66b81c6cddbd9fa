"""Container networking as a library."""
