"""Keeps AutoGluon's models to their time limit, which AutoGluon itself only asks them to keep."""

from __future__ import annotations

from typing import Any

from autogluon.core.utils.exceptions import TimeLimitExceeded

from airflow_automl.local.training.engines import isolation

__all__ = ["enforce"]


def enforce(model: Any, seconds: float) -> None:
    """Let a model train in a process of its own, which is killed when its time is over (R51).

    :param model: AutoGluon's, not yet fitted; its ``fit`` raises ``TimeLimitExceeded`` where it was killed, after which
        AutoGluon goes on with the next model.
    :param seconds: MaxRuntimePerTrainingJobInSeconds.
    """
    kind, path, name = type(model), model.path, model.name

    def fit(**arguments: Any) -> Any:
        # The fitted model is pickled: it must not have this function in it.
        del model.fit

        def work(ask: isolation.Ask) -> None:
            model.fit(**arguments).save()

        try:
            isolation.run(work, seconds)
        except isolation.Overrun:
            raise TimeLimitExceeded(
                f"{name} was still training after MaxRuntimePerTrainingJobInSeconds ({seconds:g} s) and was ended."
            ) from None
        return kind.load(path)

    model.fit = fit
