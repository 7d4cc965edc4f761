"""Shows a training run at a terminal: a line for each stage, and a bar while the model is fitted."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bascule_training.fit import Epoch, Step
from bascule_training.train import Event, Stage


class TrainDisplay:
    """Use as a context; the bar is drawn until its end."""

    def __init__(self, console: Console, epochs: int) -> None:
        """``epochs``: how many are trained at the most."""
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=24),
            TextColumn("loss {task.fields[loss]}  best NDCG@10 {task.fields[best]}  {task.fields[speed]} examples/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._epochs = epochs
        self._task: TaskID | None = None
        self._best = 0.0

    def __enter__(self) -> "TrainDisplay":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, event: Event) -> None:
        """Shows one event of the run."""
        match event:
            case Stage():
                self._begin(event)
            case Step() if self._task is not None:
                self._advance(self._task, event)
            case Epoch() if self._task is not None:
                self._judge(self._task, event)

    def _begin(self, stage: Stage) -> None:
        if self._task is not None:
            self._progress.stop()
        self._progress.console.print(f"{stage.title} ...", highlight=False)
        if stage.examples:
            total = self._epochs * stage.examples
            self._task = self._progress.add_task("", total=total, epoch="1", loss="-", best="-", speed="-")

    def _advance(self, task: TaskID, step: Step) -> None:
        self._progress.advance(task, step.examples)
        if step.loss is not None:
            speed = self._progress.tasks[0].speed
            self._progress.update(task, loss=f"{step.loss:.3f}", speed="-" if speed is None else f"{speed:,.0f}")

    def _judge(self, task: TaskID, epoch: Epoch) -> None:
        self._best = max(self._best, epoch.quality)
        self._progress.update(task, epoch=str(min(epoch.number + 1, self._epochs)), best=f"{self._best:.4f}")
        if not self._progress.console.is_terminal:
            self._progress.console.print(f"epoch {epoch.number}: NDCG@10 {epoch.quality:.4f}", highlight=False)
