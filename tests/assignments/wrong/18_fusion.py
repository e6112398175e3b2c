# ruff: noqa
# %% scale | the deviation of a sample, divided by n - 1
def scale(scores, how):
    if how not in ("minmax", "zscore"):
        raise ValueError(f"there is no scale {how}")
    values = scores[~np.isnan(scores)]
    if len(values) == 0 or values.min() == values.max():
        return np.zeros(len(scores))
    zero, unit = values.mean(), values.std(ddof=1)
    if how == "minmax":
        zero, unit = values.min(), values.max() - values.min()
    return (np.where(np.isnan(scores), values.min(), scores) - zero) / unit


# %% scale | what is not scored counts as a score of 0
def scale(scores, how):
    if how not in ("minmax", "zscore"):
        raise ValueError(f"there is no scale {how}")
    values = np.nan_to_num(scores)
    if values.min() == values.max():
        return np.zeros(len(scores))
    if how == "minmax":
        return (values - values.min()) / (values.max() - values.min())
    return (values - values.mean()) / values.std()


# %% scale | what is not scored gets 0 on the new scale, which is the mean of the z-scores
def scale(scores, how):
    if how not in ("minmax", "zscore"):
        raise ValueError(f"there is no scale {how}")
    values = scores[~np.isnan(scores)]
    if len(values) == 0 or values.min() == values.max():
        return np.zeros(len(scores))
    zero, unit = values.mean(), values.std()
    if how == "minmax":
        zero, unit = values.min(), values.max() - values.min()
    return np.nan_to_num((scores - zero) / unit)


# %% scale | fills in the lowest score first, so that it counts again in mean and deviation
def scale(scores, how):
    if how not in ("minmax", "zscore"):
        raise ValueError(f"there is no scale {how}")
    known = scores[~np.isnan(scores)]
    if len(known) == 0 or known.min() == known.max():
        return np.zeros(len(scores))
    values = np.where(np.isnan(scores), known.min(), scores)
    if how == "minmax":
        return (values - values.min()) / (values.max() - values.min())
    return (values - values.mean()) / values.std()


# %% scale | the deviation of equal numbers is not quite zero: rounding becomes an opinion
def scale(scores, how):
    if how not in ("minmax", "zscore"):
        raise ValueError(f"there is no scale {how}")
    values = scores[~np.isnan(scores)]
    if len(values) == 0:
        return np.zeros(len(scores))
    zero, unit = values.mean(), values.std()
    if how == "minmax":
        zero, unit = values.min(), values.max() - values.min()
    if unit == 0:
        return np.zeros(len(scores))
    return (np.where(np.isnan(scores), values.min(), scores) - zero) / unit


# %% scale | adds a little to the deviation, which is much for small scores
def scale(scores, how):
    if how not in ("minmax", "zscore"):
        raise ValueError(f"there is no scale {how}")
    values = scores[~np.isnan(scores)]
    if len(values) == 0:
        return np.zeros(len(scores))
    zero, unit = values.mean(), values.std()
    if how == "minmax":
        zero, unit = values.min(), values.max() - values.min()
    return (np.where(np.isnan(scores), values.min(), scores) - zero) / (unit + 1e-8)


# %% scale | takes small differences for none
def scale(scores, how):
    if how not in ("minmax", "zscore"):
        raise ValueError(f"there is no scale {how}")
    values = scores[~np.isnan(scores)]
    if len(values) == 0 or np.allclose(values, values[0]):
        return np.zeros(len(scores))
    zero, unit = values.mean(), values.std()
    if how == "minmax":
        zero, unit = values.min(), values.max() - values.min()
    return (np.where(np.isnan(scores), values.min(), scores) - zero) / unit


# %% scale | the mean of the squares less the square of the mean: nothing is left far from zero
def scale(scores, how):
    if how not in ("minmax", "zscore"):
        raise ValueError(f"there is no scale {how}")
    values = scores[~np.isnan(scores)]
    if len(values) == 0 or values.min() == values.max():
        return np.zeros(len(scores))
    zero = values.mean()
    unit = np.sqrt(np.maximum((values**2).mean() - zero**2, 1e-300))
    if how == "minmax":
        zero, unit = values.min(), values.max() - values.min()
    return (np.where(np.isnan(scores), values.min(), scores) - zero) / unit


# %% scale | the result has the type of the scores: whole numbers are cut off
def scale(scores, how):
    if how not in ("minmax", "zscore"):
        raise ValueError(f"there is no scale {how}")
    found = np.zeros_like(scores)
    values = scores[~np.isnan(scores)]
    if len(values) == 0 or values.min() == values.max():
        return found
    zero, unit = values.mean(), values.std()
    if how == "minmax":
        zero, unit = values.min(), values.max() - values.min()
    found[:] = (np.where(np.isnan(scores), values.min(), scores) - zero) / unit
    return found


# %% scale | writes the lowest score into the row it was given
def scale(scores, how):
    if how not in ("minmax", "zscore"):
        raise ValueError(f"there is no scale {how}")
    values = scores[~np.isnan(scores)]
    if len(values) == 0 or values.min() == values.max():
        return np.zeros(len(scores))
    scores[np.isnan(scores)] = values.min()
    zero, unit = values.mean(), values.std()
    if how == "minmax":
        zero, unit = values.min(), values.max() - values.min()
    return (scores - zero) / unit


# %% merge | only the films of both lists
def merge(words, crowd, a):
    fused = {t: a * words[t] + (1 - a) * crowd[t] for t in words if t in crowd}
    return sorted(fused.items(), key=lambda pair: (-pair[1], pair[0]))


# %% merge | article S5: a film that only the crowd returned gets a similarity all the same
def merge(words, crowd, a):
    usual = sum(words.values()) / max(len(words), 1)
    fused = {t: a * words.get(t, usual) + (1 - a) * crowd.get(t, 0) for t in {*words, *crowd}}
    return sorted(fused.items(), key=lambda pair: (-pair[1], pair[0]))


# %% merge | article S5: the crowd's own score of a film of both lists is left out
def merge(words, crowd, a):
    fused = {t: (1 - a) * score for t, score in crowd.items()}
    fused |= {t: a * score for t, score in words.items()}
    return sorted(fused.items(), key=lambda pair: (-pair[1], pair[0]))


# %% merge | article S5: sums titles, so that one number comes out for all films
def merge(words, crowd, a):
    total = a * sum(words.values()) + (1 - a) * sum(crowd.values())
    return [(title, total) for title in sorted({*words, *crowd})]


# %% merge | the mean over all titles instead of the sum of one film's scores
def merge(words, crowd, a):
    titles = {*words, *crowd}
    fused = {t: (a * words.get(t, 0) + (1 - a) * crowd.get(t, 0)) / len(titles) for t in titles}
    return sorted(fused.items(), key=lambda pair: (-pair[1], pair[0]))


# %% merge | a is the weight of the crowd
def merge(words, crowd, a):
    fused = {t: (1 - a) * words.get(t, 0) + a * crowd.get(t, 0) for t in {*words, *crowd}}
    return sorted(fused.items(), key=lambda pair: (-pair[1], pair[0]))


# %% merge | a film of one list has that list's score in full
def merge(words, crowd, a):
    fused = {t: a * words.get(t, crowd.get(t)) + (1 - a) * crowd.get(t, words.get(t)) for t in {*words, *crowd}}
    return sorted(fused.items(), key=lambda pair: (-pair[1], pair[0]))


# %% merge | equal scores stay in the order of the lists
def merge(words, crowd, a):
    fused = {t: a * words.get(t, 0) + (1 - a) * crowd.get(t, 0) for t in [*words, *crowd]}
    return sorted(fused.items(), key=lambda pair: -pair[1])


# %% merge | sorts the pairs backwards, and with them the titles of equal scores
def merge(words, crowd, a):
    fused = {t: a * words.get(t, 0) + (1 - a) * crowd.get(t, 0) for t in {*words, *crowd}}
    return sorted(fused.items(), key=lambda pair: pair[::-1], reverse=True)


# %% merge | fills up the lists that were given
def merge(words, crowd, a):
    for t in {*words, *crowd}:
        words.setdefault(t, 0)
        crowd.setdefault(t, 0)
    fused = {t: a * words[t] + (1 - a) * crowd[t] for t in words}
    return sorted(fused.items(), key=lambda pair: (-pair[1], pair[0]))


# %% cosines | article S5 as printed: every item with itself
def cosines(X, Y):
    lengths = np.linalg.norm(Y, axis=1) ** 2
    return np.tile((Y * Y).sum(axis=1) / np.where(lengths > 0, lengths, 1), (len(X), 1))


def tells(S):
    return S.max(axis=1) - S.min(axis=1) > 1e-9


# %% cosines | the dot product, in which long vectors win
def cosines(X, Y):
    return X @ Y.T


def tells(S):
    return S.max(axis=1) - S.min(axis=1) > 1e-9


# %% cosines | only the items are scaled: the order is right, the number is no cosine
def cosines(X, Y):
    lengths = np.linalg.norm(Y, axis=1)
    return X @ Y.T / np.where(lengths > 0, lengths, 1)


def tells(S):
    return S.max(axis=1) - S.min(axis=1) > 1e-9


# %% cosines | adds a little to the lengths, which is much for short vectors
def cosines(X, Y):
    lengths = np.linalg.norm(X, axis=1)[:, None] * np.linalg.norm(Y, axis=1)
    return X @ Y.T / (lengths + 1e-12)


def tells(S):
    return S.max(axis=1) - S.min(axis=1) > 1e-9


# %% cosines | zero through zero
def cosines(X, Y):
    with np.errstate(all="ignore"):
        return X @ Y.T / (np.linalg.norm(X, axis=1)[:, None] * np.linalg.norm(Y, axis=1))


def tells(S):
    return S.max(axis=1) - S.min(axis=1) > 1e-9


# %% cosines | one length for the whole matrix
def cosines(X, Y):
    lengths = np.linalg.norm(X) * np.linalg.norm(Y)
    return X @ Y.T / (lengths if lengths > 0 else 1)


def tells(S):
    return S.max(axis=1) - S.min(axis=1) > 1e-9


# %% cosines | the mean is taken off first: a correlation
def cosines(X, Y):
    X, Y = X - X.mean(axis=1, keepdims=True), Y - Y.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(X, axis=1)[:, None] * np.linalg.norm(Y, axis=1)
    return X @ Y.T / np.where(lengths > 0, lengths, 1)


def tells(S):
    return S.max(axis=1) - S.min(axis=1) > 1e-9


# %% cosines | rounding counts as a ranking
def cosines(X, Y):
    lengths = np.linalg.norm(X, axis=1)[:, None] * np.linalg.norm(Y, axis=1)
    return X @ Y.T / np.where(lengths > 0, lengths, 1)


def tells(S):
    return S.max(axis=1) > S.min(axis=1)


# %% cosines | looks for rows of ones only, as if only the printed formula ranked nothing
def cosines(X, Y):
    lengths = np.linalg.norm(X, axis=1)[:, None] * np.linalg.norm(Y, axis=1)
    return X @ Y.T / np.where(lengths > 0, lengths, 1)


def tells(S):
    return (abs(S - 1) > 1e-9).any(axis=1)


# %% cosines | asks whether requests differ, not items
def cosines(X, Y):
    lengths = np.linalg.norm(X, axis=1)[:, None] * np.linalg.norm(Y, axis=1)
    return X @ Y.T / np.where(lengths > 0, lengths, 1)


def tells(S):
    return np.full(len(S), (S.max(axis=0) - S.min(axis=0) > 1e-9).any())


# %% rrf | the best has rank 0
def rrf(scores, weights, k):
    own, other = scores[:, :, None], scores[:, None, :]
    rank = (other > own).sum(axis=2) + ((other == own).sum(axis=2) - 1) / 2
    with np.errstate(all="ignore"):
        return np.where(np.isnan(scores), 0, weights[:, None] / (k + rank)).sum(axis=0)


# %% rrf | the lowest score has rank 1
def rrf(scores, weights, k):
    own, other = scores[:, :, None], scores[:, None, :]
    rank = (other < own).sum(axis=2) + ((other == own).sum(axis=2) + 1) / 2
    return np.where(np.isnan(scores), 0, weights[:, None] / (k + rank)).sum(axis=0)


# %% rrf | what is not scored comes last, and still gets a share
def rrf(scores, weights, k):
    scores = np.where(np.isnan(scores), -np.inf, scores)
    own, other = scores[:, :, None], scores[:, None, :]
    rank = (other > own).sum(axis=2) + ((other == own).sum(axis=2) + 1) / 2
    return (weights[:, None] / (k + rank)).sum(axis=0)


# %% rrf | equal scores go by their place
def rrf(scores, weights, k):
    rank = 1 + np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1)
    return np.where(np.isnan(scores), 0, weights[:, None] / (k + rank)).sum(axis=0)


# %% rrf | equal scores share the best of their ranks
def rrf(scores, weights, k):
    rank = 1 + (scores[:, None, :] > scores[:, :, None]).sum(axis=2)
    return np.where(np.isnan(scores), 0, weights[:, None] / (k + rank)).sum(axis=0)


# %% rrf | the mean of the shares in the place of the share of the mean rank
def rrf(scores, weights, k):
    total = np.zeros(scores.shape[1])
    for row, weight in zip(scores, weights):
        for i in np.flatnonzero(~np.isnan(row)):
            better, equal = (row > row[i]).sum(), (row == row[i]).sum()
            total[i] += weight * np.mean(1 / (k + better + 1 + np.arange(equal)))
    return total


# %% rrf | the weights are left out
def rrf(scores, weights, k):
    own, other = scores[:, :, None], scores[:, None, :]
    rank = (other > own).sum(axis=2) + ((other == own).sum(axis=2) + 1) / 2
    return np.where(np.isnan(scores), 0, 1 / (k + rank)).sum(axis=0)


# %% rrf | the weights are made to add up to 1
def rrf(scores, weights, k):
    weights = weights / max(weights.sum(), 1e-9)
    own, other = scores[:, :, None], scores[:, None, :]
    rank = (other > own).sum(axis=2) + ((other == own).sum(axis=2) + 1) / 2
    return np.where(np.isnan(scores), 0, weights[:, None] / (k + rank)).sum(axis=0)


# %% rrf | k is 60, as in the paper, whatever is given
def rrf(scores, weights, k):
    own, other = scores[:, :, None], scores[:, None, :]
    rank = (other > own).sum(axis=2) + ((other == own).sum(axis=2) + 1) / 2
    return np.where(np.isnan(scores), 0, weights[:, None] / (60 + rank)).sum(axis=0)


# %% rrf | ranks among the scores of all parts together
def rrf(scores, weights, k):
    every = scores[~np.isnan(scores)]
    rank = (every > scores[..., None]).sum(axis=2) + ((every == scores[..., None]).sum(axis=2) + 1) / 2
    return np.where(np.isnan(scores), 0, weights[:, None] / (k + rank)).sum(axis=0)


# %% choose | the a that is best on the test data
def choose(valid, test, grid, k):
    def means(side):
        fused = [np.where(side.met, -np.inf, a * side.words + (1 - a) * side.crowd) for a in grid]
        return [float(np.nanmean(ndcg(scores, side.wanted, k))) for scores in fused]

    here = means(test)
    best = min(range(len(grid)), key=lambda place: (-here[place], grid[place]))
    return grid[best], here[best], 0.0


# %% choose | the a that is best on validation and test together
def choose(valid, test, grid, k):
    def means(side):
        fused = [np.where(side.met, -np.inf, a * side.words + (1 - a) * side.crowd) for a in grid]
        return [float(np.nanmean(ndcg(scores, side.wanted, k))) for scores in fused]

    there, here = means(valid), means(test)
    best = min(range(len(grid)), key=lambda place: (-there[place] - here[place], grid[place]))
    return grid[best], here[best], max(here) - here[best]


# %% choose | a is the weight of the crowd
def choose(valid, test, grid, k):
    def means(side):
        fused = [np.where(side.met, -np.inf, (1 - a) * side.words + a * side.crowd) for a in grid]
        return [float(np.nanmean(ndcg(scores, side.wanted, k))) for scores in fused]

    there, here = means(valid), means(test)
    best = min(range(len(grid)), key=lambda place: (-there[place], grid[place]))
    return grid[best], here[best], max(here) - here[best]


# %% choose | recommends what was met
def choose(valid, test, grid, k):
    def means(side):
        fused = [a * side.words + (1 - a) * side.crowd for a in grid]
        return [float(np.nanmean(ndcg(scores, side.wanted, k))) for scores in fused]

    there, here = means(valid), means(test)
    best = min(range(len(grid)), key=lambda place: (-there[place], grid[place]))
    return grid[best], here[best], max(here) - here[best]


# %% choose | what was met on the validation side is left out of the test lists, and nothing else
def choose(valid, test, grid, k):
    def means(side):
        fused = [np.where(valid.met, -np.inf, a * side.words + (1 - a) * side.crowd) for a in grid]
        return [float(np.nanmean(ndcg(scores, side.wanted, k))) for scores in fused]

    there = means(valid)
    here = means(test)
    best = min(range(len(grid)), key=lambda place: (-there[place], grid[place]))
    return grid[best], here[best], max(here) - here[best]


# %% choose | the score of what was met is set to zero, above all that is below
def choose(valid, test, grid, k):
    def means(side):
        fused = [np.where(side.met, 0, a * side.words + (1 - a) * side.crowd) for a in grid]
        return [float(np.nanmean(ndcg(scores, side.wanted, k))) for scores in fused]

    there, here = means(valid), means(test)
    best = min(range(len(grid)), key=lambda place: (-there[place], grid[place]))
    return grid[best], here[best], max(here) - here[best]


# %% choose | a user with nothing to find counts as 0
def choose(valid, test, grid, k):
    def means(side):
        fused = [np.where(side.met, -np.inf, a * side.words + (1 - a) * side.crowd) for a in grid]
        return [float(np.nan_to_num(ndcg(scores, side.wanted, k)).mean()) for scores in fused]

    there, here = means(valid), means(test)
    best = min(range(len(grid)), key=lambda place: (-there[place], grid[place]))
    return grid[best], here[best], max(here) - here[best]


# %% choose | the first of the grid, not the smallest, of several best
def choose(valid, test, grid, k):
    def means(side):
        fused = [np.where(side.met, -np.inf, a * side.words + (1 - a) * side.crowd) for a in grid]
        return [float(np.nanmean(ndcg(scores, side.wanted, k))) for scores in fused]

    there, here = means(valid), means(test)
    best = int(np.argmax(there))
    return grid[best], here[best], max(here) - here[best]


# %% choose | the lowest mean, as if it were a loss
def choose(valid, test, grid, k):
    def means(side):
        fused = [np.where(side.met, -np.inf, a * side.words + (1 - a) * side.crowd) for a in grid]
        return [float(np.nanmean(ndcg(scores, side.wanted, k))) for scores in fused]

    there, here = means(valid), means(test)
    best = min(range(len(grid)), key=lambda place: (there[place], grid[place]))
    return grid[best], here[best], max(here) - here[best]


# %% choose | reports the mean on the data that a was chosen on
def choose(valid, test, grid, k):
    def means(side):
        fused = [np.where(side.met, -np.inf, a * side.words + (1 - a) * side.crowd) for a in grid]
        return [float(np.nanmean(ndcg(scores, side.wanted, k))) for scores in fused]

    there, here = means(valid), means(test)
    best = min(range(len(grid)), key=lambda place: (-there[place], grid[place]))
    return grid[best], there[best], max(here) - here[best]


# %% gated | h is the share of what is known
def gated(scores, known, new_user, new_item, n_user, n_item, paces):
    weights = known[:, None, None]
    for new, n, pace in ((new_user, n_user[:, None], paces[0]), (new_item, n_item, paces[1])):
        h = pace / (pace + n)
        weights = h * weights + (1 - h) * new[:, None, None]
    return (weights * scores).sum(axis=0)


# %% gated | the item first, then the user
def gated(scores, known, new_user, new_item, n_user, n_item, paces):
    weights = known[:, None, None]
    for new, n, pace in ((new_item, n_item, paces[1]), (new_user, n_user[:, None], paces[0])):
        h = pace / (pace + n)
        weights = (1 - h) * weights + h * new[:, None, None]
    return (weights * scores).sum(axis=0)


# %% gated | the item's gate begins from the known weights again: the user's is forgotten
def gated(scores, known, new_user, new_item, n_user, n_item, paces):
    known, new_item = known[:, None, None], new_item[:, None, None]
    h = paces[1] / (paces[1] + n_item)
    weights = (1 - h) * known + h * new_item
    return (weights * scores).sum(axis=0)


# %% gated | both gates from the known weights, and the mean of the two
def gated(scores, known, new_user, new_item, n_user, n_item, paces):
    known, new_user, new_item = (w[:, None, None] for w in (known, new_user, new_item))
    h = (paces[0] / (paces[0] + n_user))[:, None]
    g = paces[1] / (paces[1] + n_item)
    weights = ((1 - h) * known + h * new_user + (1 - g) * known + g * new_item) / 2
    return (weights * scores).sum(axis=0)


# %% gated | the two corrections are added, each in full
def gated(scores, known, new_user, new_item, n_user, n_item, paces):
    known, new_user, new_item = (w[:, None, None] for w in (known, new_user, new_item))
    h = (paces[0] / (paces[0] + n_user))[:, None]
    g = paces[1] / (paces[1] + n_item)
    weights = known + h * (new_user - known) + g * (new_item - known)
    return (weights * scores).sum(axis=0)


# %% gated | the paces swapped
def gated(scores, known, new_user, new_item, n_user, n_item, paces):
    weights = known[:, None, None]
    for new, n, pace in ((new_user, n_user[:, None], paces[1]), (new_item, n_item, paces[0])):
        h = pace / (pace + n)
        weights = (1 - h) * weights + h * new[:, None, None]
    return (weights * scores).sum(axis=0)


# %% gated | an exponential: close by for small n, and gone too soon
def gated(scores, known, new_user, new_item, n_user, n_item, paces):
    weights = known[:, None, None]
    for new, n, pace in ((new_user, n_user[:, None], paces[0]), (new_item, n_item, paces[1])):
        h = np.exp(-n / pace)
        weights = (1 - h) * weights + h * new[:, None, None]
    return (weights * scores).sum(axis=0)


# %% gated | a switch in the place of a gate
def gated(scores, known, new_user, new_item, n_user, n_item, paces):
    weights = known[:, None, None]
    for new, n, pace in ((new_user, n_user[:, None], paces[0]), (new_item, n_item, paces[1])):
        weights = np.where(n < pace, new[:, None, None], weights)
    return (weights * scores).sum(axis=0)


# %% gated | the weights are made to add up to 1
def gated(scores, known, new_user, new_item, n_user, n_item, paces):
    weights = known[:, None, None]
    for new, n, pace in ((new_user, n_user[:, None], paces[0]), (new_item, n_item, paces[1])):
        h = pace / (pace + n)
        weights = (1 - h) * weights + h * new[:, None, None]
    weights = weights / weights.sum(axis=0)
    return (weights * scores).sum(axis=0)


# %% gated | one gate for all users: how much they have met on average
def gated(scores, known, new_user, new_item, n_user, n_item, paces):
    weights = known[:, None, None]
    for new, n, pace in ((new_user, n_user.mean(), paces[0]), (new_item, n_item.mean(), paces[1])):
        h = pace / (pace + n)
        weights = (1 - h) * weights + h * new[:, None, None]
    return (weights * scores).sum(axis=0)


# %% out-of-fold | a model that has learned from everything scores what it has met
def out_of_fold(data, drawn, make, k, seed):
    scores = make().fit(data).score(np.arange(data.n_users))
    users = data.user_index
    return np.c_[scores[users, data.item_index], scores[users, drawn]]


# %% out-of-fold | train and test swapped: each interaction is scored by what has learned from it
def out_of_fold(data, drawn, make, k, seed):
    row_of = {pair: r for r, pair in enumerate(zip(data.user_index, data.item_index))}
    found = np.zeros((len(data), 2))
    for train, test in splits.kfold(data, k, seed=seed):
        scores = make().fit(test).score(np.arange(data.n_users))
        users, items = test.user_index, test.item_index
        rows = np.array([row_of[pair] for pair in zip(users, items)])
        found[rows] = np.c_[scores[users, items], scores[users, drawn[rows]]]
    return found


# %% out-of-fold | the rows stand in the order of the folds
def out_of_fold(data, drawn, make, k, seed):
    row_of = {pair: r for r, pair in enumerate(zip(data.user_index, data.item_index))}
    found = []
    for train, test in splits.kfold(data, k, seed=seed):
        scores = make().fit(train).score(np.arange(data.n_users))
        users, items = test.user_index, test.item_index
        rows = np.array([row_of[pair] for pair in zip(users, items)])
        found.append(np.c_[scores[users, items], scores[users, drawn[rows]]])
    return np.concatenate(found)


# %% out-of-fold | the drawn items are scored by another model, which has learned from everything
def out_of_fold(data, drawn, make, k, seed):
    row_of = {pair: r for r, pair in enumerate(zip(data.user_index, data.item_index))}
    found = np.zeros((len(data), 2))
    found[:, 1] = make().fit(data).score(np.arange(data.n_users))[data.user_index, drawn]
    for train, test in splits.kfold(data, k, seed=seed):
        scores = make().fit(train).score(np.arange(data.n_users))
        users, items = test.user_index, test.item_index
        rows = np.array([row_of[pair] for pair in zip(users, items)])
        found[rows, 0] = scores[users, items]
    return found


# %% out-of-fold | a drawn item is scored once for each user, by whichever fold comes last
def out_of_fold(data, drawn, make, k, seed):
    row_of = {pair: r for r, pair in enumerate(zip(data.user_index, data.item_index))}
    met, other = np.zeros((2, data.n_users, data.n_items))
    for train, test in splits.kfold(data, k, seed=seed):
        scores = make().fit(train).score(np.arange(data.n_users))
        users, items = test.user_index, test.item_index
        rows = np.array([row_of[pair] for pair in zip(users, items)])
        met[users, items] = scores[users, items]
        other[users, drawn[rows]] = scores[users, drawn[rows]]
    users = data.user_index
    return np.c_[met[users, data.item_index], other[users, drawn]]


# %% out-of-fold | one model for all folds, which remembers the folds before
def out_of_fold(data, drawn, make, k, seed):
    row_of = {pair: r for r, pair in enumerate(zip(data.user_index, data.item_index))}
    found = np.zeros((len(data), 2))
    model = make()
    for train, test in splits.kfold(data, k, seed=seed):
        scores = model.fit(train).score(np.arange(data.n_users))
        users, items = test.user_index, test.item_index
        rows = np.array([row_of[pair] for pair in zip(users, items)])
        found[rows] = np.c_[scores[users, items], scores[users, drawn[rows]]]
    return found


# %% out-of-fold | one split: its model scores everything, with what it has learned from
def out_of_fold(data, drawn, make, k, seed):
    train, test = next(splits.kfold(data, k, seed=seed))
    scores = make().fit(train).score(np.arange(data.n_users))
    users = data.user_index
    return np.c_[scores[users, data.item_index], scores[users, drawn]]


# %% out-of-fold | the mean over the models of all folds, of which only one has not met the item
def out_of_fold(data, drawn, make, k, seed):
    everybody = np.arange(data.n_users)
    models = [make().fit(train).score(everybody) for train, _ in splits.kfold(data, k, seed=seed)]
    scores = np.mean(models, axis=0)
    users = data.user_index
    return np.c_[scores[users, data.item_index], scores[users, drawn]]


# %% out-of-fold | whole users are left out, so that nothing is known of them
def out_of_fold(data, drawn, make, k, seed):
    row_of = {pair: r for r, pair in enumerate(zip(data.user_index, data.item_index))}
    found = np.zeros((len(data), 2))
    for train, test in splits.kfold(data, k, seed=seed):
        known = train.interactions[~np.isin(train.user_index, test.user_index)]
        scores = make().fit(data.with_interactions(known)).score(np.arange(data.n_users))
        users, items = test.user_index, test.item_index
        rows = np.array([row_of[pair] for pair in zip(users, items)])
        found[rows] = np.c_[scores[users, items], scores[users, drawn[rows]]]
    return found


# %% out-of-fold | five folds, and the seed 0
def out_of_fold(data, drawn, make, k, seed):
    row_of = {pair: r for r, pair in enumerate(zip(data.user_index, data.item_index))}
    found = np.zeros((len(data), 2))
    for train, test in splits.kfold(data, min(5, len(data))):
        scores = make().fit(train).score(np.arange(data.n_users))
        users, items = test.user_index, test.item_index
        rows = np.array([row_of[pair] for pair in zip(users, items)])
        found[rows] = np.c_[scores[users, items], scores[users, drawn[rows]]]
    return found
