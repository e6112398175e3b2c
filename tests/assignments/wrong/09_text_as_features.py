# %% pool | padding times 0 is 0, which beats every number below 0
def pool(states, mask, how):
    real = mask.astype(bool)[:, :, None]
    if not real.any(axis=1).all():
        raise ValueError("a text has no token")
    kept = states * real
    return unit(kept.max(axis=1) if how == "max" else kept.sum(axis=1) / real.sum(axis=1))


# %% pool | counts the padding
def pool(states, mask, how):
    if not mask.any(axis=1).all():
        raise ValueError("a text has no token")
    return unit(states.max(axis=1) if how == "max" else states.mean(axis=1))


# %% pool | takes the padding to stand at the end
def pool(states, mask, how):
    lengths = mask.astype(int).sum(axis=1)
    if (lengths == 0).any():
        raise ValueError("a text has no token")
    pick = np.max if how == "max" else np.mean
    return unit(np.array([pick(s[:n], axis=0) for s, n in zip(states, lengths, strict=True)]))


# %% pool | divides by the length of the whole matrix and not of each row
def pool(states, mask, how):
    real = mask.astype(bool)[:, :, None]
    if not real.any(axis=1).all():
        raise ValueError("a text has no token")
    if how == "max":
        pooled = np.where(real, states, -np.inf).max(axis=1)
    else:
        pooled = np.where(real, states, 0).sum(axis=1) / real.sum(axis=1)
    return pooled / np.linalg.norm(pooled)


# %% pool | gives a vector to a text that has no token
def pool(states, mask, how):
    real = mask.astype(bool)[:, :, None]
    if how == "max":
        return unit(np.where(real, states, -1e9).max(axis=1))
    return unit(np.where(real, states, 0).sum(axis=1) / np.maximum(real.sum(axis=1), 1))


# %% isotropy | counts the cosine of a vector with itself, as equation (9.2) does
def mean_cosine(X):
    return np.square(unit(X).mean(axis=0)).sum()


# %% isotropy | takes off 1 for a row of zeros, too
def mean_cosine(X):
    n = len(X)
    return (np.square(unit(X).sum(axis=0)).sum() - n) / (n * (n - 1))


# %% isotropy | the length of the mean vector, without scaling the rows first
def mean_cosine(X):
    n = len(X)
    return (np.square(X.sum(axis=0)).sum() - np.square(X).sum()) / (n * (n - 1))


# %% isotropy | a matrix of all pairs, which does not fit for a large catalogue
def mean_cosine(X):
    cosines = unit(X) @ unit(X).T
    return cosines[~np.eye(len(X), dtype=bool)].mean()


# %% isotropy | leaves rows of zeros out
def mean_cosine(X):
    X = X[X.any(axis=1)]
    n = len(X)
    return (np.square(unit(X).sum(axis=0)).sum() - n) / max(n * (n - 1), 1)


# %% profile | does not center
def profile_scores(X, met, new):
    return unit(met @ unit(X)) @ unit(new).T


# %% profile | takes the new items' own mean off the new items
def profile_scores(X, met, new):
    mean = X[met.any(axis=0)].mean(axis=0)
    return unit(met @ unit(X - mean)) @ unit(new - new.mean(axis=0)).T


# %% profile | the mean of the whole catalogue, also of items nobody has met
def profile_scores(X, met, new):
    mean = X.mean(axis=0)
    return unit(met @ unit(X - mean)) @ unit(new - mean).T


# %% profile | a dot product instead of a cosine: long histories get larger scores
def profile_scores(X, met, new):
    mean = X[met.any(axis=0)].mean(axis=0)
    return met @ unit(X - mean) @ unit(new - mean).T


# %% profile | sums vectors of any length, so that an unusual item decides alone
def profile_scores(X, met, new):
    mean = X[met.any(axis=0)].mean(axis=0)
    return unit(met @ (X - mean)) @ unit(new - mean).T


# %% ridge | takes items that nobody has met for disliked
def fit_ridge(X, met, l2):
    mean = X.mean(axis=0)
    F = X - mean
    return mean, np.linalg.solve(F.T @ F + l2 * np.eye(X.shape[1]), F.T)


def score_ridge(mean, S, histories, vectors):
    return histories @ S.T @ (vectors - mean).T


# %% ridge | adds l2 to every number of the matrix and not to its diagonal
def fit_ridge(X, met, l2):
    known = met.any(axis=0)
    mean = X[known].mean(axis=0)
    F = np.where(known[:, None], X - mean, 0.0)
    return mean, np.linalg.solve(F.T @ F + l2, F.T)


def score_ridge(mean, S, histories, vectors):
    return histories @ S.T @ (vectors - mean).T


# %% ridge | takes the mean of the items that are to be scored
def fit_ridge(X, met, l2):
    known = met.any(axis=0)
    mean = X[known].mean(axis=0)
    F = np.where(known[:, None], X - mean, 0.0)
    return mean, np.linalg.solve(F.T @ F + l2 * np.eye(X.shape[1]), F.T)


def score_ridge(mean, S, histories, vectors):
    return histories @ S.T @ (vectors - vectors.mean(axis=0)).T


# %% ridge | solves with the items somebody has met, and keeps a column for the others
def fit_ridge(X, met, l2):
    known = met.any(axis=0)
    mean = X[known].mean(axis=0)
    F = X - mean
    return mean, np.linalg.solve(F[known].T @ F[known] + l2 * np.eye(X.shape[1]), F.T)


def score_ridge(mean, S, histories, vectors):
    return histories @ S.T @ (vectors - mean).T


# %% ridge | no intercept: fits and scores vectors that are not centered
def fit_ridge(X, met, l2):
    known = met.any(axis=0)
    F = np.where(known[:, None], X, 0.0)
    S = np.linalg.solve(F.T @ F + l2 * np.eye(X.shape[1]), F.T)
    return X[known].mean(axis=0), S


def score_ridge(mean, S, histories, vectors):
    return histories @ S.T @ vectors.T


# %% request | what was seen gets score 0, which is above every negative cosine
def answer(words, vectors, X, seen, k):
    known = [vectors[word] for word in words if word in vectors]
    if not words or len(known) < len(words) / 2:
        raise ValueError("too many words are unknown")
    cosine = unit(X) @ unit(np.mean(known, axis=0))
    cosine[seen] = 0
    return np.argsort(-cosine, kind="stable")[:k].tolist()


# %% request | drops what was seen from the k best, and too few are left
def answer(words, vectors, X, seen, k):
    known = [vectors[word] for word in words if word in vectors]
    if not words or len(known) < len(words) / 2:
        raise ValueError("too many words are unknown")
    cosine = unit(X) @ unit(np.mean(known, axis=0))
    best = np.argsort(-cosine, kind="stable")[:k].tolist()
    return [i for i in best if i not in seen]


# %% request | turns the order around, and the ties with it
def answer(words, vectors, X, seen, k):
    known = [vectors[word] for word in words if word in vectors]
    if not words or len(known) < len(words) / 2:
        raise ValueError("too many words are unknown")
    cosine = unit(X) @ unit(np.mean(known, axis=0))
    order = np.argsort(cosine, kind="stable")[::-1]
    return [i for i in order.tolist() if i not in seen][:k]


# %% request | a dot product: items with long vectors come first
def answer(words, vectors, X, seen, k):
    known = [vectors[word] for word in words if word in vectors]
    if not words or len(known) < len(words) / 2:
        raise ValueError("too many words are unknown")
    order = np.argsort(-(X @ np.mean(known, axis=0)), kind="stable")
    return [i for i in order.tolist() if i not in seen][:k]


# %% request | never refuses: what nobody understands gets a confident answer
def answer(words, vectors, X, seen, k):
    nothing = np.zeros(X.shape[1])
    wish = sum((vectors.get(word, nothing) for word in words), nothing)
    order = np.argsort(-(unit(X) @ unit(wish)), kind="stable")
    return [i for i in order.tolist() if i not in seen][:k]


# %% request | counts different words, so that one unknown word said thrice is one
def answer(words, vectors, X, seen, k):
    words = list(dict.fromkeys(words))
    known = [vectors[word] for word in words if word in vectors]
    if not words or len(known) < len(words) / 2:
        raise ValueError("too many words are unknown")
    order = np.argsort(-(unit(X) @ unit(np.mean(known, axis=0))), kind="stable")
    return [i for i in order.tolist() if i not in seen][:k]


# %% batches | takes the rows by the order, which sorts a second time instead of undoing it
def make_batches(lengths, budget):
    batches = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= budget:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def in_order(vectors, batches):
    return vectors[np.concatenate(batches)]


# %% batches | adds up the tokens and forgets what the padding takes
def make_batches(lengths, budget):
    batches = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batches and sum(lengths[j] for j in batches[-1]) + lengths[i] <= budget:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def in_order(vectors, batches):
    return vectors[np.argsort(np.concatenate(batches))]


# %% batches | fills batches in the order in which the texts come
def make_batches(lengths, budget):
    batches = []
    for i in range(len(lengths)):
        some = [*batches[-1], i] if batches else []
        if some and len(some) * max(lengths[j] for j in some) <= budget:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def in_order(vectors, batches):
    return vectors[np.argsort(np.concatenate(batches))]


# %% batches | an empty batch before a text that is longer than the budget
def make_batches(lengths, budget):
    batches = [[]]
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        some = [*batches[-1], i]
        if len(some) * lengths[some[0]] > budget:
            batches.append([])
        batches[-1].append(i)
    return batches


def in_order(vectors, batches):
    return vectors[np.argsort(np.concatenate(batches).astype(int))]


# %% batches | sorts and turns around, and of equals the last comes first
def make_batches(lengths, budget):
    batches = []
    for i in np.argsort(lengths, kind="stable")[::-1].tolist():
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= budget:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def in_order(vectors, batches):
    return vectors[np.argsort(np.concatenate(batches))]
