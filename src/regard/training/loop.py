"""The training loop: batch, loss, gradient, update; now and then a validation and a checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from regard.data.batches import Batch, Coming, Place
from regard.data.prefetch import prefetched
from regard.errors import Interrupted, ProcessLost, TrainingError
from regard.models.architectures import Translator
from regard.nn.dropout import dropout_seed
from regard.nn.programs import compiled
from regard.training.checkpoints import (
    Progress,
    TrainingState,
    best_path,
    last_checkpoint,
    load_checkpoint,
    save_checkpoint,
    tidy,
)
from regard.training.devices import chosen_device, chosen_precision, placed
from regard.training.display import Reporter
from regard.training.distributed import Team, is_loss_of_another
from regard.training.exhaustion import naming_exhaustion
from regard.training.files import read_tensors, write_tensors
from regard.training.interruption import graceful_stop
from regard.training.master import MasterWeights
from regard.training.memory import give_back_freed_memory, tensors_apart
from regard.training.metrics import Metrics
from regard.training.recipe import TrainingSettings
from regard.training.run import RunFolder, fill
from regard.training.schedules import learning_rate

FEW_SHAPES = 64
"""A corpus whose batches have more shapes than these is not waited for to show them all."""


@dataclass(frozen=True)
class Outcome:
    """How training ended: the updates made, the time taken, the best validation score, and why it stopped."""

    steps: int
    seconds: float
    best: float
    reason: str


class Training:
    """A network on its way, from the run's last checkpoint if it has one.

    Args:
        run: the folder that everything is written to.
        network: trained in place.
        batches: of the training pairs.
        validate: gives the score of the network as it is; higher is better.
        reporter: is told how it goes.
        team: the processes that train together; None for this one alone.

    Raises:
        RunError: the checkpoint is no longer whole.
    """

    def __init__(
        self,
        run: RunFolder,
        network: Translator,
        batches: Coming,
        validate: Callable[[], float],
        reporter: Reporter,
        team: Team | None = None,
    ) -> None:
        self.team = team or Team()
        self.run, self.network, self.batches, self.validate, self.reporter = (
            run,
            network,
            batches,
            validate,
            reporter,
        )
        self.settings = run.recipe.training
        self.device = chosen_device(self.settings.device)
        self.precision = chosen_precision(self.settings.precision, self.device)
        self.weights = self._weights()
        self.optimizer = make_optimizer(self.weights, self.settings)
        self.average = self.weights.flat.clone() if self.settings.moving_average else None
        self.state = TrainingState(network, self.weights, self.optimizer, self.average)
        self.progress = Progress()
        checkpoint = last_checkpoint(run)
        if checkpoint is not None:
            self.progress = load_checkpoint(checkpoint, self.state)
        self.team.wait()
        if checkpoint is not None and self.team.leads:
            tidy(run, self.progress)
        self.metrics = Metrics(run.path, run.metrics, self.progress.step) if self.team.leads else None
        self.loss = self._shared_loss()
        self.saved_at = self.clock = time.monotonic()
        self.speed = 0.0
        self.shapes: set[tuple[int, ...]] = set()

    def _weights(self) -> MasterWeights:
        """The weights, where they are computed with, whole or this process's share."""
        narrow = self.precision if self.network.narrow else torch.float32
        if self.settings.parallel == "fsdp" and self.team.size > 1:
            from regard.training.sharded import ShardedWeights  # a second to import

            return ShardedWeights(self.network, narrow, self.team, self.device)
        return MasterWeights(self.network.to(self.device), narrow)

    def _shared_loss(self) -> nn.Module:
        """The loss of what learns, whose gradients after a way back are the mean of all processes'."""
        loss = self.weights.shared_loss(self.team, some_unused=leaves_parts_out(self.network))
        return compiled(loss) if self.settings.compile else loss

    def fit(self) -> Outcome:
        """Train to the end, and leave the network with its best weights.

        Raises:
            TrainingError: a loss that is not a number, or a full disk.
            Interrupted: somebody pressed Ctrl-C; a checkpoint has been written.
        """
        try:
            coming = self.batches.coming(self.progress.epoch, self.progress.position)
            with graceful_stop() as wish, prefetched(coming) as ready:
                for batch in self._coming_batches(ready):
                    self._update(batch)
                    wish.stop = self._agree(wish.stop)
                    if self._validation_due():
                        self._validation()
                    elif wish.stop or self._checkpoint_due():
                        self._checkpoint()
                    if wish.stop:
                        raise Interrupted(
                            f"stopped at step {self.progress.step:,}, which is saved. "
                            f"Go on with: {self.run.how_to_go_on}"
                        )
            self._take_best()
        except RuntimeError as error:
            if self.team.size == 1 or not is_loss_of_another(error):
                raise
            said = self.team.ended(error)
            raise (self._lost() if said is None else TrainingError(said)) from None
        finally:
            self.reporter.close()
            if self.metrics is not None:
                self.metrics.flush()
        best = self.progress.best[0][0] if self.progress.best else math.nan
        return Outcome(self.progress.step, self.progress.seconds, best, self._reason() or "the data ended")

    def _coming_batches(self, ready: Iterable[tuple[Place, Batch]]) -> Iterator[Batch]:
        """From where training stands to its end; the order depends on the seed and the epoch alone."""
        for place, batch in ready:
            if self._reason():
                return
            self._spend()  # validating and saving took training time too, but tell nothing of its speed
            self._agree()
            self.progress.epoch, self.progress.position = place
            yield batch

    def _reason(self) -> str:
        """Why training should stop now; empty if it should not."""
        settings, progress = self.settings, self.progress
        if progress.step >= settings.steps:
            return f"all {settings.steps:,} steps are done"
        if settings.minutes and progress.seconds >= settings.minutes * 60:
            return f"{settings.minutes:g} minutes are over"
        if settings.patience and progress.stale >= settings.patience:
            return f"{progress.stale} validations brought no better score"
        return ""

    def _update(self, batch: Batch) -> None:
        """One step along the gradient of a batch's loss."""
        step = self.progress.step + 1
        rate = self._rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.weights.network.train()
        rows, copies = len(batch.rows), 2 if self.settings.r_drop else 1
        seeded = dropout_seed(self.settings.seed << 32 | step, self.team.rows(rows)[0], rows, copies=copies)
        part = self.team.part(batch)
        with seeded, naming_exhaustion(batch, step, self.run.recipe), tensors_apart(self._is_new(batch)):
            loss = batch_loss(self.loss, part, self.settings, self.precision, narrow=self.network.narrow)
            loss = loss / batch.tokens
            (loss * self.team.size).backward()  # of which the team takes the mean
        loss = self.team.total(loss).item()
        self.weights.gather()
        norm = self.weights.clip(self.settings.clip)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            values = f"loss {loss}, gradient norm {norm}"
            raise self._diverged(f"the loss of step {step} is not a number ({values})")
        self.optimizer.step()
        if self.average is not None:  # the younger it is, the less it keeps
            kept = min(self.settings.moving_average, (1 + step) / (10 + step))
            self.average.lerp_(self.weights.flat, 1 - kept)
        self.weights.publish()
        self._account(step, batch.tokens, loss, rate)

    def _is_new(self, batch: Batch) -> bool:
        """Whether a batch's shape was not seen before, while there are few of them; from now on it was."""
        shape = (*batch.source.shape, *batch.given.shape)
        if shape in self.shapes or len(self.shapes) == FEW_SHAPES:
            return False
        self.shapes.add(shape)
        return True

    def _account(self, step: int, tokens: int, loss: float, rate: float) -> None:
        now = time.monotonic()
        seconds, self.clock = now - self.clock, now
        self.progress.step = step
        self.progress.seconds += seconds
        self.progress.tokens += tokens
        rest = 0.9 if self.speed else 0.0
        self.speed = rest * self.speed + (1 - rest) * tokens / max(seconds, 1e-9)
        if self.metrics is not None:
            self.metrics.write(
                step, loss=loss, learning_rate=rate, tokens=tokens, tokens_per_second=round(self.speed, 1)
            )
        self.reporter.step(step, self.settings.steps, loss, self.speed, self._seconds_left())

    def _seconds_left(self) -> float:
        progress, settings = self.progress, self.settings
        by_steps = (settings.steps - progress.step) * progress.seconds / progress.step
        return min(by_steps, settings.minutes * 60 - progress.seconds) if settings.minutes else by_steps

    def _rate(self, step: int) -> float:
        settings = self.settings
        left = 1 - self.progress.seconds / (settings.minutes * 60) if settings.minutes else 1.0
        return learning_rate(
            step,
            peak=settings.learning_rate,
            warmup=settings.warmup,
            total=settings.steps,
            decay=settings.decay,
            time_left=left,
        )

    def _validation_due(self) -> bool:
        return self.progress.step % self.settings.validate_every == 0 or bool(self._reason())

    def _checkpoint_due(self) -> bool:
        return time.monotonic() - self.saved_at > self.settings.checkpoint_minutes * 60

    def _validation(self) -> None:
        """Score the network as it is, and keep its weights if they are among the best."""
        self._require_finite_weights()
        progress, step = self.progress, self.progress.step
        metric = self.run.recipe.evaluation.metric
        score = self._score()
        top = progress.best[0][0] if progress.best else -math.inf
        progress.stale = 0 if score > top else progress.stale + 1
        self._spend()
        self._agree()
        if self.metrics is not None:
            self.metrics.write(step, **{f"validation_{metric}": score, "seconds": round(progress.seconds, 3)})
        self.reporter.validation(step, metric, score, max(score, top))
        progress.best = sorted([*progress.best, (score, step)], key=lambda entry: -entry[0])[
            : self.settings.average
        ]
        if (score, step) in progress.best:
            weights = self.state.weights_of(self.average)
            if self.team.leads:
                write_tensors(best_path(self.run, step), weights)
        self._checkpoint()

    def _score(self) -> float:
        """How good the network is by now, as the leader finds."""
        give_back_freed_memory()
        with self.weights.shown(self.average):
            score = self.team.told(self.validate() if self.team.leads else math.nan)[0]
        give_back_freed_memory()
        return score

    def _agree(self, stop: bool = False) -> bool:
        """Let the leader's clock, and its wish to stop, be that of all."""
        self.progress.seconds, stops = self.team.told(self.progress.seconds, float(stop))
        return bool(stops)

    def _lost(self) -> ProcessLost:
        kept = last_checkpoint(self.run)
        where = f"The last checkpoint is {kept}" if kept else "No checkpoint had been written yet"
        return ProcessLost(
            f"another process was lost after step {self.progress.step:,}. {where}. "
            f"Go on with: {self.run.how_to_go_on}"
        )

    def _spend(self) -> None:
        """Count the time since the last step as training time."""
        now = time.monotonic()
        self.progress.seconds += now - self.clock
        self.clock = now

    def _checkpoint(self) -> None:
        self._require_finite_weights()
        if self.metrics is not None:
            self.metrics.flush()
        save_checkpoint(self.run, self.progress, self.state, leads=self.team.leads)
        self.saved_at = time.monotonic()

    def _require_finite_weights(self) -> None:
        """Nothing takes the place of a good checkpoint that cannot be trained on."""
        if not self.weights.finite():
            raise self._diverged(f"the weights after step {self.progress.step} are not finite numbers")

    def _diverged(self, what: str) -> TrainingError:
        kept = last_checkpoint(self.run)
        where = f"The last good checkpoint is {kept}" if kept else "No checkpoint had been written yet"
        return TrainingError(f"{what}. {where}. Train anew with a smaller training.learning_rate.")

    def _take_best(self) -> None:
        """Leave the network with the mean of its best weights, or the best alone where that scores higher."""
        steps = [step for _, step in self.progress.best]
        if not steps or not self.team.leads:
            return
        self.network.to(self.device)
        states = [read_tensors(best_path(self.run, step)) for step in steps]
        chosen = mean_weights(states)
        fill(self.network, chosen, self.run.checkpoints)
        if len(states) > 1 and (score := self.validate()) < self.progress.best[0][0]:
            chosen = states[0]
            self.reporter.note(
                f"the best weights alone are better than the mean of {len(states)} ({score:.2f})"
            )
        fill(self.network.float().cpu(), chosen, self.run.checkpoints)


def batch_loss(
    loss: nn.Module, batch: Batch, settings: TrainingSettings, precision: torch.dtype, *, narrow: bool
) -> Tensor:
    """The summed loss of a batch's real target tokens, in nats.

    Args:
        loss: `regard.training.distributed.Loss` of a network.
        batch: all of it, or a part.
        settings: what the loss consists of.
        precision: of products.
        narrow: whether the network's weights are of that precision already.
    """
    device = next(loss.parameters()).device
    parts = (batch.source, batch.source_lengths, batch.given, batch.wanted)
    texts = [placed(part, device) for part in parts]
    with torch.autocast(device.type, precision, enabled=precision != torch.float32 and not narrow):
        options: dict[str, Any] = {"smoothing": settings.label_smoothing}
        if settings.r_drop:
            options["consistency"] = settings.r_drop
        if batch.wished is not None:
            options["wished"] = settings.guided_alignment * placed(batch.wished, device)
        return loss(texts, **options)


def leaves_parts_out(network: Translator) -> bool:
    """Whether a pass may leave out some of a network's layers."""
    return getattr(network.config, "layer_drop", 0.0) > 0


def make_optimizer(weights: MasterWeights, settings: TrainingSettings) -> torch.optim.AdamW:
    """AdamW over all weights, with its state in place so that it can be saved and restored at any step."""
    weights.flat.grad = weights.gradient
    optimizer = torch.optim.AdamW(
        [weights.flat],
        lr=settings.learning_rate,
        betas=settings.betas,
        eps=1e-8,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    optimizer.state[weights.flat] = {
        "step": torch.zeros((), device=weights.flat.device),
        "exp_avg": torch.zeros_like(weights.flat),
        "exp_avg_sq": torch.zeros_like(weights.flat),
    }
    return optimizer


def mean_weights(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several sets of weights, name by name."""
    return {name: torch.stack([state[name] for state in states]).mean(dim=0) for name in states[0]}
