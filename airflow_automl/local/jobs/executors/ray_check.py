"""Checks a Ray cluster before the first job: ``airflow-automl local --check``.

A job of the cluster, which runs this module, looks at every node as a trainer would: with the ``python`` that comes
first on the node's ``PATH``, and with the S3 settings that trainers get.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple
from urllib.error import HTTPError

from airflow_automl import __version__
from airflow_automl.local.jobs.executors.jobs_api import ENDED, JobsApi, one_line
from airflow_automl.local.jobs.specification import Share, TrainerSettings
from airflow_automl.local.storage.client import check_access, client

_MODULE = "airflow_automl.local.jobs.executors.ray_check"
_OLDEST = (2, 60)
#: Seconds that the cluster's job may take, and that one node may.
_TIMEOUT, _NODE_TIMEOUT = 120, 60
#: Models are files of these: another version may not load them.
_PACKAGES = ("autogluon.tabular", "scikit-learn", "numpy", "pandas", "lightgbm", "xgboost", "catboost")
_INSTALL = f"install airflow-automl[ray]=={__version__} in the environment whose python is first on the node's PATH"


class Finding(NamedTuple):
    """What one check found; ``advice`` is empty if nothing is wrong."""

    check: str
    message: str
    advice: str = ""


def examine(address: str, settings: TrainerSettings, environment: Mapping[str, str] | None) -> Iterator[Finding]:
    """Check a cluster from the service's side; submits one short job and deletes it.

    :param address: of the Jobs API.
    :param settings: what jobs may use.
    :param environment: the S3 settings of trainers; ``None`` if the store does not run.
    """
    ray = JobsApi(address)
    try:
        version = str((ray.request("GET", "/api/version") or {})["ray_version"])
        old = tuple(int(part) for part in version.split(".")[:2]) < _OLDEST
        yield Finding("address", f"Ray {version} answers at {address}", "install Ray 2.60 or newer" if old else "")
        yield from _inside(ray, settings, environment)
    except PermissionError as error:
        yield Finding("token", str(error), "set RAY_AUTH_TOKEN in the service's environment to the cluster's token")
    except HTTPError as error:
        said = one_line(error.read().decode(errors="replace"))
        yield Finding("job", f"Ray refuses a job (HTTP {error.code}): {said}", "fix what it names")
    except (KeyError, TypeError, ValueError):
        yield Finding("address", f"{address} is not the dashboard of a Ray cluster", "correct --ray-address")
    except OSError as error:
        yield Finding("address", str(error), "start the cluster, or correct --ray-address: it names the dashboard")


def _inside(ray: JobsApi, settings: TrainerSettings, environment: Mapping[str, str] | None) -> Iterator[Finding]:
    name = f"automl-check-{uuid.uuid4().hex[:12]}"
    variables = {"env_vars": dict(environment or {})}
    body = {"entrypoint": f"exec python -m {_MODULE} all", "submission_id": name, "runtime_env": variables}
    ray.request("POST", "/api/jobs/", body)
    path, ends = f"/api/jobs/{name}", time.monotonic() + _TIMEOUT
    while (job := ray.request("GET", path) or {}).get("status") not in ENDED:
        if time.monotonic() > ends:
            ray.request("POST", f"{path}/stop")
            why = f"a job of the cluster did not end within {_TIMEOUT} s: {one_line(job.get('message'))}"
            yield Finding("job", why, "read its log in Ray's dashboard: a node hangs, or the head starts no process")
            return
        time.sleep(0.2)
    said = _last((ray.request("GET", f"{path}/logs") or {}).get("logs"))
    ray.request("DELETE", path)
    if job["status"] != "SUCCEEDED":
        yield Finding("job", f"a job of the cluster failed: {said or one_line(job.get('message'))}", _INSTALL)
        return
    nodes = json.loads(said)
    for node in nodes:
        yield from _node(node, environment is not None)
    if environment is None:
        advice = "start the service, and check again while it runs"
        yield Finding("store", "the embedded S3 store does not run: whether nodes reach it is unknown", advice)
    for family, share in {"a job": settings.share, **settings.shares}.items():
        yield _room(family, share, [node["resources"] for node in nodes])


def _node(node: Mapping[str, Any], store: bool) -> Iterator[Finding]:
    address = node["address"]
    if error := node.get("error"):
        yield Finding("node", f"{address} can't run a trainer: {error}", _INSTALL)
        return
    has = node["versions"]
    ours = {name: version for name, version in _versions().items() if has.get(name) != version}
    others = [f"{name} {has.get(name, 'missing')} (service: {version})" for name, version in ours.items()]
    advice = "install the same versions on nodes and service, which loads the models that nodes make"
    yield Finding("node", f"{address} has {', '.join(others) or 'our versions'}", advice if others else "")
    if store:
        how = f"can't use the S3 store: {node['store']}" if node["store"] else "reaches the S3 store"
        advice = "name an address that nodes reach with --s3-endpoint or --host, and credentials that the store accepts"
        yield Finding("store", f"{address} {how}", advice if node["store"] else "")


def _room(family: str, share: Share, nodes: list[Mapping[str, float]]) -> Finding:
    needs = {"CPU": share.cores, "memory": share.memory or 0, "GPU": share.gpus}
    fit = [node for node in nodes if all(node.get(kind, 0) >= amount for kind, amount in needs.items())]
    most = _amounts({kind: max((node.get(kind, 0) for node in nodes), default=0) for kind in needs})
    advice = f"lower them in --executor-file, or add a node: until then, such jobs wait. The most of a node is {most}"
    found = f"{family} needs {_amounts(needs)}; {len(fit)} of {len(nodes)} nodes have that"
    return Finding("resources", found, "" if fit else advice)


def _amounts(of: Mapping[str, float]) -> str:
    return f"{of['CPU']:g} cores, {of['memory'] / 2**30:.1f} GiB, {of['GPU']:g} GPUs"


def _last(text: str | None) -> str:
    return ((text or "").strip().splitlines() or [""])[-1]


@cache
def _versions() -> dict[str, str]:
    found = {"airflow-automl": __version__, "Python": ".".join(platform.python_version_tuple()[:2])}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _look() -> dict[str, Any]:
    """Return what a trainer finds on this node of the cluster."""
    why = ""
    try:
        check_access(client())
    except Exception as error:
        why = one_line(f"{type(error).__name__}: {error}")
    return {"versions": _versions(), "store": why}


def _look_at_all() -> list[dict[str, Any]]:
    """Check every node of the cluster by a task there."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray.init("auto", log_to_driver=False, logging_level="ERROR")
    run, tasks = ray.remote(num_cpus=0, max_retries=0)(_run), []
    for node in ray.nodes():
        if node["Alive"]:
            place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            tasks.append((node, run.options(scheduling_strategy=place).remote(["python", "-m", _MODULE, "one"])))
    found = []
    for node, task in tasks:
        try:
            said = ray.get(task, timeout=_NODE_TIMEOUT)
        except ray.exceptions.RayError as error:
            said = {"error": one_line(str(error))}
        found.append({"address": node["NodeManagerAddress"], "resources": node["Resources"], **said})
    return found


def _run(command: list[str]) -> dict[str, Any]:
    # Ray gets this by value: its own process on the node need not have this package.
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return dict(json.loads(_last(done.stdout))) if done.returncode == 0 else {"error": _last(done.stderr)}


if __name__ == "__main__":
    print(json.dumps(_look_at_all() if sys.argv[1] == "all" else _look()))
