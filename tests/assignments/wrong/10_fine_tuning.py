# %% lora | forgets alpha / r
def begin(W, r, generator):
    A = torch.randn(r, W.shape[1], generator=generator, dtype=W.dtype)
    return A.requires_grad_(), torch.zeros(W.shape[0], r, dtype=W.dtype).requires_grad_()


def lora(x, W, b, A, B, alpha):
    y = x @ W.detach().T + x @ A.T @ B.T
    return y if b is None else y + b.detach()


# %% lora | B begins at random as well, so that the model is damaged at first
def begin(W, r, generator):
    A = torch.randn(r, W.shape[1], generator=generator, dtype=W.dtype)
    B = torch.randn(W.shape[0], r, generator=generator, dtype=W.dtype)
    return A.requires_grad_(), B.requires_grad_()


def lora(x, W, b, A, B, alpha):
    y = x @ W.detach().T + alpha / len(A) * (x @ A.T @ B.T)
    return y if b is None else y + b.detach()


# %% lora | both begin as zeros, and neither ever gets a gradient
def begin(W, r, generator):
    A = torch.zeros(r, W.shape[1], dtype=W.dtype)
    return A.requires_grad_(), torch.zeros(W.shape[0], r, dtype=W.dtype).requires_grad_()


def lora(x, W, b, A, B, alpha):
    y = x @ W.detach().T + alpha / len(A) * (x @ A.T @ B.T)
    return y if b is None else y + b.detach()


# %% lora | runs the frozen layer without gradients, which cuts off all layers below
def begin(W, r, generator):
    A = torch.randn(r, W.shape[1], generator=generator, dtype=W.dtype)
    return A.requires_grad_(), torch.zeros(W.shape[0], r, dtype=W.dtype).requires_grad_()


def lora(x, W, b, A, B, alpha):
    with torch.no_grad():
        y = F.linear(x, W, b)
    return y + alpha / len(A) * (x @ A.T @ B.T)


# %% lora | the weight and the bias learn, too
def begin(W, r, generator):
    A = torch.randn(r, W.shape[1], generator=generator, dtype=W.dtype)
    return A.requires_grad_(), torch.zeros(W.shape[0], r, dtype=W.dtype).requires_grad_()


def lora(x, W, b, A, B, alpha):
    return F.linear(x, W, b) + alpha / len(A) * (x @ A.T @ B.T)


# %% lora | forgets the transposes, which a square matrix does not tell
def begin(W, r, generator):
    A = torch.randn(r, W.shape[1], generator=generator, dtype=W.dtype)
    return A.requires_grad_(), torch.zeros(W.shape[0], r, dtype=W.dtype).requires_grad_()


def lora(x, W, b, A, B, alpha):
    y = x @ W.detach().T + alpha / len(A) * (x @ B @ A)
    return y if b is None else y + b.detach()


# %% lora | forgets the bias
def begin(W, r, generator):
    A = torch.randn(r, W.shape[1], generator=generator, dtype=W.dtype)
    return A.requires_grad_(), torch.zeros(W.shape[0], r, dtype=W.dtype).requires_grad_()


def lora(x, W, b, A, B, alpha):
    return x @ W.detach().T + alpha / len(A) * (x @ A.T @ B.T)


# %% lora | multiplies B by A first, which costs as much as another W
def begin(W, r, generator):
    A = torch.randn(r, W.shape[1], generator=generator, dtype=W.dtype)
    return A.requires_grad_(), torch.zeros(W.shape[0], r, dtype=W.dtype).requires_grad_()


def lora(x, W, b, A, B, alpha):
    y = x @ (W.detach() + alpha / len(A) * B @ A).T
    return y if b is None else y + b.detach()


# %% lora | draws A from the global state and not from the generator
def begin(W, r, generator):
    A = torch.randn(r, W.shape[1], dtype=W.dtype)
    return A.requires_grad_(), torch.zeros(W.shape[0], r, dtype=W.dtype).requires_grad_()


def lora(x, W, b, A, B, alpha):
    y = x @ W.detach().T + alpha / len(A) * (x @ A.T @ B.T)
    return y if b is None else y + b.detach()


# %% merge | A B, which is one number at rank 1 and is added everywhere
def merge(W, A, B, alpha):
    return (W + alpha / len(A) * A @ B).detach()


def count(layers, targets, r):
    chosen = [shape for name, shape in layers.items() if name.split(".")[-1] in targets]
    return sum(r * (a + b) for a, b in chosen), sum(a * b for a, b in layers.values())


# %% merge | adds in place, and merging twice adds twice
def merge(W, A, B, alpha):
    with torch.no_grad():
        W += alpha / len(A) * B @ A
    return W


def count(layers, targets, r):
    chosen = [shape for name, shape in layers.items() if name.split(".")[-1] in targets]
    return sum(r * (a + b) for a, b in chosen), sum(a * b for a, b in layers.values())


# %% merge | the merged matrix still learns
def merge(W, A, B, alpha):
    return W + alpha / len(A) * B @ A


def count(layers, targets, r):
    chosen = [shape for name, shape in layers.items() if name.split(".")[-1] in targets]
    return sum(r * (a + b) for a, b in chosen), sum(a * b for a, b in layers.values())


# %% merge | forgets alpha / r, which is right only while both are equal
def merge(W, A, B, alpha):
    return (W + B @ A).detach()


def count(layers, targets, r):
    chosen = [shape for name, shape in layers.items() if name.split(".")[-1] in targets]
    return sum(r * (a + b) for a, b in chosen), sum(a * b for a, b in layers.values())


# %% merge | counts the biases
def merge(W, A, B, alpha):
    return (W + alpha / len(A) * B @ A).detach()


def count(layers, targets, r):
    chosen = [shape for name, shape in layers.items() if name.split(".")[-1] in targets]
    return sum(r * (a + b) for a, b in chosen), sum(a * b + a for a, b in layers.values())


# %% merge | asks how the whole name ends, and "my_query" ends with "query", too
def merge(W, A, B, alpha):
    return (W + alpha / len(A) * B @ A).detach()


def count(layers, targets, r):
    chosen = [shape for name, shape in layers.items() if name.endswith(tuple(targets))]
    return sum(r * (a + b) for a, b in chosen), sum(a * b for a, b in layers.values())


# %% merge | compares with the layers that have a LoRA, not with all
def merge(W, A, B, alpha):
    return (W + alpha / len(A) * B @ A).detach()


def count(layers, targets, r):
    chosen = [shape for name, shape in layers.items() if name.split(".")[-1] in targets]
    return sum(r * (a + b) for a, b in chosen), sum(a * b for a, b in chosen)


# %% merge | thinks that LoRA cannot learn more numbers than the matrix holds
def merge(W, A, B, alpha):
    return (W + alpha / len(A) * B @ A).detach()


def count(layers, targets, r):
    chosen = [shape for name, shape in layers.items() if name.split(".")[-1] in targets]
    return sum(min(r * (a + b), a * b) for a, b in chosen), sum(a * b for a, b in layers.values())


# %% accumulate | the mean of the means, in which an example of a small piece counts more
def accumulate(model, optimizer, X, y, size, clip):
    optimizer.zero_grad()
    starts, total = range(0, len(X), size), 0.0
    for i in starts:
        logits = model(X[i : i + size])
        loss = F.binary_cross_entropy_with_logits(logits, y[i : i + size]) / len(starts)
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return total


# %% accumulate | a step after each piece: smaller batches, not a smaller memory
def accumulate(model, optimizer, X, y, size, clip):
    total = 0.0
    for i in range(0, len(X), size):
        optimizer.zero_grad()
        logits = model(X[i : i + size])
        loss = F.binary_cross_entropy_with_logits(logits, y[i : i + size])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        total += loss.item() * len(logits) / len(X)
    return total


# %% accumulate | never clears the gradient
def accumulate(model, optimizer, X, y, size, clip):
    total = 0.0
    for i in range(0, len(X), size):
        logits = model(X[i : i + size])
        loss = F.binary_cross_entropy_with_logits(logits, y[i : i + size]) * (len(logits) / len(X))
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return total


# %% accumulate | clears the gradient before each piece, and only the last one counts
def accumulate(model, optimizer, X, y, size, clip):
    total = 0.0
    for i in range(0, len(X), size):
        optimizer.zero_grad()
        logits = model(X[i : i + size])
        loss = F.binary_cross_entropy_with_logits(logits, y[i : i + size]) * (len(logits) / len(X))
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return total


# %% accumulate | the sum of the pieces' mean losses, as if the learning rate were larger
def accumulate(model, optimizer, X, y, size, clip):
    optimizer.zero_grad()
    total = 0.0
    for i in range(0, len(X), size):
        logits = model(X[i : i + size])
        loss = F.binary_cross_entropy_with_logits(logits, y[i : i + size])
        loss.backward()
        total += loss.item() * len(logits) / len(X)
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return total


# %% accumulate | shortens after each piece what has come together so far
def accumulate(model, optimizer, X, y, size, clip):
    optimizer.zero_grad()
    total = 0.0
    for i in range(0, len(X), size):
        logits = model(X[i : i + size])
        loss = F.binary_cross_entropy_with_logits(logits, y[i : i + size]) * (len(logits) / len(X))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        total += loss.item()
    optimizer.step()
    return total


# %% accumulate | adds up the losses, but shows the model the whole batch
def accumulate(model, optimizer, X, y, size, clip):
    optimizer.zero_grad()
    loss = F.binary_cross_entropy_with_logits(model(X), y)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return loss.item()


# %% accumulate | takes every piece to be full
def accumulate(model, optimizer, X, y, size, clip):
    optimizer.zero_grad()
    total = 0.0
    for i in range(0, len(X), size):
        logits = model(X[i : i + size])
        loss = F.binary_cross_entropy_with_logits(logits, y[i : i + size]) * (size / len(X))
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return total


# %% accumulate | drops the last piece where it is not full
def accumulate(model, optimizer, X, y, size, clip):
    optimizer.zero_grad()
    size, total = min(size, len(X)), 0.0
    whole = len(X) // size * size
    for i in range(0, whole, size):
        logits = model(X[i : i + size])
        loss = F.binary_cross_entropy_with_logits(logits, y[i : i + size]) * (size / whole)
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return total


# %% early-stopping | keeps the last weights
def fit(w, take_step, valid_loss, total, every, patience):
    best, best_step, waited = math.inf, 0, 0
    for done in range(1, total + 1):
        take_step(w, done - 1)
        if done % every and done < total:
            continue
        loss = valid_loss(w)
        if loss < best:
            best, best_step, waited = loss, done, 0
        else:
            waited += 1
        if waited == patience:
            break
    return done, best_step


# %% early-stopping | keeps no copy: the best weights go on learning
def fit(w, take_step, valid_loss, total, every, patience):
    best, kept, best_step, waited = math.inf, w, 0, 0
    for done in range(1, total + 1):
        take_step(w, done - 1)
        if done % every and done < total:
            continue
        loss = valid_loss(w)
        if loss < best:
            best, kept, best_step, waited = loss, w.detach(), done, 0
        else:
            waited += 1
        if waited == patience:
            break
    w.copy_(kept)
    return done, best_step


# %% early-stopping | patience begins anew when the loss is below the last one, not below the best
def fit(w, take_step, valid_loss, total, every, patience):
    best, last, kept, best_step, waited = math.inf, math.inf, w.clone(), 0, 0
    for done in range(1, total + 1):
        take_step(w, done - 1)
        if done % every and done < total:
            continue
        loss = valid_loss(w)
        if loss < best:
            best, kept, best_step = loss, w.clone(), done
        waited = 0 if loss < last else waited + 1
        last = loss
        if waited == patience:
            break
    w.copy_(kept)
    return done, best_step


# %% early-stopping | off by one: waits once more
def fit(w, take_step, valid_loss, total, every, patience):
    best, kept, best_step, waited = math.inf, w.clone(), 0, 0
    for done in range(1, total + 1):
        take_step(w, done - 1)
        if done % every and done < total:
            continue
        loss = valid_loss(w)
        if loss < best:
            best, kept, best_step, waited = loss, w.clone(), done, 0
        else:
            waited += 1
        if waited > patience:
            break
    w.copy_(kept)
    return done, best_step


# %% early-stopping | counts bad validations from the start, also when a new best came between
def fit(w, take_step, valid_loss, total, every, patience):
    best, kept, best_step, waited = math.inf, w.clone(), 0, 0
    for done in range(1, total + 1):
        take_step(w, done - 1)
        if done % every and done < total:
            continue
        loss = valid_loss(w)
        if loss < best:
            best, kept, best_step = loss, w.clone(), done
        else:
            waited += 1
        if waited == patience:
            break
    w.copy_(kept)
    return done, best_step


# %% early-stopping | takes an equal loss for a new best
def fit(w, take_step, valid_loss, total, every, patience):
    best, kept, best_step, waited = math.inf, w.clone(), 0, 0
    for done in range(1, total + 1):
        take_step(w, done - 1)
        if done % every and done < total:
            continue
        loss = valid_loss(w)
        if loss <= best:
            best, kept, best_step, waited = loss, w.clone(), done, 0
        else:
            waited += 1
        if waited == patience:
            break
    w.copy_(kept)
    return done, best_step


# %% early-stopping | no validation after the last step
def fit(w, take_step, valid_loss, total, every, patience):
    best, kept, best_step, waited = math.inf, w.clone(), 0, 0
    for done in range(1, total + 1):
        take_step(w, done - 1)
        if done % every:
            continue
        loss = valid_loss(w)
        if loss < best:
            best, kept, best_step, waited = loss, w.clone(), done, 0
        else:
            waited += 1
        if waited == patience:
            break
    w.copy_(kept)
    return done, best_step


# %% early-stopping | counts patience in steps, not in validations
def fit(w, take_step, valid_loss, total, every, patience):
    best, kept, best_step = math.inf, w.clone(), 0
    for done in range(1, total + 1):
        take_step(w, done - 1)
        if done % every == 0 or done == total:
            loss = valid_loss(w)
            if loss < best:
                best, kept, best_step = loss, w.clone(), done
            if done - best_step >= patience:
                break
    w.copy_(kept)
    return done, best_step


# %% early-stopping | gives the new name w to the best weights, and the caller's stay as they are
def fit(w, take_step, valid_loss, total, every, patience):
    best, kept, best_step, waited = math.inf, w.clone(), 0, 0
    for done in range(1, total + 1):
        take_step(w, done - 1)
        if done % every and done < total:
            continue
        loss = valid_loss(w)
        if loss < best:
            best, kept, best_step, waited = loss, w.clone(), done, 0
        else:
            waited += 1
        if waited == patience:
            break
    w = kept
    return done, best_step


# %% auc | a tie counts nothing
def auc(labels, scores):
    yes, no = scores[labels == 1], scores[labels == 0]
    if len(yes) == 0 or len(no) == 0:
        raise ValueError("there is no pair")
    return float((yes[:, None] > no).mean())


def auc_within(labels, scores, users):
    mine = [users == user for user in np.unique(users)]
    found = [auc(labels[m], scores[m]) for m in mine if 0 < labels[m].mean() < 1]
    if not found:
        raise ValueError("nobody said both")
    return float(np.mean(found))


# %% auc | a tie counts as if it were right
def auc(labels, scores):
    yes, no = scores[labels == 1], scores[labels == 0]
    if len(yes) == 0 or len(no) == 0:
        raise ValueError("there is no pair")
    return float((yes[:, None] >= no).mean())


def auc_within(labels, scores, users):
    mine = [users == user for user in np.unique(users)]
    found = [auc(labels[m], scores[m]) for m in mine if 0 < labels[m].mean() < 1]
    if not found:
        raise ValueError("nobody said both")
    return float(np.mean(found))


# %% auc | the share of right answers with a threshold of one half
def auc(labels, scores):
    if len(np.unique(labels)) < 2:
        raise ValueError("there is no pair")
    return float(((scores > 0.5) == (labels == 1)).mean())


def auc_within(labels, scores, users):
    mine = [users == user for user in np.unique(users)]
    found = [auc(labels[m], scores[m]) for m in mine if 0 < labels[m].mean() < 1]
    if not found:
        raise ValueError("nobody said both")
    return float(np.mean(found))


# %% auc | within users is the same as over all
def auc(labels, scores):
    yes, no = scores[labels == 1], scores[labels == 0]
    if len(yes) == 0 or len(no) == 0:
        raise ValueError("there is no pair")
    return float(((yes[:, None] > no) + 0.5 * (yes[:, None] == no)).mean())


def auc_within(labels, scores, users):
    if not any(0 < labels[users == user].mean() < 1 for user in np.unique(users)):
        raise ValueError("nobody said both")
    return auc(labels, scores)


# %% auc | users with one kind of label count one half
def auc(labels, scores):
    yes, no = scores[labels == 1], scores[labels == 0]
    if len(yes) == 0 or len(no) == 0:
        raise ValueError("there is no pair")
    return float(((yes[:, None] > no) + 0.5 * (yes[:, None] == no)).mean())


def auc_within(labels, scores, users):
    mine = [users == user for user in np.unique(users)]
    mixed = [0 < labels[m].mean() < 1 for m in mine]
    if not any(mixed):
        raise ValueError("nobody said both")
    return float(np.mean([auc(labels[m], scores[m]) if both else 0.5 for m, both in zip(mine, mixed, strict=True)]))


# %% auc | all pairs within users together, so that users with many ratings decide
def auc(labels, scores):
    yes, no = scores[labels == 1], scores[labels == 0]
    if len(yes) == 0 or len(no) == 0:
        raise ValueError("there is no pair")
    return float(((yes[:, None] > no) + 0.5 * (yes[:, None] == no)).mean())


def auc_within(labels, scores, users):
    pairs = (labels[:, None] == 1) & (labels == 0) & (users[:, None] == users)
    if not pairs.any():
        raise ValueError("nobody said both")
    worth = (scores[:, None] > scores) + 0.5 * (scores[:, None] == scores)
    return float(worth[pairs].mean())


# %% auc | divides by all pairs of two examples, not by those of a yes and a no
def auc(labels, scores):
    yes, no = scores[labels == 1], scores[labels == 0]
    if len(yes) == 0 or len(no) == 0:
        raise ValueError("there is no pair")
    worth = ((yes[:, None] > no) + 0.5 * (yes[:, None] == no)).sum()
    return float(worth / (len(labels) * (len(labels) - 1) / 2))


def auc_within(labels, scores, users):
    mine = [users == user for user in np.unique(users)]
    found = [auc(labels[m], scores[m]) for m in mine if 0 < labels[m].mean() < 1]
    if not found:
        raise ValueError("nobody said both")
    return float(np.mean(found))


# %% auc | says one half where there is nothing to be ordered
def auc(labels, scores):
    yes, no = scores[labels == 1], scores[labels == 0]
    if len(yes) == 0 or len(no) == 0:
        return 0.5
    return float(((yes[:, None] > no) + 0.5 * (yes[:, None] == no)).mean())


def auc_within(labels, scores, users):
    mine = [users == user for user in np.unique(users)]
    found = [auc(labels[m], scores[m]) for m in mine if 0 < labels[m].mean() < 1]
    return float(np.mean(found)) if found else 0.5


# %% auc | the formula with ranks, but equal scores get different ranks
def auc(labels, scores):
    n_yes, n_no = (labels == 1).sum(), (labels == 0).sum()
    if n_yes == 0 or n_no == 0:
        raise ValueError("there is no pair")
    ranks = np.argsort(np.argsort(scores, kind="stable")) + 1
    return float((ranks[labels == 1].sum() - n_yes * (n_yes + 1) / 2) / (n_yes * n_no))


def auc_within(labels, scores, users):
    mine = [users == user for user in np.unique(users)]
    found = [auc(labels[m], scores[m]) for m in mine if 0 < labels[m].mean() < 1]
    if not found:
        raise ValueError("nobody said both")
    return float(np.mean(found))


# %% honest | tells the future: all other ratings of the user
def honest_examples(ratings, most):
    examples = []
    for user, film, stars, _ in ratings:
        known = [(f, s) for u, f, s, t in reversed(ratings) if u == user and f != film][:most]
        liked, disliked = [f for f, s in known if s >= 4], [f for f, s in known if s < 4]
        examples.append((liked, disliked, film, int(stars >= 4)))
    return examples


# %% honest | tells what the user said about the film the first time
def honest_examples(ratings, most):
    examples = []
    for user, film, stars, time in ratings:
        known = [(f, s) for u, f, s, t in reversed(ratings) if u == user and t < time][:most]
        liked, disliked = [f for f, s in known if s >= 4], [f for f, s in known if s < 4]
        examples.append((liked, disliked, film, int(stars >= 4)))
    return examples


# %% honest | tells the oldest ratings
def honest_examples(ratings, most):
    examples = []
    for user, film, stars, time in ratings:
        known = [(f, s) for u, f, s, t in ratings if u == user and t < time and f != film][:most]
        liked, disliked = [f for f, s in known if s >= 4], [f for f, s in known if s < 4]
        examples.append((liked, disliked, film, int(stars >= 4)))
    return examples


# %% honest | cuts likes and dislikes one by one, and then every user likes one half
def honest_examples(ratings, most):
    examples = []
    for user, film, stars, time in ratings:
        known = [(f, s) for u, f, s, t in reversed(ratings) if u == user and t < time and f != film]
        liked, disliked = [f for f, s in known if s >= 4], [f for f, s in known if s < 4]
        examples.append((liked[:most], disliked[:most], film, int(stars >= 4)))
    return examples


# %% honest | four stars are no like
def honest_examples(ratings, most):
    examples = []
    for user, film, stars, time in ratings:
        known = [(f, s) for u, f, s, t in reversed(ratings) if u == user and t < time and f != film][:most]
        liked, disliked = [f for f, s in known if s > 4], [f for f, s in known if s <= 4]
        examples.append((liked, disliked, film, int(stars > 4)))
    return examples


# %% honest | tells what stands earlier in the list, also of the same time
def honest_examples(ratings, most):
    examples = []
    for i, (user, film, stars, _) in enumerate(ratings):
        known = [(f, s) for u, f, s, _ in reversed(ratings[:i]) if u == user and f != film][:most]
        liked, disliked = [f for f, s in known if s >= 4], [f for f, s in known if s < 4]
        examples.append((liked, disliked, film, int(stars >= 4)))
    return examples


# %% honest | known[-0:] is the whole list
def honest_examples(ratings, most):
    examples = []
    for user, film, stars, time in ratings:
        known = [(f, s) for u, f, s, t in ratings if u == user and t < time and f != film]
        known = known[-most:][::-1]
        liked, disliked = [f for f, s in known if s >= 4], [f for f, s in known if s < 4]
        examples.append((liked, disliked, film, int(stars >= 4)))
    return examples


# %% honest | takes the film out after the cut, and too few are told
def honest_examples(ratings, most):
    examples = []
    for user, film, stars, time in ratings:
        known = [(f, s) for u, f, s, t in reversed(ratings) if u == user and t < time][:most]
        liked = [f for f, s in known if s >= 4 and f != film]
        disliked = [f for f, s in known if s < 4 and f != film]
        examples.append((liked, disliked, film, int(stars >= 4)))
    return examples


# %% honest | mixes up the users
def honest_examples(ratings, most):
    examples = []
    for _, film, stars, time in ratings:
        known = [(f, s) for _, f, s, t in reversed(ratings) if t < time and f != film][:most]
        liked, disliked = [f for f, s in known if s >= 4], [f for f, s in known if s < 4]
        examples.append((liked, disliked, film, int(stars >= 4)))
    return examples
