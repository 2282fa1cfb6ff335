"""The command line: `python -m reference_trainer experiment=Cartpole max_iterations=100`."""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields
from types import FrameType

from reference_trainer import __version__
from reference_trainer.config import PpoSettings, Settings, SettingsError, from_command_line

HELP = """\
python -m reference_trainer [key=value ...]

Trains Cartpole with PPO and keeps its checkpoints in runs/<experiment>/nn/, or plays one of them:
  python -m reference_trainer experiment=Cartpole                      a new run
  python -m reference_trainer experiment=Cartpole checkpoint=last max_iterations=200
  python -m reference_trainer experiment=Cartpole test=True            plays the best checkpoint

The settings, with what they are if not given:
"""


class Interruption:
    """Remembers the first SIGINT or SIGTERM, so that the epoch in progress and its saves end.

    The second one has its usual effect: the saves are atomic, so that it does no harm either.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._take)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def complain(text: str) -> None:
    """Write one line to standard error."""
    sys.stderr.write(f"reference_trainer: {text}\n")


def tell(text: str, end: str = "\n") -> None:
    """Write to standard output; when its reader has gone, go on in silence."""
    try:
        sys.stdout.write(text + end)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def help_text() -> str:
    """Return the usage and every setting with its default."""
    defaults = Settings()
    own = [item for item in fields(Settings) if item not in fields(PpoSettings)]
    lines = []
    for item in [*own, *fields(PpoSettings)]:
        default = str(getattr(defaults, item.name)).replace(" ", "")
        lines.append(f"  {item.name + '=' + default:24}  {item.metadata['help']}")
    return HELP + "\n".join(lines)


def train_or_play(settings: Settings, interruption: Interruption) -> int:
    """Do what the settings ask for and return the exit code."""
    # torch takes a second to import: wrong settings are reported before that.
    import torch  # noqa: PLC0415

    from reference_trainer.saver import CheckpointError  # noqa: PLC0415
    from reference_trainer.session import EpochReport, TrainingError, play, train  # noqa: PLC0415

    torch.set_num_threads(settings.num_threads)
    terminal = sys.stdout.isatty()
    every = settings.save_freq or 25

    def show(report: EpochReport) -> None:
        reward = "none yet" if report.mean_reward is None else f"{report.mean_reward:.2f}"
        line = (
            f"epoch {report.epoch}/{settings.max_iterations}  mean reward {reward}  "
            f"best {report.watermark:.2f}  {report.frames_per_second:,.0f} steps/s"
        )
        if terminal:
            tell(f"\r{line}\x1b[K", end="")
        elif report.epoch % every == 0 or report.epoch == settings.max_iterations:
            tell(line)

    try:
        if settings.test:
            path, mean = play(settings, complain)
            tell(f"{path}: mean reward {mean:.2f} over {settings.num_envs} episodes")
            return 0
        last = train(
            settings,
            on_epoch=show,
            stop=lambda: interruption.signal is not None,
            warn=complain,
        )
    except (SettingsError, CheckpointError) as error:
        complain(str(error))
        return 2
    except (TrainingError, OSError) as error:
        complain(f"stopped: {error}")
        return 1
    finally:
        if terminal:
            tell("")
    if interruption.signal is not None:
        where = f"after epoch {last.epoch}" if last else "before the first epoch"
        complain(f"stopped by {interruption.signal.name} {where}; checkpoint=last goes on")
        return 128 + interruption.signal
    best = f"{settings.root}/{settings.experiment}/nn/{settings.experiment}.pth"
    if last is not None and last.watermark > float("-inf"):
        tell(f"best checkpoint: {best} (mean reward {last.watermark:.2f})")
    else:
        tell("no best checkpoint: no episode has finished")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code.

    0: done. 1: training broke off. 2: wrong settings, before anything was written. 130 and 143:
    stopped by SIGINT or SIGTERM, after the epoch in progress.
    """
    if any(argument in ("-h", "--help") for argument in arguments):
        tell(help_text())
        return 0
    if "--version" in arguments:
        tell(__version__)
        return 0
    interruption = Interruption()
    try:
        settings = from_command_line(arguments)
        return train_or_play(settings, interruption)
    except SettingsError as error:
        complain(f"{error} (--help lists the settings)")
        return 2
    except KeyboardInterrupt:
        complain("stopped by SIGINT; checkpoint=last goes on")
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
