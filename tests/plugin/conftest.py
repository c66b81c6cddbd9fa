"""What the outside plugin tests is run where the plugin is installed: by `test_plugin.py`, not from here."""

collect_ignore = ["outside"]
