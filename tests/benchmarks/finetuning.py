"""LoRA fine-tuning of MiniLM, ours beside `transformers.Trainer` with `peft`: for `make bench`, or alone.

Both train rank 8 on query and value of the upper two of six layers and a linear head on the mean of the states, on the
same reviews of clothes, with the same batch size, number of steps and optimizer. Most of our advantage comes from the
four frozen layers, which we compute once a text and the rival once a step: it grows with the number of epochs
(two here, which are few) and is gone where all layers learn. The rest is that we pad less.
"""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Callable
from typing import Any

for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")  # read when a library is first imported
os.environ["HF_HUB_OFFLINE"] = "1"  # all there is to load is in the cache folder

import torch  # noqa: E402
from race import Race  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from llmrec_lite.language.encoder import pool  # noqa: E402
from llmrec_lite.language.finetune import FinetuneConfig, finetune  # noqa: E402
from llmrec_lite.language.lora import LoRALinear  # noqa: E402
from llmrec_lite.language.text_models import Example, TextClassifier  # noqa: E402
from llmrec_lite.reviews import load_reviews  # noqa: E402

MOST = 1 / 1.2  # our time over theirs
N, BATCH, EPOCHS, LENGTH = 192, 16, 2, 64


class Rival(nn.Module):
    """What `Trainer` trains: the same encoder with `peft`, pooled, and the head."""

    def __init__(self, encoder: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, input_ids: Any, attention_mask: Any, labels: Any) -> dict[str, torch.Tensor]:
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        logits = self.head(pool(states, attention_mask))[:, 0]
        return {"loss": F.binary_cross_entropy_with_logits(logits, labels), "logits": logits}


def examples() -> list[Example]:
    """The first reviews, and whether their writer recommends the piece."""
    reviews = load_reviews().head(N)
    return [Example(text, float(yes)) for text, yes in zip(reviews["text"], reviews["recommended"], strict=True)]


def rival(model: TextClassifier) -> Rival:
    """Build the rival with the numbers of our model."""
    from peft import LoraConfig, get_peft_model

    base = TextClassifier(max_length=LENGTH)
    top = [len(base.layers) - 2, len(base.layers) - 1]
    config = LoraConfig(r=8, lora_alpha=16, target_modules=["query", "value"], layers_to_transform=top)
    encoder = get_peft_model(base.encoder, config)
    theirs = dict(encoder.base_model.model.named_modules())
    with torch.no_grad():
        for name, module in model.encoder.named_modules():
            if isinstance(module, LoRALinear):
                theirs[name].lora_A["default"].weight.copy_(module.A)
                theirs[name].lora_B["default"].weight.copy_(module.B)
    return Rival(encoder, copy.deepcopy(model.head))


def races(repeats: int = 1) -> list[Race]:
    """Return the race, after a check that both give the same loss and the same gradients.

    Raises:
        SystemExit: they do not; then their times mean nothing.
    """
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    torch.set_num_threads(1)
    data = examples()
    config = FinetuneConfig(n_epochs=EPOCHS, batch_size=BATCH, learning_rate=1e-3, device="cpu")

    def fresh() -> TextClassifier:
        return TextClassifier(train="lora-top2", max_length=LENGTH)

    tokenizer = fresh()._tokenizer
    rows = [{**tokenizer(e.text, truncation=True, max_length=LENGTH), "labels": e.label} for e in data]
    rows = [{key: row[key] for key in ("input_ids", "attention_mask", "labels")} for row in rows]
    collate = DataCollatorWithPadding(tokenizer)

    model = fresh()
    for module in model.modules():
        if isinstance(module, LoRALinear):
            nn.init.normal_(module.B, std=0.1, generator=torch.Generator().manual_seed(0))
    twin = rival(model).eval()
    losses = model.loss(data[:BATCH]), twin(**collate(rows[:BATCH]))["loss"]
    gradients = [
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, [p for p in m.parameters() if p.requires_grad])])
        for loss, m in zip(losses, (model, twin), strict=True)
    ]
    if abs(losses[0] - losses[1]) > 1e-5 or abs(gradients[0].norm() / gradients[1].norm() - 1) > 1e-3:
        raise SystemExit(f"peft finds the loss {losses[1]:.6f}, we find {losses[0]:.6f}, or the gradients differ")

    our_start, their_start = fresh(), rival(fresh())  # loading is not timed; a copy is made each time

    def ours() -> None:
        history = finetune(copy.deepcopy(our_start), data, None, config, progress=False)
        assert len(history.train_losses) == config.steps(N)

    def theirs() -> None:
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                folder,
                max_steps=config.steps(N),
                per_device_train_batch_size=BATCH,
                learning_rate=1e-3,
                weight_decay=0.01,
                warmup_steps=int(0.1 * config.steps(N)),
                lr_scheduler_type="cosine",
                use_cpu=True,
                report_to=[],
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
            )
            trainer = Trainer(copy.deepcopy(their_start), arguments, train_dataset=rows, data_collator=collate)
            for callback in list(trainer.callback_handler.callbacks):
                if type(callback).__name__ == "PrinterCallback":
                    trainer.remove_callback(callback)
            trainer.train()

    runners: dict[str, Callable[[], object]] = {"llmrec finetune": ours, "transformers Trainer + peft": theirs}
    title = (
        f"LoRA on the upper 2 of 6 layers of MiniLM, {N} reviews, {config.steps(N)} steps of {BATCH}, {EPOCHS} epochs"
    )
    return [Race(title, runners, MOST, repeats)]


if __name__ == "__main__":
    for race in races():
        seconds = race.run()
        for name, value in seconds.items():
            print(f"{name:30} {value:8.1f} s of processor time")
        own, other = seconds.values()
        print(f"they take {other / own:.2f} times ours; target at least {1 / MOST:.1f}")
