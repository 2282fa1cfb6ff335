"""The smallest real trainer that keeps the checkpoint convention: Cartpole, PPO and a safe saver.

Importing this package loads nothing heavy: torch comes with `reference_trainer.cartpole` and
`reference_trainer.ppo`, Hydra only when a command line is read.
"""

__version__ = "0.1.0"
