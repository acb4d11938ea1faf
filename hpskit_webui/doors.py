"""What the host finds when it loads the extension: the scripts, and everything that is registered with it."""

from __future__ import annotations

from . import api, extras, noise_files, recording, saving, settings, tab, xyz
from .compare import HpsCompare
from .extras import HpsExtras
from .script import HpsScript

__all__ = ["HpsCompare", "HpsExtras", "HpsScript", "register"]


def register() -> None:
    """Register settings, tab, axes, API and savers; the host forgets all of them when it reloads its scripts."""
    noise_files.register()
    api.register()
    extras.register()
    recording.register()
    saving.register()
    settings.register()
    xyz.register()
    tab.register()
