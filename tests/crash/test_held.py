"""What stands under a checkpoint's name, and whether two of them are the same."""

from __future__ import annotations

import pytest

from conformance.convention.profile import load_profile
from conformance.crash.held import ABSENT, hold, hold_bytes, left_in
from conformance.fixtures.archive import floats, zip_checkpoint

PROFILE = load_profile()


def checkpoint(epoch, weight=1.0):
    return zip_checkpoint(
        {"model": {"w": floats(weight, 2.0)}, "epoch": epoch, "last_mean_rewards": 3.0}
    )


@pytest.fixture
def scratch(tmp_path):
    return tmp_path / "scratch.pth"


def test_a_whole_one_tells_its_epoch_and_watermark(scratch):
    held = hold_bytes(checkpoint(4), PROFILE, scratch)
    assert (held.state, held.epoch, held.watermark, held.told) == ("whole", 4, 3.0, "epoch 4")


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_torn_one_tells_why(scratch, keep):
    held = hold_bytes(checkpoint(4)[:keep], PROFILE, scratch)
    assert held.state == "torn"
    assert held.why


def test_a_flipped_bit_tears(scratch):
    data = bytearray(checkpoint(4))
    data[len(data) // 2] ^= 1
    assert hold_bytes(bytes(data), PROFILE, scratch).state == "torn"


def test_nothing_is_absent_and_a_folder_is_torn(tmp_path, scratch):
    assert hold_bytes(None, PROFILE, scratch) == ABSENT
    assert hold(tmp_path / "none.pth", PROFILE) == ABSENT
    assert hold(tmp_path, PROFILE).state == "torn"


def test_equal_contents_are_the_same_and_others_are_not(scratch):
    first = hold_bytes(checkpoint(4), PROFILE, scratch)
    assert hold_bytes(checkpoint(4), PROFILE, scratch) == first
    assert hold_bytes(checkpoint(5), PROFILE, scratch) != first
    assert hold_bytes(checkpoint(4, weight=1.5), PROFILE, scratch) != first


def test_a_folder_is_sorted_by_what_its_names_say(tmp_path):
    (tmp_path / "A.pth").write_bytes(checkpoint(2))
    (tmp_path / "last_Aep2rew1.0.pth").write_bytes(checkpoint(2)[:50])
    (tmp_path / ".saving-1.tmp").write_bytes(b"")
    left = left_in(tmp_path, "A", PROFILE)
    assert left.best.epoch == 2
    assert {name: held.state for name, held in left.others.items()} == {
        "last_Aep2rew1.0.pth": "torn"
    }
    assert left.foreign == (".saving-1.tmp",)
    assert left_in(tmp_path / "none", "A", PROFILE).best == ABSENT
