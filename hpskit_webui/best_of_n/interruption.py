"""An interrupted job that still hands out what is whole: saved as usual and without a hires pass; then it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import planning


class Interruption:
    """What a job has changed of the host's flags; `end` leaves them as the person has set them."""

    def __init__(self) -> None:
        self.held = False
        """Whether the person has interrupted, and we keep the flag to ourselves so that whole pictures are saved."""
        self._stopping = self._later = False

    def take(self) -> bool:
        """Take the host's flag over, and say whether the person has interrupted; Skip is taken and answered by no."""
        from modules import shared

        shared.state.skipped = False
        self.held = self.held or bool(shared.state.interrupted)
        shared.state.interrupted = False
        return self.held

    def put_off(self) -> None:
        """Let the host go on until the `last` batch where the person asked for a stop after the image in work."""
        from modules import shared

        self._later = self._later or bool(shared.state.stopping_generation)
        shared.state.stopping_generation = False

    def drop(self) -> None:
        """Give the flag back: there is nothing whole to hand out."""
        from modules import shared

        shared.state.interrupted, self.held = shared.state.interrupted or self.held, False

    def finish(self, work: Callable[[], Any], last: bool) -> Any:
        """Do what the host does after the first pass, as if interrupted if it is so; behind the `last` the job ends."""
        from modules import shared

        if not self.held:
            try:
                return work()
            finally:
                if last and self._later:
                    shared.state.stopping_generation = True
        shared.state.interrupted = True  # now there is no hires pass
        try:
            return work()
        finally:
            shared.state.interrupted = False  # but files
            if last and not shared.state.stopping_generation:
                shared.state.stopping_generation = self._stopping = True

    def end(self) -> None:
        """Put the flags back."""
        from modules import shared

        planning.end(self._stopping)
        shared.state.stopping_generation = shared.state.stopping_generation or self._later
        shared.state.interrupted = shared.state.interrupted or self.held
