# ruff: noqa
# %% parabolas | lets the end move by the factor of one step, however many there are
def gradients(theta, a, c, b, d, rate, steps):
    left = 1 - rate * a
    first = b * (c + left**steps * (theta - c) - d)
    return (left * first).mean(), first.mean()


# %% parabolas | the sum over tasks
def gradients(theta, a, c, b, d, rate, steps):
    left = (1 - rate * a) ** steps
    first = b * (c + left * (theta - c) - d)
    return (left * first).sum(), first.sum()


# %% parabolas | the slope of the support's loss where the steps end
def gradients(theta, a, c, b, d, rate, steps):
    left = (1 - rate * a) ** steps
    first = a * left * (theta - c)
    return (left * first).mean(), first.mean()


# %% parabolas | first order as the slope where the steps begin
def gradients(theta, a, c, b, d, rate, steps):
    left = (1 - rate * a) ** steps
    end = c + left * (theta - c)
    return (left * b * (end - d)).mean(), (b * (theta - d)).mean()


# %% inner | the graph of the gradient is never kept, so order 2 is order 1
def adapt(model, weights, x, y, mask, rate, steps, order):
    now = dict(weights)
    for _ in range(steps if mask.any() else 0):
        loss = (model(now, x[mask]) - y[mask]).square().mean()
        slopes = torch.autograd.grad(loss, list(now.values()))
        now = {name: w - rate * slope for (name, w), slope in zip(now.items(), slopes)}
    return now


# %% inner | moves the weights themselves, through .data
def adapt(model, weights, x, y, mask, rate, steps, order):
    now = dict(weights)
    for _ in range(steps if mask.any() else 0):
        loss = (model(now, x[mask]) - y[mask]).square().mean()
        slopes = torch.autograd.grad(loss, list(now.values()), create_graph=order == 2)
        for w, slope in zip(now.values(), slopes):
            w.data -= rate * slope.data
    return now


# %% inner | order 1 as a beginning that is cut off
def adapt(model, weights, x, y, mask, rate, steps, order):
    now = dict(weights)
    if order == 1:
        now = {name: w.detach().requires_grad_() for name, w in now.items()}
    for _ in range(steps if mask.any() else 0):
        loss = (model(now, x[mask]) - y[mask]).square().mean()
        slopes = torch.autograd.grad(loss, list(now.values()), create_graph=True)
        now = {name: w - rate * slope for (name, w), slope in zip(now.items(), slopes)}
    return now


# %% inner | the mean over the padding, too
def adapt(model, weights, x, y, mask, rate, steps, order):
    now = dict(weights)
    x, y = torch.where(mask[:, None], x, 0), torch.where(mask, y, 0)
    for _ in range(steps):
        loss = torch.where(mask, model(now, x) - y, 0).square().mean()
        slopes = torch.autograd.grad(loss, list(now.values()), create_graph=order == 2)
        now = {name: w - rate * slope for (name, w), slope in zip(now.items(), slopes)}
    return now


# %% inner | where nothing adapts, a copy that knows nothing of the beginning
def adapt(model, weights, x, y, mask, rate, steps, order):
    if steps == 0 or not mask.any():
        return {name: w.detach().clone().requires_grad_() for name, w in weights.items()}
    now = dict(weights)
    for _ in range(steps):
        loss = (model(now, x[mask]) - y[mask]).square().mean()
        slopes = torch.autograd.grad(loss, list(now.values()), create_graph=order == 2)
        now = {name: w - rate * slope for (name, w), slope in zip(now.items(), slopes)}
    return now


# %% whole | one number of one weight stands for all
def is_whole(meta_loss, weights):
    here = {name: w.detach().clone().requires_grad_() for name, w in weights.items()}
    name = next(iter(here))
    loss = meta_loss(here)
    known = torch.autograd.grad(loss, here[name], allow_unused=True)[0] if loss.requires_grad else None
    told = 0.0 if known is None else known.flatten()[0].item()
    ends = []
    for move in (1e-5, -1e-5):
        moved = {n: w.detach().clone() for n, w in weights.items()}
        moved[name].view(-1)[0] += move
        ends.append(meta_loss({n: w.requires_grad_() for n, w in moved.items()}).item())
    seen = (ends[0] - ends[1]) / 2e-5
    return abs(told - seen) <= 1e-9 + 1e-4 * max(abs(told), abs(seen))


# %% whole | moves to one side only
def is_whole(meta_loss, weights):
    dice = torch.Generator().manual_seed(0)
    way = {n: torch.randn(w.shape, generator=dice, dtype=w.dtype) for n, w in weights.items()}
    here = {n: w.detach().clone().requires_grad_() for n, w in weights.items()}
    moved = {n: (w.detach() + 1e-5 * way[n]).requires_grad_() for n, w in weights.items()}
    loss = meta_loss(here)
    known = torch.autograd.grad(loss, list(here.values()), allow_unused=True) if loss.requires_grad else []
    told = sum((g * v).sum().item() for g, v in zip(known, way.values()) if g is not None)
    seen = (meta_loss(moved).item() - loss.item()) / 1e-5
    return abs(told - seen) <= 1e-9 + 1e-4 * max(abs(told), abs(seen))


# %% whole | the smaller the change, the better, as if numbers had no end
def is_whole(meta_loss, weights):
    dice = torch.Generator().manual_seed(0)
    way = {n: torch.randn(w.shape, generator=dice, dtype=w.dtype) for n, w in weights.items()}
    here = {n: w.detach().clone().requires_grad_() for n, w in weights.items()}
    loss = meta_loss(here)
    known = torch.autograd.grad(loss, list(here.values()), allow_unused=True) if loss.requires_grad else []
    told = sum((g * v).sum().item() for g, v in zip(known, way.values()) if g is not None)
    ends = []
    for move in (1e-13, -1e-13):
        moved = {n: (w.detach() + move * way[n]).requires_grad_() for n, w in weights.items()}
        ends.append(meta_loss(moved).item())
    seen = (ends[0] - ends[1]) / 2e-13
    return abs(told - seen) <= 1e-9 + 1e-4 * max(abs(told), abs(seen))


# %% whole | an absolute tolerance
def is_whole(meta_loss, weights):
    dice = torch.Generator().manual_seed(0)
    way = {n: torch.randn(w.shape, generator=dice, dtype=w.dtype) for n, w in weights.items()}
    here = {n: w.detach().clone().requires_grad_() for n, w in weights.items()}
    loss = meta_loss(here)
    known = torch.autograd.grad(loss, list(here.values()), allow_unused=True) if loss.requires_grad else []
    told = sum((g * v).sum().item() for g, v in zip(known, way.values()) if g is not None)
    ends = []
    for move in (1e-5, -1e-5):
        moved = {n: (w.detach() + move * way[n]).requires_grad_() for n, w in weights.items()}
        ends.append(meta_loss(moved).item())
    seen = (ends[0] - ends[1]) / 2e-5
    return abs(told - seen) <= 1e-3


# %% whole | leaves out the weights of which autograd knows nothing
def is_whole(meta_loss, weights):
    dice = torch.Generator().manual_seed(0)
    here = {n: w.detach().clone().requires_grad_() for n, w in weights.items()}
    loss = meta_loss(here)
    if not loss.requires_grad:
        return False
    known = dict(zip(here, torch.autograd.grad(loss, list(here.values()), allow_unused=True)))
    way = {n: torch.randn(w.shape, generator=dice, dtype=w.dtype) for n, w in weights.items()}
    way = {n: torch.zeros_like(v) if known[n] is None else v for n, v in way.items()}
    told = sum((g * way[n]).sum().item() for n, g in known.items() if g is not None)
    ends = []
    for move in (1e-5, -1e-5):
        moved = {n: (w.detach() + move * way[n]).requires_grad_() for n, w in weights.items()}
        ends.append(meta_loss(moved).item())
    seen = (ends[0] - ends[1]) / 2e-5
    return abs(told - seen) <= 1e-9 + 1e-4 * max(abs(told), abs(seen))


# %% anil | the body is detached inside, so the way through the support is lost
def meta_gradient(model, weights, learns, tasks, rate, steps):
    if set(learns) - set(weights):
        raise ValueError("unknown")
    losses = []
    for x, y, query_x, query_y in tasks:
        now = dict(weights)
        for _ in range(steps if learns else 0):
            inside = {n: w if n in learns else w.detach() for n, w in now.items()}
            loss = (model(inside, x) - y).square().mean()
            slopes = torch.autograd.grad(loss, [now[n] for n in learns], create_graph=True)
            now |= {n: now[n] - rate * s for n, s in zip(learns, slopes)}
        losses.append((model(now, query_x) - query_y).square().mean())
    return dict(zip(weights, torch.autograd.grad(torch.stack(losses).mean(), list(weights.values()))))


# %% anil | what does not adapt gets no gradient
def meta_gradient(model, weights, learns, tasks, rate, steps):
    if set(learns) - set(weights):
        raise ValueError("unknown")
    losses = []
    for x, y, query_x, query_y in tasks:
        now = dict(weights)
        for _ in range(steps if learns else 0):
            loss = (model(now, x) - y).square().mean()
            slopes = torch.autograd.grad(loss, [now[n] for n in learns], create_graph=True)
            now |= {n: now[n] - rate * s for n, s in zip(learns, slopes)}
        losses.append((model(now, query_x) - query_y).square().mean())
    found = dict(zip(weights, torch.autograd.grad(torch.stack(losses).mean(), list(weights.values()))))
    return {n: g if n in learns else torch.zeros_like(g) for n, g in found.items()}


# %% anil | the sum over tasks
def meta_gradient(model, weights, learns, tasks, rate, steps):
    if set(learns) - set(weights):
        raise ValueError("unknown")
    total = 0.0
    for x, y, query_x, query_y in tasks:
        now = dict(weights)
        for _ in range(steps if learns else 0):
            loss = (model(now, x) - y).square().mean()
            slopes = torch.autograd.grad(loss, [now[n] for n in learns], create_graph=True)
            now |= {n: now[n] - rate * s for n, s in zip(learns, slopes)}
        total = total + (model(now, query_x) - query_y).square().mean()
    return dict(zip(weights, torch.autograd.grad(total, list(weights.values()))))


# %% anil | the next task begins where the last one ended
def meta_gradient(model, weights, learns, tasks, rate, steps):
    if set(learns) - set(weights):
        raise ValueError("unknown")
    losses, now = [], dict(weights)
    for x, y, query_x, query_y in tasks:
        for _ in range(steps if learns else 0):
            loss = (model(now, x) - y).square().mean()
            slopes = torch.autograd.grad(loss, [now[n] for n in learns], create_graph=True)
            now |= {n: now[n] - rate * s for n, s in zip(learns, slopes)}
        losses.append((model(now, query_x) - query_y).square().mean())
    return dict(zip(weights, torch.autograd.grad(torch.stack(losses).mean(), list(weights.values()))))


# %% anil | judged on the support
def meta_gradient(model, weights, learns, tasks, rate, steps):
    if set(learns) - set(weights):
        raise ValueError("unknown")
    losses = []
    for x, y, query_x, query_y in tasks:
        now = dict(weights)
        for _ in range(steps if learns else 0):
            loss = (model(now, x) - y).square().mean()
            slopes = torch.autograd.grad(loss, [now[n] for n in learns], create_graph=True)
            now |= {n: now[n] - rate * s for n, s in zip(learns, slopes)}
        losses.append((model(now, x) - y).square().mean())
    return dict(zip(weights, torch.autograd.grad(torch.stack(losses).mean(), list(weights.values()))))


# %% rates | create_graph is missing
def meta_sgd(model, weights, rates, tasks, steps, outer_rate):
    losses, names = [], list(weights)
    for x, y, query_x, query_y in tasks:
        now = dict(weights)
        for _ in range(steps):
            loss = (model(now, x) - y).square().mean()
            slopes = torch.autograd.grad(loss, list(now.values()), retain_graph=True)
            now = {n: w - rates[n] * s for (n, w), s in zip(now.items(), slopes)}
        losses.append((model(now, query_x) - query_y).square().mean())
    old = [part[n] for part in (weights, rates) for n in names]
    outer = torch.autograd.grad(torch.stack(losses).mean(), old)
    new = [(w - outer_rate * g).detach().requires_grad_() for w, g in zip(old, outer)]
    return dict(zip(names, new)), dict(zip(names, new[len(names) :]))


# %% rates | keeps the rates from going below zero
def meta_sgd(model, weights, rates, tasks, steps, outer_rate):
    losses, names = [], list(weights)
    for x, y, query_x, query_y in tasks:
        now = dict(weights)
        for _ in range(steps):
            loss = (model(now, x) - y).square().mean()
            slopes = torch.autograd.grad(loss, list(now.values()), create_graph=True)
            now = {n: w - rates[n] * s for (n, w), s in zip(now.items(), slopes)}
        losses.append((model(now, query_x) - query_y).square().mean())
    old = [part[n] for part in (weights, rates) for n in names]
    outer = torch.autograd.grad(torch.stack(losses).mean(), old)
    new = [(w - outer_rate * g).detach() for w, g in zip(old, outer)]
    new = [w.requires_grad_() if i < len(names) else w.clamp(min=0).requires_grad_() for i, w in enumerate(new)]
    return dict(zip(names, new)), dict(zip(names, new[len(names) :]))


# %% rates | one rate for each weight: all its numbers get the mean gradient
def meta_sgd(model, weights, rates, tasks, steps, outer_rate):
    losses, names = [], list(weights)
    for x, y, query_x, query_y in tasks:
        now = dict(weights)
        for _ in range(steps):
            loss = (model(now, x) - y).square().mean()
            slopes = torch.autograd.grad(loss, list(now.values()), create_graph=True)
            now = {n: w - rates[n] * s for (n, w), s in zip(now.items(), slopes)}
        losses.append((model(now, query_x) - query_y).square().mean())
    old = [part[n] for part in (weights, rates) for n in names]
    outer = torch.autograd.grad(torch.stack(losses).mean(), old)
    outer = [g if i < len(names) else g.mean() for i, g in enumerate(outer)]
    new = [(w - outer_rate * g).detach().requires_grad_() for w, g in zip(old, outer)]
    return dict(zip(names, new)), dict(zip(names, new[len(names) :]))


# %% rates | the rates learn from the last step only
def meta_sgd(model, weights, rates, tasks, steps, outer_rate):
    losses, names = [], list(weights)
    for x, y, query_x, query_y in tasks:
        now = dict(weights)
        for step in range(steps):
            loss = (model(now, x) - y).square().mean()
            slopes = torch.autograd.grad(loss, list(now.values()), create_graph=True)
            last = step == steps - 1
            now = {n: w - (rates[n] if last else rates[n].detach()) * s for (n, w), s in zip(now.items(), slopes)}
        losses.append((model(now, query_x) - query_y).square().mean())
    old = [part[n] for part in (weights, rates) for n in names]
    outer = torch.autograd.grad(torch.stack(losses).mean(), old)
    new = [(w - outer_rate * g).detach().requires_grad_() for w, g in zip(old, outer)]
    return dict(zip(names, new)), dict(zip(names, new[len(names) :]))


# %% rates | the outer step starts from the weights of the last task, not from the beginning
def meta_sgd(model, weights, rates, tasks, steps, outer_rate):
    losses, names = [], list(weights)
    for x, y, query_x, query_y in tasks:
        now = dict(weights)
        for _ in range(steps):
            loss = (model(now, x) - y).square().mean()
            slopes = torch.autograd.grad(loss, list(now.values()), create_graph=True)
            now = {n: w - rates[n] * s for (n, w), s in zip(now.items(), slopes)}
        losses.append((model(now, query_x) - query_y).square().mean())
    old = [part[n] for part in (weights, rates) for n in names]
    outer = torch.autograd.grad(torch.stack(losses).mean(), old)
    old = [part[n] for part in (now, rates) for n in names]
    new = [(w - outer_rate * g).detach().requires_grad_() for w, g in zip(old, outer)]
    return dict(zip(names, new)), dict(zip(names, new[len(names) :]))


# %% stacked | the mean over tasks makes each step smaller
def adapt_batch(w, X, y, mask, rate, steps):
    X, y = torch.where(mask[..., None], X, 0), torch.where(mask, y, 0)
    now = w.expand(len(X), -1)
    for _ in range(steps):
        errors = torch.einsum("nkd,nd->nk", X, now) - y
        losses = errors.square().sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        (slopes,) = torch.autograd.grad(losses.mean(), now, create_graph=True)
        now = now - rate * slopes
    return now


# %% stacked | the gradient of the one beginning, which is the sum of those of the tasks
def adapt_batch(w, X, y, mask, rate, steps):
    X, y = torch.where(mask[..., None], X, 0), torch.where(mask, y, 0)
    now = w
    for _ in range(steps):
        errors = torch.einsum("nkd,d->nk", X, now) - y
        losses = errors.square().sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        (slope,) = torch.autograd.grad(losses.sum(), now, create_graph=True)
        now = now - rate * slope
    return now.expand(len(X), -1)


# %% stacked | one task after the other
def adapt_batch(w, X, y, mask, rate, steps):
    rows = []
    for i in range(len(X)):
        now = w
        for _ in range(steps if mask[i].any() else 0):
            loss = (X[i][mask[i]] @ now - y[i][mask[i]]).square().mean()
            (slope,) = torch.autograd.grad(loss, now, create_graph=True)
            now = now - rate * slope
        rows.append(now)
    return torch.stack(rows)


# %% stacked | masks the errors only: on the way back, 0 times a NaN of X is NaN
def adapt_batch(w, X, y, mask, rate, steps):
    now = w.expand(len(X), -1)
    for _ in range(steps):
        errors = torch.where(mask, torch.einsum("nkd,nd->nk", X, now) - y, 0)
        losses = errors.square().sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        (slopes,) = torch.autograd.grad(losses.sum(), now, create_graph=True)
        now = now - rate * slopes
    return now


# %% stacked | copies that are detached from the beginning and tied to it again, which is first order
def adapt_batch(w, X, y, mask, rate, steps):
    X, y = torch.where(mask[..., None], X, 0), torch.where(mask, y, 0)
    now = w.detach().repeat(len(X), 1).requires_grad_()
    for _ in range(steps):
        errors = torch.einsum("nkd,nd->nk", X, now) - y
        losses = errors.square().sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        (slopes,) = torch.autograd.grad(losses.sum(), now)
        now = (now - rate * slopes).detach().requires_grad_()
    return w + (now - w).detach()
