"""A fake of Airflow can do no more than Airflow."""

import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from tests.fakes import fake, stands_for


def test_a_fake_has_no_member_that_the_real_class_lacks() -> None:
    with pytest.raises(AssertionError, match="RuntimeTaskInstance has no xcom_fetch"):
        fake(RuntimeTaskInstance, xcom_fetch=lambda: None)
    with pytest.raises(AssertionError, match="RuntimeTaskInstance has no read"):

        @stands_for(RuntimeTaskInstance)
        class TaskInstance:
            def read(self, key: str) -> None: ...


def test_a_fake_waits_where_the_real_class_does() -> None:
    with pytest.raises(AssertionError, match="not both coroutines"):

        @stands_for(RuntimeTaskInstance)
        class TaskInstance:
            async def xcom_push(self, key: str) -> None: ...


def test_a_fake_takes_only_what_the_real_method_takes() -> None:
    ti = fake(RuntimeTaskInstance, task_id="train", xcom_pull=lambda **_: 1)
    assert ti.xcom_pull(task_ids="train", key="job") == 1
    with pytest.raises(TypeError, match="task_id"):
        ti.xcom_pull(task_id="train")
