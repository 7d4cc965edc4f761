"""Shows a training run at a terminal: a line for each stage, and a bar while the model is fitted."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bascule_training.classic.epochs import ClassicEpoch
from bascule_training.fitting.fit import Epoch, Step
from bascule_training.trainer import Event, Stage


class TrainDisplay:
    """Use as a context; the bar is drawn until its end."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=24),
            TextColumn("loss {task.fields[loss]}  best NDCG@10 {task.fields[best]}  {task.fields[speed]} examples/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
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
            self._progress.remove_task(self._task)
            self._task = None
        self._progress.console.print(f"{stage.title} ...", highlight=False)
        if stage.examples:
            self._best = 0.0
            self._task = self._progress.add_task("", total=stage.examples, epoch="1", loss="-", best="-", speed="-")

    def _advance(self, task: TaskID, step: Step) -> None:
        self._progress.advance(task, step.examples)
        if step.loss is not None:
            speed = self._progress.tasks[0].speed
            self._progress.update(task, loss=f"{step.loss:.3f}", speed="-" if speed is None else f"{speed:,.0f}")

    def _judge(self, task: TaskID, epoch: Epoch) -> None:
        if epoch.quality is not None:
            self._best = max(self._best, epoch.quality)
            self._progress.update(task, best=f"{self._best:.4f}")
        self._progress.update(task, epoch=str(epoch.number + 1))
        if not self._progress.console.is_terminal:
            self._progress.console.print(_line(epoch), highlight=False)


def _line(epoch: Epoch) -> str:
    quality = "" if epoch.quality is None else f"  NDCG@10 {epoch.quality:.4f}"
    heads = epoch.heads.items() if isinstance(epoch, ClassicEpoch) else ()
    by_head = "".join(f"  {name} loss {head.loss:.3f} accuracy {head.accuracy:.3f}" for name, head in heads)
    return f"epoch {epoch.number}: loss {epoch.loss:.3f}{quality}{by_head}"
