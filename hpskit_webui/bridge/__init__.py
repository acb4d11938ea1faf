"""The host as the pack sees it: its flavour, folders and memory, the scorers in it, and downloads of scorers."""
