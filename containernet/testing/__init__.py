"""What tests of containernet, and of its plugins, need: shipped with it, and never imported by it."""
