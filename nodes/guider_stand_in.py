"""What a sampler gets in place of its guider: an object that passes for it and may answer some things by itself."""

from __future__ import annotations

from typing import Any


class GuiderStandIn:
    """Stands for a guider: reads, writes and type checks go to the guider; subclasses say what a call does.

    What a subclass keeps for itself lies in `__dict__` and is read there, for every attribute is the guider's.
    """

    def __init__(self, guider: Any, **own: Any) -> None:
        self.__dict__.update(_guider=guider, **own)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_guider"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["_guider"], name, value)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """Pass isinstance() checks that the guider passes."""
        return type(self.__dict__["_guider"])
