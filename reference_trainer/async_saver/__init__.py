"""A saver that a training loop does not wait for; to be copied into any trainer, under any name.

    from reference_trainer.async_saver import Saver

    with Saver() as saver:
        saver.save(path, state)

`README.md` says which part does what, and `docs/saver.md` what is promised and what it costs.
"""

from .saver import Saver, SaverError

__all__ = ["Saver", "SaverError"]
