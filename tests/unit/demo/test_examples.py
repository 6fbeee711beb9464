from airflow_automl.demo import dataset, examples
from airflow_automl.local.training.data.dataset import MIN_ROWS


def test_every_segment_has_the_rows_that_a_job_needs(monkeypatch, tmp_path):
    uploaded = {}
    monkeypatch.setattr(dataset, "upload", lambda s3, files: uploaded.update(files))
    examples.upload(None, dataset.load(), tmp_path)
    rows = {key: body.count(b"\n") - 1 for key, body in uploaded.items() if key.startswith("segments/")}
    assert len(rows) == 10
    assert min(rows.values()) >= MIN_ROWS, rows
