"""Kills a run on digits 20 times, goes on with it each time, and compares it with one left alone, bit by bit.

Run by `make faults`, or: python tests/faults/killed.py [--seed 0]
Half of the kills come while a checkpoint is written, at a place in its writing; the others by the clock. They
are spread over the run, from before there is a checkpoint until after the last one.
"""

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path
from select import select
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, NamedTuple

from tqdm import tqdm

from gan_theory.mnist.checkpoint import read_checkpoint

# Labels, an average and batch normalisation: of all recipes this one has the most to forget.
RECIPE, DIGITS, EPOCHS, KILLS = "cgan", 1000, 12, 20
PLACES = "write", "fsync", "replace", "replaced"

# The command on the first digits only. It dies at a place in the writing of its checkpoint number so-and-so.
COMMAND = """
import os, signal, sys
from pathlib import Path
from gan_theory.mnist import __main__, load_mnist

digits, place, number, share = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
path_open, fsync, replace = Path.open, os.fsync, Path.replace
name, count = None, 0  # of the file opened last, and of the checkpoints begun

def here(reached):
    if (reached, name, count) == (place, ".checkpoint.safetensors.partial", number):
        os.kill(os.getpid(), signal.SIGKILL)

def dying_open(path, *arguments, **options):
    global name, count
    file, name = path_open(path, *arguments, **options), path.name
    count += name == ".checkpoint.safetensors.partial"
    if place == "write" and name == ".checkpoint.safetensors.partial" and count == number:
        write = file.write
        def die(content):
            write(content[: int(share * len(content))])
            file.flush()
            here("write")
        file.write = die
    return file

def dying_fsync(file):
    here("fsync")
    fsync(file)

def dying_replace(path, target):
    here("replace")
    replace(path, target)
    here("replaced")

Path.open, os.fsync, Path.replace = dying_open, dying_fsync, dying_replace
mnist = load_mnist()
few = mnist._replace(x_train=mnist.x_train[:digits], y_train=mnist.y_train[:digits])
__main__.load_mnist = lambda: few
print("ready")
sys.exit(__main__.main(sys.argv[5:]))
"""


class Kill(NamedTuple):
    """A moment to kill the run at.

    Attributes:
        epoch: The epoch whose checkpoint is being written, or, by the clock, the number of epochs done.
        place: Where in the writing, or "clock".
        share: How much of the file is written, or, by the clock, how much of the next epoch's time is over.
    """

    epoch: int
    place: str
    share: float

    def __str__(self) -> str:
        when = {
            "clock": f"in epoch {self.epoch + 1}, by the clock",
            "write": f"with {self.share:.0%} of checkpoint {self.epoch} written",
            "fsync": f"before the disk has checkpoint {self.epoch}",
            "replace": f"before checkpoint {self.epoch} gets its name",
            "replaced": f"once checkpoint {self.epoch} has its name",
        }
        return when[self.place]


class Pace(NamedTuple):
    """Seconds from the start of the command, all imported, to the end of its first epoch, and for another."""

    beginning: float
    epoch: float


def plan(seed: int) -> list[Kill]:
    """The kills in the order of the run: two at its very beginning and two at its very end, always."""
    draw = random.Random(seed)  # noqa: S311  (nothing here is secret)
    # By the clock not near the end: on a busy machine a kill comes late, and the run might get there before.
    timed = [draw.uniform(0, EPOCHS - 6) for _ in range(KILLS // 2 - 1)]
    kills = [Kill(int(moment), "clock", moment % 1) for moment in timed]
    # Of an epoch at most one: killed once its checkpoint has its name, it is not written again.
    chosen = draw.sample(range(1, EPOCHS - 1), KILLS - KILLS // 2 - 3)
    kills += [Kill(epoch, draw.choice(PLACES), draw.random()) for epoch in chosen]
    first = [Kill(0, "write", draw.random()), Kill(0, "clock", 0.1)]
    last = [Kill(EPOCHS, "write", draw.random()), Kill(EPOCHS, "replaced", 0.0)]
    return first + sorted(kills, key=lambda kill: (kill.epoch, kill.place == "clock", kill.share)) + last


def start(out: Path, *more: str, dies: tuple[str, int, float] = ("never", 0, 0.0)) -> subprocess.Popen[str]:
    """The command in a process of its own; `dies` says in which writing of a checkpoint, and where in it."""
    options = ["--recipe", RECIPE, "--epochs", str(EPOCHS), "--out", str(out), "--judge-every", "0", *more]
    command = [sys.executable, "-u", "-c", COMMAND, str(DIGITS), *map(str, dies), "train", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], beginning: str) -> None:
    """Returns once the process has printed a line that begins so, or has ended."""
    while (line := process.stdout.readline()) and not line.startswith(beginning):
        pass


def undisturbed(out: Path) -> Pace:
    """Trains from beginning to end."""
    with start(out) as process:
        times = []
        for line in ("ready", "epoch 1/", f"epoch {EPOCHS}/"):
            wait_for(process, line)
            times.append(perf_counter())
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    return Pace(times[1] - times[0], (times[2] - times[1]) / (EPOCHS - 1))


def epochs_done(out: Path) -> int | None:
    """What the checkpoint holds, which must be whole; None if there is none yet."""
    path = out / "checkpoint.safetensors"
    return read_checkpoint(path)[1]["epoch"] if path.exists() else None


def partials(out: Path) -> set[tuple[str, int]]:
    """What writing has left behind, by name and time."""
    return {(path.name, path.stat().st_mtime_ns) for path in out.glob(".*.partial")}


def killed(out: Path, kill: Kill, pace: Pace, *more: str) -> tuple[int, str]:
    """Starts the command, kills it, and returns its exit code and errors."""
    done = epochs_done(out)
    written = -1 if done is None else done
    aim = ("never", 0, 0.0)
    if kill.place != "clock":
        # A kill by the clock that came late may have let this epoch pass.
        aim = kill.place, max(kill.epoch - written, 1), kill.share
    with start(out, *more, dies=aim) as process:
        if kill.place == "clock":
            ahead = kill.epoch > max(written, 0)
            wait_for(process, f"epoch {kill.epoch}/" if ahead else "ready")
            # However late on a busy machine, it is killed by the end of the epoch, which is printed.
            select([process.stdout], [], [], kill.share * (pace.epoch if ahead else pace.beginning))
            process.kill()
        _, errors = process.communicate()
    return process.returncode, errors


def disturbed(out: Path, kills: list[Kill], pace: Pace) -> int:
    """Trains with all these kills, as a user would, and returns how many of them came during a writing."""
    resume, while_writing = [], 0
    for kill in (bar := tqdm(kills, unit=" kills", disable=None)):
        if resume and epochs_done(out) is None:
            # Killed before its first checkpoint, a run has nothing to go on from, says so, and is begun anew.
            with start(out, *resume) as process:
                _, errors = process.communicate()
            assert process.returncode == 2 and "there is no checkpoint" in errors, errors
            resume = []
        before = partials(out)
        code, errors = killed(out, kill, pace, *resume)
        assert code == -9, f"the run ended before it was killed {kill}, with exit code {code}: {errors}"
        while_writing += bool(partials(out) - before)
        bar.write(f"killed {kill}; the checkpoint is that of epoch {epochs_done(out)}")
        resume = ["--resume"]
    with start(out, *resume) as process:
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    return while_writing


def tensors(out: Path) -> dict[str, bytes]:
    """Every tensor of the checkpoint, to be compared bit for bit."""
    return {
        name: t.numpy().tobytes() for name, t in read_checkpoint(out / "checkpoint.safetensors")[0].items()
    }


def log(out: Path) -> list[dict[str, Any]]:
    """The log, apart from the clock's readings."""
    lines = map(json.loads, (out / "log.jsonl").read_text(encoding="utf-8").splitlines())
    return [{name: line[name] for name in line.keys() - {"seconds", "images_per_second"}} for line in lines]


def differences(out: Path, other: Path) -> list[str]:
    """In what two runs differ that should be the same."""
    a, b = tensors(out), tensors(other)
    found = [f"tensor {name}" for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)]
    if [line["epoch"] for line in log(out)] != list(range(1, EPOCHS + 1)) or log(out) != log(other):
        found.append("log.jsonl")
    names = [{path.name for path in folder.iterdir()} for folder in (out, other)]
    found += [f"{name}, which only one of them has" for name in sorted(names[0] ^ names[1])]
    grids = [path for path in other.glob("*.png") if path.name in names[0]]
    return found + [path.name for path in grids if (out / path.name).read_bytes() != path.read_bytes()]


def main(arguments: list[str] | None = None) -> int:
    """Trains three times, once with kills, and says whether it came to the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills (default 0)")
    options = parser.parse_args(arguments)
    clock = perf_counter()
    with TemporaryDirectory() as folder:
        alone, again, out = (Path(folder) / name for name in ("alone", "again", "killed"))
        pace = Pace(*map(min, undisturbed(alone), undisturbed(again)))
        kills = plan(options.seed)
        while_writing = disturbed(out, kills, pace)
        found = [f"the same seed again: {what}" for what in differences(again, alone)]
        found += [f"killed: {what}" for what in differences(out, alone)]
    for what in found:
        print(f"DIFFERENT from the undisturbed run: {what}", file=sys.stderr)
    if not found:
        print("the same seed twice: weights equal")
        print(f"{len(kills)} kills survived, of which {while_writing} while writing; weights equal")
    print(f"{perf_counter() - clock:.0f} s")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
