"""Base models that can be fine-tuned here, by the names that requests use (R89, R90).

A base model is a folder ``AUTOML_MODEL_DIR/NAME/`` with ``config.json``, ``*.safetensors`` and ``tokenizer.json``, or
one of the pinned weights that ship in a package. Those are GGUF: they are converted once and cached. A name that is
neither may be an alias, which only the operator of the service can define: ``AUTOML_MODEL_DIR/aliases.json`` maps a
name to the model that replaces it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from airflow_automl.contract.values import DEFAULT_BASE_MODEL
from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.models import weights

log = logging.getLogger(__name__)

_MANIFEST = "manifest.json"


def converted(gguf: Path, sha256: str) -> Path:
    """Return the folder made from a GGUF file; made now if it is not there, or is damaged.

    Two processes that need it at the same time make it once.

    :param gguf: the file.
    :param sha256: its digest, which is part of the folder's name.
    :return: the folder.
    :raises JobFailure: the cache can't be written, or the package gguf is missing.
    """
    cache = weights.cache_folder()
    target = cache / f"{gguf.stem}-{sha256[:16]}"
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (cache / f"{target.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _intact(target):
                # The lock is held: these files are left from a killed process.
                for unfinished in cache.glob(f".{target.name}-*"):
                    shutil.rmtree(unfinished, ignore_errors=True)
                _make(gguf, target)
    except OSError as error:
        raise JobFailure(
            f"The converted weights can't be kept in {cache} ({error.strerror or error}): give the embedded Autopilot "
            f"a data folder with space, or name another folder in {weights.CACHE_DIR}."
        ) from error
    except ImportError as error:
        raise JobFailure(
            f"{gguf.name} can't be read without the package gguf: run `pip install 'airflow-automl[llm]'` where the "
            "embedded Autopilot runs."
        ) from error
    return target


def _intact(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        return bool(manifest) and all(weights.digest(folder / name) == found for name, found in manifest.items())
    except (OSError, ValueError, AttributeError):
        return False


def _make(gguf: Path, target: Path) -> None:
    from airflow_automl.local.training.engines.generation.language_model import quiet

    quiet()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    log.info("Converting %s; this is done once", gguf.name)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temporary:
        folder = Path(temporary) / "model"
        source = {"gguf_file": gguf.name, "local_files_only": True}
        quantized = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **source)
        config = quantized.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        plain = type(quantized)(config)
        plain.load_state_dict(quantized.state_dict())
        plain = plain.to(dtype=torch.float16)
        plain.save_pretrained(folder, safe_serialization=True)
        AutoTokenizer.from_pretrained(gguf.parent, **source).save_pretrained(folder)
        manifest = {path.name: weights.digest(path) for path in sorted(folder.iterdir()) if path.is_file()}
        (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1))
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    log.info("Converted %s in %.1f s", gguf.name, time.monotonic() - began)


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
    """Return the base model that a request means.

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
            "embedded Autopilot gets by --model-dir or this environment variable). To let another model stand in "
            f'for it, write {{"{wanted}": "{stand_in}"}} into {weights.MODEL_DIR}/{ALIASES}.'
        )
    return model


def available() -> list[str]:
    """Return names of the base models that are on this machine, aliases aside."""
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
    path, sha256 = weights.locate(pinned), weights.WEIGHTS[pinned].sha256
    return BaseModel(name=name, digest=sha256, eula=False, open=lambda: converted(path, sha256))


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
