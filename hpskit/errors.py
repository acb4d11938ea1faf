"""Every error the library raises on purpose: one tree, so that callers can catch as widely or as narrowly as they like.

Each message says what happened and what to do about it; hosts show it to the person unchanged.
"""

from __future__ import annotations


class HpsError(Exception):
    """Base of all errors raised on purpose by the library."""


class DependencyError(HpsError):
    """A Python package that the call needs is not installed."""


class CheckpointError(HpsError):
    """A checkpoint cannot be used."""


class CheckpointMissing(CheckpointError):
    """The weights of the requested scorer are not on disk."""


class CheckpointCorrupt(CheckpointError):
    """The file is truncated, damaged or not a checkpoint at all."""


class CheckpointUnsafe(CheckpointError):
    """The file is a pickle that wants to run code when it is opened; it was not opened."""


class CheckpointUnknown(CheckpointError):
    """The file is a valid checkpoint of something that the library does not know."""


class CardError(HpsError):
    """A model card is missing or malformed."""


class DownloadError(HpsError):
    """A download failed; whatever had arrived is kept and resumed by the next attempt."""


class Offline(DownloadError):
    """The server cannot be reached."""


class ChecksumMismatch(DownloadError):
    """A downloaded or local file is not the file that its card describes."""


class ImageError(HpsError, ValueError):
    """An image cannot be scored: unreadable, empty, wrong shape or not finite."""


class PromptError(HpsError, ValueError):
    """The prompts do not fit the images, or a scorer that needs text was given none."""


class SelectionError(HpsError, ValueError):
    """A rule, threshold or index does not make sense for this pool."""


class NoiseError(HpsError, ValueError):
    """A starting noise does not fit its use, or a noise file cannot be read."""


class NothingSelected(SelectionError):
    """No candidate passed, and the chosen policy is to stop."""


class OutputError(HpsError, OSError):
    """A result cannot be written where it was asked for."""


class LedgerError(HpsError):
    """The ledger cannot be opened, read or written, or was asked something that makes no sense."""


class LedgerFull(LedgerError, OutputError):
    """There is no room on the disk for the ledger; nothing of it was lost."""


class StudyError(HpsError, ValueError):
    """A comparison cannot be designed, read or analysed as asked."""


class BenchmarkError(HpsError, ValueError):
    """Prompts, human rankings or folders of images do not have the form of the benchmark that was asked for."""


class MemoryExhausted(HpsError):
    """Even the smallest chunk does not fit the device's memory."""


class GradientError(HpsError):
    """Gradients through this model, sampler or decoder are not to be had, or would be wrong."""


class Cancelled(HpsError):
    """The person stopped the work; what was finished before is kept by whoever owns it."""
