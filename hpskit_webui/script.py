"""The always visible script: passes the host's callbacks on to the job of a generation, and never breaks the host."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from modules import scripts

from ..hpskit.errors import HpsError
from . import infotext, options, panel
from .best_of_n import planning
from .job import Job

log = logging.getLogger("hps")


class HpsScript(scripts.Script):  # type: ignore[misc, no-any-unimported]
    """HPS panel of the tabs txt2img and img2img."""

    def title(self) -> str:
        """Name of the script, also in `alwayson_scripts` of the API."""
        return "HPS"

    def show(self, is_img2img: bool) -> Any:
        """Show it always."""
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        """Build the panel; the host calls this several times."""
        return panel.build(self)

    def before_process(self, p: Any, *args: Any) -> None:
        """Read the options and begin a job."""
        p._hps = None
        try:
            chosen = options.read(args, getattr(p, "_hps_axes", None))
            if chosen.active:
                p._hps = begin(chosen)
                p._hps.before_process(p)
        except HpsError as error:
            p._hps = None
            _tell(p, error)
        except Exception as error:
            log.exception("The HPS panel could not begin; the generation goes on without it.")
            p._hps = None
            planning.give_back(p)
            _tell(p, RuntimeError(f"{type(error).__name__}: {error}"))

    def process(self, p: Any, *args: Any) -> None:
        """Prompts and seeds are known."""
        _pass_on(p, lambda job: job.process(p))

    def before_process_batch(self, p: Any, *args: Any, **kwargs: Any) -> None:
        """A batch begins."""
        _pass_on(p, lambda job: job.before_process_batch(p))

    def process_batch(self, p: Any, *args: Any, **kwargs: Any) -> None:
        """A batch has its extra networks."""
        _pass_on(p, lambda job: job.process_batch(p))

    def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
        """A sampler is about to run."""
        given = [kwargs.get(name) for name in ("x", "noise", "c", "uc")]
        _pass_on(p, lambda job: job.before_every_sampling(p, *given))

    def postprocess_batch_list(self, p: Any, pp: Any, *args: Any, **kwargs: Any) -> None:
        """A batch is decoded."""
        _pass_on(p, lambda job: job.batch_list(p, pp))

    def postprocess_image_after_composite(self, p: Any, pp: Any, *args: Any) -> None:
        """A picture is finished and about to be saved."""
        job = getattr(p, "_hps", None)
        if job is not None and not job.failure:
            _pass_on(p, lambda job: job.image_done(p, pp))

    def postprocess(self, p: Any, processed: Any, *args: Any) -> None:
        """All is done."""
        _pass_on(p, lambda job: job.postprocess(p, processed))


def begin(chosen: options.Options) -> Job:
    """Return the job of a mode; raises the errors of scorers that cannot be found, before anything is sampled."""
    from .bridge import host

    for name in (*chosen.scorers, *([chosen.held_out] if chosen.held_out else [])):
        host.locate(name)
    return _kind(chosen)(chosen)


def _kind(chosen: options.Options) -> type[Job]:
    mode = chosen.mode
    if mode == options.BEST:
        from .best_of_n.fanout import FanOut

        return FanOut
    if mode == options.BEST_FIRST:
        from .best_of_n.firstpass import FirstPass

        return FirstPass
    if mode in (options.SEARCH, options.GRADIENT):
        from .noise.search import NoiseJob

        return NoiseJob
    if chosen.noise_file:
        from .noise.given import GivenNoise

        return GivenNoise
    return Job


def _pass_on(p: Any, work: Callable[[Job], None]) -> None:
    job = getattr(p, "_hps", None)
    if job is None:
        return
    try:
        work(job)
    except HpsError as error:
        job.fail(error)
    except Exception as error:
        log.exception("A step of the HPS panel failed; the generation goes on.")
        job.fail(RuntimeError(f"{type(error).__name__}: {error}"))


def _tell(p: Any, error: Exception) -> None:
    """Show why the panel does nothing: under the gallery and in the infotext, which programs read."""
    log.warning("%s", error)
    told = str(error).rstrip()
    told += f"{'' if told.endswith(('.', '!', '?')) else '.'} The image was made without HPS and has no score."
    if hasattr(p, "comment"):
        p.comment(f"HPS: {told}")
    p.extra_generation_params = {**p.extra_generation_params, infotext.ERROR: infotext.public(told)}
