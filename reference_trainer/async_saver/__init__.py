"""A saver that a training loop does not wait for; usable on its own, without the trainer.

    from reference_trainer.async_saver import Saver

    with Saver() as saver:
        saver.save(path, state)

`docs/saver.md` says what is promised and what it costs. The parts: `plan` lays a state out as the
archive of `torch.save`, `image` holds such a file in memory, `disk` writes it durably, and `saver`
puts them behind the training loop.
"""

from reference_trainer.async_saver.saver import Saver, SaverError

__all__ = ["Saver", "SaverError"]
