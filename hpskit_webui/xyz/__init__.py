"""The host's X/Y/Z plot: axes for the options of the panel, and tables and a verdict beside its grid."""
