"""What the host finds when it loads the extension: the scripts, and everything that is registered with it."""

from __future__ import annotations

from . import recording, saving, settings
from .script import HpsScript

__all__ = ["HpsScript", "register"]


def register() -> None:
    """Register settings, tab, axes, API and savers; the host forgets all of them when it reloads its scripts."""
    recording.register()
    saving.register()
    settings.register()
