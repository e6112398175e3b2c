# ruff: noqa
# %% settles | rests where joint training does, however many steps there are
def reptile(theta, a, c, rate, steps, epsilon):
    pull = 1 - (1 - rate * a) ** steps
    return theta + epsilon * (pull * (c - theta)).mean(), (a * c).sum() / a.sum()


# %% settles | steps as if each were as long as the first
def reptile(theta, a, c, rate, steps, epsilon):
    pull = rate * a * steps
    return theta + epsilon * (pull * (c - theta)).mean(), (pull * c).sum() / pull.sum()


# %% settles | the sum of the ways, not their mean
def reptile(theta, a, c, rate, steps, epsilon):
    pull = 1 - (1 - rate * a) ** steps
    return theta + epsilon * (pull * (c - theta)).sum(), (pull * c).sum() / pull.sum()


# %% settles | rests at the mean of the minima
def reptile(theta, a, c, rate, steps, epsilon):
    pull = 1 - (1 - rate * a) ** steps
    return theta + epsilon * (pull * (c - theta)).mean(), c.mean()


# %% settles | toward one task after the other
def reptile(theta, a, c, rate, steps, epsilon):
    pull = 1 - (1 - rate * a) ** steps
    for p, low in zip(pull, c):
        theta = theta + epsilon * p * (low - theta)
    return theta, (pull * c).sum() / pull.sum()


# %% move | moves the beginning itself
def move(weights, ends, epsilon):
    if not 0 < epsilon <= 1 or not ends or any(set(end) != set(weights) for end in ends):
        raise ValueError("bad input")
    for name, weight in weights.items():
        mean = torch.stack([end[name].detach() for end in ends]).mean(dim=0)
        weight.data += epsilon * (mean - weight.data)
    return weights


# %% move | pairs the weights by place, not by name
def move(weights, ends, epsilon):
    if not 0 < epsilon <= 1 or not ends or any(set(end) != set(weights) for end in ends):
        raise ValueError("bad input")
    columns = zip(*(end.values() for end in ends))
    new = {}
    for (name, weight), column in zip(weights.items(), columns):
        mean = sum(w.detach() for w in column) / len(ends)
        new[name] = (weight.detach() + epsilon * (mean - weight.detach())).detach().requires_grad_()
    return new


# %% move | keeps the graph, so that the result is no leaf
def move(weights, ends, epsilon):
    if not 0 < epsilon <= 1 or not ends or any(set(end) != set(weights) for end in ends):
        raise ValueError("bad input")
    return {n: w + epsilon * (sum(end[n] for end in ends) / len(ends) - w) for n, w in weights.items()}


# %% move | epsilon is what stays of the beginning
def move(weights, ends, epsilon):
    if not 0 < epsilon <= 1 or not ends or any(set(end) != set(weights) for end in ends):
        raise ValueError("bad input")
    new = {}
    for name, weight in weights.items():
        mean = torch.stack([end[name].detach() for end in ends]).mean(dim=0)
        new[name] = (epsilon * weight.detach() + (1 - epsilon) * mean).requires_grad_()
    return new


# %% move | lets a NaN through: it is neither too small nor too large
def move(weights, ends, epsilon):
    if epsilon <= 0 or epsilon > 1 or not ends or any(set(end) != set(weights) for end in ends):
        raise ValueError("bad input")
    new = {}
    for name, weight in weights.items():
        mean = torch.stack([end[name].detach() for end in ends]).mean(dim=0)
        new[name] = (weight.detach() + epsilon * (mean - weight.detach())).requires_grad_()
    return new


# %% draw | draws places, and then drops the padding among them
def draw(mask, size, steps, rng):
    place = rng.random((steps, *mask.shape)).argsort(axis=-1).argsort(axis=-1)
    return mask & (place < size)


# %% draw | sorts once: who stands first, taken for who comes first
def draw(mask, size, steps, rng):
    chance = np.where(mask, rng.random((steps, *mask.shape)), 2.0)
    return mask & (chance.argsort(axis=-1) < size)


# %% draw | the first real examples, always
def draw(mask, size, steps, rng):
    first = mask & (mask.cumsum(axis=1) <= size)
    return np.repeat(first[None], steps, axis=0)


# %% draw | one draw for all steps
def draw(mask, size, steps, rng):
    chance = np.where(mask, rng.random(mask.shape), 2.0)
    seen = mask & (chance.argsort(axis=1).argsort(axis=1) < size)
    return np.repeat(seen[None], steps, axis=0)


# %% draw | the same random numbers for all tasks
def draw(mask, size, steps, rng):
    chance = np.where(mask, rng.random((steps, 1, mask.shape[1])), 2.0)
    return mask & (chance.argsort(axis=-1).argsort(axis=-1) < size)


# %% draw | with replacement, so some are drawn twice and others are missing
def draw(mask, size, steps, rng):
    seen = np.zeros((steps, *mask.shape), dtype=bool)
    for step in range(steps):
        for i, row in enumerate(mask):
            (real,) = np.nonzero(row)
            if len(real) <= size:
                seen[step, i, real] = True
            else:
                seen[step, i, rng.choice(real, size)] = True
    return seen


# %% draw | a generator of its own
def draw(mask, size, steps, rng):
    rng = np.random.default_rng(0)
    chance = np.where(mask, rng.random((steps, *mask.shape)), 2.0)
    return mask & (chance.argsort(axis=-1).argsort(axis=-1) < size)


# %% expansion | the Hessian of the earlier minibatch times the gradient of the later one
def expansion(losses, theta, method):
    slopes, n = [slope(loss, theta) for loss in losses], len(losses)
    zero = torch.zeros_like(theta)
    if method == "Reptile":
        return sum(slopes), sum((times(losses[h], theta, slopes[g]) for g in range(n) for h in range(g)), zero)
    v = sum((times(losses[h], theta, slopes[-1]) for h in range(n - 1)), zero)
    if method == "MAML":
        v = v + sum((times(losses[-1], theta, slopes[h]) for h in range(n - 1)), zero)
    return slopes[-1], v


# %% expansion | MAML as twice first-order MAML, which is true in the mean only
def expansion(losses, theta, method):
    slopes, n = [slope(loss, theta) for loss in losses], len(losses)
    zero = torch.zeros_like(theta)
    if method == "Reptile":
        return sum(slopes), sum((times(losses[g], theta, slopes[h]) for g in range(n) for h in range(g)), zero)
    v = sum((times(losses[-1], theta, slopes[h]) for h in range(n - 1)), zero)
    return slopes[-1], 2 * v if method == "MAML" else v


# %% expansion | only the step just before counts
def expansion(losses, theta, method):
    slopes, n = [slope(loss, theta) for loss in losses], len(losses)
    zero = torch.zeros_like(theta)
    if method == "Reptile":
        return sum(slopes), sum((times(losses[g], theta, slopes[g - 1]) for g in range(1, n)), zero)
    if n == 1:
        return slopes[-1], zero
    v = times(losses[-1], theta, slopes[-2])
    if method == "MAML":
        v = v + times(losses[-2], theta, slopes[-1])
    return slopes[-1], v


# %% expansion | Reptile's pairs in both orders
def expansion(losses, theta, method):
    slopes, n = [slope(loss, theta) for loss in losses], len(losses)
    zero = torch.zeros_like(theta)
    if method == "Reptile":
        pairs = [(g, h) for g in range(n) for h in range(n) if g != h]
        return sum(slopes), sum((times(losses[g], theta, slopes[h]) for g, h in pairs), zero)
    v = sum((times(losses[-1], theta, slopes[h]) for h in range(n - 1)), zero)
    if method == "MAML":
        v = v + sum((times(losses[h], theta, slopes[-1]) for h in range(n - 1)), zero)
    return slopes[-1], v


# %% expansion | a minibatch's own Hessian is among its pairs
def expansion(losses, theta, method):
    slopes, n = [slope(loss, theta) for loss in losses], len(losses)
    zero = torch.zeros_like(theta)
    if method == "Reptile":
        return sum(slopes), sum((times(losses[g], theta, slopes[h]) for g in range(n) for h in range(g + 1)), zero)
    v = sum((times(losses[-1], theta, slopes[h]) for h in range(n - 1)), zero)
    if method == "MAML":
        v = v + sum((times(losses[h], theta, slopes[-1]) for h in range(n - 1)), zero)
    return slopes[-1], v


# %% implicit | steepest descent: each step forgets the ones before
def implicit_gradient(product, slope, query_slope, strength, theta, steps):
    def solve(b):
        x, r = np.zeros_like(b), b.copy()
        for _ in range(steps):
            size = r @ r
            if size <= 1e-24 * (b @ b):
                break
            turned = r + product(r) / strength
            far = size / (r @ turned)
            x, r = x + far * r, r - far * turned
        return x

    end = theta - solve(slope / strength)
    return end, solve(query_slope(end))


# %% implicit | the query's gradient at the beginning
def implicit_gradient(product, slope, query_slope, strength, theta, steps):
    def solve(b):
        x, r, p = np.zeros_like(b), b.copy(), b.copy()
        for _ in range(steps):
            size = r @ r
            if size <= 1e-24 * (b @ b):
                break
            turned = p + product(p) / strength
            far = size / (p @ turned)
            x, r = x + far * p, r - far * turned
            p = r + (r @ r) / size * p
        return x

    return theta - solve(slope / strength), solve(query_slope(theta))


# %% implicit | first order: the end is taken to move as the beginning does
def implicit_gradient(product, slope, query_slope, strength, theta, steps):
    x, r = np.zeros_like(slope), -slope / strength
    p, first = r.copy(), r @ r
    for _ in range(steps):
        size = r @ r
        if size <= 1e-24 * first:
            break
        turned = p + product(p) / strength
        far = size / (p @ turned)
        x, r = x + far * p, r - far * turned
        p = r + (r @ r) / size * p
    return theta + x, query_slope(theta + x)


# %% implicit | stops at a fixed length, so small numbers are left unsolved
def implicit_gradient(product, slope, query_slope, strength, theta, steps):
    def solve(b):
        x, r, p = np.zeros_like(b), b.copy(), b.copy()
        for _ in range(steps):
            size = r @ r
            if size < 1e-24:
                break
            turned = p + product(p) / strength
            far = size / (p @ turned)
            x, r = x + far * p, r - far * turned
            p = r + (r @ r) / size * p
        return x

    end = theta - solve(slope / strength)
    return end, solve(query_slope(end))


# %% implicit | builds the whole Hessian, one product for each weight
def implicit_gradient(product, slope, query_slope, strength, theta, steps):
    held = np.eye(len(theta)) + np.stack([product(row) for row in np.eye(len(theta))]) / strength
    end = theta - np.linalg.solve(held, slope / strength)
    return end, np.linalg.solve(held, query_slope(end))


# %% implicit | the system of the end for both, so the gradient is too small by the strength
def implicit_gradient(product, slope, query_slope, strength, theta, steps):
    def solve(b):
        x, r, p = np.zeros_like(b), b.copy(), b.copy()
        for _ in range(steps):
            size = r @ r
            if size <= 1e-24 * (b @ b):
                break
            turned = strength * p + product(p)
            far = size / (p @ turned)
            x, r = x + far * p, r - far * turned
            p = r + (r @ r) / size * p
        return x

    end = theta - solve(slope)
    return end, solve(query_slope(end))
