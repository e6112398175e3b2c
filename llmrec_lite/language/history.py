"""Chapter 8: what happened in a training, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd


@dataclass
class History:
    """What happened: one value a step, and one a validation. Losses in nats a predicted token."""

    train_losses: list[float] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)  # before clipping
    seconds: list[float] = field(default_factory=list)
    valid_steps: list[int] = field(default_factory=list)  # how many steps had been done
    valid_losses: list[float] = field(default_factory=list)

    def add(self, loss: float, learning_rate: float, gradient_norm: float, seconds: float) -> None:
        """Note a step."""
        self.train_losses.append(loss)
        self.learning_rates.append(learning_rate)
        self.gradient_norms.append(gradient_norm)
        self.seconds.append(seconds)

    def frame(self) -> pd.DataFrame:
        """Return one row a step, from 1; valid_loss is NaN where it was not measured."""
        columns = {
            "train_loss": self.train_losses,
            "learning_rate": self.learning_rates,
            "gradient_norm": self.gradient_norms,
            "seconds": self.seconds,
        }
        frame = pd.DataFrame(columns, index=pd.RangeIndex(1, len(self.seconds) + 1, name="step"))
        frame.insert(1, "valid_loss", pd.Series(self.valid_losses, self.valid_steps, dtype=float))
        return frame
