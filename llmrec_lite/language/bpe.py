"""Chapter 8: byte-level byte-pair encoding.

Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units", ACL 2016, on the bytes of
UTF-8 as in Radford et al. 2019 (GPT-2). Merges, ids and the file are those of the `tokenizers` library.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from operator import index
from pathlib import Path

import regex
from tqdm.auto import trange

from llmrec_lite.errors import SettingError
from llmrec_lite.files import write_json

Pair = tuple[int, int]


def learn_merges(
    words: Sequence[Sequence[int]], counts: Sequence[int], first_id: int, n_merges: int, progress: bool = False
) -> list[Pair]:
    """Merges of the most frequent pair of neighbors, the first learned first; of equal pairs the smaller one wins.

    Every round touches only words that hold the pair or did, so that it costs what it changes.

    Args:
        words: distinct words as lists of symbols below first_id.
        counts: occurrences of each word.
        first_id: symbol that the first merge makes; the next makes first_id + 1.
        n_merges: at most; fewer where no pair is left.
        progress: show a progress bar.
    """
    symbols = [list(word) for word in words]
    frequency: Counter[Pair] = Counter()
    holders: defaultdict[Pair, set[int]] = defaultdict(set)  # the words that hold, or have held, a pair
    for w, word in enumerate(symbols):
        for pair in pairwise(word):
            frequency[pair] += counts[w]
            holders[pair].add(w)
    # After a pair has entered the heap it only becomes rarer. So an entry is never too low, and one that is
    # too high is put right when it reaches the top: no search in the heap ("lazy deletion").
    heap = [(-count, pair) for pair, count in frequency.items()]
    heapq.heapify(heap)
    merges: list[Pair] = []
    for new in trange(first_id, first_id + n_merges, disable=not progress, desc="merges"):
        while heap and frequency[heap[0][1]] != -heap[0][0]:
            _, pair = heapq.heappop(heap)
            if frequency[pair] > 0:
                heapq.heappush(heap, (-frequency[pair], pair))
        if not heap:
            break
        _, best = heapq.heappop(heap)
        merges.append(best)
        made = set()
        for w in holders.pop(best):
            joined = join(symbols[w], best, new)
            for pair in pairwise(symbols[w]):
                frequency[pair] -= counts[w]
            for pair in pairwise(joined):
                frequency[pair] += counts[w]
                if new in pair:
                    holders[pair].add(w)
                    made.add(pair)
            symbols[w] = joined
        for pair in made:
            heapq.heappush(heap, (-frequency[pair], pair))
    return merges


def join(word: Sequence[int], pair: Pair, new: int) -> list[int]:
    """Word with each `pair` of neighbors replaced by `new`, from left to right."""
    joined: list[int] = []
    i = 0
    while i < len(word):
        if i + 1 < len(word) and word[i] == pair[0] and word[i + 1] == pair[1]:
            joined.append(new)
            i += 2
        else:
            joined.append(word[i])
            i += 1
    return joined


def apply_merges(word: Sequence[int], ranks: Mapping[Pair, tuple[int, int]]) -> list[int]:
    """Word after the learned merges, in O(n log n) for n symbols: a text without spaces, as Chinese has, is one word.

    `ranks` maps a pair to its rank in the list of merges and the symbol that it makes.
    """
    ids = list(word)
    n = len(ids)
    after, before = list(range(1, n + 1)), list(range(-1, n - 1))  # a linked list: joining costs O(1)
    queue = [(*ranks[pair], i, pair) for i, pair in enumerate(pairwise(ids)) if pair in ranks]
    heapq.heapify(queue)
    while queue:
        _, new, i, pair = heapq.heappop(queue)
        j = after[i]
        if j >= n or (ids[i], ids[j]) != pair:
            continue  # one of the two has been joined with its other neighbor since
        ids[i], ids[j] = new, -1
        after[i] = after[j]
        if after[i] < n:
            before[after[i]] = i
        for left, right in ((before[i], i), (i, after[i])):
            if left >= 0 and right < n and (ids[left], ids[right]) in ranks:
                pair = ids[left], ids[right]
                heapq.heappush(queue, (*ranks[pair], left, pair))
    return [symbol for symbol in ids if symbol >= 0]


# GPT-2's way to cut a text: contractions, then letters, digits or other signs (each with the space before it),
# then runs of white space. \p{White_Space} is what the library's \s means; Python's \s has four more characters.
# (Letters that Unicode has only just added are letters to whichever of the two libraries is newer.)
_WORDS = regex.compile(
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+"
    r"|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+"
)
_CACHED_WORDS, _CACHED_LENGTH = 2**17, 64  # what the cache may hold: a bound for texts from outside


def byte_characters() -> dict[int, str]:
    """Printable character of each of the 256 bytes: Latin-1 itself, or 256, 257, ...: a space becomes "Ġ"."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


_CHARACTER = byte_characters()
_BYTE = {character: byte for byte, character in _CHARACTER.items()}
_TO_CHARACTERS = {byte: ord(character) for byte, character in _CHARACTER.items()}


def pretokenize(text: str) -> list[str]:
    """Words of a text, each spelled in the characters of its UTF-8 bytes; merges never cross words.

    Raises:
        SettingError: half of a surrogate pair, which no UTF-8 can spell.
    """
    try:
        # Latin-1 maps byte b to the character of code b, which `translate` then replaces, all in C.
        return [word.encode().decode("latin-1").translate(_TO_CHARACTERS) for word in _WORDS.findall(text)]
    except UnicodeEncodeError as error:
        raise SettingError(
            f"the text is not valid Unicode: {text[error.start : error.end]!r} is half of a surrogate pair; "
            'repair it with text.encode("utf-8", "replace").decode()'
        ) from error


class BPETokenizer:
    """Byte-level byte-pair encoding.

    Ids are given in this order: special tokens, the 256 bytes, one for each merge. Special tokens mark what is
    not text (padding, the end of a document). Ordinary text never encodes to one, even where it spells it out.

    Args:
        vocabulary: token, in the characters of `byte_characters`, -> id; ids are 0 .. n-1.
        merges: pairs of tokens, the first learned first.
        special_tokens: tokens of the vocabulary that are not text.
    """

    def __init__(
        self, vocabulary: dict[str, int], merges: Sequence[tuple[str, str]], special_tokens: Sequence[str] = ()
    ) -> None:
        ordinary = {*_BYTE, *(a + b for a, b in merges)}
        if wrong := [t for t in special_tokens if not t or t in ordinary or special_tokens.count(t) > 1]:
            raise SettingError(f'special token {wrong[0]!r} is empty, twice there, or a word; name it like "<|end|>"')
        if sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise SettingError(f"the ids of the vocabulary must be 0 .. {len(vocabulary) - 1}, each once")
        unmade = {part for pair in merges for part in pair} - ordinary
        if wrong := sorted((vocabulary.keys() ^ (ordinary | set(special_tokens))) | unmade):
            raise SettingError(f"vocabulary and merges do not fit together: {len(wrong)} tokens such as {wrong[0]!r}")
        self.vocabulary, self.merges, self.special_tokens = vocabulary, list(merges), tuple(special_tokens)
        # (left id, right id) -> (rank, id of both together); the lower rank was learned first and goes first.
        self._ranks = {
            (vocabulary[a], vocabulary[b]): (rank, vocabulary[a + b]) for rank, (a, b) in enumerate(self.merges)
        }
        self._token = [token for token, _ in sorted(vocabulary.items(), key=lambda entry: entry[1])]
        self._bytes = [
            token.encode() if token in self.special_tokens else bytes(_BYTE[character] for character in token)
            for token in self._token
        ]
        self._cache: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return len(self._token)

    def __repr__(self) -> str:
        return f"BPETokenizer({len(self)} tokens, {len(self.merges)} merges, special: {list(self.special_tokens)})"

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        special_tokens: Sequence[str] = ("<|pad|>", "<|end|>"),
        progress: bool = False,
    ) -> BPETokenizer:
        """Tokenizer with the merges of `learn_merges`.

        Args:
            texts: training texts.
            vocab_size: special tokens + 256 bytes + merges; fewer where no pair is left.
            special_tokens: get the first ids; name them like "<|end|>", so that no word can be one.
            progress: show a progress bar.
        """
        if vocab_size < (least := 256 + len(special_tokens)):
            raise SettingError(f"vocab_size={vocab_size} is too small for 256 bytes and special tokens; take {least}")
        if isinstance(texts, str):
            raise TypeError(f"texts must be a list of texts, got one str; write [{texts!r:.30}]")
        counts = Counter(word for text in texts for word in pretokenize(text))
        if not counts:
            raise SettingError("there is no text to learn from: texts has no character; give at least one word")
        tokens = [*special_tokens, *sorted(_BYTE)]
        ids = {token: i for i, token in enumerate(tokens)}
        words = [[ids[character] for character in word] for word in counts]
        merges = []
        for a, b in learn_merges(words, list(counts.values()), len(tokens), vocab_size - len(tokens), progress):
            merges.append((tokens[a], tokens[b]))
            tokens.append(tokens[a] + tokens[b])
        return cls(ids | {token: i for i, token in enumerate(tokens)}, merges, special_tokens)

    def encode(self, text: str) -> list[int]:
        """Ids of a text."""
        return [i for word in pretokenize(text) for i in (self._cache.get(word) or self._encode_word(word))]

    def _encode_word(self, word: str) -> list[int]:
        ids = apply_merges([self.vocabulary[character] for character in word], self._ranks)
        if len(word) <= _CACHED_LENGTH and len(self._cache) < _CACHED_WORDS:
            self._cache[word] = ids
        return ids

    def tokens(self, text: str) -> list[str]:
        """Tokens of a text, in the characters of `byte_characters` ("Ġ" is a space)."""
        return [self._token[i] for i in self.encode(text)]

    def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
        """Text of ids (`decode(encode(text)) == text`); bytes that are not UTF-8 become "�"."""
        parts = []
        for i in map(index, ids):
            if not 0 <= i < len(self):
                raise SettingError(f"id {i} is not in the vocabulary: ids go from 0 to {len(self) - 1}")
            if not (skip_special and self._token[i] in self.special_tokens):
                parts.append(self._bytes[i])
        return b"".join(parts).decode("utf-8", "replace")

    def save(self, path: str | Path) -> None:
        """Write a `tokenizer.json`, which `tokenizers.Tokenizer.from_file` reads too.

        The library gives the same ids, but it always reads special tokens in the text.
        """
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False) | {"special": True}
        added = [{"id": self.vocabulary[token], "content": token, **flags} for token in self.special_tokens]
        model = {"type": "BPE", "vocab": self.vocabulary, "merges": self.merges}
        content = {"version": "1.0", "added_tokens": added, "pre_tokenizer": level, "decoder": level, "model": model}
        write_json(path, content)

    @classmethod
    def load(cls, path: str | Path) -> BPETokenizer:
        """Tokenizer from a byte-level BPE `tokenizer.json` that `save` or the library wrote.

        Raises:
            FileNotFoundError: there is no such file.
            SettingError: the file is damaged, or holds another kind of tokenizer.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            level = data["pre_tokenizer"]
            kind = (data["model"]["type"], level["type"], level["add_prefix_space"], level.get("use_regex", True))
            if kind != ("BPE", "ByteLevel", False, True) or data.get("normalizer") is not None:
                raise SettingError("it is not a byte-level BPE without a prefix space")
            merges = [(str(a), str(b)) for a, b in data["model"]["merges"]]
            special = [entry["content"] for entry in sorted(data["added_tokens"], key=lambda entry: entry["id"])]
            return cls(data["model"]["vocab"], merges, special)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SettingError(
                f"cannot read a tokenizer from {path}: {error or type(error).__name__}; "
                "the file is damaged or of another kind: write it again with BPETokenizer.save"
            ) from error
