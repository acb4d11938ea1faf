"""What the host finds when it loads the extension: the scripts, and everything that is registered with it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from . import saving, settings
from .api import routes as api
from .bridge import older
from .compare.script import HpsCompare
from .extras import step as extras
from .extras.step import HpsExtras
from .noise import files as noise_files
from .record import recording
from .script import HpsScript
from .tab import page as tab
from .xyz import axes as xyz

__all__ = ["HpsCompare", "HpsExtras", "HpsScript", "register"]


def register() -> None:
    """Register settings, tab, axes, API and savers; the host forgets all of them when it reloads its scripts."""
    # The host names each callback by a look at the whole stack (inspect.stack). Below the frames of an import that is
    # a search through all modules for every frame, most of a second in all; a thread of its own has a short stack.
    with ThreadPoolExecutor(1, "hps-register") as thread:
        thread.submit(_register).result()


def _register() -> None:
    older.register()
    noise_files.register()
    api.register()
    extras.register()
    recording.register()
    saving.register()
    settings.register()
    xyz.register()
    tab.register()
