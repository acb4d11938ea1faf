"""`hps compare`: settings against each other, from folders, metadata, the ledger or a saved comparison."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .. import __version__
from ..errors import HpsError, StudyError
from ..ledger import Query
from ..study import Study
from ..study.sources import Sourced, setting_named
from . import compare_options, compare_output, compare_plan, console

if TYPE_CHECKING:
    from .session import Outcome

_LARGEST: Final = 2**28
_NOTHING: Final = (
    "There is nothing to compare. Name one folder for each setting; or images that tell how they were made, and what "
    "to compare with --by; or --ledger; or --study FILE. --plan D alone says how many images a comparison needs."
)


def run(args: argparse.Namespace) -> int:
    """Compare what the command line names; return the exit code."""
    _check(args)
    compare_output.check(args)
    if not _sources(args):
        if args.plan is None:
            raise HpsError(_NOTHING)
        compare_plan.show(args, None)
        return 0
    study, outcome = _study(args)
    if args.reference is not None:
        study = replace(study, reference=setting_named(study.settings, args.reference))
    from ..study.analysis import analyse

    analysis = analyse(study, confidence=args.confidence)
    compare_output.show(args, study, analysis, outcome)
    if args.plan is not None:
        compare_plan.show(args, study)
    compare_output.write(args, study, analysis)
    return outcome.exit_code() if outcome is not None else 0


def _sources(args: argparse.Namespace) -> list[str]:
    """Return the kinds of things to compare that were named."""
    named = {"images": args.paths or args.prompts, "--ledger": args.from_ledger, "--study": args.study is not None}
    return [kind for kind, given in named.items() if given]


def _check(args: argparse.Namespace) -> None:
    """Raise HpsError for options that contradict each other or would be ignored."""
    sources = _sources(args)
    if len(sources) > 1:
        raise HpsError(f"{' and '.join(sources)} cannot go together; compare one of them at a time.")
    if not args.from_ledger:
        stray = [f"--{name}" for name in compare_options.FILTERS if getattr(args, name) is not None]
        if stray:
            raise HpsError(f"{', '.join(stray)} choose rows of the ledger: give --ledger too, or leave them out.")
    if args.from_ledger and args.no_ledger:
        raise HpsError("--ledger reads the ledger, and --no-ledger switches it off; leave one of them out.")
    if args.from_ledger and len(args.scorer or ()) > 1:
        raise HpsError("The ledger is compared by one scorer at a time; give --scorer once.")
    if args.study is not None and args.by:
        raise HpsError("--by has no effect on a saved comparison, whose settings stand already.")


def _study(args: argparse.Namespace) -> tuple[Study, Outcome | None]:
    if args.study is not None:
        return _saved(args.study), None
    sourced, outcome = (_from_ledger(args), None) if args.from_ledger else _from_images(args)
    if args.json:  # the table says it itself
        console.note("\n".join((sourced.paired, *sourced.left_out)))
    return replace(sourced.study, facts=(*sourced.study.facts, *_facts(args))), outcome


def _facts(args: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    names = " ".join(args.paths)
    shown = names if len(names) <= 300 else f"{names[:297]}..."
    images = (("Read from", shown.encode("utf-8", "backslashreplace").decode()),) if shown else ()
    return (*images, ("hps", __version__))


def _from_images(args: argparse.Namespace) -> tuple[Sourced, Outcome]:
    # These load torch, which a plan, the ledger and a saved comparison do without.
    from ..study.fields import from_fields
    from ..study.folders import from_folders
    from . import compare_images, recording, session

    by_folder = len(args.paths) > 1 and not args.by
    labels, files = compare_images.files_of(args) if by_folder else ((), {})
    if not by_folder and args.pair_by in ("name", "order"):
        raise StudyError(f"--pair-by {args.pair_by} pairs the files of several folders; here the seed does, or none.")
    with recording.opened(args) as recorder:
        outcome, seen = compare_images.scored(args, recorder, pictures=compare_output.wants_pictures(args))
    session.remarks(outcome)
    found, scoring = compare_images.shots(outcome, seen, files), compare_images.scoring_of(outcome)
    if by_folder:
        made = from_folders(found, labels, scoring, args.pair_by)
    else:
        made = from_fields(found, scoring, args.by, paired=args.pair_by != "none")
    said = session.overruled(outcome)
    if said and args.json:
        console.note(said[0])
    return replace(made, study=replace(made.study, notes=(*made.study.notes, *said))), outcome


def _from_ledger(args: argparse.Namespace) -> Sourced:
    from ..study.ledger_rows import from_ledger
    from . import ledger_place

    query = Query(
        prompt=args.prompt,
        search=args.search or "",
        model=args.model,
        sampler=args.sampler,
        scheduler=args.scheduler,
        scorer=args.scorer[0] if args.scorer else None,
        source=args.source,
        since=args.since,
        until=args.until,
    )
    path = ledger_place.to_read(args.ledger)
    with ledger_place.opened(args.ledger, path) as ledger:
        pictures = compare_output.wants_pictures(args)
        return from_ledger(ledger, query, args.by, paired=args.pair_by != "none", pictures=pictures)


def _saved(name: str) -> Study:
    """Read a saved comparison; StudyError when the file is none."""
    from ..study.export import from_json

    path = Path(name)
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise StudyError(f"{path}: there is no such file. Save a comparison with --json-file first.")
        if path.stat().st_size > _LARGEST:
            raise StudyError(f"{path} is larger than {_LARGEST >> 20} MB; no saved comparison is.")
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        if isinstance(error, StudyError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise StudyError(f"{path} cannot be read as a saved comparison ({reason}).") from error
    try:
        return from_json(data)
    except StudyError as error:
        raise StudyError(f"{path}: {error}") from error
