"""Which watcher a trigger shares with which others."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from airflow_automl import settings
from airflow_automl.triggers._watcher.client import AwsSettings
from airflow_automl.triggers._watcher.watcher import Watcher

_WATCHERS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[AwsSettings, Watcher]] = WeakKeyDictionary()


def watcher_for(aws: AwsSettings) -> Watcher:
    """Return the running event loop's watcher for these settings; it is made when it is first asked for."""
    watchers = _WATCHERS.setdefault(asyncio.get_running_loop(), {})
    watcher = watchers.get(aws)
    if watcher is None or watcher.closed:
        watcher = watchers[aws] = Watcher(aws, settings.max_calls_per_second())
    return watcher
