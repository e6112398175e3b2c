# ruff: noqa
# %% mirrors | head and tail are not turned: finds relations that say the same forwards
def mirrors(facts, least):
    known = set(facts)
    relations = sorted({relation for _, relation, _ in known})
    found = {}
    for a in relations:
        own = [(h, t) for h, relation, t in known if relation == a]
        shares = [sum((h, b, t) in known for h, t in own) / len(own) for b in relations]
        if max(shares) >= least:
            found[a] = relations[shares.index(max(shares))]
    return found


def once(facts, mirror):
    relations = {relation for _, relation, _ in facts}
    kept = {}
    for h, a, t in facts:
        partners = [b for b in relations if mirror.get(a) == b or mirror.get(b) == a]
        if not any((t, b, h) in kept for b in partners):
            kept[h, a, t] = None
    return list(kept)


# %% mirrors | a fact that is there twice counts twice in the share
def mirrors(facts, least):
    known = set(facts)
    relations = sorted({relation for _, relation, _ in known})
    found = {}
    for a in relations:
        own = [(h, t) for h, relation, t in facts if relation == a]
        shares = [sum((t, b, h) in known for h, t in own) / len(own) for b in relations]
        if max(shares) >= least:
            found[a] = relations[shares.index(max(shares))]
    return found


def once(facts, mirror):
    relations = {relation for _, relation, _ in facts}
    kept = {}
    for h, a, t in facts:
        partners = [b for b in relations if mirror.get(a) == b or mirror.get(b) == a]
        if not any((t, b, h) in kept for b in partners):
            kept[h, a, t] = None
    return list(kept)


# %% mirrors | a relation is never its own mirror
def mirrors(facts, least):
    known = set(facts)
    relations = sorted({relation for _, relation, _ in known})
    found = {}
    for a in relations:
        own = [(h, t) for h, relation, t in known if relation == a]
        shares = [(a != b) * sum((t, b, h) in known for h, t in own) / len(own) for b in relations]
        if max(shares) >= least:
            found[a] = relations[shares.index(max(shares))]
    return found


def once(facts, mirror):
    relations = {relation for _, relation, _ in facts}
    kept = {}
    for h, a, t in facts:
        partners = [b for b in relations if mirror.get(a) == b or mirror.get(b) == a]
        if not any((t, b, h) in kept for b in partners):
            kept[h, a, t] = None
    return list(kept)


# %% mirrors | if b is the mirror of a, then a is that of b, whatever its share
def mirrors(facts, least):
    known = set(facts)
    relations = sorted({relation for _, relation, _ in known})
    found = {}
    for a in relations:
        own = [(h, t) for h, relation, t in known if relation == a]
        shares = [sum((t, b, h) in known for h, t in own) / len(own) for b in relations]
        if max(shares) >= least:
            b = relations[shares.index(max(shares))]
            found[a] = b
            found.setdefault(b, a)
    return found


def once(facts, mirror):
    relations = {relation for _, relation, _ in facts}
    kept = {}
    for h, a, t in facts:
        partners = [b for b in relations if mirror.get(a) == b or mirror.get(b) == a]
        if not any((t, b, h) in kept for b in partners):
            kept[h, a, t] = None
    return list(kept)


# %% mirrors | takes the whole second relation out, with what is said one way only
def mirrors(facts, least):
    known = set(facts)
    relations = sorted({relation for _, relation, _ in known})
    found = {}
    for a in relations:
        own = [(h, t) for h, relation, t in known if relation == a]
        shares = [sum((t, b, h) in known for h, t in own) / len(own) for b in relations]
        if max(shares) >= least:
            found[a] = relations[shares.index(max(shares))]
    return found


def once(facts, mirror):
    kept = {}
    gone = set()
    for h, a, t in facts:
        if a in mirror and mirror[a] != a and mirror[a] not in gone:
            gone.add(a)
        if a not in gone:
            kept[h, a, t] = None
    return list(kept)


# %% mirrors | looks only for the mirror of the fact's own relation, which another fact may be without
def mirrors(facts, least):
    known = set(facts)
    relations = sorted({relation for _, relation, _ in known})
    found = {}
    for a in relations:
        own = [(h, t) for h, relation, t in known if relation == a]
        shares = [sum((t, b, h) in known for h, t in own) / len(own) for b in relations]
        if max(shares) >= least:
            found[a] = relations[shares.index(max(shares))]
    return found


def once(facts, mirror):
    relations = {relation for _, relation, _ in facts}
    kept = {}
    for h, a, t in facts:
        partners = [b for b in relations if mirror.get(a) == b]
        if not any((t, b, h) in kept for b in partners):
            kept[h, a, t] = None
    return list(kept)


# %% mirrors | whatever stands between the same two backwards says the same
def mirrors(facts, least):
    known = set(facts)
    relations = sorted({relation for _, relation, _ in known})
    found = {}
    for a in relations:
        own = [(h, t) for h, relation, t in known if relation == a]
        shares = [sum((t, b, h) in known for h, t in own) / len(own) for b in relations]
        if max(shares) >= least:
            found[a] = relations[shares.index(max(shares))]
    return found


def once(facts, mirror):
    relations = {relation for _, relation, _ in facts}
    kept = {}
    for h, a, t in facts:
        partners = relations
        if not any((t, b, h) in kept for b in partners):
            kept[h, a, t] = None
    return list(kept)


# %% mirrors | drops a fact if its mirror is anywhere in the list: then both are gone
def mirrors(facts, least):
    known = set(facts)
    relations = sorted({relation for _, relation, _ in known})
    found = {}
    for a in relations:
        own = [(h, t) for h, relation, t in known if relation == a]
        shares = [sum((t, b, h) in known for h, t in own) / len(own) for b in relations]
        if max(shares) >= least:
            found[a] = relations[shares.index(max(shares))]
    return found


def once(facts, mirror):
    relations = {relation for _, relation, _ in facts}
    kept = {}
    for h, a, t in facts:
        partners = [b for b in relations if mirror.get(a) == b or mirror.get(b) == a]
        if not any((t, b, h) in facts for b in partners):
            kept[h, a, t] = None
    return list(kept)


# %% mirrors | repeats stay
def mirrors(facts, least):
    known = set(facts)
    relations = sorted({relation for _, relation, _ in known})
    found = {}
    for a in relations:
        own = [(h, t) for h, relation, t in known if relation == a]
        shares = [sum((t, b, h) in known for h, t in own) / len(own) for b in relations]
        if max(shares) >= least:
            found[a] = relations[shares.index(max(shares))]
    return found


def once(facts, mirror):
    relations = {relation for _, relation, _ in facts}
    kept = []
    for h, a, t in facts:
        partners = [b for b in relations if mirror.get(a) == b or mirror.get(b) == a]
        if not any((t, b, h) in kept for b in partners):
            kept.append((h, a, t))
    return kept


# %% mirrors | the last of equal shares
def mirrors(facts, least):
    known = set(facts)
    relations = sorted({relation for _, relation, _ in known})
    found = {}
    for a in relations:
        own = [(h, t) for h, relation, t in known if relation == a]
        shares = [sum((t, b, h) in known for h, t in own) / len(own) for b in relations]
        if max(shares) >= least:
            found[a] = max(zip(shares, relations, strict=True))[1]
    return found


def once(facts, mirror):
    relations = {relation for _, relation, _ in facts}
    kept = {}
    for h, a, t in facts:
        partners = [b for b in relations if mirror.get(a) == b or mirror.get(b) == a]
        if not any((t, b, h) in kept for b in partners):
            kept[h, a, t] = None
    return list(kept)


# %% match | the year is not looked at: a remake is the same film
def words(title):
    bare = re.sub(r"\([^)]*\)", " ", title.lower()).replace("'", "")
    return [word for word in re.findall(r"\w+", bare) if word not in ("a", "an", "and", "the")]


def match(ours, theirs):
    names = [words(title) for title, _ in theirs]
    found = {}
    for place, (title, year) in enumerate(ours):
        name = words(title)
        near = [
            (0, there)
            for there, (_, other) in enumerate(theirs)
            if year is not None and other is not None and names[there] == name
        ]
        if name and near and min(near)[0] <= 1:
            found[place] = min(near)[1]
    return found


def agree(x, y, pairs):
    both = np.array([(x[i], y[j]) for i, j in pairs.items()], dtype=float).reshape(-1, 2)
    both = both[~np.isnan(both).any(axis=1)]
    if len(both) < 2 or (both == both[0]).all(axis=0).any():
        return 0.0
    return float(np.corrcoef(both.T)[0, 1])


# %% match | the first film that fits, not the nearest year
def words(title):
    bare = re.sub(r"\([^)]*\)", " ", title.lower()).replace("'", "")
    return [word for word in re.findall(r"\w+", bare) if word not in ("a", "an", "and", "the")]


def match(ours, theirs):
    names = [words(title) for title, _ in theirs]
    found = {}
    for place, (title, year) in enumerate(ours):
        name = words(title)
        near = [
            (abs(year - other) > 1, there)
            for there, (_, other) in enumerate(theirs)
            if year is not None and other is not None and names[there] == name
        ]
        if name and near and not min(near)[0]:
            found[place] = min(near)[1]
    return found


def agree(x, y, pairs):
    both = np.array([(x[i], y[j]) for i, j in pairs.items()], dtype=float).reshape(-1, 2)
    both = both[~np.isnan(both).any(axis=1)]
    if len(both) < 2 or (both == both[0]).all(axis=0).any():
        return 0.0
    return float(np.corrcoef(both.T)[0, 1])


# %% match | a set of words: the order and repeats are lost
def words(title):
    bare = re.sub(r"\([^)]*\)", " ", title.lower()).replace("'", "")
    return {word for word in re.findall(r"\w+", bare) if word not in ("a", "an", "and", "the")}


def match(ours, theirs):
    names = [words(title) for title, _ in theirs]
    found = {}
    for place, (title, year) in enumerate(ours):
        name = words(title)
        near = [
            (abs(year - other), there)
            for there, (_, other) in enumerate(theirs)
            if year is not None and other is not None and names[there] == name
        ]
        if name and near and min(near)[0] <= 1:
            found[place] = min(near)[1]
    return found


def agree(x, y, pairs):
    both = np.array([(x[i], y[j]) for i, j in pairs.items()], dtype=float).reshape(-1, 2)
    both = both[~np.isnan(both).any(axis=1)]
    if len(both) < 2 or (both == both[0]).all(axis=0).any():
        return 0.0
    return float(np.corrcoef(both.T)[0, 1])


# %% match | takes the articles out of the middle of words, as a replacement of text does
def words(title):
    bare = re.sub(r"\([^)]*\)", " ", title.lower()).replace("'", "")
    bare = bare.replace("the", " ")
    return [word for word in re.findall(r"\w+", bare) if word not in ("a", "an", "and", "the")]


def match(ours, theirs):
    names = [words(title) for title, _ in theirs]
    found = {}
    for place, (title, year) in enumerate(ours):
        name = words(title)
        near = [
            (abs(year - other), there)
            for there, (_, other) in enumerate(theirs)
            if year is not None and other is not None and names[there] == name
        ]
        if name and near and min(near)[0] <= 1:
            found[place] = min(near)[1]
    return found


def agree(x, y, pairs):
    both = np.array([(x[i], y[j]) for i, j in pairs.items()], dtype=float).reshape(-1, 2)
    both = both[~np.isnan(both).any(axis=1)]
    if len(both) < 2 or (both == both[0]).all(axis=0).any():
        return 0.0
    return float(np.corrcoef(both.T)[0, 1])


# %% match | the words in brackets stay
def words(title):
    bare = title.lower().replace("'", "")
    return [word for word in re.findall(r"\w+", bare) if word not in ("a", "an", "and", "the")]


def match(ours, theirs):
    names = [words(title) for title, _ in theirs]
    found = {}
    for place, (title, year) in enumerate(ours):
        name = words(title)
        near = [
            (abs(year - other), there)
            for there, (_, other) in enumerate(theirs)
            if year is not None and other is not None and names[there] == name
        ]
        if name and near and min(near)[0] <= 1:
            found[place] = min(near)[1]
    return found


def agree(x, y, pairs):
    both = np.array([(x[i], y[j]) for i, j in pairs.items()], dtype=float).reshape(-1, 2)
    both = both[~np.isnan(both).any(axis=1)]
    if len(both) < 2 or (both == both[0]).all(axis=0).any():
        return 0.0
    return float(np.corrcoef(both.T)[0, 1])


# %% match | titles without words are all alike
def words(title):
    bare = re.sub(r"\([^)]*\)", " ", title.lower()).replace("'", "")
    return [word for word in re.findall(r"\w+", bare) if word not in ("a", "an", "and", "the")]


def match(ours, theirs):
    names = [words(title) for title, _ in theirs]
    found = {}
    for place, (title, year) in enumerate(ours):
        name = words(title)
        near = [
            (abs(year - other), there)
            for there, (_, other) in enumerate(theirs)
            if year is not None and other is not None and names[there] == name
        ]
        if near and min(near)[0] <= 1:
            found[place] = min(near)[1]
    return found


def agree(x, y, pairs):
    both = np.array([(x[i], y[j]) for i, j in pairs.items()], dtype=float).reshape(-1, 2)
    both = both[~np.isnan(both).any(axis=1)]
    if len(both) < 2 or (both == both[0]).all(axis=0).any():
        return 0.0
    return float(np.corrcoef(both.T)[0, 1])


# %% match | each film of theirs is given away once
def words(title):
    bare = re.sub(r"\([^)]*\)", " ", title.lower()).replace("'", "")
    return [word for word in re.findall(r"\w+", bare) if word not in ("a", "an", "and", "the")]


def match(ours, theirs):
    names = [words(title) for title, _ in theirs]
    found = {}
    for place, (title, year) in enumerate(ours):
        name = words(title)
        near = [
            (abs(year - other), there)
            for there, (_, other) in enumerate(theirs)
            if year is not None and other is not None and there not in found.values() and names[there] == name
        ]
        if name and near and min(near)[0] <= 1:
            found[place] = min(near)[1]
    return found


def agree(x, y, pairs):
    both = np.array([(x[i], y[j]) for i, j in pairs.items()], dtype=float).reshape(-1, 2)
    both = both[~np.isnan(both).any(axis=1)]
    if len(both) < 2 or (both == both[0]).all(axis=0).any():
        return 0.0
    return float(np.corrcoef(both.T)[0, 1])


# %% match | compares the flags in the order of the two lists, not by the pairs
def words(title):
    bare = re.sub(r"\([^)]*\)", " ", title.lower()).replace("'", "")
    return [word for word in re.findall(r"\w+", bare) if word not in ("a", "an", "and", "the")]


def match(ours, theirs):
    names = [words(title) for title, _ in theirs]
    found = {}
    for place, (title, year) in enumerate(ours):
        name = words(title)
        near = [
            (abs(year - other), there)
            for there, (_, other) in enumerate(theirs)
            if year is not None and other is not None and names[there] == name
        ]
        if name and near and min(near)[0] <= 1:
            found[place] = min(near)[1]
    return found


def agree(x, y, pairs):
    both = np.array(
        [(x[i], y[j]) for i, j in zip(sorted(pairs), sorted(pairs.values()), strict=True)], dtype=float
    ).reshape(-1, 2)
    both = both[~np.isnan(both).any(axis=1)]
    if len(both) < 2 or (both == both[0]).all(axis=0).any():
        return 0.0
    return float(np.corrcoef(both.T)[0, 1])


# %% match | the share of pairs that say the same, which is high for rare genres whatever the match
def words(title):
    bare = re.sub(r"\([^)]*\)", " ", title.lower()).replace("'", "")
    return [word for word in re.findall(r"\w+", bare) if word not in ("a", "an", "and", "the")]


def match(ours, theirs):
    names = [words(title) for title, _ in theirs]
    found = {}
    for place, (title, year) in enumerate(ours):
        name = words(title)
        near = [
            (abs(year - other), there)
            for there, (_, other) in enumerate(theirs)
            if year is not None and other is not None and names[there] == name
        ]
        if name and near and min(near)[0] <= 1:
            found[place] = min(near)[1]
    return found


def agree(x, y, pairs):
    both = np.array([(x[i], y[j]) for i, j in pairs.items()], dtype=float).reshape(-1, 2)
    both = both[~np.isnan(both).any(axis=1)]
    if len(both) < 2 or (both == both[0]).all(axis=0).any():
        return 0.0
    return float((both[:, 0] == both[:, 1]).mean())


# %% match | unknown is no
def words(title):
    bare = re.sub(r"\([^)]*\)", " ", title.lower()).replace("'", "")
    return [word for word in re.findall(r"\w+", bare) if word not in ("a", "an", "and", "the")]


def match(ours, theirs):
    names = [words(title) for title, _ in theirs]
    found = {}
    for place, (title, year) in enumerate(ours):
        name = words(title)
        near = [
            (abs(year - other), there)
            for there, (_, other) in enumerate(theirs)
            if year is not None and other is not None and names[there] == name
        ]
        if name and near and min(near)[0] <= 1:
            found[place] = min(near)[1]
    return found


def agree(x, y, pairs):
    both = np.array([(x[i], y[j]) for i, j in pairs.items()], dtype=float).reshape(-1, 2)
    both = np.nan_to_num(both)
    if len(both) < 2 or (both == both[0]).all(axis=0).any():
        return 0.0
    return float(np.corrcoef(both.T)[0, 1])


# %% match | the correlation of what never changes is nan
def words(title):
    bare = re.sub(r"\([^)]*\)", " ", title.lower()).replace("'", "")
    return [word for word in re.findall(r"\w+", bare) if word not in ("a", "an", "and", "the")]


def match(ours, theirs):
    names = [words(title) for title, _ in theirs]
    found = {}
    for place, (title, year) in enumerate(ours):
        name = words(title)
        near = [
            (abs(year - other), there)
            for there, (_, other) in enumerate(theirs)
            if year is not None and other is not None and names[there] == name
        ]
        if name and near and min(near)[0] <= 1:
            found[place] = min(near)[1]
    return found


def agree(x, y, pairs):
    both = np.array([(x[i], y[j]) for i, j in pairs.items()], dtype=float).reshape(-1, 2)
    both = both[~np.isnan(both).any(axis=1)]
    if len(both) < 2:
        return 0.0
    with np.errstate(all="ignore"):
        return float(np.corrcoef(both.T)[0, 1])


# %% score | the squared distance
def score(kind, E, W, heads, relations, tails):
    h, w, t = E[heads], W[relations], E[tails]
    if kind == "transe":
        return -((h + w - t) ** 2).sum(axis=-1)
    if kind == "distmult":
        return (h * w * t).sum(axis=-1)
    if kind == "complex":
        d = E.shape[1] // 2
        h, w, t = (part[..., :d] + 1j * part[..., d:] for part in (h, w, t))
        return (h * w * t.conj()).sum(axis=-1).real
    raise ValueError(f"there is no kind {kind}")


def backward(kind, W):
    if kind not in ("transe", "distmult", "complex"):
        raise ValueError(f"there is no kind {kind}")
    sign = np.ones(W.shape[1])
    if kind == "transe":
        sign = -sign
    elif kind == "complex":
        sign[W.shape[1] // 2 :] = -1
    return W * sign


# %% score | the distance, not minus the distance: the best fact has the lowest score
def score(kind, E, W, heads, relations, tails):
    h, w, t = E[heads], W[relations], E[tails]
    if kind == "transe":
        return np.sqrt(((h + w - t) ** 2).sum(axis=-1))
    if kind == "distmult":
        return (h * w * t).sum(axis=-1)
    if kind == "complex":
        d = E.shape[1] // 2
        h, w, t = (part[..., :d] + 1j * part[..., d:] for part in (h, w, t))
        return (h * w * t.conj()).sum(axis=-1).real
    raise ValueError(f"there is no kind {kind}")


def backward(kind, W):
    if kind not in ("transe", "distmult", "complex"):
        raise ValueError(f"there is no kind {kind}")
    sign = np.ones(W.shape[1])
    if kind == "transe":
        sign = -sign
    elif kind == "complex":
        sign[W.shape[1] // 2 :] = -1
    return W * sign


# %% score | the tail is not conjugated: such a score is the same backwards
def score(kind, E, W, heads, relations, tails):
    h, w, t = E[heads], W[relations], E[tails]
    if kind == "transe":
        return -np.sqrt(((h + w - t) ** 2).sum(axis=-1))
    if kind == "distmult":
        return (h * w * t).sum(axis=-1)
    if kind == "complex":
        d = E.shape[1] // 2
        h, w, t = (part[..., :d] + 1j * part[..., d:] for part in (h, w, t))
        return (h * w * t).sum(axis=-1).real
    raise ValueError(f"there is no kind {kind}")


def backward(kind, W):
    if kind not in ("transe", "distmult", "complex"):
        raise ValueError(f"there is no kind {kind}")
    sign = np.ones(W.shape[1])
    if kind == "transe":
        sign = -sign
    elif kind == "complex":
        sign[W.shape[1] // 2 :] = -1
    return W * sign


# %% score | the head is conjugated in the place of the tail
def score(kind, E, W, heads, relations, tails):
    h, w, t = E[heads], W[relations], E[tails]
    if kind == "transe":
        return -np.sqrt(((h + w - t) ** 2).sum(axis=-1))
    if kind == "distmult":
        return (h * w * t).sum(axis=-1)
    if kind == "complex":
        d = E.shape[1] // 2
        h, w, t = (part[..., :d] + 1j * part[..., d:] for part in (h, w, t))
        return (h.conj() * w * t).sum(axis=-1).real
    raise ValueError(f"there is no kind {kind}")


def backward(kind, W):
    if kind not in ("transe", "distmult", "complex"):
        raise ValueError(f"there is no kind {kind}")
    sign = np.ones(W.shape[1])
    if kind == "transe":
        sign = -sign
    elif kind == "complex":
        sign[W.shape[1] // 2 :] = -1
    return W * sign


# %% score | real and imaginary parts by turns
def score(kind, E, W, heads, relations, tails):
    h, w, t = E[heads], W[relations], E[tails]
    if kind == "transe":
        return -np.sqrt(((h + w - t) ** 2).sum(axis=-1))
    if kind == "distmult":
        return (h * w * t).sum(axis=-1)
    if kind == "complex":
        h, w, t = (part[..., ::2] + 1j * part[..., 1::2] for part in (h, w, t))
        return (h * w * t.conj()).sum(axis=-1).real
    raise ValueError(f"there is no kind {kind}")


def backward(kind, W):
    if kind not in ("transe", "distmult", "complex"):
        raise ValueError(f"there is no kind {kind}")
    sign = np.ones(W.shape[1])
    if kind == "transe":
        sign = -sign
    elif kind == "complex":
        sign[W.shape[1] // 2 :] = -1
    return W * sign


# %% score | every head with every tail, as if a table were asked for
def score(kind, E, W, heads, relations, tails):
    h, w, t = E[heads], W[relations], E[tails]
    if kind == "transe":
        return -np.sqrt(((h + w - t) ** 2).sum(axis=-1))
    if kind == "distmult":
        return (h * w).reshape(-1, E.shape[1]) @ t.reshape(-1, E.shape[1]).T
    if kind == "complex":
        d = E.shape[1] // 2
        h, w, t = (part[..., :d] + 1j * part[..., d:] for part in (h, w, t))
        return (h * w * t.conj()).sum(axis=-1).real
    raise ValueError(f"there is no kind {kind}")


def backward(kind, W):
    if kind not in ("transe", "distmult", "complex"):
        raise ValueError(f"there is no kind {kind}")
    sign = np.ones(W.shape[1])
    if kind == "transe":
        sign = -sign
    elif kind == "complex":
        sign[W.shape[1] // 2 :] = -1
    return W * sign


# %% score | anything else is taken for complex
def score(kind, E, W, heads, relations, tails):
    h, w, t = E[heads], W[relations], E[tails]
    if kind == "transe":
        return -np.sqrt(((h + w - t) ** 2).sum(axis=-1))
    if kind == "distmult":
        return (h * w * t).sum(axis=-1)
    d = E.shape[1] // 2
    h, w, t = (part[..., :d] + 1j * part[..., d:] for part in (h, w, t))
    return (h * w * t.conj()).sum(axis=-1).real


def backward(kind, W):
    if kind not in ("transe", "distmult", "complex"):
        raise ValueError(f"there is no kind {kind}")
    sign = np.ones(W.shape[1])
    if kind == "transe":
        sign = -sign
    elif kind == "complex":
        sign[W.shape[1] // 2 :] = -1
    return W * sign


# %% score | backwards is minus for all three
def score(kind, E, W, heads, relations, tails):
    h, w, t = E[heads], W[relations], E[tails]
    if kind == "transe":
        return -np.sqrt(((h + w - t) ** 2).sum(axis=-1))
    if kind == "distmult":
        return (h * w * t).sum(axis=-1)
    if kind == "complex":
        d = E.shape[1] // 2
        h, w, t = (part[..., :d] + 1j * part[..., d:] for part in (h, w, t))
        return (h * w * t.conj()).sum(axis=-1).real
    raise ValueError(f"there is no kind {kind}")


def backward(kind, W):
    if kind not in ("transe", "distmult", "complex"):
        raise ValueError(f"there is no kind {kind}")
    sign = np.ones(W.shape[1])
    if kind == "transe":
        sign = -sign
    if kind == "distmult":
        sign = -sign
    elif kind == "complex":
        sign[W.shape[1] // 2 :] = -1
    return W * sign


# %% score | the real parts change their sign, not the imaginary ones
def score(kind, E, W, heads, relations, tails):
    h, w, t = E[heads], W[relations], E[tails]
    if kind == "transe":
        return -np.sqrt(((h + w - t) ** 2).sum(axis=-1))
    if kind == "distmult":
        return (h * w * t).sum(axis=-1)
    if kind == "complex":
        d = E.shape[1] // 2
        h, w, t = (part[..., :d] + 1j * part[..., d:] for part in (h, w, t))
        return (h * w * t.conj()).sum(axis=-1).real
    raise ValueError(f"there is no kind {kind}")


def backward(kind, W):
    if kind not in ("transe", "distmult", "complex"):
        raise ValueError(f"there is no kind {kind}")
    sign = np.ones(W.shape[1])
    if kind == "transe":
        sign = -sign
    elif kind == "complex":
        sign[: W.shape[1] // 2] = -1
    return W * sign


# %% score | minus in the place: the relations are turned for good
def score(kind, E, W, heads, relations, tails):
    h, w, t = E[heads], W[relations], E[tails]
    if kind == "transe":
        return -np.sqrt(((h + w - t) ** 2).sum(axis=-1))
    if kind == "distmult":
        return (h * w * t).sum(axis=-1)
    if kind == "complex":
        d = E.shape[1] // 2
        h, w, t = (part[..., :d] + 1j * part[..., d:] for part in (h, w, t))
        return (h * w * t.conj()).sum(axis=-1).real
    raise ValueError(f"there is no kind {kind}")


def backward(kind, W):
    if kind not in ("transe", "distmult", "complex"):
        raise ValueError(f"there is no kind {kind}")
    sign = np.ones(W.shape[1])
    if kind == "transe":
        sign = -sign
    elif kind == "complex":
        sign[W.shape[1] // 2 :] = -1
    W *= sign
    return W


# %% ranks | the raw rank: other right answers are rivals
def ranks(scores, true, answers):
    found = np.zeros(len(scores))
    for row, (s, one, others) in enumerate(zip(scores, true, answers, strict=True)):
        rivals = np.delete(s, [one])
        found[row] = 1 + (rivals > s[one]).sum() + (rivals == s[one]).sum() / 2
    return found


def summary(ranks):
    hits = {f"hits@{k}": float((ranks <= k).mean()) for k in (1, 3, 10)}
    return {"mrr": float((1 / ranks).mean()), **hits}


# %% ranks | equal scores do not count, and a model that says the same of everything is the best
def ranks(scores, true, answers):
    found = np.zeros(len(scores))
    for row, (s, one, others) in enumerate(zip(scores, true, answers, strict=True)):
        rivals = np.delete(s, [*others, one])
        found[row] = 1 + (rivals > s[one]).sum()
    return found


def summary(ranks):
    hits = {f"hits@{k}": float((ranks <= k).mean()) for k in (1, 3, 10)}
    return {"mrr": float((1 / ranks).mean()), **hits}


# %% ranks | equal scores all count
def ranks(scores, true, answers):
    found = np.zeros(len(scores))
    for row, (s, one, others) in enumerate(zip(scores, true, answers, strict=True)):
        rivals = np.delete(s, [*others, one])
        found[row] = 1 + (rivals > s[one]).sum() + (rivals == s[one]).sum()
    return found


def summary(ranks):
    hits = {f"hits@{k}": float((ranks <= k).mean()) for k in (1, 3, 10)}
    return {"mrr": float((1 / ranks).mean()), **hits}


# %% ranks | a score of zero takes the other answers out
def ranks(scores, true, answers):
    found = np.zeros(len(scores))
    for row, (s, one, others) in enumerate(zip(scores, true, answers, strict=True)):
        s = s.copy()
        s[[e for e in others if e != one]] = 0
        rivals = np.delete(s, one)
        found[row] = 1 + (rivals > s[one]).sum() + (rivals == s[one]).sum() / 2
    return found


def summary(ranks):
    hits = {f"hits@{k}": float((ranks <= k).mean()) for k in (1, 3, 10)}
    return {"mrr": float((1 / ranks).mean()), **hits}


# %% ranks | -inf takes the other answers out, but a true entity with -inf ties with them
def ranks(scores, true, answers):
    found = np.zeros(len(scores))
    for row, (s, one, others) in enumerate(zip(scores, true, answers, strict=True)):
        s = s.copy()
        s[[e for e in others if e != one]] = -np.inf
        rivals = np.delete(s, one)
        found[row] = 1 + (rivals > s[one]).sum() + (rivals == s[one]).sum() / 2
    return found


def summary(ranks):
    hits = {f"hits@{k}": float((ranks <= k).mean()) for k in (1, 3, 10)}
    return {"mrr": float((1 / ranks).mean()), **hits}


# %% ranks | writes into the scores it was given
def ranks(scores, true, answers):
    found = np.zeros(len(scores))
    for row, (s, one, others) in enumerate(zip(scores, true, answers, strict=True)):
        s[[e for e in others if e != one]] = -np.inf
        rivals = np.delete(s, one)
        found[row] = 1 + (rivals > s[one]).sum() + (rivals == s[one]).sum() / 2
    return found


def summary(ranks):
    hits = {f"hits@{k}": float((ranks <= k).mean()) for k in (1, 3, 10)}
    return {"mrr": float((1 / ranks).mean()), **hits}


# %% ranks | takes the true entity out with the other answers
def ranks(scores, true, answers):
    found = np.zeros(len(scores))
    for row, (s, one, others) in enumerate(zip(scores, true, answers, strict=True)):
        s = np.where(np.isin(np.arange(len(s)), others), -np.inf, s)
        rivals = np.delete(s, one)
        found[row] = 1 + (rivals > s[one]).sum() + (rivals == s[one]).sum() / 2
    return found


def summary(ranks):
    hits = {f"hits@{k}": float((ranks <= k).mean()) for k in (1, 3, 10)}
    return {"mrr": float((1 / ranks).mean()), **hits}


# %% ranks | takes as many places off as there are other answers, also those that were worse
def ranks(scores, true, answers):
    found = np.zeros(len(scores))
    for row, (s, one, others) in enumerate(zip(scores, true, answers, strict=True)):
        rivals = np.delete(s, [*others, one])
        rivals = np.delete(s, one)
        found[row] = 1 + (rivals > s[one]).sum() + (rivals == s[one]).sum() / 2
        found[row] = max(found[row] - len(set(others) - {one}), 1)
    return found


def summary(ranks):
    hits = {f"hits@{k}": float((ranks <= k).mean()) for k in (1, 3, 10)}
    return {"mrr": float((1 / ranks).mean()), **hits}


# %% ranks | a sort breaks ties by the entity's number
def ranks(scores, true, answers):
    found = np.zeros(len(scores))
    for row, (s, one, others) in enumerate(zip(scores, true, answers, strict=True)):
        rivals = np.delete(s, [*others, one])
        left = [e for e in range(len(s)) if e == one or e not in others]
        order = sorted(left, key=lambda e: -s[e])
        found[row] = 1 + order.index(one)
    return found


def summary(ranks):
    hits = {f"hits@{k}": float((ranks <= k).mean()) for k in (1, 3, 10)}
    return {"mrr": float((1 / ranks).mean()), **hits}


# %% ranks | below k, not at most k
def ranks(scores, true, answers):
    found = np.zeros(len(scores))
    for row, (s, one, others) in enumerate(zip(scores, true, answers, strict=True)):
        rivals = np.delete(s, [*others, one])
        found[row] = 1 + (rivals > s[one]).sum() + (rivals == s[one]).sum() / 2
    return found


def summary(ranks):
    hits = {f"hits@{k}": float((ranks < k).mean()) for k in (1, 3, 10)}
    return {"mrr": float((1 / ranks).mean()), **hits}


# %% loss | copies of the true tail are its own rivals
def loss(Q, E, tails, drawn):
    n = len(Q)
    choice = np.c_[tails, np.tile(drawn, (n, 1))]
    z = (Q[:, None] * E[choice]).sum(axis=2)
    z = z - z.max(axis=1, keepdims=True)
    total = np.exp(z).sum(axis=1, keepdims=True)
    slope = np.exp(z) / total
    slope[:, 0] -= 1
    slope = slope[:, :, None] / n
    of_E = np.zeros_like(E)
    np.add.at(of_E, choice, slope * Q[:, None])
    mean = float((np.log(total[:, 0]) - z[:, 0]).mean())
    return mean, (slope * E[choice]).sum(axis=1), of_E


# %% loss | whatever is the tail of any fact in the batch is no rival
def loss(Q, E, tails, drawn):
    n = len(Q)
    choice = np.c_[tails, np.tile(drawn, (n, 1))]
    z = (Q[:, None] * E[choice]).sum(axis=2)
    z[:, 1:][:, np.isin(drawn, tails)] = -np.inf
    z = z - z.max(axis=1, keepdims=True)
    total = np.exp(z).sum(axis=1, keepdims=True)
    slope = np.exp(z) / total
    slope[:, 0] -= 1
    slope = slope[:, :, None] / n
    of_E = np.zeros_like(E)
    np.add.at(of_E, choice, slope * Q[:, None])
    mean = float((np.log(total[:, 0]) - z[:, 0]).mean())
    return mean, (slope * E[choice]).sum(axis=1), of_E


# %% loss | a score of zero is no mask: it still counts as exp(0)
def loss(Q, E, tails, drawn):
    n = len(Q)
    choice = np.c_[tails, np.tile(drawn, (n, 1))]
    z = (Q[:, None] * E[choice]).sum(axis=2)
    z[:, 1:][drawn == tails[:, None]] = 0
    z = z - z.max(axis=1, keepdims=True)
    total = np.exp(z).sum(axis=1, keepdims=True)
    slope = np.exp(z) / total
    slope[:, 0] -= 1
    slope = slope[:, :, None] / n
    of_E = np.zeros_like(E)
    np.add.at(of_E, choice, slope * Q[:, None])
    mean = float((np.log(total[:, 0]) - z[:, 0]).mean())
    return mean, (slope * E[choice]).sum(axis=1), of_E


# %% loss | an entity that is drawn twice takes part once
def loss(Q, E, tails, drawn):
    n = len(Q)
    drawn = np.unique(drawn)
    choice = np.c_[tails, np.tile(drawn, (n, 1))]
    z = (Q[:, None] * E[choice]).sum(axis=2)
    z[:, 1:][drawn == tails[:, None]] = -np.inf
    z = z - z.max(axis=1, keepdims=True)
    total = np.exp(z).sum(axis=1, keepdims=True)
    slope = np.exp(z) / total
    slope[:, 0] -= 1
    slope = slope[:, :, None] / n
    of_E = np.zeros_like(E)
    np.add.at(of_E, choice, slope * Q[:, None])
    mean = float((np.log(total[:, 0]) - z[:, 0]).mean())
    return mean, (slope * E[choice]).sum(axis=1), of_E


# %% loss | adds by index: of an entity that is met at many places one counts
def loss(Q, E, tails, drawn):
    n = len(Q)
    choice = np.c_[tails, np.tile(drawn, (n, 1))]
    z = (Q[:, None] * E[choice]).sum(axis=2)
    z[:, 1:][drawn == tails[:, None]] = -np.inf
    z = z - z.max(axis=1, keepdims=True)
    total = np.exp(z).sum(axis=1, keepdims=True)
    slope = np.exp(z) / total
    slope[:, 0] -= 1
    slope = slope[:, :, None] / n
    of_E = np.zeros_like(E)
    of_E[choice] += slope * Q[:, None]
    mean = float((np.log(total[:, 0]) - z[:, 0]).mean())
    return mean, (slope * E[choice]).sum(axis=1), of_E


# %% loss | no part of the table's gradient for the true tails
def loss(Q, E, tails, drawn):
    n = len(Q)
    choice = np.c_[tails, np.tile(drawn, (n, 1))]
    z = (Q[:, None] * E[choice]).sum(axis=2)
    z[:, 1:][drawn == tails[:, None]] = -np.inf
    z = z - z.max(axis=1, keepdims=True)
    total = np.exp(z).sum(axis=1, keepdims=True)
    slope = np.exp(z) / total
    slope[:, 0] -= 1
    slope = slope[:, :, None] / n
    of_E = np.zeros_like(E)
    np.add.at(of_E, choice[:, 1:], slope[:, 1:] * Q[:, None])
    mean = float((np.log(total[:, 0]) - z[:, 0]).mean())
    return mean, (slope * E[choice]).sum(axis=1), of_E


# %% loss | the mean of the loss, but the gradients of the sum
def loss(Q, E, tails, drawn):
    n = len(Q)
    choice = np.c_[tails, np.tile(drawn, (n, 1))]
    z = (Q[:, None] * E[choice]).sum(axis=2)
    z[:, 1:][drawn == tails[:, None]] = -np.inf
    z = z - z.max(axis=1, keepdims=True)
    total = np.exp(z).sum(axis=1, keepdims=True)
    slope = np.exp(z) / total
    slope[:, 0] -= 1
    slope = slope[:, :, None]
    of_E = np.zeros_like(E)
    np.add.at(of_E, choice, slope * Q[:, None])
    mean = float((np.log(total[:, 0]) - z[:, 0]).mean())
    return mean, (slope * E[choice]).sum(axis=1), of_E


# %% loss | the exponentials of large scores overflow
def loss(Q, E, tails, drawn):
    n = len(Q)
    choice = np.c_[tails, np.tile(drawn, (n, 1))]
    z = (Q[:, None] * E[choice]).sum(axis=2)
    z[:, 1:][drawn == tails[:, None]] = -np.inf
    with np.errstate(all="ignore"):
        total = np.exp(z).sum(axis=1, keepdims=True)
        slope = np.exp(z) / total
    slope[:, 0] -= 1
    slope = slope[:, :, None] / n
    of_E = np.zeros_like(E)
    np.add.at(of_E, choice, slope * Q[:, None])
    with np.errstate(all="ignore"):
        mean = float((np.log(total[:, 0]) - z[:, 0]).mean())
    return mean, (slope * E[choice]).sum(axis=1), of_E


# %% loss | the logarithm of a probability plus a little: a bad mistake hardly costs
def loss(Q, E, tails, drawn):
    n = len(Q)
    choice = np.c_[tails, np.tile(drawn, (n, 1))]
    z = (Q[:, None] * E[choice]).sum(axis=2)
    z[:, 1:][drawn == tails[:, None]] = -np.inf
    z = z - z.max(axis=1, keepdims=True)
    total = np.exp(z).sum(axis=1, keepdims=True)
    slope = np.exp(z) / total
    mean = float(-np.log(slope[:, 0] + 1e-12).mean())
    slope[:, 0] -= 1
    slope = slope[:, :, None] / n
    of_E = np.zeros_like(E)
    np.add.at(of_E, choice, slope * Q[:, None])
    return mean, (slope * E[choice]).sum(axis=1), of_E


# %% loss | masks the loss, but its gradient still pushes the tail below itself
def loss(Q, E, tails, drawn):
    n = len(Q)
    choice = np.c_[tails, np.tile(drawn, (n, 1))]
    z = (Q[:, None] * E[choice]).sum(axis=2)
    z = z - z.max(axis=1, keepdims=True)
    may = np.c_[np.ones((n, 1)), drawn != tails[:, None]]
    total = (np.exp(z) * may).sum(axis=1, keepdims=True)
    slope = np.exp(z) / total
    slope[:, 0] -= 1
    slope = slope[:, :, None] / n
    of_E = np.zeros_like(E)
    np.add.at(of_E, choice, slope * Q[:, None])
    mean = float((np.log(total[:, 0]) - z[:, 0]).mean())
    return mean, (slope * E[choice]).sum(axis=1), of_E


# %% features | the tail alone: what Hitchcock made and what is about him is one column
def features(facts, films, least):
    pairs = {film: set() for film in films}
    for head, relation, tail in facts:
        if head in pairs:
            pairs[head].add((relation, tail))
    first = {tail: (r, tail) for r, tail in sorted(set().union(*pairs.values()), reverse=True)}
    pairs = {film: {first[tail] for _, tail in own} for film, own in pairs.items()}
    every = sorted(set().union(*pairs.values()))
    has = np.array([[pair in pairs[film] for pair in every] for film in films])
    has = has.reshape(len(films), len(every))
    count = has.sum(axis=0)
    keep = count >= least
    has, count = has[:, keep], count[keep]
    matrix = has * np.log(len(films) / np.maximum(count, 1))
    length = np.sqrt((matrix**2).sum(axis=1, keepdims=True))
    names = [pair for pair, kept in zip(every, keep, strict=True) if kept]
    return matrix / np.where(length > 0, length, 1), names


# %% features | counts entities, not items: a film that is there twice counts once
def features(facts, films, least):
    pairs = {film: set() for film in films}
    for head, relation, tail in facts:
        if head in pairs:
            pairs[head].add((relation, tail))
    every = sorted(set().union(*pairs.values()))
    has = np.array([[pair in pairs[film] for pair in every] for film in films])
    has = has.reshape(len(films), len(every))
    once = [film is not None and film not in films[:i] for i, film in enumerate(films)]
    count = has[once].sum(axis=0)
    keep = count >= least
    has, count = has[:, keep], count[keep]
    matrix = has * np.log(len(films) / np.maximum(count, 1))
    length = np.sqrt((matrix**2).sum(axis=1, keepdims=True))
    names = [pair for pair, kept in zip(every, keep, strict=True) if kept]
    return matrix / np.where(length > 0, length, 1), names


# %% features | counts facts, with those that are there twice
def features(facts, films, least):
    pairs = {film: set() for film in films}
    for head, relation, tail in facts:
        if head in pairs:
            pairs[head].add((relation, tail))
    every = sorted(set().union(*pairs.values()))
    has = np.array([[pair in pairs[film] for pair in every] for film in films])
    has = has.reshape(len(films), len(every))
    heads = [[films.count(h) for h, r, t in facts if (r, t) == pair] for pair in every]
    count = np.array([sum(numbers) for numbers in heads], dtype=int)
    keep = count >= least
    has, count = has[:, keep], count[keep]
    matrix = has * np.log(len(films) / np.maximum(count, 1))
    length = np.sqrt((matrix**2).sum(axis=1, keepdims=True))
    names = [pair for pair, kept in zip(every, keep, strict=True) if kept]
    return matrix / np.where(length > 0, length, 1), names


# %% features | counts what all heads of the graph have, items or not
def features(facts, films, least):
    pairs = {film: set() for film in films}
    for head, relation, tail in facts:
        if head in pairs:
            pairs[head].add((relation, tail))
    every = sorted(set().union(*pairs.values()))
    has = np.array([[pair in pairs[film] for pair in every] for film in films])
    has = has.reshape(len(films), len(every))
    known = set(facts)
    count = np.array([sum((r, t) == pair for _, r, t in known) for pair in every], dtype=int)
    keep = count >= least
    has, count = has[:, keep], count[keep]
    matrix = has * np.log(len(films) / np.maximum(count, 1))
    length = np.sqrt((matrix**2).sum(axis=1, keepdims=True))
    names = [pair for pair, kept in zip(every, keep, strict=True) if kept]
    return matrix / np.where(length > 0, length, 1), names


# %% features | n is how many items are linked
def features(facts, films, least):
    pairs = {film: set() for film in films}
    for head, relation, tail in facts:
        if head in pairs:
            pairs[head].add((relation, tail))
    every = sorted(set().union(*pairs.values()))
    has = np.array([[pair in pairs[film] for pair in every] for film in films])
    has = has.reshape(len(films), len(every))
    count = has.sum(axis=0)
    keep = count >= least
    has, count = has[:, keep], count[keep]
    matrix = has * np.log(sum(film is not None for film in films) / np.maximum(count, 1))
    length = np.sqrt((matrix**2).sum(axis=1, keepdims=True))
    names = [pair for pair, kept in zip(every, keep, strict=True) if kept]
    return matrix / np.where(length > 0, length, 1), names


# %% features | adds 1 to the count, as text search does
def features(facts, films, least):
    pairs = {film: set() for film in films}
    for head, relation, tail in facts:
        if head in pairs:
            pairs[head].add((relation, tail))
    every = sorted(set().union(*pairs.values()))
    has = np.array([[pair in pairs[film] for pair in every] for film in films])
    has = has.reshape(len(films), len(every))
    count = has.sum(axis=0)
    keep = count >= least
    has, count = has[:, keep], count[keep]
    matrix = has * np.log(len(films) / (1 + count))
    length = np.sqrt((matrix**2).sum(axis=1, keepdims=True))
    names = [pair for pair, kept in zip(every, keep, strict=True) if kept]
    return matrix / np.where(length > 0, length, 1), names


# %% features | scales rows before the rare columns go
def features(facts, films, least):
    pairs = {film: set() for film in films}
    for head, relation, tail in facts:
        if head in pairs:
            pairs[head].add((relation, tail))
    every = sorted(set().union(*pairs.values()))
    has = np.array([[pair in pairs[film] for pair in every] for film in films])
    has = has.reshape(len(films), len(every))
    count = has.sum(axis=0)
    keep = count >= least
    matrix = has * np.log(len(films) / np.maximum(count, 1))
    length = np.sqrt((matrix**2).sum(axis=1, keepdims=True))
    names = [pair for pair, kept in zip(every, keep, strict=True) if kept]
    return (matrix / np.where(length > 0, length, 1))[:, keep], names


# %% features | scales the columns
def features(facts, films, least):
    pairs = {film: set() for film in films}
    for head, relation, tail in facts:
        if head in pairs:
            pairs[head].add((relation, tail))
    every = sorted(set().union(*pairs.values()))
    has = np.array([[pair in pairs[film] for pair in every] for film in films])
    has = has.reshape(len(films), len(every))
    count = has.sum(axis=0)
    keep = count >= least
    has, count = has[:, keep], count[keep]
    matrix = has * np.log(len(films) / np.maximum(count, 1))
    length = np.sqrt((matrix**2).sum(axis=0, keepdims=True))
    names = [pair for pair, kept in zip(every, keep, strict=True) if kept]
    return matrix / np.where(length > 0, length, 1), names


# %% features | a row of zeros becomes nan
def features(facts, films, least):
    pairs = {film: set() for film in films}
    for head, relation, tail in facts:
        if head in pairs:
            pairs[head].add((relation, tail))
    every = sorted(set().union(*pairs.values()))
    has = np.array([[pair in pairs[film] for pair in every] for film in films])
    has = has.reshape(len(films), len(every))
    count = has.sum(axis=0)
    keep = count >= least
    has, count = has[:, keep], count[keep]
    matrix = has * np.log(len(films) / np.maximum(count, 1))
    length = np.sqrt((matrix**2).sum(axis=1, keepdims=True))
    names = [pair for pair, kept in zip(every, keep, strict=True) if kept]
    with np.errstate(all="ignore"):
        return matrix / length, names


# %% features | an entity has one item: the first film that is there twice gets nothing
def features(facts, films, least):
    pairs = {film: set() for film in films}
    for head, relation, tail in facts:
        if head in pairs:
            pairs[head].add((relation, tail))
    every = sorted(set().union(*pairs.values()))
    has = np.array(
        [[pair in pairs[film] and film not in films[i + 1 :] for pair in every] for i, film in enumerate(films)]
    )
    has = has.reshape(len(films), len(every))
    count = has.sum(axis=0)
    keep = count >= least
    has, count = has[:, keep], count[keep]
    matrix = has * np.log(len(films) / np.maximum(count, 1))
    length = np.sqrt((matrix**2).sum(axis=1, keepdims=True))
    names = [pair for pair, kept in zip(every, keep, strict=True) if kept]
    return matrix / np.where(length > 0, length, 1), names


# %% fit | the penalty is that of the users alone: a new item has hardly any
def fit(X, F, weight, p, l2):
    G = X.T @ X + weight * F @ F.T
    L = l2 + np.diag(X.T @ X) * p / (1 - p)
    return np.linalg.solve(G + np.diag(L), G)


def recommend(X, B, n):
    scores = np.where(X > 0, -np.inf, X @ B)
    return np.argsort(-scores, axis=1, kind="stable")[:, :n]


# %% fit | the rows of facts times the weight, so that it counts squared
def fit(X, F, weight, p, l2):
    G = X.T @ X + weight**2 * F @ F.T
    L = l2 + np.diag(G) * p / (1 - p)
    return np.linalg.solve(G + np.diag(L), G)


def recommend(X, B, n):
    scores = np.where(X > 0, -np.inf, X @ B)
    return np.argsort(-scores, axis=1, kind="stable")[:, :n]


# %% fit | the dropout, not its odds
def fit(X, F, weight, p, l2):
    G = X.T @ X + weight * F @ F.T
    L = l2 + np.diag(G) * p
    return np.linalg.solve(G + np.diag(L), G)


def recommend(X, B, n):
    scores = np.where(X > 0, -np.inf, X @ B)
    return np.argsort(-scores, axis=1, kind="stable")[:, :n]


# %% fit | B transposed: from the item that is scored to the one that was met
def fit(X, F, weight, p, l2):
    G = X.T @ X + weight * F @ F.T
    L = l2 + np.diag(G) * p / (1 - p)
    return np.linalg.solve(G + np.diag(L), G).T


def recommend(X, B, n):
    scores = np.where(X > 0, -np.inf, X @ B)
    return np.argsort(-scores, axis=1, kind="stable")[:, :n]


# %% fit | the diagonal is set to zero
def fit(X, F, weight, p, l2):
    G = X.T @ X + weight * F @ F.T
    L = l2 + np.diag(G) * p / (1 - p)
    B = np.linalg.solve(G + np.diag(L), G)
    return B - np.diag(np.diag(B))


def recommend(X, B, n):
    scores = np.where(X > 0, -np.inf, X @ B)
    return np.argsort(-scores, axis=1, kind="stable")[:, :n]


# %% fit | learns the users' rows only: the facts weigh in the penalty and not in what is to be found
def fit(X, F, weight, p, l2):
    G = X.T @ X + weight * F @ F.T
    L = l2 + np.diag(G) * p / (1 - p)
    return np.linalg.solve(G + np.diag(L), X.T @ X)


def recommend(X, B, n):
    scores = np.where(X > 0, -np.inf, X @ B)
    return np.argsort(-scores, axis=1, kind="stable")[:, :n]


# %% fit | recommends what was met
def fit(X, F, weight, p, l2):
    G = X.T @ X + weight * F @ F.T
    L = l2 + np.diag(G) * p / (1 - p)
    return np.linalg.solve(G + np.diag(L), G)


def recommend(X, B, n):
    scores = X @ B
    return np.argsort(-scores, axis=1, kind="stable")[:, :n]


# %% fit | leaves out what nobody has met, which is what the facts are for
def fit(X, F, weight, p, l2):
    G = X.T @ X + weight * F @ F.T
    L = l2 + np.diag(G) * p / (1 - p)
    return np.linalg.solve(G + np.diag(L), G)


def recommend(X, B, n):
    scores = np.where((X > 0) | ~X.any(axis=0), -np.inf, X @ B)
    return np.argsort(-scores, axis=1, kind="stable")[:, :n]


# %% fit | the score of what was met is set to zero, above all that is below
def fit(X, F, weight, p, l2):
    G = X.T @ X + weight * F @ F.T
    L = l2 + np.diag(G) * p / (1 - p)
    return np.linalg.solve(G + np.diag(L), G)


def recommend(X, B, n):
    scores = np.where(X > 0, 0, X @ B)
    return np.argsort(-scores, axis=1, kind="stable")[:, :n]


# %% fit | turns a sorted row round, and with it the order of equal scores
def fit(X, F, weight, p, l2):
    G = X.T @ X + weight * F @ F.T
    L = l2 + np.diag(G) * p / (1 - p)
    return np.linalg.solve(G + np.diag(L), G)


def recommend(X, B, n):
    scores = np.where(X > 0, -np.inf, X @ B)
    return np.argsort(scores, axis=1, kind="stable")[:, ::-1][:, :n]
