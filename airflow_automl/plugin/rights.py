"""Who may see and do what, as Airflow's auth manager says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import ConnectionDetails, DagAccessEntity, DagDetails
from airflow.models.connection import Connection
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_automl.compat import of_team, team_of_connection, teams_of_dags
from airflow_automl.plugin.account import Source
from airflow_automl.plugin.known_jobs import JobRecord, Owner
from airflow_automl.plugin.metadata import sources


class Denied(Exception):
    """The user may not see or do this; the message is for the user."""


class Rights:
    """What one user may see and do. Every method asks the database, and belongs into a thread.

    :param user: who asks, as Airflow authenticated the request.
    """

    def __init__(self, user: BaseUser) -> None:
        self.user = user
        self._manager = get_auth_manager()

    def may_see_dag(self, dag_id: str) -> bool:
        """Return whether the user may see a DAG, and so its jobs."""
        return dag_id in self.visible_dags({dag_id})

    def visible_dags(self, dag_ids: set[str]) -> set[str]:
        by_team: dict[str | None, set[str]] = defaultdict(set)
        teams = teams_of_dags(dag_ids)
        for dag_id in dag_ids:
            by_team[teams.get(dag_id)].add(dag_id)
        return {
            dag_id
            for team, ids in by_team.items()
            for dag_id in self._manager.filter_authorized_dag_ids(dag_ids=ids, user=self.user, **of_team(team))
        }

    def may_stop(self, owner: Owner | None, source: Source) -> bool:
        """Return whether the user may stop a job: they may mark its task, or change the connection if it has none."""
        if owner is None:
            return self._may_use(source.connection, "PUT")
        return self._dag(owner.dag_id, "PUT", DagAccessEntity.TASK_INSTANCE)

    def may_see_xcoms(self, dag_id: str) -> bool:
        return self._dag(dag_id, "GET", DagAccessEntity.XCOM)

    def may_start(self, dag_id: str) -> bool:
        return self._dag(dag_id, "POST", DagAccessEntity.RUN)

    def _dag(self, dag_id: str, method: str, entity: DagAccessEntity) -> bool:
        details = DagDetails(id=dag_id, team_name=teams_of_dags({dag_id}).get(dag_id))
        return bool(
            self._manager.is_authorized_dag(method=method, access_entity=entity, details=details, user=self.user)  # type: ignore[arg-type]
        )

    def may_see_connection(self, connection: str | None) -> bool:
        """Return whether the user may see a connection, and so the jobs in its account that no DAG owns."""
        return self._may_use(connection, "GET")

    def _may_use(self, connection: str | None, method: str) -> bool:
        team = team_of_connection(connection)
        details = ConnectionDetails(conn_id=connection, team_name=team)
        return bool(self._manager.is_authorized_connection(method=method, details=details, user=self.user))  # type: ignore[arg-type]

    def may_ask(self, connection: str | None, seen: Iterable[JobRecord]) -> bool:
        """Return whether the pages may use a connection for this user.

        :param seen: the jobs that Airflow knows: a connection through which a DAG that the user may see reached a job
            is one whose jobs of that DAG the user may see.
        """
        if self.may_see_connection(connection):
            return True
        dags = self.visible_dags({each.dag_id for each in seen})
        return any(
            source.connection == connection for source in sources(each for each in seen if each.dag_id in dags).values()
        )

    def may_see_job(self, owner: Owner | None, connection: str | None) -> bool:
        """Return whether the user may see a job: the right to its DAG, or to the connection if it has none."""
        return self.may_see_connection(connection) if owner is None else self.may_see_dag(owner.dag_id)

    def connections(self) -> list[str]:
        """List the AWS connections of the metadata database that the user may see, for the choice on the page."""
        with create_session(scoped=False) as session:
            found = session.scalars(select(Connection.conn_id).where(Connection.conn_type == "aws")).all()
        return sorted(conn_id for conn_id in found if self.may_see_connection(conn_id))
