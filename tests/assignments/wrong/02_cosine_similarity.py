# %% cosine | divides by the squared lengths
def cosine(x, y):
    return float(x @ y / ((x @ x) * (y @ y))) if x.any() and y.any() else 0.0


# %% cosine | takes the absolute value, as similarities "are positive"
def cosine(x, y):
    lengths = np.linalg.norm(x) * np.linalg.norm(y)
    return float(abs(x @ y) / lengths) if lengths > 0 else 0.0


# %% cosine | forgets that zeros have no direction
def cosine(x, y):
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))


# %% is-possible | compares with the true dot product
def is_possible(x, y, dot):
    return bool(np.isclose(x @ y, dot))


# %% is-possible | forgets the lower bound
def is_possible(x, y, dot):
    return bool(dot <= np.linalg.norm(x) * np.linalg.norm(y) * (1 + 1e-9))


# %% is-possible | leaves out the bound itself
def is_possible(x, y, dot):
    return bool(abs(dot) < np.linalg.norm(x) * np.linalg.norm(y) * (1 - 1e-9))


# %% idf | counts every occurrence
def idf(texts):
    df = Counter(word for text in texts for word in text.split())
    return {word: float(np.log((1 + len(texts)) / (1 + count)) + 1) for word, count in df.items()}


# %% idf | without smoothing
def idf(texts):
    df = Counter(word for text in texts for word in set(text.split()))
    return {word: float(np.log(len(texts) / count) + 1) for word, count in df.items()}


# %% idf | logarithm to base 2
def idf(texts):
    df = Counter(word for text in texts for word in set(text.split()))
    return {word: float(np.log2((1 + len(texts)) / (1 + count)) + 1) for word, count in df.items()}


# %% tfidf | whether a word occurs instead of how often
def tfidf(texts, rarity):
    words = sorted(rarity)
    rows = np.array([[(word in text.split()) * rarity[word] for word in words] for text in texts], dtype=float)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


# %% tfidf | scales rows to sum 1
def tfidf(texts, rarity):
    words = sorted(rarity)
    rows = np.array([[text.split().count(word) * rarity[word] for word in words] for text in texts], dtype=float)
    return rows / np.maximum(rows.sum(axis=1, keepdims=True), 1e-12)


# %% tfidf | columns in the order of the dictionary
def tfidf(texts, rarity):
    rows = np.array([[text.split().count(word) * rarity[word] for word in rarity] for text in texts], dtype=float)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


# %% scores | dot products instead of cosines
def scores(items, history):
    score = items @ items[history].sum(axis=0)
    score[history] = -np.inf
    return score


# %% scores | shows what was seen
def scores(items, history):
    profile = items[history].sum(axis=0)
    lengths = np.linalg.norm(items, axis=1) * np.linalg.norm(profile)
    return items @ profile / np.where(lengths > 0, lengths, 1.0)


# %% scores | scales the items before it adds them up
def scores(items, history):
    unit = items / np.maximum(np.linalg.norm(items, axis=1, keepdims=True), 1e-12)
    profile = unit[history].sum(axis=0)
    score = unit @ profile / max(np.linalg.norm(profile), 1e-12)
    score[history] = -np.inf
    return score


# %% rank | ties in the order of the array
def rank(score, seed):
    return np.argsort(-score, kind="stable")


# %% rank | shuffles, but returns places in the shuffled array
def rank(score, seed):
    shuffled = np.random.default_rng(seed).permutation(len(score))
    return np.argsort(-score[shuffled], kind="stable")


# %% rank | adds noise that is large enough to change the order of different scores
def rank(score, seed):
    return np.argsort(-(score + 10 * np.random.default_rng(seed).random(len(score))))
