# %% precision-recall | divides by the length of the list instead of k
def precision_recall(recommended, relevant, k):
    shown = recommended[:k]
    hits = len(set(shown) & relevant)
    return hits / len(shown), hits / len(relevant)


# %% precision-recall | forgets to cut the list at k
def precision_recall(recommended, relevant, k):
    hits = len(set(recommended) & relevant)
    return hits / k, hits / len(relevant)


# %% precision-recall | gives the two the wrong way round
def precision_recall(recommended, relevant, k):
    hits = len(set(recommended[:k]) & relevant)
    return hits / len(relevant), hits / k


# %% average-precision | divides by the number of hits
def average_precision(recommended, relevant, k):
    hits, total = 0, 0.0
    for rank, item in enumerate(recommended[:k], start=1):
        if item in relevant:
            hits += 1
            total += hits / rank
    return total / max(hits, 1)


# %% average-precision | divides by all relevant items
def average_precision(recommended, relevant, k):
    hits, total = 0, 0.0
    for rank, item in enumerate(recommended[:k], start=1):
        if item in relevant:
            hits += 1
            total += hits / rank
    return total / len(relevant)


# %% average-precision | adds the precision at every rank
def average_precision(recommended, relevant, k):
    hits, total = 0, 0.0
    for rank, item in enumerate(recommended[:k], start=1):
        hits += item in relevant
        total += hits / rank
    return total / min(k, len(relevant))


# %% ndcg | the ideal list has k hits, also for users with fewer relevant items
def ndcg(recommended, relevant, k):
    gain = sum(1 / np.log2(r + 1) for r, item in enumerate(recommended[:k], start=1) if item in relevant)
    return float(gain / sum(1 / np.log2(r + 1) for r in range(1, k + 1)))


# %% ndcg | takes as ideal the same hits in the best order, so that misses cost nothing
def ndcg(recommended, relevant, k):
    hit = [item in relevant for item in recommended[:k]]
    gain = sum(h / np.log2(r + 1) for r, h in enumerate(hit, start=1))
    ideal = sum(h / np.log2(r + 1) for r, h in enumerate(sorted(hit, reverse=True), start=1))
    return float(gain / ideal) if ideal else 0.0


# %% ndcg | starts counting ranks at zero and so uses log2(r + 2) twice over
def ndcg(recommended, relevant, k):
    gain = sum(1 / np.log2(r + 2) for r, item in enumerate(recommended[:k], start=1) if item in relevant)
    return float(gain / sum(1 / np.log2(r + 1) for r in range(1, min(k, len(relevant)) + 1)))


# %% interval | percentiles of the values instead of the means
def interval(values, repeats, seed):
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


# %% interval | draws without replacement, so that every mean is the same
def interval(values, repeats, seed):
    rng = np.random.default_rng(seed)
    means = [rng.choice(values, size=len(values), replace=False).mean() for _ in range(repeats)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


# %% interval | a 50 percent interval
def interval(values, repeats, seed):
    rng = np.random.default_rng(seed)
    means = rng.choice(values, size=(repeats, len(values))).mean(axis=1)
    low, high = np.percentile(means, [25, 75])
    return float(low), float(high)


# %% is-better | compares the means alone
def is_better(a, b, seed):
    return bool(a.mean() > b.mean())


# %% is-better | asks that the two intervals do not overlap
def is_better(a, b, seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(len(a), size=(1000, len(a)))
    return bool(np.percentile(a[rows].mean(axis=1), 2.5) > np.percentile(b[rows].mean(axis=1), 97.5))


# %% is-better | resamples the two models apart from each other
def is_better(a, b, seed):
    rng = np.random.default_rng(seed)
    first = rng.choice(a, size=(1000, len(a))).mean(axis=1)
    second = rng.choice(b, size=(1000, len(b))).mean(axis=1)
    return bool(np.percentile(first - second, 2.5) > 0)


# %% tail-share | counts different items instead of places
def tail_share(lists, counts, head):
    popular = set(np.argsort(-counts, kind="stable")[:head].tolist())
    shown = set(lists.ravel().tolist())
    return len(shown - popular) / len(shown)


# %% tail-share | takes the least popular items for the head
def tail_share(lists, counts, head):
    popular = np.argsort(counts, kind="stable")[:head]
    return float((~np.isin(lists, popular)).mean())


# %% tail-share | returns the share of the head
def tail_share(lists, counts, head):
    popular = np.argsort(-counts, kind="stable")[:head]
    return float(np.isin(lists, popular).mean())
