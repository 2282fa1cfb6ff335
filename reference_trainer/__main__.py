"""The command line: `python -m reference_trainer experiment=Cartpole max_iterations=100`."""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from reference_trainer import __version__
from reference_trainer.config import PpoSettings, Settings, SettingsError, from_command_line

if TYPE_CHECKING:
    from reference_trainer.session import EpochReport

HELP = """\
python -m reference_trainer [key=value ...]

Trains Cartpole with PPO and keeps its checkpoints in runs/<experiment>/nn/, or plays one of them:
  python -m reference_trainer experiment=Cartpole                      a new run
  python -m reference_trainer experiment=Cartpole checkpoint=last max_iterations=200
  python -m reference_trainer experiment=Cartpole test=True            plays the best checkpoint
  torchrun --nproc-per-node 2 -m reference_trainer experiment=Cartpole two ranks, num_envs each

The settings, with what they are if not given:
"""


class Interruption:
    """Remembers the first SIGINT or SIGTERM, so that the epoch in progress and its saves end.

    The second one has its usual effect: the saves are atomic, so that it does no harm either.

    Args:
        patient: nothing comes of a second one. A rank gets each from the terminal and once more
            from `torchrun`, which kills what does not end within 30 seconds.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self._patient = patient
        self.signal: signal.Signals | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._take)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        if self._patient:
            return
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Console:
    """Standard output and standard error; on a terminal one line shows the progress."""

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()
        self._midline = False

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:  # its reader has gone: training goes on in silence
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _end_line(self) -> None:
        if self._midline:
            self._write("\n")
            self._midline = False

    def progress(self, text: str) -> None:
        """Show `text` in place of the progress before it; only on a terminal."""
        self._write(f"\r{text}\x1b[K")
        self._midline = True

    def tell(self, text: str) -> None:
        """Write one line of results."""
        self._end_line()
        self._write(text + "\n")

    def complain(self, text: str) -> None:
        """Write one line of what went wrong."""
        self._end_line()
        sys.stderr.write(f"reference_trainer: {text}\n")


def help_text() -> str:
    """Return the usage and every setting with its default."""
    defaults = Settings()
    own = [item for item in fields(Settings) if item not in fields(PpoSettings)]
    lines = []
    for item in [*own, *fields(PpoSettings)]:
        default = str(getattr(defaults, item.name)).replace(" ", "")
        lines.append(f"  {item.name + '=' + default:24}  {item.metadata['help']}")
    return HELP + "\n".join(lines)


class Progress:
    """Shows a training session's epochs: each on a terminal, one of many in a pipe or a file."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self._console = console
        self._epochs = settings.max_iterations
        self._every = 1 if console.terminal else settings.save_freq or 25
        self._frames = 0
        self._seconds = 0.0

    def show(self, report: "EpochReport") -> None:
        """Take in one epoch and show it if it is its turn."""
        self._frames += report.frames
        self._seconds += report.seconds
        if report.epoch % self._every and report.epoch != self._epochs:
            return
        reward = "none yet" if report.mean_reward is None else f"{report.mean_reward:.2f}"
        line = (
            f"epoch {report.epoch}/{self._epochs}  mean reward {reward}  "
            f"best {report.watermark:.2f}  {report.frames / report.seconds:,.0f} steps/s"
        )
        if self._console.terminal:
            self._console.progress(line)
        else:
            self._console.tell(line)

    def sum_up(self) -> None:
        """Show how fast the session was, with its logs and saves."""
        rate = self._frames / self._seconds
        self._console.tell(f"{self._frames:,} steps in {self._seconds:.1f} s: {rate:,.0f} steps/s")


def play_run(settings: Settings, console: Console) -> int:
    """Play a checkpoint, tell what came of it and return the exit code."""
    from reference_trainer.session import play  # noqa: PLC0415  # torch: see `run`

    path, mean = play(settings, console.complain)
    console.tell(f"{path}: mean reward {mean:.2f} over {settings.num_envs} episodes")
    return 0


def train_run(
    settings: Settings, interruption: Interruption, console: Console, *, first: bool
) -> int:
    """Train, tell of it on the first rank and return the exit code."""
    from reference_trainer.ranks import from_environment  # noqa: PLC0415  # torch: see `run`
    from reference_trainer.saver import RunFolder  # noqa: PLC0415
    from reference_trainer.session import train  # noqa: PLC0415

    progress = Progress(settings, console)
    ranks = from_environment()
    with ranks.joined():
        last = train(
            settings,
            on_epoch=progress.show if first else lambda _report: None,
            stop=lambda: interruption.signal is not None,
            warn=console.complain,
            ranks=ranks,
        )
    if interruption.signal is not None:
        where = f"after epoch {last.epoch}" if last else "before the first epoch"
        if first:
            console.complain(f"stopped by {interruption.signal.name} {where}")
        return 128 + interruption.signal
    if not first:
        return 0
    progress.sum_up()
    if last is None or last.watermark == float("-inf"):
        console.tell("no best checkpoint: no episode has finished yet")
    else:
        best = RunFolder(Path(settings.root), settings.experiment).best
        console.tell(f"best checkpoint: {best} (mean reward {last.watermark:.2f})")
    return 0


def run(settings: Settings, interruption: Interruption, console: Console, *, first: bool) -> int:
    """Do what the settings ask for and return the exit code; only the `first` rank tells of it."""
    # torch takes a second to import: wrong settings are reported before that.
    import torch  # noqa: PLC0415

    from reference_trainer.ranks import FailedElsewhereError, LostRankError  # noqa: PLC0415
    from reference_trainer.saver import CheckpointError  # noqa: PLC0415
    from reference_trainer.session import TrainingError  # noqa: PLC0415

    torch.set_num_threads(settings.num_threads)
    try:
        if not settings.test:
            return train_run(settings, interruption, console, first=first)
        return play_run(settings, console) if first else 0  # one rank is enough to play
    except (TrainingError, OSError) as error:
        console.complain(f"stopped: {error}")
        return 1
    except CheckpointError as error:
        console.complain(str(error))
        return 2
    except LostRankError as error:
        if first:
            console.complain(f"stopped: {error}")
        return 1
    except FailedElsewhereError:  # that rank says why
        return 1


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code.

    0: done. 1: training broke off. 2: wrong settings, before anything was written. 130 and 143:
    stopped by SIGINT or SIGTERM, after the epoch in progress.
    """
    console = Console()
    if any(argument in ("-h", "--help") for argument in arguments):
        console.tell(help_text())
        return 0
    if "--version" in arguments:
        console.tell(__version__)
        return 0
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    first = alone or os.environ.get("RANK", "0") == "0"
    interruption = Interruption(patient=not alone)
    try:
        settings = from_command_line(arguments)
    except SettingsError as error:
        if first:  # all ranks have the same command line
            console.complain(f"{error} (--help lists the settings)")
        return 2
    try:
        return run(settings, interruption, console, first=first)
    except SettingsError as error:
        console.complain(f"{error} (--help lists the settings)")
        return 2
    except KeyboardInterrupt:
        console.complain("stopped by SIGINT")
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
