"""The command line: names the commands and turns errors into one sentence."""

import errno
import os
import re
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from seg.errors import OWN_CALL, OWN_CODE, SegError, WrongUseError
from seg.runs.cores import waiting_asleep

# Before torch is imported.
os.environ.update(waiting_asleep())
# Torch asks Linux for large pages: a window's features are new memory every time, and in small pages the CPU spends a
# seventh of the time on getting them.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

from seg.cli import (
    areas,
    card,
    compare,
    console,
    data,
    demo,
    doctor,
    evaluate,
    export,
    leaderboard,
    models,
    predict,
    pretrain,
    report,
    sample,
    score,
    submit,
    sweep,
    train,
    verify,
)
from seg.cli.command import Command, Group
from seg.config.version import VERSION
from seg.config.wording import SENTENCE, clipped

app = typer.Typer(
    cls=Group,
    name="seg",
    help="The benchmark for land-cover segmentation on reBEN (BigEarthNet v2.0).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("demo", cls=Command)(demo.demo)
app.add_typer(data.app, name="data")
app.command("train", cls=Command)(train.train)
app.command("pretrain", cls=Command)(pretrain.pretrain)
app.command("sweep", cls=Command)(sweep.sweep)
app.command("eval", cls=Command)(evaluate.evaluate)
app.command("score", cls=Command)(score.score)
app.command("compare", cls=Command)(compare.compare)
app.command("export", cls=Command)(export.export)
app.command("predict", cls=Command)(predict.predict)
app.command("sample", cls=Command)(sample.sample)
app.command("areas", cls=Command)(areas.areas)
app.command("report", cls=Command)(report.report)
app.command("card", cls=Command)(card.card)
app.command("submit", cls=Command)(submit.submit)
app.command("verify", cls=Command)(verify.verify)
app.command("leaderboard", cls=Command)(leaderboard.leaderboard)
app.command("models", cls=Command)(models.models)
app.command("doctor", cls=Command)(doctor.doctor)

_SHARED = ("train", "eval", "export", "predict")
"""Commands whose work several processes can share."""
_COMMAND = re.compile(r"(?:: |\b(?:type|with) )(?:hf|mkdir|pip|python|rio|seg) ")
_WITH_COMMAND = 2000
"""Characters of a message with a command to be typed, which is of no use if some of it is left out."""

_CURES = {
    errno.ENAMETOOLONG: "; take a shorter name",
    errno.EEXIST: ", where a folder is to be made; move it away or name another one",
    errno.ENOSPC: "; free some space and run the same command again",
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENOENT),
        "; name a folder that you may read and write",
    ),
}


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"seg {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options that come before the command. ``--debug`` is read by `main`, wherever it stands."""


def main() -> None:
    """Run the command line; exit code 0 done, 2 wrong use, 1 anything else. A bug shows its traceback."""
    debug = "--debug" in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    several = os.environ.get("WORLD_SIZE", "1") != "1"
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        # A name or a dash that the terminal's encoding lacks is no reason to lose the rest.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        _require_current_folder()
        if several and arguments and arguments[0] not in _SHARED:
            raise WrongUseError(f"'seg {arguments[0]}' is the work of one process; start it without torchrun")
        app(arguments, prog_name="seg")
    except KeyboardInterrupt:
        if debug:
            raise
        console.notify("Stopped; the same command starts over.")
        sys.exit(1)
    except (SegError, OSError, MemoryError) as error:
        if debug:
            raise
        text = sentence(error)
        if several:
            # Mostly all of them fail for the same reason; the first one that does says so, whichever it is.
            from seg.engine.distributed import first_to_say

            console.err.quiet = not first_to_say(text)
        console.err.print(f"[bold red]seg:[/] {escape(text)}", soft_wrap=True)
        for note in getattr(error, "__notes__", ()):
            console.notify(clipped(note, SENTENCE))
        sys.exit(2 if isinstance(error, SegError) and error.wrong_use else 1)
    except Exception as error:
        _explain(error, debug)
        raise


def _require_current_folder() -> None:
    """Refuse to start in a folder that somebody has removed: libraries crash there, and no relative path means any.

    Raises:
        WrongUseError: If it is gone.
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        raise WrongUseError("the current folder has been removed; change into one that is there") from None


def _explain(error: Exception, debug: bool) -> None:
    """Say who can mend an error that nobody thought of: seg, or whoever wrote the network that it came from.

    The latter looks for his own lines: unless for debugging, those by which seg came to call them go.
    """
    trace, of_network = error.__traceback__, False
    while trace is not None and not (module := str(trace.tb_frame.f_globals.get("__name__", ""))).startswith(OWN_CODE):
        # What is put together of layers of others has no lines of its own.
        of_network |= (module, trace.tb_frame.f_code.co_name) == OWN_CALL
        trace = trace.tb_next
    if trace is None and not of_network:
        error.add_note("This is a bug in seg, no mistake of yours: please report it, with the lines above.")
        return
    place = f", in {trace.tb_frame.f_code.co_filename}" if trace else ""
    error.add_note(f"This is an error of the network{place}, which seg runs as it is.")
    if trace and not debug:
        error.__traceback__ = trace


def sentence(error: BaseException) -> str:
    """What went wrong, in one sentence with the cure where there is one."""
    if isinstance(error, OSError) and error.strerror:
        where = f" ({clipped(str(error.filename), SENTENCE // 3)})" if error.filename else ""
        cure = _CURES.get(error.errno or 0, "")
        return f"{error.strerror}{where}{cure}"
    if isinstance(error, MemoryError):
        return "out of memory; lower --set train.batch_size"
    # Whoever quotes a value clips it; this is for what nobody thought of.
    return clipped(str(error), _WITH_COMMAND if _COMMAND.search(str(error)) else SENTENCE) or type(error).__name__
