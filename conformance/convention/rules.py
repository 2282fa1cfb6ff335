"""The registry of rules: each one's id, level, text, source, evidence and mending, once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(str, Enum):
    """How binding a rule is: a failed MUST fails the run, a failed SHOULD warns."""

    MUST = "must"
    SHOULD = "should"


class Verdict(str, Enum):
    """What a rule says of one run."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    NOT_APPLICABLE = "not-applicable"
    UNOBSERVABLE = "unobservable"
    ERROR = "error"


class Needs(str, Enum):
    """A kind of evidence that a rule reads."""

    NAMES = "file names"
    CONTENTS = "checkpoint contents"
    EVENTS = "event files"
    CONFIG = "the run's config or options"
    JOURNAL = "a journal of writes"
    MODEL = "a model"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the convention.

    `driven` marks a rule that only a driven trainer can show: not applicable to an audit of
    files. `breaks` and `keeps` are an example of a run that breaks it and of a near miss.
    """

    id: str
    level: Level
    text: str
    source: str
    needs: tuple[Needs, ...]
    breaks: str
    keeps: str
    fix: str
    driven: bool = False

    @property
    def group(self) -> str:
        """The part of the id before the number: `BEST` of `BEST-003`."""
        return self.id.partition("-")[0]


_SEED = "the convention's source text"
_TRAIN = "IsaacGymEnvs, learning/common_agent.py, train()"
_LAYOUT = "the convention's directory layout"
_READERS = "what consumers of these folders rely on"
_TORCH = "torch.load(weights_only=True), torch 2.6 and later"
_LOGS = "the convention's directory layout; rl_games' tag names"

M, S = Level.MUST, Level.SHOULD
NAMES, CONTENTS, EVENTS = Needs.NAMES, Needs.CONTENTS, Needs.EVENTS
CONFIG, JOURNAL, MODEL = Needs.CONFIG, Needs.JOURNAL, Needs.MODEL

RULES: tuple[Rule, ...] = (
    Rule(
        "LAYOUT-001",
        M,
        "Checkpoints stand directly in <root>/<experiment>/nn/; no .pth file stands anywhere"
        " else in the run.",
        _LAYOUT,
        (NAMES,),
        "runs/Cartpole/Cartpole.pth",
        "runs/Cartpole/nn/Cartpole.pth, and runs/Cartpole/videos/play.mp4 beside it",
        "Save to os.path.join(experiment_dir, 'nn'), and move the files named here there.",
    ),
    Rule(
        "LAYOUT-002",
        M,
        "summaries/ stands beside nn/ and holds at least one events.out.tfevents.* file.",
        _LAYOUT,
        (NAMES,),
        "a run with nn/ and no summaries/, or with event files in logs/",
        "summaries/events.out.tfevents.1700000000.host",
        "Give the TensorBoard writer <experiment>/summaries as its log folder.",
    ),
    Rule(
        "LAYOUT-003",
        S,
        "nn/ holds nothing but the profile's checkpoints: no temporary or foreign file is left.",
        _LAYOUT,
        (NAMES, CONTENTS),
        "nn/Cartpole.pth.tmp left by a killed save",
        "notes.txt beside nn/, not in it",
        "Remove temporary files when a save fails and at start; keep other files out of nn/.",
    ),
    Rule(
        "LAYOUT-004",
        M,
        "Each checkpoint is a regular, non-empty file, or a link to one inside the run.",
        _READERS,
        (NAMES,),
        "an nn/Cartpole.pth of 0 bytes, a folder of that name, a link that leads nowhere",
        "nn/Cartpole.pth as a hard link to a periodic checkpoint",
        "Write a real file for each checkpoint; replace dangling links by what they meant.",
    ),
    Rule(
        "LAYOUT-005",
        S,
        "No checkpoint is a symbolic link: uploads and copies lose it.",
        _READERS,
        (NAMES,),
        "nn/Cartpole.pth -> last_Cartpoleep100rew485.3.pth",
        "a hard link, or a copy",
        "Write or copy the file instead of linking to it.",
    ),
    Rule(
        "NAME-001",
        M,
        "The best checkpoint is called exactly <name>.pth; <name> is the experiment's name unless"
        " the run's config says otherwise.",
        _SEED,
        (NAMES, CONFIG),
        "nn/best.pth or nn/cartpole.pth in the run Cartpole",
        "nn/Cartpole.pth",
        "Name the best checkpoint config['name'] + '.pth', nothing added.",
    ),
    Rule(
        "NAME-002",
        M,
        "Each other checkpoint's name parses by the profile's grammar.",
        _TRAIN,
        (NAMES, CONTENTS),
        "nn/Cartpole_100.pth, or another dialect's last_Cartpole_ep_100_rew_485.3.pth",
        "nn/last_Cartpoleep100rew485.3.pth",
        "Name periodic checkpoints as the profile does, or audit with the --profile of the"
        " trainer's own dialect.",
    ),
    Rule(
        "NAME-003",
        M,
        "The <name> inside a periodic checkpoint's name is the run's name, compared whole.",
        _TRAIN,
        (NAMES, CONFIG),
        "nn/last_Antep100rew5.0.pth in the run Cartpole",
        "the run called Aep12 with nn/last_Aep12ep100rew5.0.pth",
        "Build the name from config['name'], the same value as the best checkpoint's.",
    ),
    Rule(
        "NAME-004",
        M,
        "<N> in a periodic name is a plain decimal epoch, at least 1, without sign or leading"
        " zero.",
        _TRAIN,
        (NAMES,),
        "nn/last_Cartpoleep0002rew5.0.pth",
        "nn/last_Cartpoleep2rew5.0.pth",
        "Print the epoch with str(epoch_num); count epochs from 1.",
    ),
    Rule(
        "NAME-005",
        M,
        "<R> in a periodic name is what Python's str prints for the mean reward, never rounded to"
        " fewer digits than it takes to read the value back.",
        _TRAIN,
        (NAMES, EVENTS),
        "rew485.30, rew[485.3], or rew66.53 for a mean reward of 66.52648",
        "rew485.3, rew-1.2e-05, rew485.29998779296875, rewinf, rewnan",
        "Print the mean reward with str(mean_rewards): no format specification, no rounding.",
    ),
    Rule(
        "NAME-006",
        M,
        "<N> in a checkpoint's name equals the epoch stored in the checkpoint.",
        _READERS,
        (NAMES, CONTENTS),
        "last_Cartpoleep100rew485.3.pth that stores epoch 99",
        "last_Cartpoleep100rew485.3.pth that stores epoch 100, also as a 0-d tensor",
        "Store the same epoch number that the name is built from.",
    ),
    Rule(
        "NAME-007",
        M,
        "One session writes at most one periodic checkpoint for an epoch.",
        _TRAIN,
        (NAMES, EVENTS),
        "last_Aep10rew5.0.pth and last_Aep10rew6.0.pth of one session",
        "the same two files where the run was restarted and both sessions logged epoch 10",
        "Save once for each multiple of save_freq, after the mean reward of the epoch is final.",
    ),
    Rule(
        "NAME-008",
        S,
        "Names are safe in a shell, a glob, a Hydra override and on a disk that ignores case: no"
        " =, brackets, white space, NUL or control characters, no leading -.",
        _READERS,
        (NAMES,),
        "an experiment called x[1] or lr=3e-4",
        "an experiment called Ant-v2_seed.3",
        "Choose an experiment name of letters, digits, '_', '-' and '.'.",
    ),
    Rule(
        "CADENCE-001",
        M,
        "Every periodic checkpoint's epoch is a multiple of save_freq.",
        _TRAIN,
        (NAMES, CONFIG),
        "last_Aep7rew5.0.pth with save_freq 5",
        "last_Aep10rew5.0.pth with save_freq 5",
        "Test epoch_num % save_freq == 0 with the epoch just finished, counted from 1.",
    ),
    Rule(
        "CADENCE-002",
        M,
        "Every multiple of save_freq up to the last epoch has its periodic checkpoint.",
        _TRAIN,
        (NAMES, CONFIG, EVENTS),
        "save_freq 5, 15 epochs, and no checkpoint for epoch 10",
        "no checkpoint for epoch 5, when no episode had finished by then",
        "Save at each multiple of save_freq, whether or not the reward improved; delete none.",
    ),
    Rule(
        "CADENCE-003",
        M,
        "With save_freq 0 there is no periodic checkpoint.",
        _TRAIN,
        (NAMES, CONFIG),
        "last_Aep1rew5.0.pth with save_freq 0",
        "only A.pth with save_freq 0",
        "Skip periodic saves when save_freq is 0, before the modulo.",
    ),
    Rule(
        "CADENCE-004",
        M,
        "Within a session periodic checkpoints are written in the order of their epochs.",
        _TRAIN,
        (JOURNAL,),
        "epoch 10's file written after epoch 15's",
        "an asynchronous writer that keeps the order",
        "Write from one queue, first in first out.",
        driven=True,
    ),
    Rule(
        "CADENCE-005",
        M,
        "In an epoch where both are due, the periodic checkpoint is written before the best.",
        _TRAIN,
        (JOURNAL,),
        "A.pth, then last_Aep10rew5.0.pth, in epoch 10",
        "last_Aep10rew5.0.pth, then A.pth",
        "Do the periodic save before the comparison with the watermark.",
        driven=True,
    ),
    Rule(
        "BEST-001",
        M,
        "The best checkpoint exists if and only if some epoch improved on the initial watermark.",
        _TRAIN,
        (NAMES, EVENTS),
        "logged rewards and no best checkpoint; or a best where every reward is NaN",
        "no best where no episode has finished",
        "Start the watermark at -inf, and save the best whenever the mean reward exceeds it.",
    ),
    Rule(
        "BEST-002",
        M,
        "The best checkpoint holds the state of the epoch that first reached the run's maximum"
        " mean reward.",
        _TRAIN,
        (CONTENTS, EVENTS),
        "a best whose weights are those of another epoch than it says",
        "a best of epoch 7 where epoch 7 was the first to reach the maximum",
        "Save the state of the epoch whose reward improved, in that epoch.",
    ),
    Rule(
        "BEST-003",
        M,
        "An equal mean reward does not rewrite the best checkpoint.",
        _TRAIN,
        (CONTENTS, EVENTS),
        "rewards 5, 5 and a best that holds epoch 2",
        "rewards 5, 5 and a best that holds epoch 1",
        "Compare strictly: mean_rewards > last_mean_rewards, not >=.",
    ),
    Rule(
        "BEST-004",
        M,
        "A lower mean reward does not rewrite the best checkpoint.",
        _TRAIN,
        (CONTENTS, EVENTS),
        "rewards 5, 3 and a best that holds epoch 2",
        "rewards 5, 3 and a best that holds epoch 1",
        "Compare with the highest reward so far, and raise it only on an improvement.",
    ),
    Rule(
        "BEST-005",
        M,
        "A NaN mean reward neither rewrites the best checkpoint nor stops later improvements from"
        " being saved.",
        _TRAIN,
        (CONTENTS, EVENTS),
        "rewards 1, nan, 5 and a best that holds epoch 1",
        "rewards 1, nan, 5 and a best that holds epoch 3",
        "Never store a NaN as the watermark: mean_rewards > last_mean_rewards is False for one.",
    ),
    Rule(
        "BEST-006",
        M,
        "Every improvement rewrites the best checkpoint at once, not only at a periodic epoch or"
        " at the end.",
        _TRAIN,
        (CONTENTS, EVENTS),
        "rewards 1, 2, 3 and a best that holds epoch 2",
        "rewards 1, 2, 3 and a best that holds epoch 3",
        "Do the best save outside the periodic branch and for every strict improvement.",
    ),
    Rule(
        "BEST-007",
        M,
        "The last_mean_rewards stored in the best checkpoint is the reward of its own epoch.",
        _TRAIN,
        (CONTENTS, EVENTS),
        "a best of the epoch with reward 5 that stores the earlier watermark 3",
        "a best of the epoch with reward 5 that stores 5",
        "Assign last_mean_rewards = mean_rewards before saving the best.",
    ),
    Rule(
        "BEST-008",
        M,
        "A resumed session keeps the watermark: it does not replace the best by a worse one.",
        "rl_games later than 1.6.5",
        (CONTENTS, EVENTS),
        "epochs 1-5 reach 9, a resumed session reaches 7 and replaces the best",
        "epochs 1-5 reach 9, a resumed session reaches 7 and leaves the best alone",
        "Restore last_mean_rewards from the checkpoint (and the best file) when resuming.",
    ),
    Rule(
        "BEST-009",
        S,
        "A fresh session in a folder that already holds a best does not silently replace it by a"
        " worse one.",
        _READERS,
        (CONTENTS, EVENTS),
        "a second training from scratch that overwrites a better best",
        "a second training from scratch under another experiment name",
        "Refuse to start in a folder that holds a best, or give the run a name of its own.",
    ),
    Rule(
        "LOAD-001",
        M,
        'torch.load(path, map_location="cpu", weights_only=True) succeeds: the pickle needs no'
        " more than torch allows by default plus what the profile adds.",
        _TORCH,
        (CONTENTS,),
        "last_mean_rewards stored as a numpy.float32 scalar, under the default profile",
        "last_mean_rewards stored as a Python float",
        "Store tensors, numbers, texts, lists and dicts only: float(mean_rewards), not a NumPy"
        " scalar.",
    ),
    Rule(
        "LOAD-002",
        M,
        "The checkpoint holds a state_dict under `model`: string keys, tensor values.",
        _SEED,
        (CONTENTS,),
        "the state_dict at the top level, or a nested dict under model",
        "{'model': {'actor.weight': tensor}}",
        "Save {'model': model.state_dict(), ...}.",
    ),
    Rule(
        "LOAD-003",
        M,
        "All checkpoints of a session agree in the keys, shapes and dtypes of `model`.",
        _READERS,
        (CONTENTS,),
        "a best saved in float16 beside periodic checkpoints in float32",
        "checkpoints that differ in optimizer state alone",
        "Save best and periodic checkpoints by the same function.",
    ),
    Rule(
        "LOAD-004",
        M,
        "Where a model is given, load_state_dict(strict=True) accepts the state_dict.",
        _READERS,
        (CONTENTS, MODEL),
        "a checkpoint that lacks a key of the model",
        "a checkpoint with exactly the model's keys and shapes",
        "Save the state_dict of the model that consumers build.",
    ),
    Rule(
        "LOAD-005",
        S,
        "Keys carry no wrapper's prefix (module., _orig_mod.).",
        _READERS,
        (CONTENTS,),
        "module.actor.weight, or _orig_mod.actor.weight",
        "actor.module_list.0.weight",
        "Save the state_dict of the wrapped model: ddp.module, compiled._orig_mod.",
    ),
    Rule(
        "LOAD-006",
        M,
        "No floating-point or complex tensor under `model` holds a NaN.",
        _READERS,
        (CONTENTS,),
        "a weight that is NaN",
        "a NaN in the part of a storage that no tensor addresses",
        "Stop, or skip the update, when the loss is not finite; resume from an earlier checkpoint.",
    ),
    Rule(
        "LOAD-007",
        S,
        "The file is no larger than 1.25 times the bytes that its tensors address, plus 64 KiB.",
        _READERS,
        (CONTENTS,),
        "a saved view x[:1] that drags its whole storage along",
        "an archive's headers and padding",
        "Save tensor.clone() of views, and keep replay buffers out of checkpoints.",
    ),
    Rule(
        "LOAD-008",
        M,
        "What a resume needs is there: epoch, optimizer, last_mean_rewards, and the keys that the"
        " profile adds.",
        _READERS,
        (CONTENTS,),
        "a checkpoint that holds model alone",
        "a checkpoint with more keys than these",
        "Store epoch (a number), optimizer (its state_dict) and last_mean_rewards (a number).",
    ),
    Rule(
        "LOAD-009",
        S,
        "No floating-point or complex tensor under `model` holds an infinity.",
        _READERS,
        (CONTENTS,),
        "a weight, or a running variance, that is inf",
        "the largest finite float32",
        "Look for the overflow: a running variance without data, a log of zero.",
    ),
    Rule(
        "INTEGRITY-001",
        M,
        "The archive is whole: not truncated, nothing appended, every record's CRC-32 right.",
        "the ZIP format; torch.save's archive",
        (CONTENTS,),
        "a file cut short by a kill, or one flipped bit in the weights",
        "the legacy format, which has no archive (not applicable)",
        "Write to a temporary file, fsync, then os.replace; restore damaged files from a copy.",
    ),
    Rule(
        "INTEGRITY-002",
        M,
        "Killed at any instant, the run still holds the previous or the new best, loadable.",
        _READERS,
        (JOURNAL,),
        "torch.save straight to nn/Cartpole.pth, killed half way",
        "a temporary file left by the kill, and the previous best whole",
        "Write to a temporary file in the same folder, fsync it, os.replace it, fsync the folder.",
        driven=True,
    ),
    Rule(
        "INTEGRITY-003",
        M,
        "When a write fails (disk full, quota, I/O error) the previous best survives and the"
        " trainer says so.",
        _READERS,
        (JOURNAL,),
        "a full disk that leaves the best truncated and the trainer silent",
        "an error message, and the previous best untouched",
        "Let the error of the temporary file's write surface before anything is replaced.",
        driven=True,
    ),
    Rule(
        "INTEGRITY-004",
        S,
        "Archives carry their CRC-32 (torch can be told to leave it out).",
        "torch.serialization.set_crc32_options",
        (CONTENTS,),
        "a file written after set_crc32_options(False)",
        "a file written with torch's defaults",
        "Leave torch.serialization.set_crc32_options at its default.",
    ),
    Rule(
        "SAFETY-001",
        M,
        "The pickle inside names no global outside the list of LOAD-001; the harness never"
        " executes it to find out.",
        _TORCH,
        (CONTENTS,),
        "a pickle that names posix.system, or a class of the trainer's own",
        "a pickle that names torch._utils._rebuild_tensor_v2",
        "Treat the file as hostile until you know where it comes from; store plain data only.",
    ),
    Rule(
        "SUMMARY-001",
        M,
        "The event files are readable and log the mean reward of each epoch: rewards/iter, step ="
        " epoch.",
        _LOGS,
        (EVENTS,),
        "rewards/iter logged by frame, or every other epoch, or not at all",
        "a torn last record, as a killed process leaves it",
        "writer.add_scalar('rewards/iter', mean_reward, epoch_num) once in every epoch.",
    ),
    Rule(
        "SUMMARY-002",
        M,
        "The <R> of a periodic name and the stored watermarks agree with the logged rewards: the"
        " best's is its own epoch's reward, a periodic file's the highest reward before its epoch"
        " or up to it.",
        _READERS,
        (NAMES, CONTENTS, EVENTS),
        "last_Aep10rew5.0.pth where epoch 10 logged 4.0",
        "last_Aep10rew485.29998779296875.pth where epoch 10 logged 485.3",
        "Log, name and store the same value of the mean reward.",
    ),
    Rule(
        "RESUME-001",
        M,
        "Given only the experiment's name, training resumes from a checkpoint, and epochs go on"
        " counting.",
        _SEED,
        (JOURNAL,),
        "a resumed session that starts at epoch 1",
        "a resumed session that starts at the stored epoch + 1",
        "Restore the epoch from the checkpoint, and find it from the experiment's name.",
        driven=True,
    ),
    Rule(
        "RESUME-002",
        M,
        "Given only the experiment's name, inference loads the best checkpoint.",
        _SEED,
        (JOURNAL,),
        "test=True that plays freshly initialised weights",
        "test=True that loads nn/<name>.pth",
        "Resolve the experiment's name to nn/<name>.pth in the test path too.",
        driven=True,
    ),
    Rule(
        "RANK-001",
        M,
        "With several ranks only global rank 0 writes checkpoints, and one run folder appears.",
        "rl_games, a2c_common.py",
        (JOURNAL,),
        "each rank saving to its own time-stamped folder",
        "rank 0 alone saving",
        "Guard folders and saves with global rank == 0.",
        driven=True,
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
