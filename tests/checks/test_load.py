"""What is said of contents that cannot be read, in part or at all, and where a limit lies."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from conformance.checks import audit
from conformance.checks.model import _numpy_globals, strict_load_error
from conformance.convention.oracle import Settings
from conformance.convention.profile import load_profile
from conformance.convention.rules import Verdict
from conformance.evidence.runs import scan_run
from conformance.fixtures.archive import (
    Array,
    Call,
    Global,
    Storage,
    floats,
    legacy_checkpoint,
    numpy_scalar,
    zip_checkpoint,
)
from conformance.fixtures.case import ordinary, trained
from conformance.fixtures.play import Session, play, weights
from conformance.run.files import is_temporary
from conformance.run.settings import Options

OF_MODELS = {f"LOAD-0{number:02}" for number in (2, 5, 6, 7, 8, 9, 10, 11)}
PASS, FAIL, NONE, UNKNOWN = (
    Verdict.PASS,
    Verdict.FAIL,
    Verdict.NOT_APPLICABLE,
    Verdict.UNOBSERVABLE,
)


@pytest.fixture
def verdicts(tmp_path):
    """A function that returns what the rules of the contents say of a run."""

    def judge(run, *, model=None):
        found = audit(scan_run(run.write(tmp_path)), load_profile(), Options(model=model))
        return {
            finding.rule: finding.verdict
            for finding in found.findings
            if finding.rule.startswith(("LOAD-", "SAFETY-", "INTEGRITY-001", "INTEGRITY-004"))
        }

    return judge


def cut(data):
    return data[: len(data) // 2]


# --- nothing to read ------------------------------------------------------------------------


def test_without_a_checkpoint_there_is_nothing_to_load(verdicts):
    found = verdicts(trained(float("nan"), save_freq=0))
    assert set(found.values()) == {NONE}


def test_where_each_archive_is_damaged_its_own_rule_says_so_and_the_others_are_left_open(verdicts):
    found = verdicts(ordinary().each(lambda run, file: run.damaged(file, cut)))
    assert {rule for rule, verdict in found.items() if verdict is FAIL} == {"INTEGRITY-001"}
    assert {rule for rule, verdict in found.items() if verdict is UNKNOWN} == {
        *OF_MODELS,
        *("LOAD-001", "SAFETY-001"),
    }


def test_one_damaged_archive_leaves_the_others_to_be_judged(verdicts):
    run = ordinary()
    found = verdicts(run.damaged(run.best, cut))
    assert {rule for rule, verdict in found.items() if verdict is FAIL} == {"INTEGRITY-001"}
    assert {rule for rule, verdict in found.items() if verdict is PASS} == {
        *(OF_MODELS | {"LOAD-001", "LOAD-003", "SAFETY-001", "INTEGRITY-004"}),
    }


def test_a_damaged_file_of_the_old_format_does_not_load(verdicts):
    """It is no archive, so that no other rule says so."""
    run = ordinary()
    old = run.encoded(run.best, legacy_checkpoint)
    assert verdicts(old)["LOAD-001"] is PASS


def test_a_file_of_the_old_format_that_ends_early_does_not_load(verdicts):
    run = ordinary()
    old = run.encoded(run.best, lambda values: legacy_checkpoint(values)[:-40])
    found = verdicts(old)
    assert {rule for rule, verdict in found.items() if verdict is FAIL} == {"LOAD-001"}


@pytest.mark.parametrize("all_of_them", [True, False])
def test_a_file_that_cannot_be_read_is_neither_whole_nor_damaged(tmp_path, all_of_them):
    run = scan_run(ordinary().write(tmp_path))
    files = sorted((run.path / "nn").iterdir())
    for file in files if all_of_them else files[:1]:
        file.unlink()  # between the listing and the reading
    found = {finding.rule: finding for finding in audit(run, load_profile()).findings}
    whole = found["INTEGRITY-001"]
    assert whole.verdict is UNKNOWN
    assert whole.paths[0] == f"nn/{files[0].name}"
    assert files[0].name in whole.message
    # What the others hold is judged.
    assert found["LOAD-001"].verdict is (UNKNOWN if all_of_them else PASS)
    assert {rule for rule, each in found.items() if each.verdict is FAIL} <= {"BEST-001"}


def test_a_file_that_asks_for_more_than_any_checkpoint_needs_does_not_load(tmp_path):
    run = ordinary()
    run = run.storing(run.best, more=Call(Global("builtins", "bytearray"), (1 << 40,)))
    found = {
        finding.rule: finding
        for finding in audit(scan_run(run.write(tmp_path)), load_profile()).findings
    }
    assert {rule for rule, each in found.items() if each.verdict is FAIL} == {"LOAD-001"}
    assert found["LOAD-001"].paths == (run.best.path,)
    assert "asks for more than any checkpoint needs" in found["LOAD-001"].message
    assert found["LOAD-002"].evidence == {"checkpoints": len(run.checkpoints) - 1}


def test_forbidden_globals_are_the_matter_of_one_rule(verdicts):
    hook = Call(Global("posix", "system"), ("true",))
    run = ordinary()
    one = run.storing(run.best, hook=hook)
    found = verdicts(one)
    assert {rule for rule, verdict in found.items() if verdict is FAIL} == {"SAFETY-001"}
    assert found["LOAD-001"] is PASS


def test_a_forbidden_global_in_place_of_the_state_dict_is_the_matter_of_one_rule(verdicts):
    run = ordinary()
    hook = Call(Global("posix", "system"), ("true",))
    found = verdicts(run.storing(run.best, model=hook))
    assert {rule for rule, verdict in found.items() if verdict is FAIL} == {"SAFETY-001"}


def test_where_each_file_names_a_forbidden_global_nothing_is_loaded(verdicts):
    hook = Call(Global("posix", "system"), ("true",))
    found = verdicts(ordinary().each(lambda run, file: run.storing(file, hook=hook)))
    assert found["SAFETY-001"] is FAIL
    assert found["LOAD-001"] is NONE
    assert {rule for rule, verdict in found.items() if verdict is FAIL} == {"SAFETY-001"}


def test_a_file_without_a_state_dict_is_the_matter_of_one_rule(verdicts):
    found = verdicts(ordinary().each(lambda run, file: run.holding(file, {"epoch": file.epoch})))
    assert {rule for rule, verdict in found.items() if verdict is FAIL} == {"LOAD-002"}
    assert {found[f"LOAD-00{number}"] for number in (3, 4, 5, 6, 8, 9)} == {NONE}


@pytest.mark.parametrize(
    ("model", "verdict"),
    [
        ({}, FAIL),
        ([], FAIL),
        (OrderedDict({"actor.bias": 1.0}), FAIL),
        (OrderedDict({1: floats(1.0)}), FAIL),
        (OrderedDict({"actor.bias": floats(1.0)}), PASS),
    ],
)
def test_a_state_dict_maps_texts_to_tensors(verdicts, model, verdict):
    run = ordinary().each(lambda run, file: run.storing(file, model=model))
    assert verdicts(run)["LOAD-002"] is verdict


# --- LOAD-003: the sessions -----------------------------------------------------------------


def two_sessions(*, layer_in):
    """Two sessions of which one checkpoint, or the second session, has a layer more."""
    run = play(
        Settings("A", 1, 4),
        [Session((1.0, 2.0)), Session((5.0, 6.0), first=3, resumed=True)],
    )

    def grow(run, file):
        if file.epoch not in layer_in:
            return run
        grown = OrderedDict({**weights(file.epoch), "critic.weight": floats(0.5)})
        return run.storing(file, model=grown)

    return run.each(grow)


@pytest.mark.parametrize(
    ("layer_in", "verdict"), [({3, 4}, PASS), ({4}, FAIL), ({1}, FAIL), (set(), PASS)]
)
def test_checkpoints_of_one_session_agree_and_sessions_may_differ(verdicts, layer_in, verdict):
    assert verdicts(two_sessions(layer_in=layer_in))["LOAD-003"] is verdict


def test_one_checkpoint_of_each_session_leaves_nothing_to_compare(verdicts):
    run = play(Settings("A", 2, 4), [Session((1.0, 2.0)), Session((0.0, 0.5), first=3)])
    run = run.without(run.best)
    assert verdicts(run)["LOAD-003"] is NONE


# --- LOAD-004: a model ----------------------------------------------------------------------


class Policy(torch.nn.Module):
    """The module whose state_dict the runs hold."""

    def __init__(self, actions=2):
        super().__init__()
        self.actor = torch.nn.Linear(2, actions)


def test_a_model_is_judged_by_what_can_be_loaded(verdicts):
    assert verdicts(ordinary(), model=Policy)["LOAD-004"] is PASS


def test_a_model_of_another_shape_is_refused(verdicts):
    assert verdicts(ordinary(), model=lambda: Policy(3))["LOAD-004"] is FAIL


@pytest.mark.parametrize("model", [Policy, lambda: Policy(3)])
def test_a_model_is_given_what_only_the_dialect_allows(tmp_path, model):
    run = trained(1.0, 2.0, save_freq=0).configured(save_best_after=0)
    run = run.storing(run.best, last_mean_rewards=numpy_scalar(2.0))
    profile = load_profile("rl_games-1.6")
    found = audit(scan_run(run.write(tmp_path)), profile, Options(model=model)).findings
    verdict = next(finding.verdict for finding in found if finding.rule == "LOAD-004")
    assert verdict is (PASS if model is Policy else FAIL)


def test_a_model_is_not_held_against_a_file_that_does_not_load(verdicts):
    """It loads once the NumPy scalar is gone: one defect, one rule."""
    run = ordinary().each(lambda run, file: run.storing(file, last_mean_rewards=numpy_scalar(2.0)))
    found = verdicts(run, model=Policy)
    assert (found["LOAD-001"], found["LOAD-004"]) == (FAIL, UNKNOWN)


def test_nothing_in_a_file_is_executed_that_a_model_is_held_against(tmp_path):
    """Other checks keep such files away; this one does not rely on them."""
    run = ordinary()
    ran = tmp_path / "ran"
    run = run.storing(run.best, hook=Call(Global("posix", "system"), (f"touch {ran}",)))
    with pytest.raises(pickle.UnpicklingError):
        strict_load_error(Policy, run.write(tmp_path) / run.best.path, frozenset())
    assert not ran.exists()


@pytest.mark.parametrize("change", ["damaged", "forbidden", "without a model"])
def test_without_a_loadable_file_a_model_is_left_open(verdicts, change):
    hook = Call(Global("posix", "system"), ("true",))
    steps = {
        "damaged": lambda run, file: run.damaged(file, cut),
        "forbidden": lambda run, file: run.storing(file, hook=hook),
        "without a model": lambda run, file: run.holding(file, {"epoch": file.epoch}),
    }
    assert verdicts(ordinary().each(steps[change]), model=Policy)["LOAD-004"] is UNKNOWN


# --- LOAD-005 -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "verdict"),
    [
        ("module.actor.bias", FAIL),
        ("_orig_mod.actor.bias", FAIL),
        ("actor._orig_mod.bias", FAIL),
        ("actor.module.bias", PASS),
        ("actor_orig_mod.bias", PASS),
        ("modules.bias", PASS),
    ],
)
def test_a_wrapper_is_told_by_where_its_prefix_stands(verdicts, key, verdict):
    run = ordinary().each(
        lambda run, file: run.storing(file, model=OrderedDict({key: floats(1.0)}))
    )
    assert verdicts(run)["LOAD-005"] is verdict


# --- several state_dicts --------------------------------------------------------------------


@pytest.mark.parametrize(("value", "verdict"), [(1.0, PASS), (float("nan"), FAIL)])
@pytest.mark.parametrize("key", ["actor", "critic"])
def test_each_of_a_dialects_state_dicts_is_looked_into(tmp_path, key, value, verdict):
    profile = load_profile("rl_games-sac-1.6")
    run = play(Settings("A", 1, 2), [Session((1.0, 2.0))], profile=profile)
    run = run.storing(run.periodic(1), **{key: OrderedDict({"weight": floats(value)})})
    found = audit(scan_run(run.write(tmp_path)), profile).findings
    (judged,) = (finding for finding in found if finding.rule == "LOAD-006")
    assert judged.verdict is verdict
    if verdict is FAIL:
        assert f"{key}.weight" in judged.message


# --- LOAD-007: the limit --------------------------------------------------------------------


def of_size(addressed, dragged):
    """A run whose best has tensors of so many bytes, in a storage of so many more."""
    run = trained(1.0, save_freq=0)
    view = Array(Storage("float32", bytes(addressed + dragged)), (addressed // 4,))
    return run.storing(run.best, model=OrderedDict({"actor.bias": view}))


@pytest.mark.parametrize("addressed", [4, 40_000])
def test_a_file_may_be_a_quarter_and_64_kib_larger_than_its_tensors(verdicts, addressed):
    limit = 1.25 * addressed + 64 * 1024
    bare = len(zip_checkpoint(of_size(addressed, 0).best.values))
    # Whole pages, as the archive aligns its records.
    fits = int(limit - bare) // 64 * 64 - 64
    for dragged, verdict in ((fits, PASS), (fits + 256, FAIL)):
        run = replace(of_size(addressed, dragged), experiment=verdict.value)
        assert (len(run.best.data) > limit) == (verdict is FAIL)
        assert verdicts(run)["LOAD-007"] is verdict


# --- LOAD-008, LOAD-010 and LOAD-011 ---------------------------------------------------------


def optimizer(parameters, state=None, **settings):
    """The state_dict of a torch optimizer with one group."""
    return {"state": state or {}, "param_groups": [{**settings, "params": parameters}]}


@pytest.mark.parametrize(
    ("held", "verdict"),
    [
        (optimizer([0], {0: {"exp_avg": floats(0.5)}}, betas=(0.9, 0.999)), PASS),
        (optimizer([0], betas=(0.9, 0.999)), FAIL),
        (optimizer([], betas=(0.9, 0.999)), PASS),  # nothing is trained
        (optimizer([0], momentum=0.9), FAIL),
        (optimizer([0], momentum=0), PASS),
        (optimizer([0], lr=0.1), PASS),
        (optimizer([0], alpha=0.99, momentum=0), FAIL),  # RMSprop
        (optimizer([0], {0: {"exp_avg": floats(0.5, float("nan"))}}), FAIL),
        (optimizer([0], {0: {"exp_avg": floats(0.5, float("inf"))}}), PASS),
        (optimizer([0], {0: {"step": float("nan")}}), FAIL),
        (optimizer([0], {0: {"history": [floats(float("nan"))]}}), FAIL),
        (optimizer([0], lr=float("nan")), FAIL),
    ],
)
def test_the_state_of_an_optimizer_tells_whether_it_has_stepped(verdicts, held, verdict):
    run = ordinary()
    found = verdicts(run.storing(run.best, optimizer=held))
    assert found["LOAD-010"] is verdict
    assert found["LOAD-008"] is PASS


def test_an_optimizer_that_is_none_is_the_matter_of_one_rule(verdicts):
    run = ordinary().each(lambda run, file: run.storing(file, optimizer={"m": floats(0.5)}))
    found = verdicts(run)
    assert (found["LOAD-008"], found["LOAD-010"]) == (FAIL, NONE)


@pytest.mark.parametrize("epoch", [0, 1])
def test_before_the_first_epoch_an_optimizer_has_not_stepped(verdicts, epoch):
    run = trained(1.0, save_freq=0)
    fresh = optimizer([0], betas=(0.9, 0.999))
    found = verdicts(run.storing(run.best, epoch=epoch, optimizer=fresh))
    assert found["LOAD-010"] is (FAIL if epoch else PASS)


def test_a_compressed_record_is_told_and_what_torch_says_of_it_is_true(tmp_path):
    """With mmap=True torch takes the compressed bytes for the numbers, without a word."""
    run = ordinary()
    run = run.encoded(run.best, partial(zip_checkpoint, deflated=True))
    folder = run.write(tmp_path)
    found = {each.rule: each for each in audit(scan_run(folder), load_profile()).findings}
    assert found["LOAD-011"].verdict is FAIL
    assert found["LOAD-011"].paths == (run.best.path,)
    assert "data.pkl" in found["LOAD-011"].message
    path = folder / run.best.path
    whole = torch.load(path, weights_only=True)["model"]["actor.weight"]
    assert whole.tolist() == [[3.0, -3.0], [0.5, 1.5]]
    try:
        mapped = torch.load(path, weights_only=True, mmap=True)["model"]["actor.weight"]
    except RuntimeError:  # the mapped bytes go beyond the file's end
        return
    assert mapped.tolist() != whole.tolist()


# --- LOAD-001: what the file is -------------------------------------------------------------

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345678\n"
SAFETENSORS = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'


def tarred(name):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


def zipped(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return buffer.getvalue()


def saved(module, **options):
    buffer = io.BytesIO()
    torch.save(module, buffer, **options)
    return buffer.getvalue()


def scripted():
    buffer = io.BytesIO()
    with warnings.catch_warnings():  # it is deprecated, and files of it stay
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), buffer)
    return buffer.getvalue()


def exported():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("archive_format", "byteorder", "models/model.json", "version"):
            archive.writestr(f"policy/{name}", b"little" if name == "byteorder" else b"1")
    return buffer.getvalue()


class Net(torch.nn.Module):
    """A module of a class of its own, with a function for its activation."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ELU())
        self.activation = torch.nn.functional.elu


class Curriculum:
    """No module: an object of a class of the trainer's own."""


STRANGERS = {
    "lfs": (POINTER, "Git LFS pointer that stands for a file of 12345678 bytes", "git lfs pull"),
    "annex": (b"/annex/objects/SHA256E-s10--ab.pth\n", "git-annex pointer", "git annex get"),
    "page": (b"\n<!DOCTYPE html>\n<title>Quota exceeded</title>", "an HTML page", "Download"),
    "title": (b"<html><title>Sign in</title></html>", "'Sign in'", "logged in"),
    "bucket": (b'<?xml version="1.0"?><Error>AccessDenied</Error>', "an XML document", "Download"),
    "json": (b'{"error": "not found"}', "a JSON text", "Fetch"),
    "no object": (b"{}", "a JSON text", "Fetch"),
    "text": (b"404: Not Found", "begins with '404: Not Found'", "Fetch"),
    "blank": (b"\n \n", "an empty text", "save it anew"),
    "safetensors": (
        len(SAFETENSORS).to_bytes(8, "little") + SAFETENSORS + bytes(4),
        "a safetensors file",
        "safetensors.torch.load_file",
    ),
    "gzip": (gzip.compress(b"weights"), "a gzip file", "Decompress"),
    "bzip2": (b"BZh91AY&SY" + bytes(range(1, 40)), "a bzip2 file", "Decompress"),
    "tar": (tarred("nn/Cartpole.pth"), "a tar archive that holds 'nn/Cartpole.pth'", "Unpack"),
    "zip": (zipped("a/Cartpole.pth", "b/x.pth"), "holds 'a/Cartpole.pth' and 1 more", "Unpack"),
    "folder in a zip": (zipped("nn/", "nn/A.pth", "nn/B.pth"), "a zip archive", "Unpack"),
    "npz": (zipped("w.npy", "b.npy"), "a NumPy archive (.npz)", "exports"),
    "stable-baselines3": (zipped("data", "policy.pth", "version"), "a zip archive", "Unpack"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(90), "HDF5", "exports"),
    "onnx": (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + bytes(90), "ONNX", "exports"),
    "exported": (exported(), "a program that torch.export saved", "exports"),
    "torchscript": (scripted(), "TorchScript", "torch.jit.save"),
    "module": (saved(Net()), "whole module", "model.state_dict()"),
    "old module": (
        saved(Net(), _use_new_zipfile_serialization=False), "whole module", "state_dict()"
    ),
    "under model": (saved({"model": Net(), "epoch": 3}), "whole module", "model.state_dict()"),
    "plain pickle": (pickle.dumps({"model": {}}), "a plain pickle", "torch.save"),
    "apple double": (b"\x00\x05\x16\x07" + bytes(78), "AppleDouble", "macOS"),
    "noise": (bytes(range(255, 100, -1)), "neither an archive nor", "Restore"),
}  # fmt: skip


@pytest.mark.parametrize("which", STRANGERS)
def test_what_is_no_checkpoint_is_called_what_it_is_and_by_one_rule_alone(tmp_path, which):
    content, what, remedy = STRANGERS[which]
    run = ordinary()
    folder = run.encoded(run.best, lambda _: content).write(tmp_path)
    findings = audit(scan_run(folder), load_profile()).findings
    (found,) = (each for each in findings if each.verdict is FAIL)
    assert found.rule == "LOAD-001"
    assert found.paths == (run.best.path,)
    assert what in found.message
    assert remedy in found.fix
    assert "NumPy" not in found.fix
    with pytest.raises(Exception):  # noqa: B017, PT011 - of whatever type torch's is
        torch.load(folder / run.best.path, map_location="cpu", weights_only=True)


@pytest.mark.parametrize("which", ["module", "old module", "under model"])
@pytest.mark.parametrize("other", [Call(Global("posix", "system"), ("true",)), Curriculum()])
def test_a_module_hides_no_other_global(tmp_path, which, other):
    """What a module's classes are forgiven, nothing beside them is."""
    net = Net()
    if isinstance(other, Curriculum):
        net.curriculum = [Curriculum, other]
        data = {"module": net, "old module": net, "under model": {"model": net}}[which]
        content = saved(data, _use_new_zipfile_serialization=which != "old module")
    else:
        held = {"_parameters": {}, "_buffers": {}, "_modules": {}, "hook": other}
        made = Call(Global("my_fork", "Net"), (), held, new=True)
        value = {"model": made} if which == "under model" else made
        content = legacy_checkpoint(value) if which == "old module" else zip_checkpoint(value)
    run = ordinary()
    folder = run.encoded(run.best, lambda _: content).write(tmp_path)
    findings = audit(scan_run(folder), load_profile()).findings
    (found,) = (each for each in findings if each.verdict is FAIL)
    assert found.rule == "SAFETY-001"
    assert "beside the whole module" in found.message


def test_an_optimizer_that_is_pickled_whole_is_the_matter_of_one_rule(tmp_path):
    run = ordinary()
    adam = Call(Global("torch.optim.adam", "Adam"), (), {"state": {}}, new=True)
    folder = run.storing(run.best, optimizer=adam).write(tmp_path)
    findings = audit(scan_run(folder), load_profile()).findings
    assert {each.rule for each in findings if each.verdict is FAIL} == {"SAFETY-001"}


def test_several_strangers_are_each_told_with_what_mends_them(tmp_path):
    run = ordinary()
    run = run.encoded(run.best, lambda _: POINTER)
    run = run.encoded(run.periodic(2), lambda _: b"<html></html>")
    run = run.encoded(run.periodic(4), lambda _: POINTER)
    findings = audit(scan_run(run.write(tmp_path)), load_profile()).findings
    (found,) = (each for each in findings if each.rule == "LOAD-001")
    assert "Git LFS" in found.message
    assert "HTML" in found.message
    assert found.message.endswith("; and 1 more")
    assert "git lfs pull" in found.fix
    assert "Download" in found.fix
    assert set(found.evidence["causes_of"].values()) == {"git-lfs-pointer", "web-page"}


def test_the_name_of_a_pointer_is_judged_all_the_same(tmp_path):
    run = ordinary()
    run = run.encoded(run.periodic(4), lambda _: POINTER)
    run = run.renamed(run.periodic(4), "last_Cartpoleep04rew3.0.pth")
    findings = audit(scan_run(run.write(tmp_path)), load_profile()).findings
    assert {each.rule for each in findings if each.verdict is FAIL} == {"LOAD-001", "NAME-004"}


def distributed(run, path):
    run = run.with_other(f"{path}/.metadata", b"\x80\x04}.")
    return run.with_other(f"{path}/__0_0.distcp", b"part")


@pytest.mark.parametrize("suffix", [".pth", ""])
def test_a_folder_of_the_distributed_checkpoint_is_called_so(tmp_path, suffix):
    run = ordinary()
    run = distributed(run.without(run.best), f"nn/Cartpole{suffix}")
    findings = audit(scan_run(run.write(tmp_path)), load_profile()).findings
    (found,) = (each for each in findings if each.verdict is FAIL)
    assert found.rule == "LOAD-001"
    assert "distributed checkpoint (DCP)" in found.message
    assert "dcp_to_torch_save" in found.fix


def test_a_folder_of_the_distributed_checkpoint_beside_the_checkpoints_is_foreign(tmp_path):
    run = distributed(ordinary(), "nn/step_4")
    findings = audit(scan_run(run.write(tmp_path)), load_profile()).findings
    (found,) = (each for each in findings if each.verdict is FAIL)
    assert found.rule == "LAYOUT-003"
    assert "distributed checkpoint (DCP)" in found.message


@pytest.mark.parametrize(
    ("dtype", "version"),
    [("float8_e8m0fnu", "2.7"), ("uint4", "2.7"), ("float4_e2m1fn_x2", "2.8")],
)
def test_what_a_newer_torch_allows_is_no_hostile_file(tmp_path, dtype, version):
    run = ordinary()
    run = run.storing(run.best, dtype=Global("torch", dtype))
    findings = audit(scan_run(run.write(tmp_path)), load_profile()).findings
    (found,) = (each for each in findings if each.verdict is FAIL)
    assert found.rule == "LOAD-001"
    assert f"torch >= {version}" in found.message
    assert "newer torch" in found.fix


def test_of_several_new_globals_the_newest_torch_is_named(tmp_path):
    run = ordinary()
    both = {"a": Global("torch", "float4_e2m1fn_x2"), "b": Global("torch", "float8_e8m0fnu")}
    run = run.storing(run.best, **both)
    findings = audit(scan_run(run.write(tmp_path)), load_profile()).findings
    (found,) = (each for each in findings if each.verdict is FAIL)
    assert "torch >= 2.8" in found.message


# --- what a resume needs --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({}, PASS),
        ({"epoch": 2.0}, PASS),
        ({"epoch": 2.5}, FAIL),
        ({"epoch": "2"}, FAIL),
        ({"epoch": 10**18}, FAIL),
        ({"epoch": 10**18 - 1}, PASS),
        ({"epoch": None}, FAIL),
        ({"last_mean_rewards": "2.0"}, FAIL),
        ({"last_mean_rewards": True}, FAIL),
        ({"last_mean_rewards": 2}, PASS),
        ({"last_mean_rewards": floats(2.0)}, PASS),
        ({"last_mean_rewards": floats(2.0, 3.0)}, FAIL),
        ({"optimizer": None}, FAIL),
        ({"optimizer": {}}, FAIL),
        ({"optimizer": [1]}, FAIL),
        ({"optimizer": {"state": {}}}, FAIL),
        ({"optimizer": {"param_groups": [{"params": [0]}]}}, FAIL),
        ({"optimizer": optimizer([0])}, PASS),
        ({"optimizer": optimizer([])}, PASS),
        ({"optimizer": optimizer(["actor.bias"], {"actor.bias": {}})}, PASS),
        ({"optimizer": optimizer([0, 1], {1: {}})}, PASS),
        ({"optimizer": optimizer([0], {1: {}})}, FAIL),
        ({"optimizer": optimizer([0], {"actor.bias": {}})}, FAIL),
        ({"optimizer": {"state": [], "param_groups": [{"params": [0]}]}}, FAIL),
        ({"optimizer": {"state": {}, "param_groups": []}}, FAIL),
        ({"optimizer": {"state": {}, "param_groups": {}}}, FAIL),
        ({"optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}}, FAIL),
        ({"optimizer": {"state": {}, "param_groups": [[0]]}}, FAIL),
    ],
)
def test_what_a_resume_needs_has_its_type(verdicts, values, verdict):
    run = ordinary()
    assert verdicts(run.storing(run.best, **values))["LOAD-008"] is verdict


@pytest.mark.parametrize("key", ["epoch", "optimizer", "last_mean_rewards"])
def test_each_key_that_a_resume_needs_is_missed(verdicts, key):
    run = ordinary()
    held = {name: value for name, value in run.best.values.items() if name != key}
    assert verdicts(run.holding(run.best, held))["LOAD-008"] is FAIL


# --- files that are no checkpoints ----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (".A", True),
        ("A.tmp", True),
        ("A.TMP", True),
        ("A.tmp.1", True),
        ("A.temp", True),
        ("A.part", True),
        ("A.partial", True),
        ("A.swp", True),
        ("A.lock", True),
        ("A~", True),
        ("tmpA1", True),
        ("TempA", True),
        ("A", False),
        ("A.temporal", False),
        ("attempt", False),
        ("A.party", False),
    ],
)
def test_a_temporary_file_is_told_by_its_name(name, expected):
    assert is_temporary(name) == expected


@pytest.mark.parametrize(
    ("name", "broken"), [("model", {"NAME-002"}), ("tmpmodel", set()), ("A.tmp.7", set())]
)
def test_a_checkpoint_under_a_temporary_name_is_a_foreign_file(tmp_path, name, broken):
    run = ordinary()
    folder = run.with_other(f"nn/{name}", run.periodic(2).data).write(tmp_path)
    found = audit(scan_run(folder), load_profile()).findings
    failed = {finding.rule for finding in found if finding.verdict is FAIL}
    assert failed == (broken or {"LAYOUT-003"})


def test_a_pipe_under_a_checkpoint_s_name_is_not_opened(tmp_path):
    folder = ordinary().write(tmp_path)
    os.mkfifo(folder / "nn" / "model")
    os.mkfifo(folder / "nn" / "other.pth")
    found = {finding.rule: finding for finding in audit(scan_run(folder), load_profile()).findings}
    assert found["LAYOUT-004"].paths == ("nn/other.pth",)
    assert found["LAYOUT-003"].paths == ("nn/model",)


@pytest.mark.parametrize("here", ["numpy.core.multiarray", "numpy._core.multiarray"])
@pytest.mark.parametrize("stored", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_a_global_of_either_numpy_is_what_the_one_that_is_here_calls_it(monkeypatch, here, stored):
    """NumPy 1 has `numpy.core`, NumPy 2 `numpy._core`; a file may be of either."""
    module = SimpleNamespace(scalar=object())

    def import_module(name):
        if name != here:
            raise ImportError(name)
        return module

    monkeypatch.setattr("conformance.checks.model.importlib.import_module", import_module)
    found = _numpy_globals(frozenset({f"{stored}.scalar", "posix.system"}))
    assert found == [(module.scalar, f"{stored}.scalar")]
