"""Endpoints that are created and deleted while their models are loaded."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import pytest

from airflow_automl.local import background
from airflow_automl.local.background import Background
from airflow_automl.local.errors import ServiceError, in_use
from airflow_automl.local.serving.endpoints import CONFIG, ENDPOINT, MODEL, Deployments, count_of
from airflow_automl.local.serving.model_pool import HostingError
from airflow_automl.local.state.jobs import JobStore
from airflow_automl.local.state.resources import Resource, ResourceStore


async def test_an_endpoint_that_is_created_again_is_waited_for(resources: ResourceStore, jobs: JobStore) -> None:
    loading, go_on = asyncio.Event(), asyncio.Event()

    released: list[str] = []

    class Host:
        def release(self, owner: str, keep: Any = None) -> None:
            released.append(owner)

        async def load(self, owner: str, containers: Any, count: int) -> None:
            loading.set()
            await go_on.wait()

    def add(kind: str, document: dict[str, Any], status: str | None = None) -> Resource:
        return resources.add(kind, "churn", f"arn:{kind}", document, taken=in_use("taken"), status=status)

    jobs.database.execute("INSERT INTO digests VALUES ('s3://automl/model.tar.gz', 'sha', 'churn')")
    add(MODEL, {"PrimaryContainer": {"ModelDataUrl": "s3://automl/model.tar.gz"}})
    add(CONFIG, {"ProductionVariants": [{"VariantName": "all", "ModelName": "churn"}]})
    deployments = Deployments(resources, jobs, Host(), Background())  # type: ignore[arg-type]
    endpoint = add(ENDPOINT, {"Wanted": "churn"}, "Creating")
    deployments.begin("churn")
    await loading.wait()
    deployments.remove(endpoint)
    add(ENDPOINT, {"Wanted": "churn"}, "Creating")
    deployments.begin("churn")
    loading.clear()
    await loading.wait()
    asyncio.get_running_loop().call_soon(go_on.set)
    await deployments.wait_until_deployed("churn")
    found = resources.find(ENDPOINT, "churn")
    assert found is not None
    assert found.status == "InService"


@pytest.mark.parametrize("works", [True, False])
async def test_an_endpoint_is_in_service_once_the_disk_has_room_again(
    resources: ResourceStore, jobs: JobStore, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    monkeypatch.setattr(background, "_PAUSE", 0.0)

    released: list[str] = []

    class Host:
        def release(self, owner: str, keep: Any = None) -> None:
            released.append(owner)

        async def load(self, owner: str, containers: Any, count: int) -> None:
            if not works:
                raise OSError(28, "No space left on device")

    full = [sqlite3.OperationalError("database or disk is full")] * 3
    update = resources.update

    def write(*arguments: Any, **members: Any) -> Resource:
        if full:
            raise full.pop()
        return update(*arguments, **members)

    monkeypatch.setattr(resources, "update", write)
    jobs.database.execute("INSERT INTO digests VALUES ('s3://automl/model.tar.gz', 'sha', 'churn')")
    model = {"PrimaryContainer": {"ModelDataUrl": "s3://automl/model.tar.gz"}}
    config = {"ProductionVariants": [{"VariantName": "all", "ModelName": "churn"}]}
    for kind, document, status in (
        (MODEL, model, None),
        (CONFIG, config, None),
        (ENDPOINT, {"Wanted": "churn"}, "Creating"),
    ):
        resources.add(kind, "churn", f"arn:{kind}", document, taken=in_use("taken"), status=status)
    deployments = Deployments(resources, jobs, Host(), Background())  # type: ignore[arg-type]
    deployments.begin("churn")
    await deployments.wait_until_deployed("churn")
    found = resources.find(ENDPOINT, "churn")
    assert found is not None
    assert found.status == ("InService" if works else "Failed")


async def test_models_of_an_update_that_fails_end(resources: ResourceStore, jobs: JobStore) -> None:
    released: list[tuple[str, Any]] = []

    class Host:
        def release(self, owner: str, keep: Any = None) -> None:
            released.append((owner, keep))

        async def load(self, owner: str, containers: Any, count: int) -> None:
            if owner == "churn/second":
                raise HostingError("too large")

    for name in ("old", "new"):
        uri = f"s3://automl/{name}.tar.gz"
        jobs.database.execute("INSERT INTO digests VALUES (?, ?, 'churn')", (uri, name))
        document = {"PrimaryContainer": {"ModelDataUrl": uri}}
        resources.add(MODEL, name, f"arn:{name}", document, taken=in_use("taken"))
    for config, model, names in (("one", "old", ["all"]), ("two", "new", ["all", "first", "second"])):
        variants = [{"VariantName": name, "ModelName": model} for name in names]
        resources.add(CONFIG, config, f"arn:config/{config}", {"ProductionVariants": variants}, taken=in_use("taken"))
    resources.add(ENDPOINT, "churn", "arn:churn", {"Wanted": "one"}, taken=in_use("taken"), status="Creating")
    deployments = Deployments(resources, jobs, Host(), Background())  # type: ignore[arg-type]
    deployments.begin("churn")
    await deployments.wait_until_deployed("churn")
    resources.update(ENDPOINT, "churn", status="Updating", Wanted="two")
    deployments.begin("churn")
    await deployments.wait_until_deployed("churn")
    found = resources.find(ENDPOINT, "churn")
    assert found is not None
    assert (found.status, found.document["FailureReason"]) == ("InService", "too large")
    ended = dict(released)
    assert [each.sha256 for each in ended["churn/all"]] == ["old"]
    assert (ended["churn/first"], ended["churn/second"]) == (None, None)


async def test_autoscaling_bounds_the_processes_of_a_variant(resources: ResourceStore, jobs: JobStore) -> None:
    deployments = Deployments(resources, jobs, None, Background())  # type: ignore[arg-type]
    variant = {"VariantName": "all", "Weight": 1.0, "Count": 1, "Containers": []}
    document = {"Variants": [variant]}
    resources.add(ENDPOINT, "churn", "arn:churn", document, taken=in_use("taken"), status="InService")

    def found() -> dict[str, Any]:
        endpoint = resources.find(ENDPOINT, "churn")
        assert endpoint is not None
        first: dict[str, Any] = endpoint.document["Variants"][0]
        return first

    assert count_of(found()) == 1
    deployments.scale("endpoint/churn/variant/all", (2, 4))
    assert (found()["Count"], count_of(found())) == (2, 4)
    deployments.scale("endpoint/churn/variant/all", (None, 3))
    assert (found()["Count"], count_of(found())) == (2, 3)
    deployments.scale("endpoint/churn/variant/all", None)
    assert (found()["Count"], count_of(found())) == (2, 2)
    for wrong in ("endpoint/churn/variant/other", "endpoint/other/variant/all", "service/churn"):
        with pytest.raises(ServiceError, match="received"):
            deployments.scale(wrong, (1, 2))


@pytest.mark.parametrize("bounds", [(2, 4), None])
async def test_bounds_that_are_set_during_an_update_hold_after_it(
    resources: ResourceStore, jobs: JobStore, bounds: tuple[int, int] | None
) -> None:
    class Host:
        def release(self, owner: str, keep: Any = None) -> None:
            pass

        async def load(self, owner: str, containers: Any, count: int) -> None:
            deployments.scale("endpoint/churn/variant/all", bounds)

    jobs.database.execute("INSERT INTO digests VALUES ('s3://automl/model.tar.gz', 'sha', 'churn')")
    model = {"PrimaryContainer": {"ModelDataUrl": "s3://automl/model.tar.gz"}}
    config = {"ProductionVariants": [{"VariantName": "all", "ModelName": "churn", "InitialInstanceCount": 1}]}
    served = [{"VariantName": "all", "Weight": 1.0, "Count": 3, "Containers": [], "Scale": [3, 3]}]
    for kind, document, status in (
        (MODEL, model, None),
        (CONFIG, config, None),
        (ENDPOINT, {"Wanted": "churn", "Variants": served}, "Updating"),
    ):
        resources.add(kind, "churn", f"arn:{kind}", document, taken=in_use("taken"), status=status)
    deployments = Deployments(resources, jobs, Host(), Background())  # type: ignore[arg-type]
    deployments.begin("churn")
    await deployments.wait_until_deployed("churn")
    found = resources.find(ENDPOINT, "churn")
    assert found is not None
    assert found.status == "InService"
    (variant,) = found.document["Variants"]
    assert variant.get("Scale") == (list(bounds) if bounds else None)
