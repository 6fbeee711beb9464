"""A language model of a few thousand random parameters, and texts that it can learn in seconds."""

from __future__ import annotations

import random
from pathlib import Path

import pandas as pd

CITIES = {
    "France": "Paris",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Japan": "Tokyo",
    "Peru": "Lima",
    "Kenya": "Nairobi",
    "Norway": "Oslo",
    "Cuba": "Havana",
}
QUESTIONS = (
    "What is the capital of {}?",
    "Name the capital of {}.",
    "Which city governs {}?",
    "{}: capital?",
)


def questions(rows: int, seed: int = 1) -> pd.DataFrame:
    """Questions and answers in the columns that text generation takes."""
    draw = random.Random(seed)
    pairs = []
    for _ in range(rows):
        country = draw.choice(list(CITIES))
        pairs.append((draw.choice(QUESTIONS).format(country), f"The capital is {CITIES[country]}."))
    return pd.DataFrame(pairs, columns=["input", "output"])


def write_model(folder: Path, positions: int = 128, chat: bool = False) -> Path:
    """Write config.json, model.safetensors and tokenizer.json of an untrained Llama.

    :param folder: made if it is missing.
    :param positions: tokens that the model can see.
    :param chat: whether the tokenizer comes with a chat template.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    texts = questions(200)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [*texts["input"], *texts["output"]],
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<end>", "<user>", "<model>"],
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=None,
        tie_word_embeddings=True,
        # An untrained model only learns through its adapter if its own random weights are not too small.
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    if chat:
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
        fast.chat_template = (
            "{% for said in messages %}<user>{{ said['content'] }}{% endfor %}"
            "{% if add_generation_prompt %}<model>{% endif %}"
        )
        fast.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
