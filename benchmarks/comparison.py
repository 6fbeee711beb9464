"""The embedded Autopilot against other learners: same rows, time budget and threads, scored on rows that none saw.

``python benchmarks/comparison.py`` trains on real tables (see ``_tables.py``), each contender in a process of its own,
and appends a line of JSON to ``benchmarks/results/tables.jsonl`` as each is done; what the file has already is not
measured again, except with ``--again`` for the embedded Autopilot if its code has changed. FLAML and H2O are measured
if ``--others PYTHON`` names an interpreter that has them.

``--docs docs/benchmarks.md`` writes the tables of that page again from the file, and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _jobs import store
from _results import FOLDER, Results, Row, apart, interval, ranks, script, version, write_page
from _tables import CONTENDERS, OURS, RMSE, TABLES, measure, prepare

ELSEWHERE = ("FLAML", "H2O")
CODE = "airflow_automl/local/training/engines/tabular"
KEYS = ("table", "seed", "budget", "contender")


def main() -> int:
    """Measure what is missing, or write the tables of what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", nargs="*", choices=TABLES, default=list(TABLES), metavar="TABLE")
    parser.add_argument("--contenders", nargs="*", choices=CONTENDERS, default=list(CONTENDERS), metavar="CONTENDER")
    parser.add_argument("--seeds", nargs="*", type=int, default=[1])
    parser.add_argument("--budget", type=int, default=60, help="seconds for one training (default 60)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--others", default="", help="a Python that has FLAML and H2O")
    parser.add_argument("--again", action="store_true", help="measure again what an earlier version measured")
    parser.add_argument("--results", type=Path, default=FOLDER / "tables.jsonl")
    parser.add_argument("--docs", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        contender, folder, options.seed = options.one[0], Path(options.one[1]), int(options.one[2])
        print("\n" + json.dumps(measure(contender, folder, options)))
        return 0
    results = Results(options.results, KEYS)
    if options.docs:
        write_page(options.docs, __file__, tables(results.rows))
        return 0
    for seed in options.seeds:
        for table in options.tables:
            _compare(table, seed, results, options)
    return 0


def _compare(table: str, seed: int, results: Results, options: argparse.Namespace) -> None:
    now = version(CODE)
    with tempfile.TemporaryDirectory(prefix="automl-comparison-") as scratch:
        folder = Path(scratch) / "table"
        for contender in options.contenders:
            unit = {"table": table, "seed": seed, "budget": options.budget, "contender": contender}
            before = results.get(unit)
            old = before is not None and options.again and contender in OURS and before["version"] != now
            if (before is not None and not old) or (contender in ELSEWHERE and not options.others):
                continue
            if not folder.exists():
                prepare(folder, table, seed)
            python = options.others if contender in ELSEWHERE else sys.executable
            command = script(__file__, "--one", contender, folder, seed, python=python)
            command += ["--budget", str(options.budget), "--threads", str(options.threads)]
            if contender in OURS:
                unit["version"] = now
            with store() as environment:
                found = apart(command, options.threads, 3 * options.budget + 120, environment)
            results.add({**unit, "threads": options.threads, "load": round(os.getloadavg()[0], 1), **found})


def _spread(parts: Sequence[float]) -> float:
    """Return the standard error of a score, or of the difference of two, from its values without each part."""
    values = np.array(parts)
    return float(np.sqrt((len(values) - 1) * values.var()))


Place = dict[str, Row]
"""Contender → what was measured on one table, with one seed and budget."""


def tables(rows: Sequence[Row]) -> str:
    """Return the tables, for each budget."""
    lines = []
    for budget in sorted({row["budget"] for row in rows}):
        places: dict[tuple[str, int], Place] = {}
        for row in rows:
            if row["budget"] == budget and row["table"] in TABLES:
                places.setdefault((row["table"], row["seed"]), {})[row["contender"]] = row
        lines += _of_budget(budget, places)
    return "\n".join(lines) + "\n"


def _of_budget(budget: int, places: dict[tuple[str, int], Place]) -> list[str]:
    measured = [name for name in CONTENDERS if any(name in place for place in places.values())]
    lines = [f"**{budget} s**", "", "| table | metric | " + " | ".join(measured) + " |"]
    lines.append("|---|---|" + "---|" * len(measured))
    for table in (name for name in TABLES if any(name == each for each, _ in places)):
        found = [place for (each, _), place in places.items() if each == table]
        what = f", {TABLES[table].what}" if TABLES[table].what else ""
        seeds = "" if len(found) == 1 else f", {len(found)} seeds"
        cells = [_cell([place.get(name) for place in found], table) for name in measured]
        lines.append(f"| {table}{what}{seeds} | {TABLES[table].metric} | " + " | ".join(cells) + " |")
    often = {name: sum(name in place for place in places.values()) for name in measured}
    shown = 4  # fewer say nothing about others
    for least in sorted(set(often.values())):
        among = [name for name in measured if often[name] >= least]
        whole = {key: place for key, place in places.items() if set(among) <= set(place)}
        if len(whole) > shown:
            shown = len(whole)
            lines += ["", f"Over the {len(whole)} tables and seeds on which all of these were measured:", ""]
            lines += _summary(whole, among)
    return [*lines, ""]


def _cell(found: Sequence[Row | None], table: str) -> str:
    """The mean of the scores of a table's seeds, with half of the 95 % interval of that."""
    done = [row for row in found if row and "score" in row]
    missing = found.count(None)
    failed = len(found) - len(done) - missing
    if not done:
        return f"{failed} failed" if failed else "-"
    mean = float(np.mean([row["score"] for row in done]))
    half = 1.96 * float(np.sqrt(sum(_spread(row["parts"]) ** 2 for row in done))) / len(done)
    text = f"{mean:.4g} ± {half:.2g}" if TABLES[table].metric == RMSE else f"{mean:.4f} ± {half:.3f}"
    text += f" ({len(found) - missing} of {len(found)} seeds)" if missing else ""
    return text + (f", {failed} failed" if failed else "")


def _summary(places: dict[tuple[str, int], Place], among: Sequence[str]) -> list[str]:
    found: dict[str, dict[str, list[float]]] = {name: {} for name in among}
    verdicts = {name: Counter[str]() for name in among}
    for (table, _), place in places.items():
        sign = -1 if TABLES[table].metric == RMSE else 1
        for name, rank in ranks({name: -sign * place[name].get("score", -sign * np.inf) for name in among}).items():
            found[name].setdefault(table, []).append(rank)
            verdicts[name][verdict(place[among[0]], place[name], sign)] += 1
    lines = [
        f"| contender | mean rank | less that of {among[0]} | {among[0]} is better, not clearly better or worse, "
        "worse | failed | seconds, mean | CPU s, mean | peak MB, mean | peak MB, largest |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    # The seeds of one table depend on each other: they are one observation.
    of_tables = {name: np.array([np.mean(each) for each in by_table.values()]) for name, by_table in found.items()}
    for name in sorted(among, key=lambda name: float(of_tables[name].mean())):
        done = [place[name] for place in places.values() if "score" in place[name]]
        count = verdicts[name]
        beside = "" if name == among[0] else f"{count['better']}, {count['equal']}, {count['worse']}"
        figures = [[row[field] for row in done] or [np.nan] for field in ("seconds", "cpu", "memory")]
        cells = [name, "{:.2f} ± {:.2f}".format(*interval(of_tables[name]))]
        behind = interval(of_tables[name] - of_tables[among[0]])
        cells += ["" if name == among[0] else "{:.2f} ± {:.2f}".format(*behind), beside, str(len(places) - len(done))]
        cells += [f"{np.mean(values):.0f}" for values in figures] + [f"{max(figures[2]):.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def verdict(ours: Row, other: Row, sign: int) -> str:
    """Return whether we are better or worse by more than 1.96 standard errors of the difference, on the same rows."""
    if "score" not in other or "score" not in ours:
        return "equal" if ("score" in other) == ("score" in ours) else "better" if "score" in ours else "worse"
    difference = sign * (ours["score"] - other["score"])
    noise = 1.96 * _spread(np.subtract(ours["parts"], other["parts"]).tolist())
    return "better" if difference > noise else "worse" if difference < -noise else "equal"


if __name__ == "__main__":
    sys.exit(main())
