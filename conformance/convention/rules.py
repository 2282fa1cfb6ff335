"""The registry of rules: each one's facts in one entry, and the selectors that name rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.convention.rule import (
    Cause,
    Level,
    Matter,
    Means,
    Needs,
    Place,
    Remedy,
    Rule,
    RunVerdict,
    Verdict,
    When,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.convention.profile import Profile

__all__ = [
    "BY_ID",
    "RULES",
    "Cause",
    "Level",
    "Matter",
    "Means",
    "Needs",
    "Place",
    "Remedy",
    "Rule",
    "RunVerdict",
    "UnknownRuleError",
    "Verdict",
    "When",
    "chosen",
    "select",
]

# The source text names another file than the code that it shows: docs/decisions.md.
_SEED = "Leeroopedia, IsaacGymEnvs Checkpoint Filesystem Convention (2026-02-15)"
_TRAIN = f"{_SEED}; the code is rl_games', common/a2c_common.py, train()"
_LAYOUT = f"{_SEED}, its directory layout"
_READERS = "what consumers of these folders rely on"
_TORCH = "torch.load(weights_only=True), torch 2.6 and later"
_LOGS = f"{_LAYOUT}; rl_games' tag names"

MUST, SHOULD = Level.MUST, Level.SHOULD
NAMES, CONTENTS, EVENTS = Needs.NAMES, Needs.CONTENTS, Needs.EVENTS
CONFIG, JOURNAL, MODEL = Needs.CONFIG, Needs.JOURNAL, Needs.MODEL
FILES, DRIVEN, RANKS = Means.FILES, Means.DRIVEN, Means.RANKS
KILLS, FAULTS, INFERENCE = Means.KILLS, Means.FAULTS, Means.INFERENCE

# --- which trainers must have exercised a rule ----------------------------------------------
# Without these a run says nothing of what the convention is for. Other rules may have nothing to
# look at in a sound trainer: no model was given, no archive is written, it is driven with one rank.


def _always(_: Profile) -> bool:
    return True


def _with_best(profile: Profile) -> bool:
    return profile.has_best


def _with_both_due(profile: Profile) -> bool:
    return profile.has_best and not profile.legacy_guard


def _with_kept_watermark(profile: Profile) -> bool:
    return profile.has_best and profile.resume_keeps_watermark


# --- what a later session is judged by, behind one that broke a rule -------------------------

_NOTHING: frozenset[str] = frozenset()
_THE_EPOCHS = frozenset({"RESUME-001"})

# --- what explains a broken rule ------------------------------------------------------------

# The best holds what it should, and its epoch is stored wrongly.
_WRONG_EPOCHS = Cause(("NAME-006",))
# It takes a NaN that became the watermark to show it.
_POISONED = Cause(("BEST-005",), When.NAN)
# It takes a resume to show it.
_LOST_ON_RESUME = Cause(("BEST-008",), When.RESUMED)
# Where the best shows a wrong watermark, the periodic checkpoints repeat what it shows.
_OF_THE_WATERMARK = ("BEST-001", "BEST-003", "BEST-004", "BEST-005", "BEST-006", "BEST-007")

RULES: tuple[Rule, ...] = (
    Rule(
        id="LAYOUT-001",
        level=MUST,
        text=(
            "Checkpoints stand directly in <root>/<experiment>/nn/; no .pth file stands anywhere"
            " else in the run."
        ),
        source=_LAYOUT,
        needs=(NAMES,),
        breaks="runs/Cartpole/Cartpole.pth",
        keeps="runs/Cartpole/nn/Cartpole.pth, and runs/Cartpole/videos/play.mp4 beside it",
        fix="Save to os.path.join(experiment_dir, 'nn'), and move the files named here there.",
        lists=Place.EVERYWHERE,
        gated=_always,
        leaves=_NOTHING,
    ),
    Rule(
        id="LAYOUT-002",
        level=MUST,
        text="summaries/ stands beside nn/ and holds at least one events.out.tfevents.* file.",
        source=_LAYOUT,
        needs=(NAMES,),
        breaks="a run with nn/ and no summaries/, or with event files in logs/",
        keeps="summaries/events.out.tfevents.1700000000.host",
        fix="Give the TensorBoard writer <experiment>/summaries as its log folder.",
        lists=Place.SUMMARIES,
        gated=_always,
        leaves=_NOTHING,
        tells_dialect=True,
    ),
    Rule(
        id="LAYOUT-003",
        level=SHOULD,
        text=(
            "nn/ holds nothing but the profile's checkpoints: no temporary or foreign file is left."
        ),
        source=_LAYOUT,
        needs=(NAMES, CONTENTS),
        breaks="nn/Cartpole.pth.tmp left by a killed save",
        keeps="notes.txt beside nn/, not in it",
        fix="Remove temporary files when a save fails and at start; keep other files out of nn/.",
        remedies=(
            Remedy(
                "macos",
                "Delete what macOS left (dot_clean DIR; find DIR -name '._*' -delete), and copy"
                " with COPYFILE_DISABLE=1 tar or rsync --exclude '._*' --exclude .DS_Store.",
            ),
            Remedy("windows", "Delete what Windows left; it is no part of the run."),
            Remedy("desktop", "Delete it; it is the desktop's or the disk's, not the run's."),
            Remedy("editor", "Delete it once the editor is closed; it is no part of the run."),
            Remedy(
                "sync",
                "Let the synchroniser end, settle conflicts by hand, and delete what is left.",
            ),
            Remedy("nfs", "End the process that still holds the file open; the name goes with it."),
            Remedy("download", "Let the download or the copy end, or delete its part."),
            Remedy("tool", "Keep the files of version control out of nn/."),
            Remedy(
                "distributed",
                "Convert the folder to one file:"
                " torch.distributed.checkpoint.format_utils.dcp_to_torch_save(folder, file).",
            ),
        ),
        shown_by=(FILES, DRIVEN, FAULTS),
    ),
    Rule(
        id="LAYOUT-004",
        level=MUST,
        text="Each checkpoint is a regular, non-empty file, or a link to one inside the run.",
        source=_READERS,
        needs=(NAMES,),
        breaks="an nn/Cartpole.pth of 0 bytes, a folder of that name, a link that leads nowhere",
        keeps="nn/Cartpole.pth as a hard link to a periodic checkpoint",
        fix="Write a real file for each checkpoint; replace dangling links by what they meant.",
        gated=_always,
        leaves=_NOTHING,
        by_itself=True,
    ),
    Rule(
        id="LAYOUT-005",
        level=SHOULD,
        text="No checkpoint is a symbolic link: uploads and copies lose it.",
        source=_READERS,
        needs=(NAMES,),
        breaks="nn/Cartpole.pth -> last_Cartpoleep100rew485.3.pth",
        keeps="a hard link, or a copy",
        fix="Write or copy the file instead of linking to it.",
    ),
    Rule(
        id="NAME-001",
        level=MUST,
        text=(
            "The best checkpoint is called exactly <name>.pth; <name> is the experiment's name"
            " unless the run's config says otherwise."
        ),
        source=_SEED,
        needs=(NAMES, CONFIG),
        breaks="nn/best.pth or nn/cartpole.pth in the run Cartpole",
        keeps="nn/Cartpole.pth",
        fix=(
            "Name the best checkpoint config['name'] + '.pth', nothing added; give a folder that"
            " was renamed its name back."
        ),
        gated=_with_best,
        leaves=_NOTHING,
        tells_dialect=True,
    ),
    Rule(
        id="NAME-002",
        level=MUST,
        text="Each other checkpoint's name parses by the profile's grammar.",
        source=_TRAIN,
        needs=(NAMES, CONTENTS),
        breaks="nn/Cartpole_100.pth, or another dialect's last_Cartpole_ep_100_rew_485.3.pth",
        keeps="nn/last_Cartpoleep100rew485.3.pth",
        fix=(
            "Name periodic checkpoints as the profile does, or audit with the --profile of the"
            " trainer's own dialect."
        ),
        gated=_always,
        tells_dialect=True,
        by_itself=True,
    ),
    Rule(
        id="NAME-003",
        level=MUST,
        text="The <name> inside a periodic checkpoint's name is the run's name, compared whole.",
        source=_TRAIN,
        needs=(NAMES, CONFIG),
        breaks="nn/last_Antep100rew5.0.pth in the run Cartpole",
        keeps="the run called Aep12 with nn/last_Aep12ep100rew5.0.pth",
        fix="Build the name from config['name'], the same value as the best checkpoint's.",
        gated=_always,
        tells_dialect=True,
    ),
    Rule(
        id="NAME-004",
        level=MUST,
        text=(
            "<N> in a periodic name is a plain decimal epoch, at least 1, without sign or leading"
            " zero."
        ),
        source=_TRAIN,
        needs=(NAMES,),
        breaks="nn/last_Cartpoleep0002rew5.0.pth",
        keeps="nn/last_Cartpoleep2rew5.0.pth",
        fix="Print the epoch with str(epoch_num); count epochs from 1.",
        gated=_always,
        tells_dialect=True,
        by_itself=True,
    ),
    Rule(
        id="NAME-005",
        level=MUST,
        text=(
            "<R> in a periodic name is what Python's str prints for the mean reward, never rounded"
            " to fewer digits than it takes to read the value back."
        ),
        source=_TRAIN,
        needs=(NAMES, EVENTS),
        breaks="rew485.30, rew[485.3], or rew66.53 for a mean reward of 66.52648",
        keeps="rew485.3, rew-1.2e-05, rew485.29998779296875, rewinf, rewnan",
        fix="Print the mean reward with str(mean_rewards): no format specification, no rounding.",
        gated=_always,
        tells_dialect=True,
        symptom_of=(Cause(("SUMMARY-002",), evidence="logged"),),
        by_itself=True,
    ),
    Rule(
        id="NAME-006",
        level=MUST,
        text="<N> in a checkpoint's name equals the epoch stored in the checkpoint.",
        source=_READERS,
        needs=(NAMES, CONTENTS),
        breaks="last_Cartpoleep100rew485.3.pth that stores epoch 99",
        keeps="last_Cartpoleep100rew485.3.pth that stores epoch 100, also as a 0-d tensor",
        fix="Store the same epoch number that the name is built from.",
        gated=_always,
        leaves=_NOTHING,
        tells_dialect=True,
        by_itself=True,
    ),
    Rule(
        id="NAME-007",
        level=MUST,
        text="One session writes at most one periodic checkpoint for an epoch.",
        source=_TRAIN,
        needs=(NAMES, EVENTS),
        breaks="last_Aep10rew5.0.pth and last_Aep10rew6.0.pth of one session",
        keeps="the same two files where the run was restarted and both sessions logged epoch 10",
        fix=(
            "Save once for each multiple of save_freq, after the mean reward of the epoch is final."
        ),
        gated=_always,
        tells_dialect=True,
        one_at_a_time=True,
    ),
    Rule(
        id="NAME-008",
        level=SHOULD,
        text=(
            "Names are safe in a shell, a glob, a Hydra override, on a disk that ignores case, on"
            " Windows and in an upload of artefacts: no =, brackets, white space, control"
            ' characters, NUL, / \\ : * ? " < > or |, no leading -, no dot or blank at the end,'
            " no device of Windows such as CON or aux.v2, no two runs of one root that differ by"
            " case only."
        ),
        source=f"{_READERS}; Windows, Naming Files, Paths, and Namespaces",
        needs=(NAMES,),
        breaks="an experiment called x[1], lr=3e-4, Ant_10:14:29 or CON",
        keeps="an experiment called Ant-v2_seed.3 or CONTROL",
        fix="Choose an experiment name of letters, digits, '_', '-' and '.'.",
        by_itself=True,
        remedies=(
            Remedy(
                "reward",
                "Print the mean reward as one number, str(float(mean_rewards)): the brackets or"
                " blanks are those of a printed array. The experiment's name is fine.",
            ),
            Remedy(
                "dialect",
                "These characters are the dialect's, not the experiment's: quote the names, escape"
                " them in globs and overrides, or move to a trainer that writes others.",
            ),
            Remedy(
                "case", "Rename or remove one of the two: on a disk that ignores case they are one."
            ),
        ),
    ),
    Rule(
        id="CADENCE-001",
        level=MUST,
        text="Every periodic checkpoint's epoch is a multiple of save_freq.",
        source=_TRAIN,
        needs=(NAMES, CONFIG),
        breaks="last_Aep7rew5.0.pth with save_freq 5",
        keeps="last_Aep10rew5.0.pth with save_freq 5",
        fix="Test epoch_num % save_freq == 0 with the epoch just finished, counted from 1.",
        gated=_always,
        tells_dialect=True,
        one_at_a_time=True,
    ),
    Rule(
        id="CADENCE-002",
        level=MUST,
        text="Every multiple of save_freq up to the last epoch has its periodic checkpoint.",
        source=_TRAIN,
        needs=(NAMES, CONFIG, EVENTS),
        breaks="save_freq 5, 15 epochs, and no checkpoint for epoch 10",
        keeps="no checkpoint for epoch 5, when no episode had finished by then",
        fix="Save at each multiple of save_freq, whether or not the reward improved; delete none.",
        gated=_always,
        tells_dialect=True,
        symptom_of=(Cause(("NAME-005", "SUMMARY-002"), When.RESUMED),),
        one_at_a_time=True,
    ),
    Rule(
        id="CADENCE-003",
        level=MUST,
        text="With save_freq 0 there is no periodic checkpoint.",
        source=_TRAIN,
        needs=(NAMES, CONFIG),
        breaks="last_Aep1rew5.0.pth with save_freq 0",
        keeps="only A.pth with save_freq 0",
        fix="Skip periodic saves when save_freq is 0, before the modulo.",
        gated=_always,
        tells_dialect=True,
        one_at_a_time=True,
    ),
    Rule(
        id="CADENCE-004",
        level=MUST,
        text="Within a session periodic checkpoints are written in the order of their epochs.",
        source=_TRAIN,
        needs=(JOURNAL,),
        breaks="epoch 10's file written after epoch 15's",
        keeps="an asynchronous writer that keeps the order",
        fix="Write from one queue, first in first out.",
        shown_by=(DRIVEN,),
        gated=_always,
        of_writes=True,
        one_at_a_time=True,
    ),
    Rule(
        id="CADENCE-005",
        level=MUST,
        text="In an epoch where both are due, the periodic checkpoint is written before the best.",
        source=_TRAIN,
        needs=(JOURNAL,),
        breaks="A.pth, then last_Aep10rew5.0.pth, in epoch 10",
        keeps="last_Aep10rew5.0.pth, then A.pth",
        fix="Do the periodic save before the comparison with the watermark.",
        shown_by=(DRIVEN,),
        gated=_with_both_due,
        symptom_of=(_POISONED,),
        of_writes=True,
        told_closely=True,
        one_at_a_time=True,
    ),
    Rule(
        id="BEST-001",
        level=MUST,
        text=(
            "The best checkpoint exists if and only if some epoch improved on the initial"
            " watermark."
        ),
        source=_TRAIN,
        needs=(NAMES, EVENTS),
        breaks="logged rewards and no best checkpoint; or a best where every reward is NaN",
        keeps="no best where no episode has finished",
        fix="Start the watermark at -inf, and save the best whenever the mean reward exceeds it.",
        gated=_with_best,
        leaves=_THE_EPOCHS,
        tells_dialect=True,
        symptom_of=(_POISONED, Cause(("BEST-003", "BEST-004", "BEST-006"))),
        of_writes=True,
        told_closely=True,
        one_at_a_time=True,
    ),
    Rule(
        id="BEST-002",
        level=MUST,
        text=(
            "The best checkpoint holds the state of the epoch that first reached the run's maximum"
            " mean reward."
        ),
        source=_TRAIN,
        needs=(CONTENTS, EVENTS),
        breaks="a best whose weights are those of another epoch than it says",
        keeps="a best of epoch 7 where epoch 7 was the first to reach the maximum",
        fix="Save the state of the epoch whose reward improved, in that epoch.",
        gated=_with_best,
        leaves=_THE_EPOCHS,
        tells_dialect=True,
        symptom_of=(_WRONG_EPOCHS,),
        of_writes=True,
        told_closely=True,
        one_at_a_time=True,
    ),
    Rule(
        id="BEST-003",
        level=MUST,
        text="An equal mean reward does not rewrite the best checkpoint.",
        source=_TRAIN,
        needs=(CONTENTS, EVENTS),
        breaks="rewards 5, 5 and a best that holds epoch 2",
        keeps="rewards 5, 5 and a best that holds epoch 1",
        fix="Compare strictly: mean_rewards > last_mean_rewards, not >=.",
        gated=_with_best,
        leaves=_THE_EPOCHS,
        tells_dialect=True,
        symptom_of=(_LOST_ON_RESUME, Cause(("BEST-002",), When.NO_TIE), _POISONED, _WRONG_EPOCHS),
        matter=Matter.TIES,
        more_general=frozenset({"BEST-004"}),
        of_writes=True,
        told_closely=True,
        one_at_a_time=True,
    ),
    Rule(
        id="BEST-004",
        level=MUST,
        text="A lower mean reward does not rewrite the best checkpoint.",
        source=_TRAIN,
        needs=(CONTENTS, EVENTS),
        breaks="rewards 5, 3 and a best that holds epoch 2",
        keeps="rewards 5, 3 and a best that holds epoch 1",
        fix="Compare with the highest reward so far, and raise it only on an improvement.",
        gated=_with_best,
        leaves=_THE_EPOCHS,
        tells_dialect=True,
        symptom_of=(_LOST_ON_RESUME, _POISONED, _WRONG_EPOCHS),
        of_writes=True,
        told_closely=True,
        one_at_a_time=True,
    ),
    Rule(
        id="BEST-005",
        level=MUST,
        text=(
            "A NaN mean reward neither rewrites the best checkpoint nor stops later improvements"
            " from being saved."
        ),
        source=_TRAIN,
        needs=(CONTENTS, EVENTS),
        breaks="rewards 1, nan, 5 and a best that holds epoch 1",
        keeps="rewards 1, nan, 5 and a best that holds epoch 3",
        fix=(
            "Never store a NaN as the watermark: mean_rewards > last_mean_rewards is False for one."
        ),
        gated=_with_best,
        leaves=_THE_EPOCHS,
        tells_dialect=True,
        symptom_of=(_WRONG_EPOCHS, Cause(("BEST-002",))),
        matter=Matter.NAN,
        more_general=frozenset({"BEST-001", "BEST-003", "BEST-004", "BEST-006"}),
        of_writes=True,
        told_closely=True,
        one_at_a_time=True,
    ),
    Rule(
        id="BEST-006",
        level=MUST,
        text=(
            "Every improvement rewrites the best checkpoint at once, not only at a periodic epoch"
            " or at the end."
        ),
        source=_TRAIN,
        needs=(CONTENTS, EVENTS),
        breaks="rewards 1, 2, 3 and a best that holds epoch 2",
        keeps="rewards 1, 2, 3 and a best that holds epoch 3",
        fix="Do the best save outside the periodic branch and for every strict improvement.",
        gated=_with_best,
        leaves=_THE_EPOCHS,
        tells_dialect=True,
        symptom_of=(_POISONED, _WRONG_EPOCHS),
        of_writes=True,
        told_closely=True,
        one_at_a_time=True,
    ),
    Rule(
        id="BEST-007",
        level=MUST,
        text="The last_mean_rewards stored in the best checkpoint is the reward of its own epoch.",
        source=_TRAIN,
        needs=(CONTENTS, EVENTS),
        breaks="a best of the epoch with reward 5 that stores the earlier watermark 3",
        keeps="a best of the epoch with reward 5 that stores 5",
        fix="Assign last_mean_rewards = mean_rewards before saving the best.",
        gated=_with_best,
        leaves=_NOTHING,
        tells_dialect=True,
        one_at_a_time=True,
    ),
    Rule(
        id="BEST-008",
        level=MUST,
        text="A resumed session keeps the watermark: it does not replace the best by a worse one.",
        source="rl_games later than 1.6.5",
        needs=(CONTENTS, EVENTS),
        breaks="epochs 1-5 reach 9, a resumed session reaches 7 and replaces the best",
        keeps="epochs 1-5 reach 9, a resumed session reaches 7 and leaves the best alone",
        fix="Restore last_mean_rewards from the checkpoint (and the best file) when resuming.",
        gated=_with_kept_watermark,
        leaves=_THE_EPOCHS,
        tells_dialect=True,
        symptom_of=(_POISONED,),
        matter=Matter.RESUME,
        more_general=frozenset({"BEST-003", "BEST-004", "BEST-005", "BEST-006"}),
        of_writes=True,
        told_closely=True,
        one_at_a_time=True,
    ),
    Rule(
        id="BEST-009",
        level=SHOULD,
        text=(
            "A fresh session in a folder that already holds a best does not silently replace it by"
            " a worse one."
        ),
        source=_READERS,
        needs=(CONTENTS, EVENTS),
        breaks="a second training from scratch that overwrites a better best",
        keeps="a second training from scratch under another experiment name",
        fix="Refuse to start in a folder that holds a best, or give the run a name of its own.",
        shown_by=(FILES,),
        one_at_a_time=True,
    ),
    Rule(
        id="LOAD-001",
        level=MUST,
        text=(
            'torch.load(path, map_location="cpu", weights_only=True) succeeds: the pickle needs no'
            " more than torch allows by default plus what the profile adds."
        ),
        source=_TORCH,
        needs=(CONTENTS,),
        breaks="last_mean_rewards stored as a numpy.float32 scalar, under the default profile",
        keeps="last_mean_rewards stored as a Python float",
        fix=(
            "Store tensors, numbers, texts, lists and dicts only: float(mean_rewards), not a NumPy"
            " scalar."
        ),
        remedies=(
            Remedy(
                "git-lfs-pointer",
                "Fetch the file itself: git lfs install, then git lfs pull in the clone (in CI"
                " check out with LFS; a single file: download it, not its raw text).",
            ),
            Remedy("git-annex-pointer", "Fetch the file itself: git annex get in the clone."),
            Remedy(
                "web-page",
                "Download the file again from its direct link, logged in where that is needed, and"
                " compare its size: a page was saved in its place.",
            ),
            Remedy(
                "text",
                "Fetch or copy the file again: a text, often the message of a failed download or a"
                " description of the file, stands in its place.",
            ),
            Remedy("blank", "Fetch or copy the file again, or save it anew: nothing is in it."),
            Remedy(
                "safetensors",
                "Load it with safetensors.torch.load_file and torch.save what a checkpoint holds;"
                " or name it .safetensors and keep it out of nn/.",
            ),
            Remedy("compressed", "Decompress the file; a checkpoint is not packed again."),
            Remedy("zip", "Unpack the archive, and put the checkpoint that it holds in its place."),
            Remedy("tar", "Unpack the archive, and put the checkpoint that it holds in its place."),
            Remedy(
                "torchscript",
                "Save the state_dict with torch.save; keep what torch.jit.save exports for"
                " deployment under another name, outside nn/. torch.jit.load reads this file.",
            ),
            Remedy("pickle", "Write checkpoints with torch.save, not with pickle.dump."),
            Remedy(
                "other-framework",
                "Put back the checkpoint that torch.save wrote; keep exports to other formats"
                " outside nn/.",
            ),
            Remedy(
                "apple-double",
                "Copy the file again: macOS's metadata lies in its place. On a Mac,"
                " COPYFILE_DISABLE=1 tar ... or dot_clean leaves them out.",
            ),
            Remedy(
                "module",
                "Save model.state_dict(), not the module. To rescue this file, load it with"
                " weights_only=False where its classes can be imported and you trust it.",
            ),
            Remedy(
                "newer-torch",
                "Store dtypes that torch 2.6 knows, or have consumers install a newer torch.",
            ),
            Remedy(
                "distributed",
                "Convert the folder to one file:"
                " torch.distributed.checkpoint.format_utils.dcp_to_torch_save(folder, file).",
            ),
            Remedy("too-large", "Save only the state that a resume needs, as plain tensors."),
            Remedy("torn", "Restore the file from a copy; write to a temporary file, then rename."),
            Remedy(
                "refused", "Save it with today's torch.save: tensors, numbers, texts, lists, dicts."
            ),
            Remedy("unknown", "Restore the file that torch.save wrote from a copy."),
        ),
        gated=_always,
        leaves=_NOTHING,
        tells_dialect=True,
    ),
    Rule(
        id="LOAD-002",
        level=MUST,
        text="The checkpoint holds a state_dict under `model`: string keys, tensor values.",
        source=_SEED,
        needs=(CONTENTS,),
        breaks="the state_dict at the top level, or a nested dict under model",
        keeps="{'model': {'actor.weight': tensor}}",
        fix="Save {'model': model.state_dict(), ...}.",
        gated=_always,
        leaves=_NOTHING,
        tells_dialect=True,
    ),
    Rule(
        id="LOAD-003",
        level=MUST,
        text="All checkpoints of a session agree in the keys, shapes and dtypes of `model`.",
        source=_READERS,
        needs=(CONTENTS,),
        breaks="a best saved in float16 beside periodic checkpoints in float32",
        keeps="checkpoints that differ in optimizer state alone",
        fix="Save best and periodic checkpoints by the same function.",
        gated=_always,
    ),
    Rule(
        id="LOAD-004",
        level=MUST,
        text="Where a model is given, load_state_dict(strict=True) accepts the state_dict.",
        source=_READERS,
        needs=(CONTENTS, MODEL),
        breaks="a checkpoint that lacks a key of the model",
        keeps="a checkpoint with exactly the model's keys and shapes",
        fix="Save the state_dict of the model that consumers build.",
    ),
    Rule(
        id="LOAD-005",
        level=SHOULD,
        text="Keys carry no wrapper's prefix (module., _orig_mod.).",
        source=_READERS,
        needs=(CONTENTS,),
        breaks="module.actor.weight, or _orig_mod.actor.weight",
        keeps="actor.module_list.0.weight",
        fix="Save the state_dict of the wrapped model: ddp.module, compiled._orig_mod.",
    ),
    Rule(
        id="LOAD-006",
        level=MUST,
        text="No floating-point or complex tensor under `model` holds a NaN.",
        source=_READERS,
        needs=(CONTENTS,),
        breaks="a weight that is NaN",
        keeps="a NaN in the part of a storage that no tensor addresses",
        fix=(
            "Stop, or skip the update, when the loss is not finite; resume from an earlier"
            " checkpoint."
        ),
        gated=_always,
    ),
    Rule(
        id="LOAD-007",
        level=SHOULD,
        text=(
            "The file is no larger than 1.25 times the bytes that its tensors address, plus 64 KiB."
        ),
        source=_READERS,
        needs=(CONTENTS,),
        breaks="a saved view x[:1] that drags its whole storage along",
        keeps="an archive's headers and padding",
        fix="Save tensor.clone() of views, and keep replay buffers out of checkpoints.",
    ),
    Rule(
        id="LOAD-008",
        level=MUST,
        text=(
            "What a resume needs is there: epoch, optimizer, last_mean_rewards, and the keys that"
            " the profile adds. optimizer is the state_dict of a torch optimizer: state and"
            " param_groups, whose parameters the state's keys are among."
        ),
        source=f"{_READERS}; torch.optim.Optimizer.load_state_dict",
        needs=(CONTENTS,),
        breaks="a checkpoint that holds model alone, or an optimizer that is {'m': ..., 'lr': ...}",
        keeps="a checkpoint with more keys than these",
        fix="Store epoch (a number), optimizer (its state_dict) and last_mean_rewards (a number).",
        remedies=(
            Remedy(
                "optimizer",
                "Store what optimizer.state_dict() returns, unchanged: state and param_groups.",
            ),
        ),
        gated=_always,
        leaves=_NOTHING,
        tells_dialect=True,
    ),
    Rule(
        id="LOAD-009",
        level=SHOULD,
        text="No floating-point or complex tensor under `model` holds an infinity.",
        source=_READERS,
        needs=(CONTENTS,),
        breaks="a weight, or a running variance, that is inf",
        keeps="the largest finite float32",
        fix="Look for the overflow: a running variance without data, a log of zero.",
    ),
    Rule(
        id="LOAD-010",
        level=SHOULD,
        text=(
            "The optimizer's state is that of one that has stepped: not empty where its kind keeps"
            " one and the epoch is at least 1, and without NaN."
        ),
        source=_READERS,
        needs=(CONTENTS,),
        breaks="an Adam without moments in epoch 100, or a moment that is NaN",
        keeps="SGD without momentum, which keeps no state",
        fix=(
            "Save the optimizer that trains, in the epoch's end: not a new one, not one that a"
            " scaler or a wrapper stands before."
        ),
        remedies=(
            Remedy(
                "nan",
                "Skip the step where the loss or a gradient is not finite; resume from a checkpoint"
                " before it, or with a fresh optimizer.",
            ),
        ),
    ),
    Rule(
        id="LOAD-011",
        level=SHOULD,
        text=(
            "The archive's records are stored, not compressed: torch.load(mmap=True) reads"
            " compressed ones as if they were not, without a word."
        ),
        source=f"{_READERS}; torch.serialization, the archive's records are mapped as they stand",
        needs=(CONTENTS,),
        breaks="a checkpoint that was unpacked and packed again by a tool that compresses",
        keeps="the archive as torch.save writes it",
        fix=(
            "Save again: torch.save(torch.load(path, weights_only=True), path). Never zip what"
            " torch.save wrote; compress the folder around it."
        ),
    ),
    Rule(
        id="INTEGRITY-001",
        level=MUST,
        text="The archive is whole: not truncated, nothing appended, every record's CRC-32 right.",
        source="the ZIP format; torch.save's archive",
        needs=(CONTENTS,),
        breaks="a file cut short by a kill, or one flipped bit in the weights",
        keeps="the legacy format, which has no archive (not applicable)",
        fix="Write to a temporary file, fsync, then os.replace; restore damaged files from a copy.",
        shown_by=(FILES, DRIVEN, KILLS, FAULTS),
        leaves=_NOTHING,
    ),
    Rule(
        id="INTEGRITY-002",
        level=MUST,
        text="Killed at any instant, the run still holds the previous or the new best, loadable.",
        source=_READERS,
        needs=(JOURNAL,),
        breaks="torch.save straight to nn/Cartpole.pth, killed half way",
        keeps="a temporary file left by the kill, and the previous best whole",
        fix=(
            "Write to a temporary file in the same folder, fsync it, os.replace it, fsync the"
            " folder."
        ),
        shown_by=(KILLS,),
    ),
    Rule(
        id="INTEGRITY-003",
        level=MUST,
        text=(
            "When a write fails (disk full, quota, I/O error) the previous best survives and the"
            " trainer says so."
        ),
        source=_READERS,
        needs=(JOURNAL,),
        breaks="a full disk that leaves the best truncated and the trainer silent",
        keeps="an error message, and the previous best untouched",
        fix="Let the error of the temporary file's write surface before anything is replaced.",
        shown_by=(FAULTS,),
    ),
    Rule(
        id="INTEGRITY-004",
        level=SHOULD,
        text="Archives carry their CRC-32 (torch can be told to leave it out).",
        source="torch.serialization.set_crc32_options",
        needs=(CONTENTS,),
        breaks="a file written after set_crc32_options(False)",
        keeps="a file written with torch's defaults",
        fix="Leave torch.serialization.set_crc32_options at its default.",
    ),
    Rule(
        id="SAFETY-001",
        level=MUST,
        text=(
            "The pickle inside names no global outside the list of LOAD-001; the harness never"
            " executes it to find out."
        ),
        source=_TORCH,
        needs=(CONTENTS,),
        breaks="a pickle that names posix.system, or a class of the trainer's own",
        keeps="a pickle that names torch._utils._rebuild_tensor_v2",
        fix="Treat the file as hostile until you know where it comes from; store plain data only.",
        gated=_always,
        leaves=_NOTHING,
    ),
    Rule(
        id="SUMMARY-001",
        level=MUST,
        text=(
            "The event files are readable and log the mean reward of each epoch: rewards/iter, step"
            " = epoch."
        ),
        source=_LOGS,
        needs=(EVENTS,),
        breaks="rewards/iter logged by frame, or every other epoch, or not at all",
        keeps="a torn last record, as a killed process leaves it",
        fix="writer.add_scalar('rewards/iter', mean_reward, epoch_num) once in every epoch.",
        remedies=(
            Remedy(
                "damaged",
                "Restore the event file from a copy, or move it out of summaries/ if there is none."
                " Two writers in one file, or a disk that lost power, leave this.",
            ),
            Remedy("foreign", "Put the event file back that TensorBoard's writer wrote."),
            Remedy("git-lfs-pointer", "Fetch the event file: git lfs install, then git lfs pull."),
            Remedy("git-annex-pointer", "Fetch the event file: git annex get in the clone."),
            Remedy("web-page", "Download the event file again: a page was saved in its place."),
            Remedy("text", "Fetch or copy the event file again: a text stands in its place."),
            Remedy("blank", "Fetch or copy the event file again: nothing is in it."),
            Remedy("compressed", "Decompress the event file."),
            Remedy("safetensors", "Put the event file back that TensorBoard's writer wrote."),
            Remedy("other-framework", "Put the event file back that TensorBoard's writer wrote."),
            Remedy(
                "apple-double", "Copy the event file again: macOS's metadata lies in its place."
            ),
            Remedy("malformed", "Write event files with TensorBoard's or tensorboardX's writer."),
            Remedy(
                "too-large",
                "Log fewer images, texts and histograms beside the rewards, or into a writer of"
                " their own.",
            ),
            Remedy(
                "step", "Give the epoch just finished, counted from 1, as the step of rewards/iter."
            ),
            Remedy(
                "twice",
                "Log the mean reward of the training once in an epoch; an evaluation's goes under a"
                " tag of its own.",
            ),
            Remedy(
                "gap",
                "Log rewards/iter in every epoch whose mean reward is known, NaN too, with the"
                " epoch, not the frame, as its step.",
            ),
            Remedy("short", "Flush the writer before the last save, and close it at the end."),
            Remedy(
                "lost", "Let each session's writer open an event file of its own, and delete none."
            ),
        ),
        gated=_always,
        leaves=_NOTHING,
        tells_dialect=True,
    ),
    Rule(
        id="SUMMARY-002",
        level=MUST,
        text=(
            "The <R> of a periodic name and the stored watermarks agree with the logged rewards:"
            " the best's is its own epoch's reward, a periodic file's the highest reward before its"
            " epoch or up to it."
        ),
        source=_READERS,
        needs=(NAMES, CONTENTS, EVENTS),
        breaks="last_Aep10rew5.0.pth where epoch 10 logged 4.0",
        keeps="last_Aep10rew485.29998779296875.pth where epoch 10 logged 485.3",
        fix="Log, name and store the same value of the mean reward.",
        gated=_always,
        tells_dialect=True,
        symptom_of=(
            Cause(_OF_THE_WATERMARK, evidence="watermark"),
            Cause(("BEST-008",), When.RESUMED, evidence="watermark"),
        ),
        one_at_a_time=True,
    ),
    Rule(
        id="SESSION-001",
        level=SHOULD,
        text=(
            "One process at a time trains in a run: the rewards of no two sessions interleave in"
            " wall time (at least two of each logged within the time of the other)."
        ),
        source=_LOGS,
        needs=(EVENTS,),
        breaks="two trainings started at once under one experiment's name",
        keeps="a session that was resumed as soon as the one before it was killed",
        fix="Give each training a name of its own, or refuse to start in a run that is in use.",
        shown_by=(FILES,),
    ),
    Rule(
        id="RESUME-001",
        level=MUST,
        text=(
            "Given only the experiment's name, training resumes from a checkpoint, and epochs go on"
            " counting."
        ),
        source=_SEED,
        needs=(JOURNAL,),
        breaks="a resumed session that starts at epoch 1",
        keeps="a resumed session that starts at the stored epoch + 1",
        fix="Restore the epoch from the checkpoint, and find it from the experiment's name.",
        shown_by=(DRIVEN,),
        gated=_always,
        leaves=_NOTHING,
        symptom_of=(Cause(("SUMMARY-001",), evidence="trained"),),
    ),
    Rule(
        id="RESUME-002",
        level=MUST,
        text="Given only the experiment's name, inference loads the best checkpoint.",
        source=_SEED,
        needs=(JOURNAL,),
        breaks="test=True that plays freshly initialised weights",
        keeps="test=True that loads nn/<name>.pth",
        fix="Resolve the experiment's name to nn/<name>.pth in the test path too.",
        shown_by=(INFERENCE,),
    ),
    Rule(
        id="RANK-001",
        level=MUST,
        text=(
            "With several ranks only global rank 0 writes checkpoints, and one run folder appears."
        ),
        source="rl_games, common/a2c_common.py",
        needs=(JOURNAL,),
        breaks="each rank saving to its own time-stamped folder",
        keeps="rank 0 alone saving",
        fix="Guard folders and saves with global rank == 0.",
        shown_by=(DRIVEN, RANKS),
        leaves=_NOTHING,
    ),
)

BY_ID: dict[str, Rule] = {rule.id: rule for rule in RULES}


class UnknownRuleError(ValueError):
    """A selector that names no rule and no group of rules; the message lists the groups."""


def select(selectors: tuple[str, ...]) -> frozenset[str]:
    """The ids that the selectors name: whole ids, or prefixes such as `BEST`.

    Raises:
        UnknownRuleError: a selector names nothing.
    """
    chosen: set[str] = set()
    for selector in selectors:
        wanted = selector.strip().upper()
        found = {
            rule.id
            for rule in RULES
            if rule.id == wanted or rule.id.startswith(wanted.rstrip("-") + "-")
        }
        if not found:
            groups = ", ".join(sorted({rule.group for rule in RULES}))
            raise UnknownRuleError(
                f"no rule is called {selector!a}; give an id such as BEST-003 or one of the"
                f" groups {groups}"
            )
        chosen |= found
    return frozenset(chosen)


def chosen(wanted: Iterable[str] | None, unwanted: Iterable[str]) -> frozenset[str]:
    """The ids of the rules to judge: those that are wanted, None for all, less the unwanted ones.

    A single text is taken for one selector, and not for its letters.

    Raises:
        UnknownRuleError: a selector names nothing.
        ValueError: no rule is left.
    """
    selected = frozenset(BY_ID) if wanted is None else select(_selectors(wanted))
    selected -= select(_selectors(unwanted))
    if not selected:
        raise ValueError("select and ignore leave no rule to judge")
    return selected


def _selectors(given: Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
