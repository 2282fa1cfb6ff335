"""The smallest real trainer that keeps the checkpoint convention: Cartpole, PPO and a safe saver.

Read `train`, `checkpoints`, `ppo` and `cartpole`: they are the trainer. `config`, `overrides`,
`console` and `__main__` are its command line, `summaries` is its log and `ranks` is for several
processes. `async_saver` is a guest that saves behind the training; `adapter` serves the harness.

Importing this package loads nothing heavy: torch comes with `reference_trainer.cartpole` and
`reference_trainer.ppo`, Hydra only when a command line is read.
"""

__version__ = "0.1.0"
