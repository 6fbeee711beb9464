"""Proof that a form was sent from one of these pages, by the user that it was made for."""

from __future__ import annotations

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.configuration import conf
from itsdangerous import BadSignature, URLSafeTimedSerializer

from airflow_automl.plugin.rights import Denied

_LIFETIME = 12 * 3600


def sign(user: BaseUser, *subject: str) -> str:
    """Return the token that a form carries.

    :param subject: what the form is about.
    """
    return str(_serializer().dumps([user.get_id(), *subject]))


def check(user: BaseUser, token: str, *subject: str) -> None:
    """Refuse a form that another site, or a page for another user or subject, sent.

    :raises Denied: the token is missing, wrong or too old.
    """
    try:
        signed = _serializer().loads(token, max_age=_LIFETIME)
    except BadSignature as error:
        raise Denied("This form is too old or was not sent from this page. Go back, reload, try again.") from error
    if signed != [user.get_id(), *subject]:
        raise Denied("This form was made for another user or another job. Go back, reload, try again.")


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(conf.get_mandatory_value("api", "secret_key"), salt="airflow-automl-pages")
