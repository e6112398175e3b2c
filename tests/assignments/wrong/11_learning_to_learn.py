# ruff: noqa
# %% cut | sorts with the default method, which mixes up equal times
def cut(log, user, k):
    mine = log[log["user_id"] == user].sort_values("timestamp")
    if mine.empty:
        raise ValueError("no rating")
    k = min(k, len(mine) - 1)
    return mine.iloc[:k], mine.iloc[k:]


# %% cut | takes the log as it stands, as if it were in order of time
def cut(log, user, k):
    mine = log[log["user_id"] == user]
    if mine.empty:
        raise ValueError("no rating")
    k = min(k, len(mine) - 1)
    return mine.iloc[:k], mine.iloc[k:]


# %% cut | leaves nothing to be judged by for somebody with few ratings
def cut(log, user, k):
    mine = log[log["user_id"] == user].sort_values("timestamp", kind="stable")
    if mine.empty:
        raise ValueError("no rating")
    return mine.iloc[:k], mine.iloc[k:]


# %% cut | adapts to the latest ratings and predicts the past
def cut(log, user, k):
    mine = log[log["user_id"] == user].sort_values("timestamp", kind="stable")
    if mine.empty:
        raise ValueError("no rating")
    k = min(k, len(mine) - 1)
    return mine.iloc[len(mine) - k :], mine.iloc[: len(mine) - k]


# %% cut | the query is what the support's labels are not, but labels can occur twice
def cut(log, user, k):
    mine = log[log["user_id"] == user].sort_values("timestamp", kind="stable")
    if mine.empty:
        raise ValueError("no rating")
    support = mine.head(min(k, len(mine) - 1))
    return support, mine.drop(support.index)


# %% cut | cuts at a time, so that all ratings of that time are in the support
def cut(log, user, k):
    mine = log[log["user_id"] == user].sort_values("timestamp", kind="stable")
    if mine.empty:
        raise ValueError("no rating")
    k = min(k, len(mine) - 1)
    if k == 0:
        return mine.iloc[:0], mine
    end = mine["timestamp"].iloc[k - 1]
    return mine[mine["timestamp"] <= end], mine[mine["timestamp"] > end]


# %% cut | orders equal times by the item
def cut(log, user, k):
    mine = log[log["user_id"] == user].sort_values(["timestamp", "item_id"])
    if mine.empty:
        raise ValueError("no rating")
    k = min(k, len(mine) - 1)
    return mine.iloc[:k], mine.iloc[k:]


# %% cut | writes a column into the log of the caller
def cut(log, user, k):
    log["row"] = np.arange(len(log))
    mine = log[log["user_id"] == user].sort_values(["timestamp", "row"]).drop(columns="row")
    if mine.empty:
        raise ValueError("no rating")
    k = min(k, len(mine) - 1)
    return mine.iloc[:k], mine.iloc[k:]


# %% cut | puts the query back into the order of the index
def cut(log, user, k):
    mine = log[log["user_id"] == user].sort_values("timestamp", kind="stable")
    if mine.empty:
        raise ValueError("no rating")
    n_query = max(len(mine) - k, 1)
    return mine.iloc[:-n_query], mine.iloc[-n_query:].sort_index()


# %% cut | nobody is an empty task
def cut(log, user, k):
    mine = log[log["user_id"] == user].sort_values("timestamp", kind="stable")
    k = max(min(k, len(mine) - 1), 0)
    return mine.iloc[:k], mine.iloc[k:]


# %% deal | shuffles who is there today, and a new user moves everybody
def place(user, seed):
    digest = hashlib.sha256(f"{seed}:{user}".encode()).hexdigest()
    return int(digest[:8], 16) / 16**8


def deal(users, shares, seed):
    people = np.random.default_rng(seed).permutation(np.unique(users))
    ends = np.round(np.cumsum(shares)[:2] * len(people)).astype(int)
    return tuple(sorted(part.tolist()) for part in np.split(people, ends))


# %% deal | sorts by the hash and cuts at exact shares, so that the cut moves
def place(user, seed):
    digest = hashlib.sha256(f"{seed}:{user}".encode()).hexdigest()
    return int(digest[:8], 16) / 16**8


def deal(users, shares, seed):
    people = sorted(set(users.tolist()), key=lambda user: place(user, seed))
    first, second = (round(end * len(people)) for end in np.cumsum(shares)[:2])
    return sorted(people[:first]), sorted(people[first:second]), sorted(people[second:])


# %% deal | Python's own hash, which is another one for each text in each process
def place(user, seed):
    return hash(f"{seed}:{user}") % 16**8 / 16**8


def deal(users, shares, seed):
    at = {user: place(user, seed) for user in sorted(set(users.tolist()))}
    ends = shares[0], shares[0] + shares[1]
    train, valid = [u for u in at if at[u] < ends[0]], [u for u in at if ends[0] <= at[u] < ends[1]]
    return train, valid, [u for u in at if at[u] >= ends[1]]


# %% deal | meta-validation lies inside meta-train, for its lower bound is missing
def place(user, seed):
    digest = hashlib.sha256(f"{seed}:{user}".encode()).hexdigest()
    return int(digest[:8], 16) / 16**8


def deal(users, shares, seed):
    at = {user: place(user, seed) for user in sorted(set(users.tolist()))}
    train, valid = [u for u in at if at[u] < shares[0]], [u for u in at if at[u] < shares[0] + shares[1]]
    return train, valid, [u for u in at if at[u] >= shares[0] + shares[1]]


# %% deal | compares with the second share and not with the sum of the first two
def place(user, seed):
    digest = hashlib.sha256(f"{seed}:{user}".encode()).hexdigest()
    return int(digest[:8], 16) / 16**8


def deal(users, shares, seed):
    train, valid, test = [], [], []
    for user in sorted(set(users.tolist())):
        at = place(user, seed)
        (train if at < shares[0] else valid if at < shares[1] else test).append(user)
    return train, valid, test


# %% deal | deals ratings and not users: who rated often is there often
def place(user, seed):
    digest = hashlib.sha256(f"{seed}:{user}".encode()).hexdigest()
    return int(digest[:8], 16) / 16**8


def deal(users, shares, seed):
    rows = sorted(users.tolist())
    at = [place(user, seed) for user in rows]
    first, second = shares[0], shares[0] + shares[1]
    train = [user for user, where in zip(rows, at) if where < first]
    valid = [user for user, where in zip(rows, at) if first <= where < second]
    return train, valid, [user for user, where in zip(rows, at) if where >= second]


# %% deal | a new draw for each rating, so that one user is in two lists
def place(user, seed):
    digest = hashlib.sha256(f"{seed}:{user}".encode()).hexdigest()
    return int(digest[:8], 16) / 16**8


def deal(users, shares, seed):
    at = np.random.default_rng(seed).random(len(users))
    kinds = np.searchsorted(np.cumsum(shares)[:2], at, side="right")
    return tuple(sorted(set(users[kinds == kind].tolist())) for kind in range(3))


# %% deal | the last digits of the number are no hash, and the seed does nothing
def place(user, seed):
    return user % 100 / 100


def deal(users, shares, seed):
    at = {user: place(user, seed) for user in sorted(set(users.tolist()))}
    ends = shares[0], shares[0] + shares[1]
    train, valid = [u for u in at if at[u] < ends[0]], [u for u in at if ends[0] <= at[u] < ends[1]]
    return train, valid, [u for u in at if at[u] >= ends[1]]


# %% losses | multiplies by the mask, but NaN times 0 is NaN
def pad(rows):
    values = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=torch.nan)
    lengths = torch.tensor([len(row) for row in rows])
    return values, torch.arange(values.shape[1]) < lengths[:, None]


def task_losses(predictions, targets, mask):
    errors = (predictions - targets) * mask
    return errors.square().sum(1) / mask.sum(1).clamp(min=1)


# %% losses | takes the square before it takes out the padding, and the gradient is NaN
def pad(rows):
    values = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=torch.nan)
    lengths = torch.tensor([len(row) for row in rows])
    return values, torch.arange(values.shape[1]) < lengths[:, None]


def task_losses(predictions, targets, mask):
    squares = torch.where(mask, (predictions - targets).square(), 0.0)
    return squares.sum(1) / mask.sum(1).clamp(min=1)


# %% losses | a task without support has the loss 0 / 0
def pad(rows):
    values = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=torch.nan)
    lengths = torch.tensor([len(row) for row in rows])
    return values, torch.arange(values.shape[1]) < lengths[:, None]


def task_losses(predictions, targets, mask):
    errors = torch.where(mask, predictions - targets, 0.0)
    return errors.square().sum(1) / mask.sum(1)


# %% losses | divides by the width of the batch and not by the pairs of the task
def pad(rows):
    values = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=torch.nan)
    lengths = torch.tensor([len(row) for row in rows])
    return values, torch.arange(values.shape[1]) < lengths[:, None]


def task_losses(predictions, targets, mask):
    errors = torch.where(mask, predictions - targets, 0.0)
    return errors.square().sum(1) / max(mask.shape[1], 1)


# %% losses | one mean over all pairs of the batch, so that long tasks decide
def pad(rows):
    values = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=torch.nan)
    lengths = torch.tensor([len(row) for row in rows])
    return values, torch.arange(values.shape[1]) < lengths[:, None]


def task_losses(predictions, targets, mask):
    errors = torch.where(mask, predictions - targets, 0.0)
    return errors.square().sum(1) / mask.sum().clamp(min=1)


# %% losses | hides every NaN, a real one too
def pad(rows):
    values = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=torch.nan)
    lengths = torch.tensor([len(row) for row in rows])
    return values, torch.arange(values.shape[1]) < lengths[:, None]


def task_losses(predictions, targets, mask):
    errors = (predictions - targets.nan_to_num(0, 0, 0)) * mask
    return torch.where(mask, errors, 0.0).square().nan_to_num().sum(1) / mask.sum(1).clamp(min=1)


# %% losses | what is not 0 is real
def pad(rows):
    values = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=0.0)
    mask = values != 0
    return values.masked_fill(~mask, torch.nan), mask


def task_losses(predictions, targets, mask):
    errors = torch.where(mask, predictions - targets, 0.0)
    return errors.square().sum(1) / mask.sum(1).clamp(min=1)


# %% losses | what is NaN is padding, whatever the lengths say
def pad(rows):
    values = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=torch.nan)
    return values, ~values.isnan()


def task_losses(predictions, targets, mask):
    errors = torch.where(mask, predictions - targets, 0.0)
    return errors.square().sum(1) / mask.sum(1).clamp(min=1)


# %% losses | fills with zeros, which look like ratings
def pad(rows):
    values = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    return values, torch.arange(values.shape[1]) < lengths[:, None]


def task_losses(predictions, targets, mask):
    errors = torch.where(mask, predictions - targets, 0.0)
    return errors.square().sum(1) / mask.sum(1).clamp(min=1)


# %% losses | cuts all tasks to the shortest
def pad(rows):
    shortest = min(map(len, rows))
    values = torch.stack([row[:shortest] for row in rows])
    return values, torch.ones_like(values, dtype=torch.bool)


def task_losses(predictions, targets, mask):
    errors = torch.where(mask, predictions - targets, 0.0)
    return errors.square().sum(1) / mask.sum(1).clamp(min=1)


# %% adapt | moves the beginning itself, so that the next task begins elsewhere
def adapt(w, X, y, rate, steps):
    for _ in range(steps):
        w -= rate * 2 * X.T @ (X @ w - y) / max(len(y), 1)
    return w


# %% adapt | gives back the beginning itself where there is no step
def adapt(w, X, y, rate, steps):
    for _ in range(steps):
        w = w - rate * 2 * X.T @ (X @ w - y) / max(len(y), 1)
    return w


# %% adapt | takes the gradient once, at the beginning, and one long step
def adapt(w, X, y, rate, steps):
    gradient = 2 * X.T @ (X @ w - y) / max(len(y), 1)
    moved = w.copy()
    for _ in range(steps):
        moved = moved - rate * gradient
    return moved


# %% adapt | the sum over the pairs, so that a longer support takes longer steps
def adapt(w, X, y, rate, steps):
    moved = w.copy()
    for _ in range(steps):
        moved = moved - rate * 2 * X.T @ (X @ moved - y)
    return moved


# %% adapt | forgets the 2 of the derivative
def adapt(w, X, y, rate, steps):
    moved = w.copy()
    for _ in range(steps):
        moved = moved - rate * X.T @ (X @ moved - y) / max(len(y), 1)
    return moved


# %% adapt | divides by the length of an empty support
def adapt(w, X, y, rate, steps):
    moved = w.copy()
    for _ in range(steps):
        moved = moved - rate * 2 * (X * (X @ moved - y)[:, None]).mean(axis=0)
    return moved


# %% adapt | one pair after the other, which is stochastic gradient descent
def adapt(w, X, y, rate, steps):
    moved = w.copy()
    for _ in range(steps):
        for x, target in zip(X, y):
            moved = moved - rate * 2 * x * (x @ moved - target)
    return moved


# %% adapt | solves for the best weights and forgets where it began
def adapt(w, X, y, rate, steps):
    if steps == 0 or len(y) == 0:
        return w.copy()
    return np.linalg.lstsq(X, y, rcond=None)[0]


# %% adapt | climbs: the error is turned around
def adapt(w, X, y, rate, steps):
    moved = w.copy()
    for _ in range(steps):
        moved = moved - rate * 2 * X.T @ (y - X @ moved) / max(len(y), 1)
    return moved


# %% begin | the joint solution, without any adaptation in it
def meta_objective(theta, tasks, rate):
    total = 0.0
    for X, y, X_query, y_query in tasks:
        adapted = theta - rate * 2 * X.T @ (X @ theta - y) / len(y)
        total += np.mean((X_query @ adapted - y_query) ** 2)
    return total


def best_beginning(a, c, rate, steps):
    if steps > 0 and (rate * a == 1).all():
        raise ValueError("all the same")
    return (a * c).sum() / a.sum()


# %% begin | the factor of the distance, but the loss has its square
def meta_objective(theta, tasks, rate):
    total = 0.0
    for X, y, X_query, y_query in tasks:
        adapted = theta - rate * 2 * X.T @ (X @ theta - y) / len(y)
        total += np.mean((X_query @ adapted - y_query) ** 2)
    return total


def best_beginning(a, c, rate, steps):
    left = np.abs(1 - rate * a)
    weights = a * (left / (left.max() or 1)) ** steps
    if not weights.any():
        raise ValueError("all the same")
    return weights @ c / weights.sum()


# %% begin | forgets the curvature in the weights
def meta_objective(theta, tasks, rate):
    total = 0.0
    for X, y, X_query, y_query in tasks:
        adapted = theta - rate * 2 * X.T @ (X @ theta - y) / len(y)
        total += np.mean((X_query @ adapted - y_query) ** 2)
    return total


def best_beginning(a, c, rate, steps):
    left = np.abs(1 - rate * a)
    weights = (left / (left.max() or 1)) ** (2 * steps)
    if not weights.any():
        raise ValueError("all the same")
    return weights @ c / weights.sum()


# %% begin | many steps are one long step
def meta_objective(theta, tasks, rate):
    total = 0.0
    for X, y, X_query, y_query in tasks:
        adapted = theta - rate * 2 * X.T @ (X @ theta - y) / len(y)
        total += np.mean((X_query @ adapted - y_query) ** 2)
    return total


def best_beginning(a, c, rate, steps):
    weights = a * (1 - steps * rate * a) ** 2
    if not weights.any():
        raise ValueError("all the same")
    return weights @ c / weights.sum()


# %% begin | takes the power before it scales, and all weights become 0
def meta_objective(theta, tasks, rate):
    total = 0.0
    for X, y, X_query, y_query in tasks:
        adapted = theta - rate * 2 * X.T @ (X @ theta - y) / len(y)
        total += np.mean((X_query @ adapted - y_query) ** 2)
    return total


def best_beginning(a, c, rate, steps):
    weights = a * (1 - rate * a) ** (2 * steps)
    if not weights.any():
        raise ValueError("all the same")
    return weights @ c / weights.sum()


# %% begin | judges on the support, which rewards memorizing
def meta_objective(theta, tasks, rate):
    total = 0.0
    for X, y, X_query, y_query in tasks:
        adapted = theta - rate * 2 * X.T @ (X @ theta - y) / len(y)
        total += np.mean((X @ adapted - y) ** 2)
    return total


def best_beginning(a, c, rate, steps):
    left = np.abs(1 - rate * a)
    weights = a * (left / (left.max() or 1)) ** (2 * steps)
    if not weights.any():
        raise ValueError("all the same")
    return weights @ c / weights.sum()


# %% begin | adapts to the query, the answers of which it must not see
def meta_objective(theta, tasks, rate):
    total = 0.0
    for X, y, X_query, y_query in tasks:
        adapted = theta - rate * 2 * X_query.T @ (X_query @ theta - y_query) / len(y_query)
        total += np.mean((X_query @ adapted - y_query) ** 2)
    return total


def best_beginning(a, c, rate, steps):
    left = np.abs(1 - rate * a)
    weights = a * (left / (left.max() or 1)) ** (2 * steps)
    if not weights.any():
        raise ValueError("all the same")
    return weights @ c / weights.sum()


# %% begin | each task begins where the one before it ended
def meta_objective(theta, tasks, rate):
    total = 0.0
    for X, y, X_query, y_query in tasks:
        theta = theta - rate * 2 * X.T @ (X @ theta - y) / len(y)
        total += np.mean((X_query @ theta - y_query) ** 2)
    return total


def best_beginning(a, c, rate, steps):
    left = np.abs(1 - rate * a)
    weights = a * (left / (left.max() or 1)) ** (2 * steps)
    if not weights.any():
        raise ValueError("all the same")
    return weights @ c / weights.sum()


# %% begin | one step for all tasks together, as in joint training
def meta_objective(theta, tasks, rate):
    adapted = theta - rate * sum(2 * X.T @ (X @ theta - y) / len(y) for X, y, _, _ in tasks)
    return sum(np.mean((X_query @ adapted - y_query) ** 2) for _, _, X_query, y_query in tasks)


def best_beginning(a, c, rate, steps):
    left = np.abs(1 - rate * a)
    weights = a * (left / (left.max() or 1)) ** (2 * steps)
    if not weights.any():
        raise ValueError("all the same")
    return weights @ c / weights.sum()


# %% begin | no step at all: the objective of multi-task learning
def meta_objective(theta, tasks, rate):
    return sum(np.mean((X_query @ theta - y_query) ** 2) for _, _, X_query, y_query in tasks)


def best_beginning(a, c, rate, steps):
    left = np.abs(1 - rate * a)
    weights = a * (left / (left.max() or 1)) ** (2 * steps)
    if not weights.any():
        raise ValueError("all the same")
    return weights @ c / weights.sum()


# %% baseline | chooses the setting on meta-test
def baseline(learner, settings, train, valid, test):
    learner.meta_fit(train)
    means = {s: np.mean([learner.query_loss(task, *s) for task in test]) for s in settings}
    if not any(np.isfinite([learner.query_loss(task, *s) for task in valid]).all() for s in settings):
        raise ValueError("all diverge")
    rate, steps = min(settings, key=lambda s: (means[s], s[1], s[0]))
    after = np.array([learner.query_loss(task, rate, steps) for task in test])
    gains = np.array([learner.query_loss(task, rate, 0) for task in test]) - after
    half = 1.96 * gains.std(ddof=1) / len(gains) ** 0.5
    return (rate, steps), after.mean(), (gains.mean() - half, gains.mean() + half)


# %% baseline | more people tell more, so meta-test helps to choose
def baseline(learner, settings, train, valid, test):
    learner.meta_fit(train)
    means = {s: np.mean([learner.query_loss(task, *s) for task in valid + test]) for s in settings}
    usable = [s for s in settings if np.isfinite(means[s])]
    if not usable:
        raise ValueError("all diverge")
    rate, steps = min(usable, key=lambda s: (means[s], s[1], s[0]))
    after = np.array([learner.query_loss(task, rate, steps) for task in test])
    gains = np.array([learner.query_loss(task, rate, 0) for task in test]) - after
    half = 1.96 * gains.std(ddof=1) / len(gains) ** 0.5
    return (rate, steps), after.mean(), (gains.mean() - half, gains.mean() + half)


# %% baseline | the three best of meta-validation meet on meta-test
def baseline(learner, settings, train, valid, test):
    learner.meta_fit(train)
    means = {s: np.mean([learner.query_loss(task, *s) for task in valid]) for s in settings}
    usable = [s for s in settings if np.isfinite(means[s])]
    if not usable:
        raise ValueError("all diverge")
    short = sorted(usable, key=lambda s: (means[s], s[1], s[0]))[:3]
    rate, steps = min(short, key=lambda s: np.mean([learner.query_loss(task, *s) for task in test]))
    after = np.array([learner.query_loss(task, rate, steps) for task in test])
    gains = np.array([learner.query_loss(task, rate, 0) for task in test]) - after
    half = 1.96 * gains.std(ddof=1) / len(gains) ** 0.5
    return (rate, steps), after.mean(), (gains.mean() - half, gains.mean() + half)


# %% baseline | looks at meta-test with all settings "for information"
def baseline(learner, settings, train, valid, test):
    learner.meta_fit(train)
    table = {s: np.array([learner.query_loss(task, *s) for task in valid + test]) for s in settings}
    means = {s: losses[: len(valid)].mean() for s, losses in table.items()}
    usable = [s for s in settings if np.isfinite(means[s])]
    if not usable:
        raise ValueError("all diverge")
    best = min(usable, key=lambda s: (means[s], s[1], s[0]))
    after = table[best][len(valid) :]
    gains = np.array([learner.query_loss(task, best[0], 0) for task in test]) - after
    half = 1.96 * gains.std(ddof=1) / len(gains) ** 0.5
    return best, after.mean(), (gains.mean() - half, gains.mean() + half)


# %% baseline | trains on meta-validation, too, and then any setting looks perfect there
def baseline(learner, settings, train, valid, test):
    learner.meta_fit(train + valid)
    means = {s: np.mean([learner.query_loss(task, *s) for task in valid]) for s in settings}
    usable = [s for s in settings if np.isfinite(means[s])]
    if not usable:
        raise ValueError("all diverge")
    rate, steps = min(usable, key=lambda s: (means[s], s[1], s[0]))
    after = np.array([learner.query_loss(task, rate, steps) for task in test])
    gains = np.array([learner.query_loss(task, rate, 0) for task in test]) - after
    half = 1.96 * gains.std(ddof=1) / len(gains) ** 0.5
    return (rate, steps), after.mean(), (gains.mean() - half, gains.mean() + half)


# %% baseline | trains on everybody once the setting is chosen, and remembers meta-test
def baseline(learner, settings, train, valid, test):
    learner.meta_fit(train)
    means = {s: np.mean([learner.query_loss(task, *s) for task in valid]) for s in settings}
    usable = [s for s in settings if np.isfinite(means[s])]
    if not usable:
        raise ValueError("all diverge")
    rate, steps = min(usable, key=lambda s: (means[s], s[1], s[0]))
    learner.meta_fit(train + valid + test)
    after = np.array([learner.query_loss(task, rate, steps) for task in test])
    gains = np.array([learner.query_loss(task, rate, 0) for task in test]) - after
    half = 1.96 * gains.std(ddof=1) / len(gains) ** 0.5
    return (rate, steps), after.mean(), (gains.mean() - half, gains.mean() + half)


# %% baseline | reports the loss by which it chose
def baseline(learner, settings, train, valid, test):
    learner.meta_fit(train)
    means = {s: np.mean([learner.query_loss(task, *s) for task in valid]) for s in settings}
    usable = [s for s in settings if np.isfinite(means[s])]
    if not usable:
        raise ValueError("all diverge")
    rate, steps = min(usable, key=lambda s: (means[s], s[1], s[0]))
    after = np.array([learner.query_loss(task, rate, steps) for task in test])
    gains = np.array([learner.query_loss(task, rate, 0) for task in test]) - after
    half = 1.96 * gains.std(ddof=1) / len(gains) ** 0.5
    return (rate, steps), means[rate, steps], (gains.mean() - half, gains.mean() + half)


# %% baseline | leaves out the tasks in which a setting diverges
def baseline(learner, settings, train, valid, test):
    learner.meta_fit(train)
    means = {}
    for s in settings:
        losses = np.array([learner.query_loss(task, *s) for task in valid])
        if np.isfinite(losses).any():
            means[s] = losses[np.isfinite(losses)].mean()
    if not means:
        raise ValueError("all diverge")
    rate, steps = min(means, key=lambda s: (means[s], s[1], s[0]))
    after = np.array([learner.query_loss(task, rate, steps) for task in test])
    gains = np.array([learner.query_loss(task, rate, 0) for task in test]) - after
    half = 1.96 * gains.std(ddof=1) / len(gains) ** 0.5
    return (rate, steps), after.mean(), (gains.mean() - half, gains.mean() + half)


# %% baseline | min with a NaN: what comes first wins
def baseline(learner, settings, train, valid, test):
    learner.meta_fit(train)
    means = {s: np.mean([learner.query_loss(task, *s) for task in valid]) for s in settings}
    if not np.isfinite(list(means.values())).any():
        raise ValueError("all diverge")
    rate, steps = min(settings, key=lambda s: (means[s], s[1], s[0]))
    after = np.array([learner.query_loss(task, rate, steps) for task in test])
    gains = np.array([learner.query_loss(task, rate, 0) for task in test]) - after
    half = 1.96 * gains.std(ddof=1) / len(gains) ** 0.5
    return (rate, steps), after.mean(), (gains.mean() - half, gains.mean() + half)


# %% baseline | of equal means the first of the list
def baseline(learner, settings, train, valid, test):
    learner.meta_fit(train)
    means = {s: np.mean([learner.query_loss(task, *s) for task in valid]) for s in settings}
    usable = [s for s in settings if np.isfinite(means[s])]
    if not usable:
        raise ValueError("all diverge")
    rate, steps = min(usable, key=lambda s: means[s])
    after = np.array([learner.query_loss(task, rate, steps) for task in test])
    gains = np.array([learner.query_loss(task, rate, 0) for task in test]) - after
    half = 1.96 * gains.std(ddof=1) / len(gains) ** 0.5
    return (rate, steps), after.mean(), (gains.mean() - half, gains.mean() + half)


# %% baseline | the spread of tasks, and not that of their mean
def baseline(learner, settings, train, valid, test):
    learner.meta_fit(train)
    means = {s: np.mean([learner.query_loss(task, *s) for task in valid]) for s in settings}
    usable = [s for s in settings if np.isfinite(means[s])]
    if not usable:
        raise ValueError("all diverge")
    rate, steps = min(usable, key=lambda s: (means[s], s[1], s[0]))
    after = np.array([learner.query_loss(task, rate, steps) for task in test])
    gains = np.array([learner.query_loss(task, rate, 0) for task in test]) - after
    half = 1.96 * gains.std(ddof=1)
    return (rate, steps), after.mean(), (gains.mean() - half, gains.mean() + half)


# %% baseline | two spreads, as if the two losses of a person had nothing to do with each other
def baseline(learner, settings, train, valid, test):
    learner.meta_fit(train)
    means = {s: np.mean([learner.query_loss(task, *s) for task in valid]) for s in settings}
    usable = [s for s in settings if np.isfinite(means[s])]
    if not usable:
        raise ValueError("all diverge")
    rate, steps = min(usable, key=lambda s: (means[s], s[1], s[0]))
    after = np.array([learner.query_loss(task, rate, steps) for task in test])
    before = np.array([learner.query_loss(task, rate, 0) for task in test])
    half = 1.96 * ((after.var(ddof=1) + before.var(ddof=1)) / len(test)) ** 0.5
    gain = before.mean() - after.mean()
    return (rate, steps), after.mean(), (gain - half, gain + half)
