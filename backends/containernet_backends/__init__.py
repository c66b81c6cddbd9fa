"""The backends that come with containernet; loaded through the same entry points as an outsider's."""
