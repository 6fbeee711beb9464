"""What the demo shows: steps, the job's progress while it trains, and the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from airflow_automl.contract.metrics import objective_value
from airflow_automl.contract.states import QUEUED, end, queued, words
from airflow_automl.report.leaderboard import board_of

REFRESH = 1.0
_INDENT, _GAP = 4, 2
_NAME_WIDTH = 40


class Progress:
    """Follows one job through boto3 while something else (Airflow) runs it.

    On a terminal a table is redrawn in place; elsewhere each change is printed once.

    :param console: where to draw.
    :param sagemaker: a boto3 SageMaker client.
    """

    def __init__(self, console: Console, sagemaker: Any) -> None:
        self._console = console
        self._sagemaker = sagemaker
        self._seen = {job["AutoMLJobName"] for job in self._jobs()}
        self._printed: set[str] = set()
        self.job_name: str | None = None

    def follow(self, running: Callable[[], bool]) -> None:
        """Draw until ``running`` says no."""
        started = time.monotonic()
        with Live(console=self._console, refresh_per_second=4, transient=True) as live:
            while running():
                view = self._view(time.monotonic() - started)
                if self._console.is_terminal:
                    live.update(view)
                time.sleep(REFRESH)

    def _jobs(self) -> list[dict[str, Any]]:
        answer = self._sagemaker.list_auto_ml_jobs(SortBy="CreationTime", SortOrder="Descending", MaxResults=10)
        return list(answer["AutoMLJobSummaries"])

    def _view(self, seconds: float) -> Group | Text:
        if self.job_name is None:
            self.job_name = next((n for n in (j["AutoMLJobName"] for j in self._jobs()) if n not in self._seen), None)
        if self.job_name is None:
            self._once("    Airflow is starting")
            return Text(f"    Airflow is starting … {seconds:.0f} s", style="dim")
        job = self._sagemaker.describe_auto_ml_job_v2(AutoMLJobName=self.job_name)
        candidates = self._sagemaker.list_candidates_for_auto_ml_job(AutoMLJobName=self.job_name)["Candidates"]
        stands = QUEUED if queued(job) else end(job)
        status = stands.title
        if status == "In progress":
            status += f", {words(job['AutoMLJobSecondaryStatus']).lower()}"
        self._once(f"    {self.job_name}: {status}")
        for candidate in candidates:
            value = objective_value(candidate)
            if value is not None:
                self._once(f"      {candidate['CandidateName']}: {value:.4f}")
        head = Text.assemble(("    job ", "dim"), (self.job_name, "bold"), f"  {status}  ", (f"{seconds:.0f} s", "dim"))
        return Group(head, leaderboard(candidates, self._console.width, limit=12))

    def _once(self, line: str) -> None:
        if not self._console.is_terminal and line not in self._printed:
            self._printed.add(line)
            self._console.print(line, highlight=False)


def leaderboard(candidates: Sequence[Mapping[str, Any]], width: int, limit: int | None = None) -> Table:
    """Return a table of the candidates, best first, with as many of their metrics as fit.

    :param candidates: AutoMLCandidate documents of one job.
    :param width: columns of the terminal; a number is never cut, a long name is.
    :param limit: rows of measured candidates that are shown; ``None`` for all.
    """
    board = board_of(candidates)
    columns, rows = board["columns"], [row for row in board["rows"] if row["value"] is not None][:limit]
    others = [f"{row['label']}: {words(row['status'])}" for row in board["rows"] if row["value"] is None]
    others += [board["gone"]] if board["given_up"] else []
    widths = [
        max(len(text) for text in (column.label, *(row["cells"][at] for row in rows)))
        for at, column in enumerate(columns)
    ]
    left = width - _INDENT - min(max(map(len, [*(row["label"] for row in rows), *others]), default=0), _NAME_WIDTH)
    # The objective always fits: it is first, and names are cut for it.
    fitting = max(1, sum(taken <= left for taken in accumulate(each + _GAP for each in widths)))
    table = Table(box=None, padding=(0, _GAP, 0, 0), header_style="dim")
    table.add_column(" " * _INDENT + "candidate", no_wrap=True, overflow="ellipsis")
    for column, least in zip(columns[:fitting], widths, strict=False):
        table.add_column(column.label, justify="right", no_wrap=True, min_width=least)
    for rank, row in enumerate(rows):
        style = "bold green" if rank == 0 else None
        table.add_row(" " * _INDENT + row["label"], *row["cells"][:fitting], style=style)
    for text in others:
        table.add_row(" " * _INDENT + text, style="dim")
    return table


def comparison(scores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    """Models side by side, a row for each metric of each split: ``{model: {split: {metric: value}}}``."""
    table = Table(box=None, padding=(0, _GAP, 0, 0), header_style="dim")
    table.add_column(" " * _INDENT + "metric", no_wrap=True)
    for model in scores:
        table.add_column(model, justify="right")
    rows = {
        (split, metric) for measured in scores.values() for split, metrics in measured.items() for metric in metrics
    }
    for split, metric in sorted(rows, key=lambda row: (row[0] != "Validation", row[1])):
        table.add_row(
            f"{' ' * _INDENT}{split} {metric}", *(f"{measured[split][metric]:.4f}" for measured in scores.values())
        )
    return table
