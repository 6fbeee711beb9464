"""Fakes of Airflow's objects, each checked against the real class: a fake can't have a member that the class lacks.

Otherwise a test could pass with a method that Airflow does not have.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from types import SimpleNamespace
from typing import Any, TypeVar

_Fake = TypeVar("_Fake", bound=type)


def fake(real: type, /, **members: Any) -> Any:
    """Return an object with these members of a real class; its methods take what the real ones take."""
    return SimpleNamespace(**{name: _held(real, name, member) for name, member in members.items()})


def stands_for(real: type) -> Callable[[_Fake], _Fake]:
    """Class decorator: every public method of the fake must exist in the real class, with the same signature."""

    def check(cls: _Fake) -> _Fake:
        for name, member in list(vars(cls).items()):
            if inspect.isfunction(member) and not name.startswith("_"):
                setattr(cls, name, _held(real, name, member, bound=False))
        return cls

    return check


def _held(real: type, name: str, member: Any, *, bound: bool = True) -> Any:
    theirs = inspect.getattr_static(real, name, None)
    fields = {key for base in real.__mro__ for key in vars(base).get("__annotations__", {})}
    if theirs is None and name not in fields:
        raise AssertionError(f"{real.__module__}.{real.__qualname__} has no {name}")
    if not inspect.isroutine(member):
        return member
    if not inspect.isroutine(theirs):
        raise AssertionError(f"{real.__qualname__}.{name} is not a method")
    if inspect.iscoroutinefunction(member) != inspect.iscoroutinefunction(theirs):
        raise AssertionError(f"{real.__qualname__}.{name} and its fake are not both coroutines")
    signature = inspect.signature(theirs)

    @wraps(member)
    def call(*args: Any, **kwargs: Any) -> Any:
        signature.bind(*([None] if bound else []), *args, **kwargs)
        return member(*args, **kwargs)

    return call
