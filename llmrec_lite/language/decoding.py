"""Chapter 7: generation with a language model, one token at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from llmrec_lite.errors import SettingError


class CausalLM(Protocol):
    """Causal language model, as decoding needs it; `GPT` is one."""

    config: Any
    tokenizer: Any
    embed: nn.Embedding

    def states(self, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
        """Hidden states, (n, t) -> (n, t, dim)."""
        ...

    def logits(self, states: Tensor) -> Tensor:
        """Scores of all tokens of the vocabulary, (..., dim) -> (..., vocab)."""
        ...


class KVCache:
    """Keys and values of the tokens read so far: 2 layers n g length c numbers, allocated at once."""

    def __init__(self, model: CausalLM, n: int, length: int) -> None:
        shape = (model.config.layers, n, model.config.kv_heads, length, model.config.dim // model.config.heads)
        self.keys, self.values = (model.embed.weight.new_empty(shape) for _ in range(2))
        self.length = 0  # tokens read so far; the model moves it on when all layers are done

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new (n, g, t, c) of a layer; return all it has, (n, g, length + t, c)."""
        end = self.length + key.shape[2]
        self.keys[layer, :, :, self.length : end] = key
        self.values[layer, :, :, self.length : end] = value
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def chat_prompt(messages: Sequence[Mapping[str, str]], system: str = SYSTEM) -> str:
    """Conversation in the chat template of SmolLM2-Instruct, ready for the assistant's answer.

    Args:
        messages: each {"role": "user" | "assistant" | "system", "content": ...}, as in `transformers`.
        system: system message, where the messages do not begin with one.
    """
    if not messages:
        raise SettingError('there is no message; give at least [{"role": "user", "content": "..."}]')
    if messages[0]["role"] != "system":
        messages = [{"role": "system", "content": system}, *messages]
    turns = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in messages)
    return f"{turns}<|im_start|>assistant\n"


def pick_token(
    logits: Tensor,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> int:
    """Sample from softmax(logits / temperature), logits (vocab,); temperature 0 takes the likeliest token.

    `top_k` keeps the k likeliest tokens; `top_p` then keeps the fewest likeliest ones that together have probability
    p or more (Holtzman et al., "The Curious Case of Neural Text Degeneration", ICLR 2020).

    Raises:
        SettingError: a setting is out of its range.
    """
    _check_sampling(temperature, top_k, top_p)
    if temperature == 0:
        return int(logits.argmax())
    kept = min(top_k or len(logits), len(logits))
    values, tokens = (logits.float().cpu() / temperature).topk(kept)  # likeliest first
    p = values.softmax(0)
    if top_p is not None:
        p = p * (p.cumsum(0) - p < top_p)  # kept while those before it have less than top_p
    return int(tokens[torch.multinomial(p, 1, generator=generator)])


def encode_prompt(model: CausalLM, prompt: str | Sequence[int]) -> list[int]:
    """Tokens of a prompt, which may be tokens already."""
    if not isinstance(prompt, str):
        tokens = [int(token) for token in prompt]
    elif model.tokenizer is None:
        raise SettingError("this model has no tokenizer; give token ids, or set its attribute `tokenizer`")
    else:
        tokens = model.tokenizer.encode(prompt).ids
    if not tokens:
        raise SettingError("the prompt is empty; give at least one token to go on from")
    return tokens


def generate(
    model: CausalLM,
    prompt: str | Sequence[int],
    max_new_tokens: int = 50,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    stop: Sequence[int] = (),
    use_cache: bool = True,
) -> str | list[int]:
    """Generated continuation of a prompt, until an end token of the model, a stop, or `max_new_tokens`.

    Args:
        model: a `GPT`; it offers this function as its method `generate`.
        prompt: text, or token ids.
        max_new_tokens: most tokens to generate.
        temperature: 0 takes the likeliest token each time (greedy); see `pick_token`.
        top_k: see `pick_token`.
        top_p: see `pick_token`.
        seed: of the sampling; None samples anew each time.
        stop: token ids at which to stop; they are not part of what is returned.
        use_cache: keep keys and values of what has been read instead of reading the whole text for every token.

    Returns:
        What is new, without the prompt: text for text (special tokens left out), ids for ids.

    Raises:
        SettingError: the prompt is empty, or too long for the model's max_length, or a setting is out of its range.
    """
    tokens = encode_prompt(model, prompt)
    _check(model, len(tokens), max_new_tokens)
    _check_sampling(temperature, top_k, top_p)  # also where nothing is to be generated
    ends = {*model.config.end_tokens, *stop}
    generator = torch.Generator()
    generator.seed() if seed is None else generator.manual_seed(seed)
    cache = KVCache(model, 1, len(tokens) + max_new_tokens) if use_cache else None
    new: list[int] = []
    for _ in range(max_new_tokens):
        token = pick_token(_next_logits(model, tokens, cache), temperature, top_k, top_p, generator)
        if token in ends:
            break
        tokens.append(token)
        new.append(token)
    return model.tokenizer.decode(new) if isinstance(prompt, str) else new


@torch.inference_mode()
def _next_logits(model: CausalLM, tokens: list[int], cache: KVCache | None) -> Tensor:
    """Logits of the token after all `tokens`, (vocab,); reads only what the cache does not hold."""
    unread = tokens[cache.length :] if cache else tokens
    states = model.states(torch.tensor([unread], device=model.embed.weight.device), cache)
    return model.logits(states[0, -1])  # of the last place only: the output matrix is the largest of all


def _check(model: CausalLM, given: int, new: int) -> None:
    longest = model.config.max_length
    if new < 0:
        raise SettingError(f"max_new_tokens must not be negative, not {new}")
    if given + new > longest:
        raise SettingError(
            f"a prompt of {given} tokens and {new} new ones are more than max_length={longest}; "
            "shorten the prompt, or ask for fewer"
        )


def _check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    if not 0 <= temperature < float("inf"):
        raise SettingError(f"temperature must be 0 or a positive number, not {temperature!r}")
    if top_k is not None and top_k < 1:
        raise SettingError(f"top_k must be at least 1, not {top_k!r}")
    if top_p is not None and not 0 < top_p <= 1:
        raise SettingError(f"top_p must be above 0 and at most 1, not {top_p!r}")
