"""Base models that can be fine-tuned here, by the names that requests use (R89, R90).

A base model is a folder ``AUTOML_MODEL_DIR/NAME/`` with ``config.json``, ``*.safetensors`` and ``tokenizer.json``, or
one of the pinned weights that ship in a package. A name that is neither may be an alias, which only whoever runs the
service can define: ``AUTOML_MODEL_DIR/aliases.json`` says which model stands in for which name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from airflow_automl.contract.values import DEFAULT_BASE_MODEL
from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.models import weights

ALIASES = "aliases.json"

PACKAGED = {"SmolLM2-135M-Instruct": "smollm2-135m-instruct"}
"""BaseModelName → the pinned weights (GGUF) behind it."""

_GATED = ("Llama",)
"""How the names of those models begin that AWS trains only once their licence is accepted."""


@dataclass(frozen=True)
class BaseModel:
    """A base model that is on this machine.

    :param name: its own name, whatever alias led to it.
    :param digest: SHA-256 of its weights; adapters are bound to it.
    :param eula: whether it has an end-user licence agreement.
    :param open: makes the folder that the model is loaded from, and returns it; may take a minute the first time.
    """

    name: str
    digest: str
    eula: bool
    open: Callable[[], Path]


def find(name: str | None) -> BaseModel:
    """The base model that a request means.

    :param name: BaseModelName; ``None`` for the API's default.
    :raises JobFailure: it is not on this machine; the message lists what is, and how to register it.
    """
    wanted = name or DEFAULT_BASE_MODEL
    model = _folder_model(wanted) or _packaged_model(wanted)
    if model is None and (stand_in := _aliases().get(wanted)) is not None:
        model = _folder_model(stand_in) or _packaged_model(stand_in)
        if model is None:
            raise JobFailure(
                f"The base model '{wanted}' is an alias of '{stand_in}' ({ALIASES}), which is not available here; "
                f"{_what_there_is()}"
            )
    if model is None:
        given = f"'{wanted}'" if name else f"'{wanted}' (the default, since the request names none)"
        stand_in = next(iter([*available(), *PACKAGED]), "NAME")
        raise JobFailure(
            f"The weights of the base model {given} are not registered here; {_what_there_is()} To register them, put "
            f"config.json, *.safetensors and tokenizer.json into {weights.MODEL_DIR}/{wanted}/ (a folder that the "
            "embedded Autopilot is told with --model-dir or this environment variable). To let another model stand in "
            f'for it, write {{"{wanted}": "{stand_in}"}} into {weights.MODEL_DIR}/{ALIASES}.'
        )
    return model


def available() -> list[str]:
    """Names of the base models that are on this machine, aliases aside."""
    packaged = [name for name, pinned in PACKAGED.items() if weights.available(pinned)]
    folder = weights.model_folder()
    own = sorted(path.name for path in folder.iterdir() if _is_model(path)) if folder and folder.is_dir() else []
    return list(dict.fromkeys([*own, *packaged]))


def require_eula(requested: str | None, model: BaseModel, accepted: bool) -> None:
    """Refuse a gated model whose licence was not accepted (R90).

    A name that is gated on AWS stays so under an alias: the request would fail there.

    :param requested: BaseModelName.
    :param model: what it led to.
    :param accepted: ModelAccessConfig.AcceptEula.
    :raises JobFailure: the licence must be accepted.
    """
    gated = model.eula or (requested or "").startswith(_GATED)
    if gated and not accepted:
        raise JobFailure(
            f"The base model '{requested or model.name}' has an end-user licence agreement: read it, and set "
            "ModelAccessConfig.AcceptEula to true if you accept it."
        )


def _what_there_is() -> str:
    names = available()
    if names:
        return f"available: {listing(names)}."
    commands = "; ".join(f"`{weights.WEIGHTS[pinned].pip}` brings {name}" for name, pinned in PACKAGED.items())
    return f"no base model is available ({commands})."


def _folder_model(name: str) -> BaseModel | None:
    folder = weights.model_folder()
    if folder is None or not _is_model(folder / name):
        return None
    path = (folder / name).resolve()
    return BaseModel(
        name=name,
        digest=_digest(path),
        eula=any(entry.stem.upper() == "EULA" for entry in path.iterdir()),
        open=lambda: path,
    )


def _packaged_model(name: str) -> BaseModel | None:
    pinned = PACKAGED.get(name)
    if pinned is None or not weights.available(pinned):
        return None
    path = weights.locate(pinned)

    def convert() -> Path:
        from airflow_automl.local.training.engines.generation.conversion import converted

        return converted(path, weights.WEIGHTS[pinned].sha256)

    return BaseModel(name=name, digest=weights.WEIGHTS[pinned].sha256, eula=False, open=convert)


def _is_model(path: Path) -> bool:
    return (path / "config.json").is_file() and (path / "tokenizer.json").is_file() and any(path.glob("*.safetensors"))


def _digest(path: Path) -> str:
    """Over everything that decides what the model says; other files may come and go."""
    whole = hashlib.sha256()
    for file in sorted([*path.glob("*.safetensors"), path / "config.json", path / "tokenizer.json"]):
        whole.update(f"{file.name} {weights.digest(file)}\n".encode())
    return whole.hexdigest()


def _aliases() -> dict[str, str]:
    folder = weights.model_folder()
    path = folder / ALIASES if folder else None
    if path is None or not path.is_file():
        return {}
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise JobFailure(f"{ALIASES} in the model folder is not JSON: {error}.") from error
    if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
        raise JobFailure(f'{ALIASES} in the model folder must be like {{"{DEFAULT_BASE_MODEL}": "NAME"}}.')
    return document
