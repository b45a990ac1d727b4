"""The root command: the table of all commands, and how their errors reach a user.

The commands of a floor live in its `cli` modules, which are imported only when a command is asked for or listed; those
modules import nothing heavy themselves. That keeps `signprep --help` under 0.3 s, where torch alone takes 2.4 s.
"""

import errno
import importlib
import os
import sys
from collections.abc import Sequence

import click

from signprep.pipeline.cli.help import CommandWithHelp
from signprep.pipeline.cli.printing import echo, echo_data
from signprep.pipeline.errors import SignprepError, StoppedError
from signprep.pipeline.runtime.streams import usable_streams

COMMANDS = {
    "demo": "signprep.inference.cli.first_steps:demo",
    "doctor": "signprep.inference.cli.first_steps:doctor",
    "make-sample": "signprep.pipeline.cli.scan:make_sample",
    "scan": "signprep.pipeline.cli.scan:scan",
    "landmarks": "signprep.pipeline.cli.landmarks:landmarks",
    "build-cache": "signprep.cache_builder.cli.build:build_cache",
    "inspect": "signprep.cache_builder.cli.inspect:inspect",
    "play": "signprep.cache_builder.cli.inspect:play",
    "verify": "signprep.cache_builder.cli.maintain:verify",
    "compact": "signprep.cache_builder.cli.maintain:compact",
    "forget": "signprep.cache_builder.cli.maintain:forget",
    "push": "signprep.cache_builder.cli.transfer:push",
    "pull": "signprep.cache_builder.cli.transfer:pull",
    "export-dataset": "signprep.cache_builder.cli.export:export_dataset",
    "diff": "signprep.cache_builder.cli.maintain:diff",
    "merge": "signprep.cache_builder.cli.maintain:merge",
    "train": "signprep.training.cli.train:train",
    "sweep": "signprep.training.cli.sweep:sweep",
    "evaluate": "signprep.inference.cli.evaluate:evaluate",
    "infer": "signprep.inference.cli.infer:infer",
    "live": "signprep.inference.cli.live:live",
    "serve": "signprep.inference.cli.serve:serve",
    "export": "signprep.inference.cli.export:export",
    "completion": "signprep.pipeline.cli.completion:completion",
}

_NAMES = ("NAMETOOLONG", "ACCES", "PERM", "ROFS", "NOSPC", "DQUOT", "IO", "LOOP", "NOTDIR", "STALE", "MFILE")
_REFUSED = [getattr(errno, f"E{name}") for name in _NAMES if hasattr(errno, f"E{name}")]  # Windows lacks some
"""What a machine refuses wherever a file is touched; other errors of the system are bugs."""
_NOT_IN_NAMES = "names of files are in {} here, which lacks letters of it; set PYTHONUTF8=1, or LANG=C.UTF-8"
STOPPED_BY_KEY = 130
"""Exit code of shells for a program that Ctrl-C ended."""
SPIN_COUNT = 10_000
"""Turns that OpenMP's threads, which torch computes with, spin between two operators before they sleep.

libgomp's default is some milliseconds, which suits a program that is alone. Beside any other program each of these
spins takes a time slice from the thread that it waits for: two trainings on two cores were ten times slower than one.
10,000 turns are as fast alone, and four times faster beside others (`python -m benchmarks shared_cores`).
"""
_SPIN_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


class LazyGroup(CommandWithHelp, click.Group):
    """A group that finds its commands by name in `COMMANDS`, in that order."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, in the order a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; underscores are accepted for hyphens."""
        target = COMMANDS.get(cmd_name.replace("_", "-"))
        if target is None:
            return None
        module, attribute = target.split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve to the hyphenated name, whatever was typed; a slip of the keys gets a proposal."""
        try:
            _, command, rest = super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from error
        return (command.name if command else None), command, rest


@click.group(
    cls=LazyGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda token: token.replace("_", "-"),
        "max_content_width": 100,
    },
)
@click.version_option(package_name="signprep")
def cli() -> None:
    """Sign-language videos to a shared tensor cache, and from there to trained models and predictions.

    \b
    Start here:
      signprep demo
      signprep build-cache --data-root DIR --out NAME.zarr
      signprep train NAME.zarr
      signprep evaluate NAME.zarr --checkpoint best.ckpt
      signprep infer FILE.mp4 --checkpoint best.ckpt
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. An error is one line on stderr.

    Exit codes: 1 for what the data or the machine refuse (`SignprepError`, a full disk), 2 for a command line that
    means nothing, 130 after Ctrl-C.
    """
    spin_briefly()
    given = list(arguments) if arguments is not None else None
    try:
        with usable_streams():
            code = cli.main(args=given, prog_name="signprep", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        echo_data(error.format_message(), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        echo(f"signprep: error: {error.format_message()}{_named_instead(error)}", err=True)
        if isinstance(error, click.UsageError) and error.ctx is not None:
            echo(f"`{error.ctx.command_path} --help` explains it", err=True)
        sys.exit(error.exit_code)
    except StoppedError as error:
        echo(f"signprep: {_one_line(error)}", err=True)
        sys.exit(STOPPED_BY_KEY)
    except SignprepError as error:
        echo(f"signprep: error: {_one_line(error)}", err=True)
        sys.exit(1)
    except UnicodeEncodeError as error:
        if (names := sys.getfilesystemencoding()) == "utf-8":
            raise
        echo(f"signprep: error: {error.object!r:.80}: {_NOT_IN_NAMES.format(names)}", err=True)
        sys.exit(1)
    except OSError as error:
        if _is_in_removed_folder(error):
            echo("signprep: error: the working folder has been removed; change to one that is there", err=True)
            sys.exit(1)
        if error.errno not in _REFUSED:
            raise
        echo(f"signprep: error: {': '.join(str(part) for part in (error.filename, error.strerror) if part)}", err=True)
        sys.exit(1)
    except click.Abort as error:
        by_key = isinstance(error.__cause__, KeyboardInterrupt)
        echo("signprep: stopped" if by_key else "signprep: nothing was done", err=True)
        sys.exit(STOPPED_BY_KEY if by_key else 1)
    sys.exit(code if isinstance(code, int) else 0)


def _is_in_removed_folder(error: OSError) -> bool:
    if not isinstance(error, FileNotFoundError):
        return False
    from signprep.pipeline.runtime.machine import folder_is_gone  # which is not needed otherwise

    return folder_is_gone()


def _one_line(error: SignprepError) -> str:
    """Return a message without ends of lines, which names from the data or other programs may bring in."""
    return " ".join(str(error).splitlines())


def spin_briefly() -> None:
    """Set `SPIN_COUNT` in the environment, unless the user has chosen; does nothing once torch is loaded."""
    if not any(name in os.environ for name in _SPIN_VARIABLES):
        os.environ["GOMP_SPINCOUNT"] = str(SPIN_COUNT)


def _named_instead(error: click.ClickException) -> str:
    """Return a hint at the option that was meant, if a word was given to a command that takes none."""
    if not isinstance(error, click.UsageError) or error.ctx is None or "unexpected extra arg" not in error.message:
        return ""
    parameters = error.ctx.command.params
    if any(isinstance(parameter, click.Argument) for parameter in parameters):
        return ""
    if any("--data-root" in found.opts for found in parameters):
        return "; it is given as --data-root DIR"
    return "; it is given as --source FILE" if error.ctx.command.name == "live" else ""
