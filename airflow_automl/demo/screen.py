"""What the demo shows: steps, the job's progress while it trains, and the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from airflow_automl.contract.metrics import candidate_metrics, objective_value, standard_name

REFRESH = 1.0


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
        status = f"{job['AutoMLJobStatus']} / {job['AutoMLJobSecondaryStatus']}"
        self._once(f"    {self.job_name}: {status}")
        for candidate in candidates:
            value = objective_value(candidate)
            if value is not None:
                self._once(f"      {candidate['CandidateName']}: {value:.4f}")
        head = Text.assemble(("    job ", "dim"), (self.job_name, "bold"), f"  {status}  ", (f"{seconds:.0f} s", "dim"))
        return Group(head, leaderboard(candidates, limit=12))

    def _once(self, line: str) -> None:
        if not self._console.is_terminal and line not in self._printed:
            self._printed.add(line)
            self._console.print(line, highlight=False)


def leaderboard(candidates: Sequence[Mapping[str, Any]], limit: int | None = None) -> Table:
    """The candidates, best first, with the metrics that they have been measured by."""
    scored = [(objective_value(candidate), candidate) for candidate in candidates]
    metrics = [(value, candidate) for value, candidate in scored if value is not None]
    smaller_is_better = any(
        (candidate.get("FinalAutoMLJobObjectiveMetric") or {}).get("Type") == "Minimize" for _, candidate in metrics
    )
    metrics.sort(key=lambda pair: pair[0], reverse=not smaller_is_better)
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column("    candidate", no_wrap=True, min_width=44)
    objective = standard_name(metrics[0][1]["FinalAutoMLJobObjectiveMetric"]) if metrics else "objective"
    others = [name for name in ("AUC", "Accuracy", "F1", "LogLoss") if name != objective]
    for name in (objective, *others):
        table.add_column(name, justify="right")
    for rank, (value, candidate) in enumerate(metrics[:limit]):
        measured = candidate_metrics(candidate)
        cells = [f"{measured[name]:.4f}" if name in measured else "" for name in others]
        style = "bold green" if rank == 0 else None
        table.add_row(f"    {candidate['CandidateName']}", f"{value:.4f}", *cells, style=style)
    for unmeasured, candidate in scored:
        if unmeasured is None:
            table.add_row(f"    {candidate['CandidateName']}", candidate["CandidateStatus"], style="dim")
    return table


def comparison(scores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    """Models side by side, a row for each metric of each split: ``{model: {split: {metric: value}}}``."""
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column("    metric")
    for model in scores:
        table.add_column(model, justify="right")
    rows = {
        (split, metric) for measured in scores.values() for split, metrics in measured.items() for metric in metrics
    }
    for split, metric in sorted(rows, key=lambda row: (row[0] != "Validation", row[1])):
        table.add_row(f"    {split} {metric}", *(f"{measured[split][metric]:.4f}" for measured in scores.values()))
    return table
