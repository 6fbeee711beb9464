"""One watcher for all the triggers that wait on jobs of one account and region.

How it works, in full:

* Triggers with the same connection, region, ``verify`` and botocore config, in one event loop, share a
  :class:`~airflow_automl.triggers._watcher.watcher.Watcher`: one AWS client, fetched and built once, in a context of
  its own, so that it outlives every single trigger.
* **List is a hint.** Once per interval the watcher lists what changed since it last looked (by the service's own
  clock, with an overlap, because lists lag). A change is passed on to be logged; a job that the list calls ended is
  described. When triggers register, a list of the running jobs tells which of theirs need no describe.
* **Describe is the truth.** Only a describe ends a wait. Being absent from a list means nothing, except that the job is
  described more often. Every job is described now and then even if no list ever says so (a sweep); where lists are
  denied or fail, sweeps come at the triggers' own interval.
* **Throttling slows the watcher down and ends nothing.** One pace governs all calls: halved when the service throttles,
  slowly raised again. Other errors of the service do not change it: the call is made again soon. Jobs that are said to
  have ended come first, but every fifth describe is a sweep's.
* A job that was not found is looked for three times; a denied call leads to a new client, because credentials expire,
  and only then to an event.
* The watcher closes its client some time after its last trigger has gone.
"""

from __future__ import annotations

from airflow_automl.triggers._watcher.registry import watcher_for

__all__ = ["watcher_for"]
