"""The data exploration notebook: what was found in the data, and the code that finds it again."""

from __future__ import annotations

from typing import Any

import pandas as pd

from airflow_automl import __version__
from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.engines.base import JobSpec
from airflow_automl.local.training.engines.notebooks.cells import code, escape, notebook, table, text, value

SAMPLE = 20_000
"""Rows that the findings are computed on."""

SHOWN = 50
"""Columns that a table shows."""


def build(spec: JobSpec, dataset: TabularDataset) -> Any:
    """The notebook of a job.

    :param spec: the job.
    :param dataset: what it trains on.
    """
    sample = dataset.train.head(SAMPLE)
    rows = len(dataset.train) + len(dataset.validation)
    inputs = [dict(entry) for entry in spec.request["AutoMLJobInputDataConfig"]]
    found = findings(sample, dataset)
    return notebook(
        [
            text(
                f"# Data exploration: {spec.name}\n\n"
                f"{rows} rows ({len(dataset.train)} to train, {len(dataset.validation)} to validate), "
                f"{len(dataset.features)} features, target **{escape(dataset.target)}**: {dataset.problem_type}, "
                f"objective {dataset.objective}.\n\nThe tables were computed when the job ran, on "
                f"{len(sample)} training rows. The cells read the data again and run from top to bottom; S3 and "
                "credentials come from the environment (`airflow-automl env` prints them). They import pandas and this "
                "package, which reads files with pyarrow and boto3:\n\n"
                f"    pip install airflow-automl=={__version__} pandas pyarrow boto3"
            ),
            text("## What to look at\n\n" + ("\n".join(f"- {entry}" for entry in found) or "Nothing stands out.")),
            text("## Columns\n\n" + table(*_columns(sample, dataset))),
            text("## Target\n\n" + table(*_target(sample, dataset))),
            text("## Read the data"),
            code(
                "import json\nimport tempfile\nfrom pathlib import Path\n\nimport pandas as pd\n\n"
                "from airflow_automl.local.training.data import channels, codec\n"
                "from airflow_automl.local.training.data.store import Store\n\n"
                f"INPUTS = {value(inputs)}\n"
                f"TARGET = {value(dataset.target)}\n\n"
                "training = channels.resolve(Store(), INPUTS).training\n"
                'folder = Path(tempfile.mkdtemp()) / "download"\n'
                "[table] = channels.read(Store(), [training], folder, [], strings=True)\n"
                "codecs = {name: codec.decide(name, table[name]) for name in table.column_names}\n"
                "frame = pd.DataFrame({name: codecs[name].read(table[name]).values for name in codecs})\n"
                "kinds = {name: str(found.kind) for name, found in codecs.items()}\n"
                'print(f"{len(frame)} rows, {frame.shape[1]} columns")'
            ),
            text("## A few rows"),
            code("frame.head(10)"),
            text("## Types, missing and distinct values"),
            code(
                "overview = pd.DataFrame(\n"
                '    {"kind": pd.Series(kinds), "missing": frame.isna().mean(), "distinct": frame.nunique()}\n'
                ")\noverview"
            ),
            text("## Numbers"),
            code('numbers = frame.select_dtypes("number")\nnumbers.describe().T if numbers.shape[1] else "no numbers"'),
            text("## The target"),
            code("frame[TARGET].describe() if kinds[TARGET] == 'number' else frame[TARGET].value_counts().head(20)"),
            text("## What goes with the target\n\nRank correlations with the target (its codes, if it holds classes)."),
            code(
                "codes = frame[TARGET] if TARGET in numbers else pd.Series(pd.factorize(frame[TARGET], sort=True)[0])\n"
                "others = numbers.drop(columns=TARGET, errors='ignore')\n"
                "others.rank().corrwith(codes.rank()).sort_values(key=abs, ascending=False).head(20)"
            ),
        ]
    )


def findings(sample: pd.DataFrame, dataset: TabularDataset) -> list[str]:
    """What a person should look at, in Markdown.

    :param sample: training rows.
    :param dataset: tells the columns apart.
    """
    missing = sample[dataset.columns].isna().mean()
    found = [
        f"**{escape(name)}** is missing in {share:.0%} of the rows."
        for name, share in missing[missing > 0.3][:SHOWN].items()
    ]
    for feature in dataset.features[:SHOWN]:
        values = sample[feature.name]
        distinct = values.nunique()
        if distinct <= 1:
            found.append(f"**{escape(feature.name)}** is always the same: nothing can be learned from it.")
        elif not (feature.numeric or feature.moment) and distinct > 0.95 * len(values.dropna()) > 100:
            found.append(f"**{escape(feature.name)}** is different in nearly every row: an identifier, or free text.")
        elif feature.numeric and distinct == len(values) > 100 and values.is_monotonic_increasing:
            found.append(f"**{escape(feature.name)}** counts the rows: leave it out if it is an index.")
    found += [escape(note) for note in dataset.notes]
    duplicates = int(sample.duplicated().sum())
    if duplicates:
        found.append(f"{duplicates} of {len(sample)} rows are exact copies of others.")
    if dataset.classification:
        shares = sample[dataset.target].value_counts(normalize=True)
        if shares.iloc[-1] < 0.05:
            found.append(f"The class **{escape(shares.index[-1])}** makes up {shares.iloc[-1]:.1%} of the rows.")
    return found


def _columns(sample: pd.DataFrame, dataset: TabularDataset) -> tuple[list[str], list[list[object]]]:
    rows: list[list[object]] = []
    for feature in dataset.features[:SHOWN]:
        values = sample[feature.name]
        top = values.mode()
        middle: object = ""
        if feature.numeric:
            middle = f"{values.min():.4g} … {values.mean():.4g} … {values.max():.4g}" if values.notna().any() else ""
        elif not top.empty:
            middle = f"most often {top.iloc[0]}"
        rows.append([feature.name, feature.kind, feature.role, float(values.isna().mean()), values.nunique(), middle])
    return ["column", "kind", "role", "missing", "distinct", "values (min … mean … max)"], rows


def _target(sample: pd.DataFrame, dataset: TabularDataset) -> tuple[list[str], list[list[object]]]:
    values = sample[dataset.target]
    if dataset.classification:
        counts = values.value_counts()
        return ["class", "rows", "share"], [
            [label, int(count), count / len(values)] for label, count in counts.head(SHOWN).items()
        ]
    described = values.describe()
    return ["statistic", "value"], [[name, float(number)] for name, number in described.items()]
