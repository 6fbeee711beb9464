"""What every operator of this package shares: how it reaches AWS, and what its arguments may hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from jinja2.nativetypes import NativeEnvironment

from airflow_automl import xcom
from airflow_automl.compat import AirflowException, BaseOperator, obey_policy
from airflow_automl.contract.files import json_or_literal
from airflow_automl.exceptions import AutoMLValidationError

if TYPE_CHECKING:
    from airflow_automl.hooks.sagemaker_deployment import SageMakerAutoMLDeploymentHook
    from airflow_automl.hooks.storage import Storage

_Event = TypeVar("_Event")


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"


#: Marks an omitted argument, as opposed to ``None``.
UNSET: Any = _Unset()


class AutoMLBaseOperator(BaseOperator):
    """An operator that talks to SageMaker through one AWS connection.

    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.
    """

    template_fields: Sequence[str] = ("aws_conn_id", "region_name", "verify")
    template_ext: Sequence[str] = ()
    ui_color = "#cfe8e3"
    _noted: BaseException | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if "execute" in vars(cls):
            execute: Callable[..., Any] = cls.execute

            @wraps(execute)
            def run(self: Any, *args: Any, **kwargs: Any) -> Any:
                with self._handling_errors():
                    return execute(self, *args, **kwargs)

            cls.execute = run  # type: ignore[method-assign]
        super().__init_subclass__(**kwargs)

    def __init__(
        self,
        *,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = botocore_config

    def resume_execution(self, *args: Any, **kwargs: Any) -> Any:
        """Continue after a deferral; called by Airflow."""
        with self._handling_errors():
            return super().resume_execution(*args, **kwargs)

    @contextmanager
    def _handling_errors(self) -> Iterator[None]:
        """Log an error's notes, such as the link to what to do: Airflow's web interface does not show them."""
        try:
            yield
        except Exception as error:
            if error is not self._noted:
                self._noted = error
                for note in getattr(error, "__notes__", ()):
                    self.log.error("%s: %s", type(error).__name__, note)  # noqa: TRY400 - Airflow logs it
            obey_policy(self.retry_policy, error)
            raise

    def _render(self, template: Any, context: Any, dag: Any = None) -> Any:
        """Render a template; text stays text if ``render_template_as_native_obj`` makes an object of it.

        An endpoint may be called ``2026``, a target ``None``, and a tag's value be ``1.10``. Where the service wants a
        number, the text becomes one by the service model.
        """
        rendered = super()._render(template, context, dag)
        if not isinstance(template.environment, NativeEnvironment):
            return rendered
        parts = list(template.root_render_func(template.new_context(context)))
        is_object = len(parts) == 1 and not isinstance(parts[0], str | int | float | complex)
        return rendered if is_object else "".join(map(str, parts))

    def _do_render_template_fields(
        self, parent: Any, template_fields: Iterable[str], *args: Any, **kwargs: Any
    ) -> None:
        """Render the fields. Those that take numbers or booleans get them.

        Airflow calls this for mapped tasks too, which it does not render through ``render_template_fields``.
        """
        super()._do_render_template_fields(parent, template_fields, *args, **kwargs)
        for name in template_fields:
            value, kinds = getattr(parent, name, None), _numbers(type(self), name)
            if kinds and isinstance(value, str):
                with suppress(ValueError):
                    number = json_or_literal(value)
                    setattr(parent, name, number if isinstance(number, kinds) else value)

    def read_event(self, event: Any, validate: Callable[[Any], _Event]) -> _Event:
        """Validate a trigger's event, and demand the connection that was there before the deferral.

        :param event: what a trigger that got :attr:`trigger_settings` has fired.
        """
        valid = validate(event)
        self.hook.connection_exists = bool(event.get("connection_exists"))
        return valid

    @property
    def trigger_settings(self) -> dict[str, Any]:
        """How to reach AWS with the connection that this task has, for its triggers."""
        _ = self.hook.defaults
        return {**self.aws_settings, "connection_exists": self.hook.connection_exists}

    @property
    def aws_settings(self) -> dict[str, Any]:
        """How to reach AWS, as the keyword arguments that every trigger of this package takes."""
        return {
            "aws_conn_id": self.aws_conn_id,
            "region_name": self.region_name or None,
            "verify": self.verify,
            "botocore_config": self.botocore_config,
        }

    @cached_property
    def hook(self) -> SageMakerAutoMLDeploymentHook:
        """The hook, built when it is first needed: its imports are not for DAG parsing."""
        from airflow_automl.hooks.sagemaker_deployment import SageMakerAutoMLDeploymentHook

        return SageMakerAutoMLDeploymentHook(
            self.aws_conn_id, self.region_name or None, self.verify, self.botocore_config
        )

    @cached_property
    def storage(self) -> Storage:
        """Files, in S3 as the hook reaches AWS."""
        from airflow_automl.hooks.storage import Storage

        return Storage(self.hook)


class JobReader(AutoMLBaseOperator):
    """An operator for a job that another task, or another program, submitted.

    :param job: the job's document, such as ``train.job``.
    :param job_name: the name of an AutoML job (V1 or V2), instead of ``job``.
    """

    template_fields: Sequence[str] = (*AutoMLBaseOperator.template_fields, "job", "job_name")
    job_is_required: ClassVar[bool] = True

    def __init__(self, *, job: Any = None, job_name: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.job_name = job_name
        if job is None and job_name is None and self.job_is_required:
            raise no_job_given(self)

    def name_of_job(self) -> str | None:
        """Return the job's name; ``None`` if the task of ``job`` has submitted none."""
        return self.job_name or xcom.job_name(document(self.job, "job"))


def no_job_given(operator: BaseOperator) -> AutoMLValidationError:
    return AutoMLValidationError(
        type(operator).__name__, ["job, job_name: none is given; pass job=train.job, or job_name="]
    )


def is_template(value: Any) -> bool:
    """Return whether Airflow is still to render a value, or a part of it."""
    return any(mark in str(value) for mark in ("{{", "{%", "{#"))


def document(value: Any, name: str, shape: str | None = None, service: str = "sagemaker") -> Any:
    """Return an argument that is a document, also if a template rendered it to text.

    :param name: the argument, for the message.
    :param shape: the document's shape in the service model, by which its strings, numbers and booleans are put back.
    :param service: whose model.
    :raises AutoMLValidationError: text that is neither JSON nor a Python literal.
    """
    if isinstance(value, str) and value in ("", "None"):
        return None
    if isinstance(value, str):
        try:
            value = json_or_literal(value)
        except ValueError as error:
            hint = {"job": ", such as train.job", "candidate": ", such as train.best_candidate"}.get(name, "")
            raise AutoMLValidationError(
                name, [f"{value[:80]!r} is not valid for {name}: {error}. Pass the XCom itself{hint}, or JSON"]
            ) from None
    if value is None or shape is None:
        return value
    from airflow_automl.contract.coercion import coerce_shape
    from airflow_automl.hooks.sagemaker_deployment import service_model

    return coerce_shape(service_model(service)["shapes"], shape, value)


def document_or_name(value: Any, name: str) -> Any:
    """Return an argument that is a name, a dict or a list; one of the latter also if a template rendered it to text."""
    is_document = isinstance(value, str) and value.lstrip().startswith(("{", "["))
    return document(value, name) if is_document else value


def whole_number(value: Any, name: str) -> int | None:
    """Return a whole number of at least 1, also if a template rendered it to text; ``None`` if it is empty.

    :raises AutoMLValidationError: it is something else.
    """
    if value in (None, "", "None"):
        return None
    found = 0
    with suppress(TypeError, ValueError):
        found = int(value)
    if found < 1 or (isinstance(value, float) and found != value):
        problem = f"{value!r} is not valid for {name}: expected a whole number of at least 1"
        raise AutoMLValidationError(name, [problem])
    return found


def response_keys(value: Any) -> Sequence[str]:
    """Return what ``response`` asks for, as :func:`airflow_automl.serving.with_response_keys` takes it."""
    keys: Sequence[str] = [value] if value == "all" else document(value, "response") or ()
    return keys


def _numbers(operator: type, argument: str) -> tuple[type, ...]:
    """Return which of int, float and bool an operator's argument is annotated to take."""
    for each in operator.__mro__:
        annotation = getattr(vars(each).get("__init__"), "__annotations__", {}).get(argument)
        if annotation is not None:
            kinds: Mapping[str, type] = {"int": int, "float": float, "bool": bool}
            return tuple(kinds[kind] for each in str(annotation).split("|") if (kind := each.strip()) in kinds)
    return ()


def task_terminated(subject: str) -> Exception:
    """Return the error of a task that still runs after its ``on_kill``: Airflow does not end the process.

    It is not an error of this package: a retry policy treats those as final, and the task may be tried again.

    :param subject: what the task is about, such as ``AutoML job churn-1``.
    """
    return AirflowException(f"Task terminated. {subject} was stopped if it existed")
