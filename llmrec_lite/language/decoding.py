"""Chapter 7: writing with a language model, one token at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypedDict, Unpack, overload

import torch
from torch import Tensor, nn

from llmrec_lite.errors import SettingError


class CausalLM(Protocol):
    """What decoding asks of a language model; `GPT` is one."""

    config: Any
    tokenizer: Any
    embed: nn.Embedding

    def states(self, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
        """Return the hidden state after every token, (n, t) -> (n, t, dim)."""
        ...

    def logits(self, states: Tensor) -> Tensor:
        """Return the score of every token of the vocabulary, (..., dim) -> (..., vocab)."""
        ...


class KVCache:
    """Keys and values of the tokens read so far, so that a new token costs one step and not the whole text.

    Room for `length` tokens is taken at once: 2 layers n g length c numbers.
    """

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


def chat_prompt(messages: Sequence[Mapping[str, str]], system: str | None = SYSTEM, answer: bool = True) -> str:
    """Write a conversation in the form that SmolLM2-Instruct was trained on, ready for its answer.

    Args:
        messages: each {"role": "user" | "assistant" | "system", "content": ...}, as in `transformers`.
        system: the first words to the model, where the messages do not begin with such; None for none.
        answer: end with the opening of the assistant's turn.

    Raises:
        ValueError: there is no message, or one lacks its role or content.
    """
    if not messages:
        raise SettingError('there is no message; give at least [{"role": "user", "content": "..."}]')
    for message in messages:
        if not {"role", "content"} <= set(message):
            raise SettingError(f'a message needs "role" and "content", and this one has {sorted(message)}')
    if system is not None and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": system}, *messages]
    turns = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in messages)
    return turns + ("<|im_start|>assistant\n" if answer else "")


def pick_token(
    logits: Tensor,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> int:
    """Draw from softmax(logits / temperature); a temperature of 0 takes the likeliest token.

    Args:
        logits: (vocab,).
        temperature: below 1 makes likely tokens likelier, above 1 flattens.
        top_k: keep the k likeliest tokens only.
        top_p: then keep the fewest likeliest ones that together have probability p or more (Holtzman et al.,
            "The Curious Case of Neural Text Degeneration", ICLR 2020).
        generator: of the randomness, on the processor.
    """
    if temperature == 0:
        return int(logits.argmax())
    kept = min(top_k or len(logits), len(logits))
    values, tokens = (logits.float().cpu() / temperature).topk(kept)  # likeliest first
    p = values.softmax(0)
    if top_p is not None:
        p = p * (p.cumsum(0) - p < top_p)  # kept while those before it have less than top_p
    return int(tokens[torch.multinomial(p, 1, generator=generator)])


def encode_prompt(model: CausalLM, prompt: str | Sequence[int]) -> list[int]:
    """Return the tokens of a prompt, which may be tokens already.

    Raises:
        ValueError: the prompt is empty, or it is text and the model has no tokenizer.
    """
    if not isinstance(prompt, str):
        tokens = [int(token) for token in prompt]
    elif model.tokenizer is None:
        raise SettingError("this model has no tokenizer; give token ids, or set its attribute `tokenizer`")
    else:
        tokens = model.tokenizer.encode(prompt).ids
    if not tokens:
        raise SettingError("the prompt is empty; give at least one token to go on from")
    return tokens


class Options(TypedDict, total=False):
    """The settings of `generate`."""

    temperature: float
    top_k: int | None
    top_p: float | None
    seed: int | None
    stop: str | Sequence[str | int]
    use_cache: bool
    stream: Callable[[Any], object] | None


@overload
def generate(model: CausalLM, prompt: str, max_new_tokens: int = 50, **options: Unpack[Options]) -> str: ...
@overload
def generate(
    model: CausalLM, prompt: Sequence[int], max_new_tokens: int = 50, **options: Unpack[Options]
) -> list[int]: ...
def generate(
    model: CausalLM,
    prompt: str | Sequence[int],
    max_new_tokens: int = 50,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    stop: str | Sequence[str | int] = (),
    use_cache: bool = True,
    stream: Callable[[Any], object] | None = None,
) -> str | list[int]:
    """Go on from a prompt, token by token, until an end token of the model, a stop, or `max_new_tokens`.

    Args:
        model: a `GPT`; it offers this function as its method `generate`.
        prompt: text, or token ids.
        max_new_tokens: most tokens to write.
        temperature: 0 takes the likeliest token each time (greedy); see `pick_token`.
        top_k: see `pick_token`.
        top_p: see `pick_token`.
        seed: of the drawing; the same seed writes the same text. None draws anew each time.
        stop: texts (for a text prompt) or token ids at which to stop; they are not part of what is returned.
        use_cache: keep keys and values of what has been read. Without, every token costs a reading of the whole text.
        stream: called with each new piece of text (or token id) as soon as it is final.

    Returns:
        What is new, without the prompt: text for text (special tokens left out), ids for ids.

    Raises:
        ValueError: the prompt is empty or holds unknown tokens, prompt and new tokens are more than the model's
            max_length, or a setting is out of its range.
    """
    is_text, tokens = isinstance(prompt, str), encode_prompt(model, prompt)
    stops = [stop] if isinstance(stop, str) else list(stop)
    texts = [text for text in stops if isinstance(text, str)]
    _check(model, len(tokens), max_new_tokens, temperature, top_k, top_p, texts, is_text)
    ends = {*model.config.end_tokens, *(token for token in stops if not isinstance(token, str))}
    generator = torch.Generator()
    generator.seed() if seed is None else generator.manual_seed(seed)
    cache = KVCache(model, 1, len(tokens) + max_new_tokens) if use_cache else None
    new: list[int] = []
    text, sent = "", 0
    for _ in range(max_new_tokens):
        token = pick_token(_next_logits(model, tokens, cache), temperature, top_k, top_p, generator)
        if token in ends:
            break
        tokens.append(token)
        new.append(token)
        if not is_text:
            if stream:
                stream(token)
            continue
        text = model.tokenizer.decode(new)
        found = [text.index(end) for end in texts if end in text]
        if found:
            text = text[: min(found)]
            break
        # The last characters may be the start of a stop text, or half a letter that decodes as "\ufffd".
        final = len(text.rstrip("\ufffd")) - max((len(end) - 1 for end in texts), default=0)
        if stream and final > sent:
            stream(text[sent:final])
            sent = final
    if stream and len(text) > sent:
        stream(text[sent:])
    return text if is_text else new


@torch.inference_mode()
def _next_logits(model: CausalLM, tokens: list[int], cache: KVCache | None) -> Tensor:
    """Return the logits of the token after all `tokens`, (vocab,); read only what the cache does not hold."""
    unread = tokens[cache.length :] if cache else tokens
    states = model.states(torch.tensor([unread], device=model.embed.weight.device), cache)
    return model.logits(states[0, -1])  # of the last place only: the output matrix is the largest of all


def _check(
    model: CausalLM,
    given: int,
    new: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    texts: list[str],
    is_text: bool,
) -> None:
    longest = model.config.max_length
    if new < 0:
        raise SettingError(f"max_new_tokens must not be negative, not {new}")
    if given + new > longest:
        room = f"ask for at most {longest - given}" if given < longest else "shorten the prompt"
        raise SettingError(f"a prompt of {given} tokens and {new} new ones are more than max_length={longest}; {room}")
    if not 0 <= temperature < float("inf"):
        raise SettingError(f"temperature must be 0 or a positive number, not {temperature!r}")
    if top_k is not None and top_k < 1:
        raise SettingError(f"top_k must be at least 1, not {top_k!r}")
    if top_p is not None and not 0 < top_p <= 1:
        raise SettingError(f"top_p must be above 0 and at most 1, not {top_p!r}")
    if "" in texts:
        raise SettingError('stop holds "", which is in every text; leave it out')
    if texts and not is_text:
        raise SettingError(f"stop holds text ({texts[0]!r}) but the prompt is token ids; give ids to stop at")
