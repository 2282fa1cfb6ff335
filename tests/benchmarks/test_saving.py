"""What a save of the reference saver costs beside torch's ways, and a bare write of as many bytes.

Two groups for each size: how long the training loop is kept, and how long until the file is safe.
1 GB, ratios and a drawing are `conformance bench`'s matter.
"""

from __future__ import annotations

import pytest

from conformance.bench import peers
from reference_trainer.async_saver import Saver

SIZES = {"64 KB": 64 << 10, "5 MB": 5 << 20, "100 MB": 100 << 20}
ROUNDS = {"64 KB": 15, "5 MB": 7, "100 MB": 3}


def nothing():
    """Wait for nothing."""


@pytest.fixture(scope="module", params=SIZES)
def saving(request, tmp_path_factory):
    """A size, a state, where to save it, and each way to do so: `save`, then `wait`."""
    state = peers.state_of(SIZES[request.param])
    here = tmp_path_factory.mktemp("saving")
    with (
        peers.opened(state, here) as others,
        Saver() as behind,
        Saver() as overlapped,
        Saver(background=False) as at_once,
    ):
        ways = {
            "Saver": (lambda state, path: behind.save(path, state), behind.wait),
            "Saver, overlapped": (
                lambda state, path: overlapped.save(path, state, overlap=True),
                overlapped.wait,
            ),
            "Saver, at once": (lambda state, path: at_once.save(path, state), nothing),
            **{name: (save, *wait) for name, save, *wait in others.ways},
        }
        for saver in (behind, overlapped, at_once):
            saver.prepare(state)
        yield request.param, state, here / "saved.pth", ways


WAYS = [
    "Saver",
    "Saver, overlapped",
    "Saver, at once",
    "raw write, buffered",
    "torch.save, durable",
    "torch.save, plain",
    "torch.save, no CRC",
    "torch.save in a thread",
    "DCP async_save",
]


@pytest.mark.filterwarnings("ignore::UserWarning:torch.distributed")  # that there are no ranks
@pytest.mark.parametrize("way", WAYS)
def test_the_loop_is_kept(benchmark, saving, way):
    size, state, path, ways = saving
    save, wait = (*ways[way], nothing)[:2]
    benchmark.group = f"{size}: the stall of the loop"
    benchmark.pedantic(
        save, (state, path), teardown=lambda *_: wait(), rounds=ROUNDS[size], warmup_rounds=1
    )
    wait()  # untimed, with --benchmark-disable, nothing is torn down
    assert path.exists() or way == "DCP async_save"


@pytest.mark.filterwarnings("ignore::UserWarning:torch.distributed")  # that there are no ranks
@pytest.mark.parametrize("way", WAYS)
def test_the_file_is_safe(benchmark, saving, way):
    size, state, path, ways = saving
    save, wait = (*ways[way], nothing)[:2]

    def save_and_wait():
        save(state, path)
        wait()

    benchmark.group = f"{size}: until the file is safe"
    benchmark.pedantic(save_and_wait, rounds=ROUNDS[size], warmup_rounds=1)
    assert path.exists() or way == "DCP async_save"
