"""Text generation: LoRA fine-tuning of a language model whose weights are on this machine."""
