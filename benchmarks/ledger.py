"""Measure the ledger: time of every query at 10,000 and 100,000 rows, rows written a second, bytes a row.

Usage: python benchmarks/ledger.py [--rows 10000 100000] [--repeats 7] > table.md
Prints one Markdown table: a row a query, a column a size; milliseconds of processor time (which other programs
hardly disturb), median and slowest of the repeats, fewer of what takes seconds.
"""

from __future__ import annotations

import argparse
import io
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from hpskit.ledger import SORTS, Entry, Ledger, Pick, Query

SAMPLERS = ("euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde", "ddim", "uni_pc")
THUMBNAIL = 6000
"""Bytes of a WebP of 256 x 256 pixels, as the nodes make them."""


def entries(count: int) -> Iterator[Entry]:
    """Yield what a person might make: about 20 images a prompt, six samplers, two scorers."""
    rng = random.Random(0)
    for _ in range(count):
        prompt = rng.randrange(max(count // 20, 1))
        yield Entry(
            prompt=f"a picture of thing number {prompt}, oil on canvas, soft light, detailed, by candle light",
            negative="blurry, low quality",
            scorer=rng.choice(("hps-v2.1", "pickscore-v1")),
            scorer_version="1",
            preprocess="pad",
            dtype="float32",
            score=rng.gauss(27, 1),
            model=f"model-{prompt % 9}.safetensors",
            sampler=rng.choice(SAMPLERS),
            scheduler=rng.choice(("normal", "karras")),
            steps=rng.choice((20, 25, 30)),
            cfg=rng.choice((4.0, 7.0)),
            width=1024,
            height=1024,
            seed=rng.randrange(2**64),
            image_hash=f"{rng.getrandbits(256):064x}",
            thumbnail=rng.randbytes(THUMBNAIL),
            workflow={"nodes": [{"id": id, "type": "KSampler", "inputs": {"prompt": prompt}} for id in range(20)]},
            workflow_kind="workflow",
        )


def queries(ledger: Ledger, rows: int) -> dict[str, Callable[[], object]]:
    """Return the queries by name."""
    sorts = {f"rows, by {sort}": (lambda sort=sort: ledger.rows(Query(sort=sort))) for sort in SORTS}
    return {
        **sorts,
        "rows, 1000 by standing": lambda: ledger.rows(Query(sort="standing", limit=1000)),
        "rows, last page by score": lambda: ledger.rows(Query(sort="score", offset=rows - 100)),
        "rows, of one prompt": lambda: ledger.rows(Query(prompt_id=3, sort="standing")),
        "rows, of one sampler": lambda: ledger.rows(Query(sampler="ddim", sort="score")),
        "rows, with a word": lambda: ledger.rows(Query(search="NUMBER 77")),
        "facets": ledger.facets,
        "best seeds": ledger.best_seeds,
        "compare, by sampler": lambda: ledger.compare("sampler"),
        "compare, by model, one scorer": lambda: ledger.compare("model", Query(scorer="hps-v2.1")),
        "next pair": ledger.next_pair,
        "agreement, 1000 picks": ledger.agreement,
        "summary": ledger.summary,
        "export, CSV": lambda: ledger.export(io.StringIO(), "csv"),
    }


def measure(folder: Path, rows: int, repeats: int) -> dict[str, str]:
    """Return the figures of a ledger of so many rows, by the name of what was measured."""
    ledger = Ledger(folder / f"{rows}.sqlite3", max_bytes=2**32)
    made = list(entries(rows))
    started = time.perf_counter()
    ledger.add(made)
    seconds = time.perf_counter() - started
    for _ in range(1000):
        one, two = ledger.next_pair() or sys.exit("no pairs")
        ledger.add_pick(Pick((one.id, two.id), one.id))
    figures = {"rows written a second": f"{rows / seconds:,.0f}"}
    figures["bytes a row, its thumbnail of 6000 included"] = f"{ledger.summary().bytes / rows:,.0f}"
    for name, query in queries(ledger, rows).items():
        times = []
        while len(times) < repeats and sum(times) < 5000:
            started = time.process_time()
            query()
            times.append(1000 * (time.process_time() - started))
        figures[name] = f"{statistics.median(times):.1f} ({max(times):.1f})"
    started = time.process_time()
    ledger.purge()
    figures["purge"] = f"{1000 * (time.process_time() - started):.0f}"
    ledger.close()
    return figures


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hps-ledger-") as folder:
        columns = [measure(Path(folder), rows, options.repeats) for rows in options.rows]
    print("| query | " + " | ".join(f"{rows:,} rows" for rows in options.rows) + " |")
    print("|---" + "|---:" * len(columns) + "|")
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(column[name] for column in columns) + " |")


if __name__ == "__main__":
    main()
