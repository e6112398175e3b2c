"""Chapter 10: options and output of the command `llmrec finetune`; `finetune_job` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from llmrec_lite.cli.options import DataSource, takes_data
from llmrec_lite.cli.output import print_json


@takes_data
def finetune_command(
    out: Annotated[Path, typer.Option(help="Folder of the result: model.safetensors, history.csv, report.json.")],
    model: Annotated[str, typer.Option(help="minilm, smollm2 (far slower), a folder, or an id of the hub.")] = "minilm",
    train: Annotated[
        str | None,
        typer.Option(help="What learns: head, full, top<k> layers, lora, lora-top<k>. lora-top2 (smollm2: 4) else."),
    ] = None,
    examples: Annotated[int, typer.Option(min=2, help="Most examples to learn from, drawn at random.")] = 512,
    n_epochs: Annotated[float, typer.Option("--epochs", help="Passes over them.")] = 3,
    batch_size: Annotated[int, typer.Option(help="Examples an update.")] = 16,
    learning_rate: Annotated[
        float | None, typer.Option(help="Left out: 0.01 for head, 0.003 for lora, 0.0002 for top<k>, 0.00005 for full.")
    ] = None,
    accumulate: Annotated[int, typer.Option(help="Pieces a batch is computed in, to need less memory.")] = 1,
    patience: Annotated[
        int, typer.Option(help="Stop after so many epochs without a new best, and keep the best; 0 for neither.")
    ] = 2,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of all that is random.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto (bfloat16 on cuda), float32 or bfloat16.")] = "auto",
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Need less memory, and a third more time.")
    ] = False,
    compile: Annotated[bool, typer.Option("--compile", help="Use torch.compile; it pays on long trainings.")] = False,
    log_dir: Annotated[str | None, typer.Option(help="Folder for event files of TensorBoard.")] = None,
    texts: Annotated[Path | None, typer.Option(help="A file of your texts: text, label (0 or 1).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON instead of a table.")] = False,
    *,
    source: DataSource,
) -> None:
    """Teach a language model to answer yes or no, and measure it on what it has not seen.

    It learns whether a user likes a film (rates it 4 or more), given ten ratings before, from MovieLens or from your
    --interactions; training, validation and test have other users. Or an encoder learns the labels of your --texts,
    dealt out at random, 70, 10 and 20 of 100. At most 100 examples validate and 500 test.

    Stop it with Ctrl-C, or kill it: the same command goes on from the last checkpoint and ends with the same weights.
    Other settings need another --out.
    """
    options = {name: value for name, value in locals().items() if name not in ("out", "as_json")}
    # Standard output may be JSON for another program.
    screen = Console(stderr=as_json, soft_wrap=True, markup=False, highlight=False)
    try:
        from llmrec_lite.cli.finetune_job import run_job  # torch: `llmrec --help` does without it

        report = run_job(out, screen.print, **options)
    except KeyboardInterrupt:
        typer.echo("llmrec: stopped; the same command goes on from the last checkpoint", err=True)
        raise typer.Exit(130) from None
    if as_json:
        print_json(report)
        return
    metrics = report["metrics"]
    screen.print(f"{metrics['steps']} steps done; the weights are those of step {metrics['kept_step']}.")
    table = Table("on test", "AUC", "95% interval")
    for name, row in metrics["test"].items():
        table.add_row(name, f"{row['auc']:.3f}", f"{row['low']:.3f} to {row['high']:.3f}")
    screen.print(table)
    load = f"from llmrec_lite.cli.finetune_job import load_finetuned; model = load_finetuned({str(out)!r})"
    screen.print(f"In Python: {load}")
