"""`hps optimize`: change the starting noise of one picture so that its score rises, on the embedded miniature."""

from __future__ import annotations

import argparse
import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from .. import __version__
from ..errors import Cancelled, CheckpointCorrupt, HpsError, OutputError, SelectionError
from ..images import to_pil
from ..report import write_report
from ..search import NoiseSearch, Update, load_state, save_state
from ..search import noise_file as noises
from ..search.objective import Evaluation
from . import console, files, making, noise_making, recording, session
from .noise_making import Models, Optimised, Rival
from .noise_options import Settings, chosen
from .noise_report import megabytes, report, verdict
from .recording import Recorder

INTERRUPTED: Final = 130
_SETTINGS: Final = "settings"
"""Where a saved run keeps its settings, beside what the search itself puts there."""


def run(args: argparse.Namespace) -> int:
    """Optimise, compare with best of N, write pictures, noise and report; return the exit code."""
    session.insist_on_text(args.prompt)
    files.check_csv(args.save_state)
    saved = _saved(Path(args.resume)) if args.resume is not None else None
    settings = chosen(args, None if saved is None else saved[_SETTINGS])
    if saved is not None:
        _insist_on_rest(saved, settings, args)
    generator, scorer = making.load()
    models = Models(generator, scorer, noise_making.watcher(settings.held_out))
    folder = files.new_folder(Path(args.out))
    with recording.opened(args) as recorder:
        return _run(args, models, settings, saved, folder, recorder)


def _run(
    args: argparse.Namespace,
    models: Models,
    settings: Settings,
    saved: Mapping[str, Any] | None,
    folder: Path,
    recorder: Recorder,
) -> int:
    with interruptions() as stopped:
        made = _optimise(args, models, settings, saved, stopped)
        if args.save_state:
            save_state(args.save_state, {**made.search.state, _SETTINGS: vars(settings)})
        rival = None if stopped() or args.no_compare else _compare(made, stopped, recorder)
    _tell(made, rival)
    for line in _written(folder, made, rival, recorder):
        console.out(line)
    if args.save_state:
        console.out(f"State: {args.save_state}")
    return INTERRUPTED if made.search.stopped == "cancelled" or stopped() else 0


@contextmanager
def interruptions() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into an answer to "shall I stop?"; the second one interrupts as usual."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.getsignal(signal.SIGINT)

    def ask(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        asked.set()
        console.note("Stopping after this step; the best so far is kept. Press Ctrl-C again to give up at once.")

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


# --- running ----------------------------------------------------------------------------------------------------------


def _optimise(
    args: argparse.Namespace,
    models: Models,
    settings: Settings,
    saved: Mapping[str, Any] | None,
    stopped: Callable[[], bool],
) -> Optimised:
    total = (settings.screen if settings.screen > 1 else 0) + settings.starts * settings.iterations
    bar, done = console.Progress("Optimising", total), len(saved["curve"]) if saved is not None else 0

    def show(update: Update) -> None:
        nonlocal done
        done += 1
        bar.update(min(done, total), remark=f"best {update.best.scores[models.key]:.2f}")

    options = {"seconds": args.seconds, "target": args.target, "resume": saved}
    try:
        return noise_making.optimise(models, args.prompt, settings, on_progress=show, cancelled=stopped, **options)
    except HpsError:
        raise
    except Exception as error:
        if saved is None:
            raise
        # A state that was tampered with can fail anywhere; nothing in it is run, so an error is all it can cause.
        raise CheckpointCorrupt(f"The run in {args.resume} does not hold together ({error}); start anew.") from error
    finally:
        bar.close()


def _compare(made: Optimised, stopped: Callable[[], bool], recorder: Recorder) -> Rival | None:
    bar = console.Progress("Best of N at the same cost", made.equal)
    try:
        return noise_making.compare(made, stopped, bar, recorder)
    except Cancelled:
        return None
    finally:
        bar.close()


def _saved(path: Path) -> dict[str, Any]:
    state = load_state(path)
    parts = isinstance(state, dict) and all(isinstance(state.get(key), kind) for key, kind in _PARTS.items())
    if not parts:
        raise CheckpointCorrupt(f"{path} is not a run saved by `hps optimize --save-state`.")
    return state


_PARTS: Final[Mapping[str, type]] = {_SETTINGS: dict, "prompt": str, "curve": list, "climb": int, "iteration": int}


def _insist_on_rest(saved: Mapping[str, Any], settings: Settings, args: argparse.Namespace) -> None:
    """Refuse what the run cannot go on with, before anything is loaded."""
    if saved["prompt"] != args.prompt:
        raise SelectionError(
            f'The run in {args.resume} is about "{console.shorten(saved["prompt"], 90)}", not '
            f'"{console.shorten(args.prompt, 90)}". Give the same prompt, or start anew.'
        )
    if saved["climb"] + 1 >= settings.starts and saved["iteration"] >= settings.iterations:
        raise SelectionError(
            f"The run in {args.resume} has made its {saved['iteration']} iterations; give more --iterations to go on."
        )


# --- telling ----------------------------------------------------------------------------------------------------------


def _tell(made: Optimised, rival: Rival | None) -> None:
    search, cost = made.search, made.search.cost
    console.note(making.PLAIN_WORDS)
    if made.unknown:
        console.note(f"The generator does not know: {', '.join(made.unknown)}.")
    for warning in search.warnings:
        console.note(warning)
    console.out(
        f"{search.reason} {search.seconds:.1f} s, {cost.forwards} forward and {cost.backwards} backward evaluations, "
        f"{console.count(cost.rewards, 'image')} scored, {megabytes(search.peak_memory)}."
    )
    parent = search.parent.scores[made.models.key]
    begun = f" Begun with seed {made.seed}: {parent:.3f}." if made.settings.screen > 1 else ""
    console.out(
        f"First seed: {made.start:.3f}.{begun} Optimised: {made.score:.3f}, {made.score - parent:+.3f} points by "
        f"{made.settings.method}, turned by {math.degrees(search.angle):.1f} degrees."
    )
    if search.earlier:
        most = search.best.scores[made.models.key]
        console.out(f"An earlier image is handed out than the one that scored most ({most:.3f}): both scorers like it.")
    if rival is not None:
        console.out(verdict(made, rival))
    console.out(_held_out(made))
    health = search.health
    console.out(f"The noise looks {'random' if health.verdict == 'green' else 'unusual: ' + health.words}.")


def _held_out(made: Optimised) -> str:
    held, values = made.models.held_out, made.search.held_out
    if held is None:
        return "No held-out scorer watched, so nothing tells whether the picture or only its score got better."
    first, last = ("none" if (v := values.get(name)) is None else f"{v:.3f}" for name in ("start", "chosen"))
    return f"Held-out {held.info.id}: first seed {first}, optimised {last}."


# --- writing ----------------------------------------------------------------------------------------------------------


def _written(folder: Path, made: Optimised, rival: Rival | None, recorder: Recorder) -> Iterator[str]:
    """Write everything into the folder; yield a line for each file."""
    search, seed = made.search, made.settings.seed
    yield f"Start: {_picture(folder / f'start-seed-{seed}.png', made, search.start, recorder, {'seed': seed})}"
    origin = {"start_seed": made.seed, "method": made.settings.method, "noise": "noise.safetensors"}
    yield f"Picture: {_picture(folder / 'best.png', made, search.chosen, recorder, origin)}"
    yield f"Noise: {_noise(folder / 'noise.safetensors', made)}"
    yield f"Report: {write_report(folder / 'report.html', report(made, rival))}"


def _picture(path: Path, made: Optimised, found: Evaluation, recorder: Recorder, extra: Mapping[str, Any]) -> Path:
    scores = noise_making.score_again(made.models.scorer, found.image, made.prompt)
    more = {"steps": made.settings.steps, "cfg": made.settings.cfg, "generator": making.GENERATOR}
    written = making.write_png(path, found.image, scores, 0, **extra, **more)
    settings = making.drawn(made.settings.steps, made.settings.cfg) | _origin(made, found)
    recorded = recorder.made(to_pil(found.image[0]), made.prompt, scores.info, scores.tolist()[0], **settings)
    recorder.saved(recorded, written)
    return written


def _origin(made: Optimised, found: Evaluation) -> dict[str, Any]:
    """Return where a picture comes from for its entry; of an optimised one no seed, since none makes it again."""
    if found is made.search.start:
        return {"seed": made.settings.seed}
    if made.search.angle == 0:
        return {"seed": made.seed}
    degrees = math.degrees(made.search.angle)
    return {"extra": {"start_seed": made.seed, "method": made.settings.method, "degrees": degrees}}


def _noise(path: Path, made: Optimised) -> Path:
    try:
        path.write_bytes(noises.encode(made.search.chosen.noise, _record(made, made.search)))
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}); choose another --out.") from error
    return path


def _record(made: Optimised, search: NoiseSearch) -> noises.NoiseRecord:
    info = made.models.scorer.info
    return noises.NoiseRecord(
        seed=made.seed,
        method=made.settings.method,
        iterations=sum(point.phase == "optimize" for point in search.curve),
        prompt=made.prompt,
        scorer=info.id,
        scorer_version=info.version,
        start=search.start.scores,
        best=search.chosen.scores,
        degrees=math.degrees(search.angle),
        model=making.GENERATOR,
        made_by=f"hps {__version__}",
    )
