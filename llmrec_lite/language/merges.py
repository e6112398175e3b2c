"""Chapter 8: the two halves of byte-pair encoding on plain numbers, learning merges and applying them.

Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units", ACL 2016, Algorithm 1.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from tqdm.auto import trange

Pair = tuple[int, int]


def learn_merges(
    words: Sequence[Sequence[int]], counts: Sequence[int], first_id: int, n_merges: int, progress: bool = False
) -> list[Pair]:
    """Join the most frequent pair of neighbors into a new symbol, everywhere, and again, `n_merges` times.

    Of pairs that are as frequent, the smaller one wins. Every round touches only words that hold the pair or did,
    so that a round costs what it changes, not what there is.

    Args:
        words: distinct words as lists of symbols below first_id.
        counts: how often each word occurs.
        first_id: of the symbol that the first merge makes; the next makes first_id + 1.
        n_merges: how many at most; fewer where no pair is left.
        progress: show a progress bar.

    Returns:
        The pairs, the first learned first.
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
    """Replace each `pair` of neighbors in `word` by `new`, from left to right."""
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
    """Apply learned merges to one word: the first learned first, each from left to right.

    O(n log n) for a word of n symbols, so that a text without spaces, as Chinese has, is no trap.

    Args:
        word: symbols.
        ranks: pair -> (its place in the list of merges, the symbol that it makes).
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
