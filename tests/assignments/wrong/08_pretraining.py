# %% learn | of equals, the pair that was met first
def learn(words, m):
    symbols = {word: list(word.encode()) for word in words}
    merges = []
    for new in range(256, 256 + m):
        pairs = Counter()
        for word, n in words.items():
            for pair in pairwise(symbols[word]):
                pairs[pair] += n
        if not pairs:
            break
        merges.append(pairs.most_common(1)[0][0])
        symbols = {word: join(symbols[word], merges[-1], new) for word in words}
    return merges


# %% learn | counts each word once, however often it occurs
def learn(words, m):
    symbols = [list(word.encode()) for word in words]
    merges = []
    for new in range(256, 256 + m):
        pairs = Counter(pair for word in symbols for pair in pairwise(word))
        if not pairs:
            break
        merges.append(min(pairs, key=lambda pair: (-pairs[pair], pair)))
        symbols = [join(word, merges[-1], new) for word in symbols]
    return merges


# %% learn | one long stream, in which merges run from word to word
def learn(words, m):
    stream = list("".join(word * n for word, n in words.items()).encode())
    merges = []
    for new in range(256, 256 + m):
        pairs = Counter(pairwise(stream))
        if not pairs:
            break
        merges.append(min(pairs, key=lambda pair: (-pairs[pair], pair)))
        stream = join(stream, merges[-1], new)
    return merges


# %% learn | letters instead of bytes
def learn(words, m):
    symbols = {word: [ord(letter) for letter in word] for word in words}
    merges = []
    for new in range(256, 256 + m):
        pairs = Counter()
        for word, n in words.items():
            for pair in pairwise(symbols[word]):
                pairs[pair] += n
        if not pairs:
            break
        merges.append(min(pairs, key=lambda pair: (-pairs[pair], pair)))
        symbols = {word: join(symbols[word], merges[-1], new) for word in words}
    return merges


# %% learn | takes the m best pairs of the first count and counts no more
def learn(words, m):
    pairs = Counter()
    for word, n in words.items():
        for pair in pairwise(word.encode()):
            pairs[pair] += n
    return sorted(pairs, key=lambda pair: (-pairs[pair], pair))[:m]


# %% encode | takes the longest token that fits, whenever it was learned
def encode(text, merges):
    strings = [bytes([i]) for i in range(256)]
    for first, second in merges:
        strings.append(strings[first] + strings[second])
    rest, tokens = text.encode(), []
    while rest:
        fits = [i for i, string in enumerate(strings) if rest.startswith(string)]
        tokens.append(max(fits, key=lambda i: len(strings[i])))
        rest = rest[len(strings[tokens[-1]]) :]
    return tokens


def decode(tokens, merges):
    strings = [bytes([i]) for i in range(256)]
    for first, second in merges:
        strings.append(strings[first] + strings[second])
    return b"".join(strings[token] for token in tokens).decode(errors="replace")


# %% encode | joins from left to right whatever can be joined
def encode(text, merges):
    number = {pair: 256 + i for i, pair in enumerate(merges)}
    tokens = []
    for byte in text.encode():
        tokens.append(byte)
        while tuple(tokens[-2:]) in number:
            tokens[-2:] = [number[tuple(tokens[-2:])]]
    return tokens


def decode(tokens, merges):
    strings = [bytes([i]) for i in range(256)]
    for first, second in merges:
        strings.append(strings[first] + strings[second])
    return b"".join(strings[token] for token in tokens).decode(errors="replace")


# %% encode | decodes token by token, and a letter of several tokens is lost
def encode(text, merges):
    tokens = list(text.encode())
    for i, pair in enumerate(merges):
        tokens = join(tokens, pair, 256 + i)
    return tokens


def decode(tokens, merges):
    strings = [bytes([i]) for i in range(256)]
    for first, second in merges:
        strings.append(strings[first] + strings[second])
    return "".join(strings[token].decode(errors="replace") for token in tokens)


# %% encode | breaks down at a letter that was cut off
def encode(text, merges):
    tokens = list(text.encode())
    for i, pair in enumerate(merges):
        tokens = join(tokens, pair, 256 + i)
    return tokens


def decode(tokens, merges):
    strings = [bytes([i]) for i in range(256)]
    for first, second in merges:
        strings.append(strings[first] + strings[second])
    return b"".join(strings[token] for token in tokens).decode()


# %% encode | undoes the merges in the order in which they were done
def encode(text, merges):
    tokens = list(text.encode())
    for i, pair in enumerate(merges):
        tokens = join(tokens, pair, 256 + i)
    return tokens


def decode(tokens, merges):
    for i, pair in enumerate(merges):
        tokens = [part for token in tokens for part in (pair if token == 256 + i else (token,))]
    return bytes(token % 256 for token in tokens).decode(errors="replace")


# %% hide | asks only for what has changed
def hide(tokens, draw, how, other, never):
    chosen = (draw < 0.15) & ~torch.isin(tokens, torch.tensor(never, dtype=tokens.dtype))
    inputs = torch.where(chosen & (how < 0.8), MASK, tokens)
    inputs = torch.where(chosen & (how >= 0.9), other, inputs)
    return inputs, torch.where(inputs != tokens, tokens, -100)


# %% hide | hides the end tokens, too
def hide(tokens, draw, how, other, never):
    chosen = draw < 0.15
    inputs = torch.where(chosen & (how < 0.8), MASK, tokens)
    inputs = torch.where(chosen & (how >= 0.9), other, inputs)
    return inputs, torch.where(chosen, tokens, -100)


# %% hide | asks for every token, also for those that can be seen
def hide(tokens, draw, how, other, never):
    chosen = (draw < 0.15) & ~torch.isin(tokens, torch.tensor(never, dtype=tokens.dtype))
    inputs = torch.where(chosen & (how < 0.8), MASK, tokens)
    return torch.where(chosen & (how >= 0.9), other, inputs), tokens


# %% hide | writes into the tokens, so that the targets are the mask itself
def hide(tokens, draw, how, other, never):
    chosen = (draw < 0.15) & ~torch.isin(tokens, torch.tensor(never, dtype=tokens.dtype))
    inputs = tokens
    inputs[chosen & (how < 0.8)] = MASK
    inputs[chosen & (how >= 0.9)] = other[chosen & (how >= 0.9)]
    return inputs, torch.where(chosen, tokens, -100)


# %% hide | masks everything that is chosen
def hide(tokens, draw, how, other, never):
    chosen = (draw < 0.15) & ~torch.isin(tokens, torch.tensor(never, dtype=tokens.dtype))
    return torch.where(chosen, MASK, tokens), torch.where(chosen, tokens, -100)


# %% resume | counts the steps from 0 again
def rate(step, total):
    if step < WARMUP:
        return HIGHEST * (step + 1) / (WARMUP + 1)
    done = (step - WARMUP) / (total - 1 - WARMUP)
    return LOWEST + (HIGHEST - LOWEST) * (1 + math.cos(math.pi * done)) / 2


def go_on(state, until, total, rows):
    w, v = state["w"], state["v"]
    for step in range(until - state["step"]):
        v = 0.9 * v + (w - rows[step % len(rows)])
        w = w - rate(step, total) * v
    return {"step": until, "w": w, "v": v}


# %% resume | restores the weights, not the momentum
def rate(step, total):
    if step < WARMUP:
        return HIGHEST * (step + 1) / (WARMUP + 1)
    done = (step - WARMUP) / (total - 1 - WARMUP)
    return LOWEST + (HIGHEST - LOWEST) * (1 + math.cos(math.pi * done)) / 2


def go_on(state, until, total, rows):
    w, v = state["w"], torch.zeros_like(state["w"])
    for step in range(state["step"], until):
        v = 0.9 * v + (w - rows[step % len(rows)])
        w = w - rate(step, total) * v
    return {"step": until, "w": w, "v": v}


# %% resume | changes the tensors of the old state
def rate(step, total):
    if step < WARMUP:
        return HIGHEST * (step + 1) / (WARMUP + 1)
    done = (step - WARMUP) / (total - 1 - WARMUP)
    return LOWEST + (HIGHEST - LOWEST) * (1 + math.cos(math.pi * done)) / 2


def go_on(state, until, total, rows):
    w, v = state["w"], state["v"]
    for step in range(state["step"], until):
        v *= 0.9
        v += w - rows[step % len(rows)]
        w -= rate(step, total) * v
    return {"step": until, "w": w, "v": v}


# %% resume | the cosine ends where this part of the training ends
def rate(step, total):
    if step < WARMUP:
        return HIGHEST * (step + 1) / (WARMUP + 1)
    done = (step - WARMUP) / max(1, total - 1 - WARMUP)
    return LOWEST + (HIGHEST - LOWEST) * (1 + math.cos(math.pi * done)) / 2


def go_on(state, until, total, rows):
    w, v = state["w"], state["v"]
    for step in range(state["step"], until):
        v = 0.9 * v + (w - rows[step % len(rows)])
        w = w - rate(step, until) * v
    return {"step": until, "w": w, "v": v}


# %% resume | the cosine begins at step 0, so that the rate jumps after the warm-up
def rate(step, total):
    if step < WARMUP:
        return HIGHEST * (step + 1) / (WARMUP + 1)
    return LOWEST + (HIGHEST - LOWEST) * (1 + math.cos(math.pi * step / (total - 1))) / 2


def go_on(state, until, total, rows):
    w, v = state["w"], state["v"]
    for step in range(state["step"], until):
        v = 0.9 * v + (w - rows[step % len(rows)])
        w = w - rate(step, total) * v
    return {"step": until, "w": w, "v": v}


# %% gradient | the mean of the pieces' means
def gradient(model, pieces, longest):
    model.zero_grad()
    pieces = [(inputs, targets) for inputs, targets in pieces if (targets != -100).any()]
    total = 0.0
    for inputs, targets in pieces:
        part = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()) / len(pieces)
        part.backward()
        total += part.item()
    return total, torch.nn.utils.clip_grad_norm_(model.parameters(), longest).item()


# %% gradient | shortens each parameter on its own
def gradient(model, pieces, longest):
    n_targets = sum((targets != -100).sum().item() for _, targets in pieces)
    model.zero_grad()
    total = 0.0
    for inputs, targets in pieces:
        logits = model(inputs).flatten(0, 1)
        part = F.cross_entropy(logits, targets.flatten(), reduction="sum") / n_targets
        part.backward()
        total += part.item()
    used = [p for p in model.parameters() if p.grad is not None]
    lengths = [torch.nn.utils.clip_grad_norm_([p], longest).item() for p in used]
    return total, math.hypot(*lengths)


# %% gradient | divides by all places, also by those where nothing is asked
def gradient(model, pieces, longest):
    n_places = sum(targets.numel() for _, targets in pieces)
    model.zero_grad()
    total = 0.0
    for inputs, targets in pieces:
        logits = model(inputs).flatten(0, 1)
        part = F.cross_entropy(logits, targets.flatten(), reduction="sum") / n_places
        part.backward()
        total += part.item()
    return total, torch.nn.utils.clip_grad_norm_(model.parameters(), longest).item()


# %% gradient | adds to what the last step left
def gradient(model, pieces, longest):
    n_targets = sum((targets != -100).sum().item() for _, targets in pieces)
    total = 0.0
    for inputs, targets in pieces:
        logits = model(inputs).flatten(0, 1)
        part = F.cross_entropy(logits, targets.flatten(), reduction="sum") / n_targets
        part.backward()
        total += part.item()
    return total, torch.nn.utils.clip_grad_norm_(model.parameters(), longest).item()


# %% gradient | shortens after each piece
def gradient(model, pieces, longest):
    n_targets = sum((targets != -100).sum().item() for _, targets in pieces)
    model.zero_grad()
    total = 0.0
    for inputs, targets in pieces:
        logits = model(inputs).flatten(0, 1)
        part = F.cross_entropy(logits, targets.flatten(), reduction="sum") / n_targets
        part.backward()
        total += part.item()
        length = torch.nn.utils.clip_grad_norm_(model.parameters(), longest).item()
    return total, length


# %% curves | the mean over texts of bits per byte
def bits_per_byte(losses, counts, texts):
    each = zip(losses, counts, texts, strict=True)
    return sum(loss * n / math.log(2) / max(len(text.encode()), 1) for loss, n, text in each) / len(texts)


def passes(curve, every, batch, size):
    best = curve.index(min(curve))
    return None if best == len(curve) - 1 else (best + 1) * every * batch / size


# %% curves | letters instead of bytes
def bits_per_byte(losses, counts, texts):
    nats = sum(loss * n for loss, n in zip(losses, counts, strict=True))
    return nats / math.log(2) / sum(len(text) for text in texts)


def passes(curve, every, batch, size):
    best = curve.index(min(curve))
    return None if best == len(curve) - 1 else (best + 1) * every * batch / size


# %% curves | takes the first measurement to be of step 0
def bits_per_byte(losses, counts, texts):
    nats = sum(loss * n for loss, n in zip(losses, counts, strict=True))
    return nats / math.log(2) / sum(len(text.encode()) for text in texts)


def passes(curve, every, batch, size):
    best = curve.index(min(curve))
    return None if best == len(curve) - 1 else best * every * batch / size


# %% curves | stops at the first measurement that is worse than the one before
def bits_per_byte(losses, counts, texts):
    nats = sum(loss * n for loss, n in zip(losses, counts, strict=True))
    return nats / math.log(2) / sum(len(text.encode()) for text in texts)


def passes(curve, every, batch, size):
    for i in range(1, len(curve)):
        if curve[i] >= curve[i - 1]:
            return i * every * batch / size
    return None


# %% curves | nats, not bits
def bits_per_byte(losses, counts, texts):
    nats = sum(loss * n for loss, n in zip(losses, counts, strict=True))
    return nats / sum(len(text.encode()) for text in texts)


def passes(curve, every, batch, size):
    best = curve.index(min(curve))
    return None if best == len(curve) - 1 else (best + 1) * every * batch / size
