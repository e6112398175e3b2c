"""Greedy decoding on SmolLM2, ours beside `transformers.generate`: for `make bench`, or alone.

Both read the same float32 weights, keep keys and values, and run on one thread with a batch of one. Most of the
time goes into bringing 538 MB of weights from memory to the processor for every token, which is the same for both;
what can differ is the work around it.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is first imported

import torch
from race import Race

from llmrec_lite.language.gpt import GPT
from llmrec_lite.language.pretrained import smollm2_folder

PROMPT = "Once upon a time there was a film that nobody wanted to see, because"
NEW, MOST, REPEATS = 64, 1.0, 5


def load_ours() -> GPT:
    return GPT.from_pretrained("smollm2")


def load_theirs() -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(smollm2_folder(), dtype=torch.float32).eval()


def races() -> list[Race]:
    """Return the race, after a check that both write the same."""
    torch.set_num_threads(1)
    ours, theirs = load_ours(), load_theirs()
    assert ours.tokenizer is not None
    tokens = ours.tokenizer.encode(PROMPT).ids
    batch = torch.tensor([tokens])
    mask = torch.ones_like(batch)

    def write_ours() -> list[int]:
        return ours.generate(tokens, NEW)

    def write_theirs() -> list[int]:
        written = theirs.generate(batch, attention_mask=mask, max_new_tokens=NEW, do_sample=False)
        return written[0, len(tokens) :].tolist()

    if not write_ours() == write_theirs() or len(write_ours()) != NEW:
        raise SystemExit("our GPT and transformers do not write the same text")
    title = f"greedy decoding with cache, SmolLM2-135M, {len(tokens)} tokens given, {NEW} new"
    runners = {"llmrec GPT.generate": write_ours, "transformers generate": write_theirs}
    return [Race(title, runners, MOST, REPEATS)]


def _alone(load: Any) -> None:
    start = time.perf_counter()
    load()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{load.__name__}: {time.perf_counter() - start:.1f} s to load, peak memory {peak:.2f} GB after loading")


def main() -> None:
    """Print tokens a second, and seconds to load and memory of each in a process of its own."""
    if len(sys.argv) > 1:
        return _alone({"ours": load_ours, "theirs": load_theirs}[sys.argv[1]])
    for which in ("ours", "theirs"):
        subprocess.run([sys.executable, __file__, which], check=True)
    for race in races():
        print(race.title)
        times = race.run()
        for name, seconds in times.items():
            print(f"  {name}: {NEW / seconds:.2f} tokens a second of processor time")
        ours, theirs = times.values()
        print(f"  ours / theirs = {ours / theirs:.3f}, target at most {race.most}")
    return None


if __name__ == "__main__":
    main()
