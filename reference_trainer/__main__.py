"""The command line: `python -m reference_trainer experiment=Cartpole max_iterations=100`."""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from reference_trainer import __version__
from reference_trainer.config import Settings, SettingsError, TrainerError
from reference_trainer.console import Console, Interruption
from reference_trainer.overrides import from_command_line

if TYPE_CHECKING:
    from reference_trainer.train import EpochReport

HELP = """\
python -m reference_trainer [key=value ...]

Trains Cartpole with PPO and keeps its checkpoints in runs/<experiment>/nn/, or plays one of them:
  python -m reference_trainer experiment=Cartpole                      a new run
  python -m reference_trainer experiment=Cartpole checkpoint=last max_iterations=200
  python -m reference_trainer experiment=Cartpole test=True            plays the best checkpoint
  torchrun --nproc-per-node 2 -m reference_trainer experiment=Cartpole two ranks, num_envs each

The settings, with what they are if not given:
"""


def help_text() -> str:
    """Return the usage and every setting with its default."""
    lines = []
    for item in fields(Settings):
        default = str(getattr(Settings(), item.name)).replace(" ", "")
        lines.append(f"  {item.name + '=' + default:24}  {item.metadata['help']}")
    return HELP + "\n".join(lines)


# torch takes a second to import: wrong settings are reported before that.


def play_run(settings: Settings, console: Console) -> int:
    """Play a checkpoint, tell what came of it and return the exit code."""
    from reference_trainer.train import play  # noqa: PLC0415

    path, mean = play(settings, console.complain)
    console.tell(f"{path}: mean reward {mean:.2f} over {settings.num_envs} episodes")
    return 0


def train_run(
    settings: Settings, interruption: Interruption, console: Console, *, first: bool
) -> int:
    """Train, tell of it on the first rank and return the exit code."""
    from reference_trainer.checkpoints import RunFolder  # noqa: PLC0415
    from reference_trainer.ranks import from_environment  # noqa: PLC0415
    from reference_trainer.train import train  # noqa: PLC0415

    every = 1 if console.terminal else settings.save_freq or 25
    frames, seconds = 0, 0.0

    def show(report: "EpochReport") -> None:
        nonlocal frames, seconds
        frames, seconds = frames + report.frames, seconds + report.seconds
        if first and (report.epoch % every == 0 or report.epoch == settings.max_iterations):
            reward = "none yet" if report.mean_reward is None else f"{report.mean_reward:.2f}"
            console.tell(
                f"epoch {report.epoch}/{settings.max_iterations}  mean reward {reward}  "
                f"best {report.watermark:.2f}  {report.frames / report.seconds:,.0f} steps/s",
                progress=True,
            )

    ranks = from_environment()
    with ranks.joined():
        asked = interruption.asked
        last = train(settings, on_epoch=show, stop=asked, warn=console.complain, ranks=ranks)
    if interruption.signal is not None:
        where = f"after epoch {last.epoch}" if last else "before the first epoch"
        if first:
            console.complain(f"stopped by {interruption.signal.name} {where}")
        return 128 + interruption.signal
    if first:
        console.tell(f"{frames:,} steps in {seconds:.1f} s: {frames / seconds:,.0f} steps/s")
        if last is None or last.watermark == float("-inf"):
            console.tell("no best checkpoint: no episode has finished yet")
        else:
            best = RunFolder(settings.root, settings.experiment).best
            console.tell(f"best checkpoint: {best} (mean reward {last.watermark:.2f})")
    return 0


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
    interruption = Interruption(alone=alone)
    settings = None
    try:
        settings = from_command_line(arguments)
        if settings.test:
            return play_run(settings, console) if first else 0  # one rank is enough to play
        return train_run(settings, interruption, console, first=first)
    except SettingsError as error:
        if first or settings:  # all ranks have the same command line
            console.complain(f"{error} (--help lists the settings)")
        return error.exit_code
    except (TrainerError, OSError) as error:
        code: int = getattr(error, "exit_code", 1)
        if not getattr(error, "silent", False):
            console.complain(str(error) if code == 2 else f"stopped: {error}")
        return code
    except KeyboardInterrupt:
        console.complain("stopped by SIGINT")
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
