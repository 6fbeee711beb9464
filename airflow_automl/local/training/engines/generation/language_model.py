"""A causal language model with its tokenizer: prompts in, text out."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.engines.generation.data import Example

log = logging.getLogger(__name__)

CONTEXT = 1024
"""Tokens of an example, prompt and answer together: AWS's limit for most of its base models."""


class Encoded(NamedTuple):
    """An example in tokens.

    :param ids: prompt, answer and the end.
    :param answer: how many of them, at the end, are the answer's.
    :param cut: whether something of it had to be left out.
    """

    ids: list[int]
    answer: int
    cut: bool


def quiet() -> None:
    """Keep the libraries from asking the network for anything, and from drawing progress bars into the log.

    To be called before any of them is imported: they look at the environment then.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


class LanguageModel:
    """A model in memory, on the GPU if there is one.

    :param network: the transformers model, possibly with an adapter around it.
    :param tokenizer: its tokenizer.
    :param positions: how many tokens it can see at once.
    """

    def __init__(self, network: Any, tokenizer: Any, positions: int) -> None:
        self.network = network
        self.tokenizer = tokenizer
        self.positions = positions
        ends = tokenizer.eos_token_id
        if ends is None:
            ends = network.config.eos_token_id
        ends = [ends] if isinstance(ends, int) else list(ends or ())
        if not ends:
            raise JobFailure("The base model names no token that ends a text: add eos_token_id to its config.json.")
        self.ends: list[int] = ends
        # Any token fills the gaps: the attention mask hides it.
        self.pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]

    @classmethod
    def load(cls, folder: Path, threads: int) -> LanguageModel:
        """Load a base model.

        Code beside the weights is not run, and weights are read from safetensors only.

        :param folder: ``config.json``, ``*.safetensors``, ``tokenizer.json``.
        :param threads: how many threads PyTorch may use.
        :raises JobFailure: the installed transformers does not know such a causal language model.
        """
        quiet()
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(threads)
        cuda = torch.cuda.is_available()
        kind = torch.bfloat16 if cuda and torch.cuda.is_bf16_supported() else torch.float32
        options = {"local_files_only": True, "trust_remote_code": False}
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, **options)
            network = AutoModelForCausalLM.from_pretrained(folder, dtype=kind, use_safetensors=True, **options)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            text = " ".join(str(error).split())[:500]
            raise JobFailure(f"The base model in {folder.name} can't be loaded: {text}") from error
        network = network.to(device="cuda" if cuda else "cpu").eval()
        positions = getattr(network.config, "max_position_embeddings", None) or CONTEXT
        return cls(network, tokenizer, int(positions))

    @property
    def device(self) -> str:
        """Return where it computes: ``cpu`` or ``cuda:0``."""
        return str(next(self.network.parameters()).device)

    @property
    def context(self) -> int:
        """Tokens of an example, at most."""
        return min(CONTEXT, self.positions)

    def prompt(self, text: str, room: int | None = None) -> list[int]:
        """Return the tokens of a prompt, in the form in which the base model was taught to read one.

        :param text: what the user says.
        :param room: maximum number of tokens; a longer text is cut at its end.
        """
        ids = self._formatted(text)
        if room is not None and len(ids) > room:
            own = self._plain(text)
            shorter = self.tokenizer.decode(own[: max(room - (len(ids) - len(own)), 1)], skip_special_tokens=False)
            ids = self._formatted(shorter)[:room]
        return ids

    def encode(self, example: Example) -> Encoded:
        """Return the tokens of an example; what is too long is cut, the prompt first."""
        context = self.context
        prompt = self.prompt(example.prompt)
        answer = [*self._plain(example.answer), self.ends[0]]
        if len(prompt) + len(answer) <= context:
            return Encoded([*prompt, *answer], len(answer), cut=False)
        answer = answer[: max(context - len(prompt), context // 2)]
        prompt = self.prompt(example.prompt, context - len(answer))
        return Encoded([*prompt, *answer], len(answer), cut=True)

    def _formatted(self, text: str) -> list[int]:
        if self.tokenizer.chat_template:
            said = [{"role": "user", "content": text}]
            whole = self.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
            return self._plain(whole)
        ids: list[int] = self.tokenizer(f"{text}\n")["input_ids"]
        # A tokenizer may append an end token; here the answer follows.
        return ids[:-1] if ids and ids[-1] in self.ends else ids

    def _plain(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        *,
        seconds: float | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> list[list[int]]:
        """Generate an answer to each prompt.

        :param prompts: in tokens.
        :param max_new_tokens: tokens of an answer, at most.
        :param seconds: generation is cut off after this; ``None`` for no limit.
        :param seed: of the random generator; ``None`` for a random one.
        :param options: of GenerationConfig: ``do_sample``, ``temperature``, ``top_p``, ``top_k``,
            ``repetition_penalty``; by default the most probable token is always taken.
        :return: for each prompt the new tokens, without the one that ends the text.
        """
        import torch
        from transformers import GenerationConfig

        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), self.pad)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(prompts):
            ids[row, width - len(tokens) :] = torch.tensor(tokens)
            mask[row, width - len(tokens) :] = 1
        if options.get("do_sample"):
            # GenerationConfig's own default is to draw from the 50 most probable tokens.
            options = {"top_k": 0, **options}
            torch.manual_seed(torch.seed() if seed is None else seed)
        else:
            options = {key: value for key, value in options.items() if key == "repetition_penalty"}
        config = GenerationConfig(
            max_new_tokens=max_new_tokens,
            max_time=seconds,
            eos_token_id=self.ends,
            pad_token_id=self.pad,
            **options,
        )
        with torch.inference_mode():
            answer = self.network.generate(
                input_ids=ids.to(self.device), attention_mask=mask.to(self.device), generation_config=config
            )
        return [self._until_end(tokens) for tokens in answer[:, width:].tolist()]

    def text(self, tokens: Sequence[int]) -> str:
        """Return tokens as text."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))

    def _until_end(self, tokens: list[int]) -> list[int]:
        ends = [at for at, token in enumerate(tokens) if token in self.ends]
        return tokens[: ends[0]] if ends else tokens
