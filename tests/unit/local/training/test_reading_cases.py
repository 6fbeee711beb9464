"""Files that people have: what training reads in them is what the endpoint, transform and the loader read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.local_s3 import Bucket, bucket, s3_endpoint
from tests.unit.local.training import reading

__all__ = ["bucket", "s3_endpoint"]

CASES = Path(__file__).parents[3] / "data" / "reading"
MODES = ("ENSEMBLING", "HYPERPARAMETER_TUNING")


def case(name: str) -> str:
    return (CASES / f"{name}_a.csv").read_text()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("name", "target", "types"),
    [
        ("01_blank_0", "y", None),
        ("02_qall_0", "churn", None),
        ("02_qall_1", "churn", None),
        ("04_fcat_0", "y", {"store": "categorical", "opened": "categorical"}),
        ("04_fcat_0", "y", {"store": "text", "opened": "text"}),
        ("04_fcat_0", "y", {"store": "categorical", "opened": "datetime"}),
        ("05_cat_0", "y", {"cohort": "categorical"}),
        ("06_idx_0", "churn", None),
        ("06_sp_0", "churn", None),
        ("09_js_0", "y", None),
        ("11_blankcell_0", "y", None),
        ("11_blankcell_1", "y", None),
        ("13c_lt_0", "churn", None),
        ("19_infx_0", "y", None),
        ("24_dt_0", "y", None),
        ("25_th_0", "y", None),
        ("27_sn_0", "y", {"amount": "numeric"}),
    ],
)
def test_rows_of_the_training_file_get_the_predictions_of_training(
    bucket: Bucket, tmp_path: Path, name: str, target: str, types: dict[str, str] | None, mode: str
) -> None:
    text = case(name)
    header, rows = reading.rows_of(text)
    place = [cell.strip() for cell in header].index(target)
    with_target = [row for row in rows if row[place].strip()]
    data = reading.load(bucket, tmp_path, {"a.csv": text.encode()}, mode, target, types)
    reading.check(reading.Served(data), header, with_target)
