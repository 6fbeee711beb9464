"""GGUF → a folder that loads in seconds: config, safetensors and tokenizer, made once and kept.

A model that transformers reads out of GGUF refuses to be saved, because its configuration says that it is quantized:
it is built anew from the configuration without that part.
"""

from __future__ import annotations

import fcntl
import json
import logging
import shutil
import tempfile
import time
from pathlib import Path

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.models import weights

log = logging.getLogger(__name__)

_MANIFEST = "manifest.json"


def converted(gguf: Path, sha256: str) -> Path:
    """The folder made from a GGUF file; made now if it is not there, or is damaged.

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
                # Who holds the lock knows that nobody works on what a killed process left behind.
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
