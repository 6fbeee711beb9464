"""Waiting for many jobs at the price of a few calls.

All triggers of one event loop that share a connection, region, ``verify`` and botocore config share one
:class:`~airflow_automl.triggers._watcher.watcher.Watcher`, with one client. Its rule: **a list is a hint, a describe
is the truth**. Only DescribeAutoMLJob(V2) ends a wait; ListAutoMLJobs says which jobs to describe.

At every poll (one in every interval, two from 500 jobs on):

1. Up to three jobs are simply described; nothing below is needed.
2. The jobs that changed lately (``LastModifiedTimeAfter``, counted from the service's own clock, with an overlap) are
   listed, a few pages at most. Those that it says have ended are described.
3. Now and then, and when more jobs are new than pages would be needed, all jobs that still run are listed too.
   Watched jobs that are not among them are described: they ended before they were watched, or a list missed them.
4. The few jobs that were described longest ago are described anyway: lists may be wrong for as long as they like.

If lists are denied, or don't come, all jobs are described in turn, as fast as the rate allows. Each operation has a
pace of its own, which throttling lowers and errors interrupt; neither ends a wait. Jobs of rule 4 go before those of
a burst of ends. A job that is not found, or may not be seen, is described twice before its wait ends with that.
"""

from __future__ import annotations

from airflow_automl.triggers._watcher.client import AwsSettings, Client
from airflow_automl.triggers._watcher.watcher import Watcher, watcher_for

__all__ = ["AwsSettings", "Client", "Watcher", "watcher_for"]
