"""The root command: which commands there are, and how their errors reach a user.

A command lives in a `commands` module, or in one of its own, and is imported only when it is asked for or listed;
those modules import nothing heavy themselves. That keeps `signprep --help` under 0.3 s, where torch alone takes 2.4 s.
"""

import importlib
import sys
from collections.abc import Sequence

import click

from signprep.pipeline.cli.openmp import spin_briefly
from signprep.pipeline.errors import SignprepError, StoppedError

COMMANDS = {
    "demo": "signprep.inference.cli.demo:demo",
    "doctor": "signprep.inference.cli.doctor:doctor",
    "make-sample": "signprep.pipeline.cli.scan:make_sample",
    "scan": "signprep.pipeline.cli.scan:scan",
    "build-cache": "signprep.cache_builder.cli.build:build_cache",
    "inspect": "signprep.cache_builder.cli.inspect:inspect",
    "play": "signprep.cache_builder.cli.inspect:play",
    "verify": "signprep.cache_builder.cli.maintain:verify",
    "compact": "signprep.cache_builder.cli.maintain:compact",
    "forget": "signprep.cache_builder.cli.maintain:forget",
    "push": "signprep.cache_builder.cli.transfer:push",
    "pull": "signprep.cache_builder.cli.transfer:pull",
    "diff": "signprep.cache_builder.cli.merge_commands:diff",
    "merge": "signprep.cache_builder.cli.merge_commands:merge",
    "train": "signprep.training.cli:train",
    "evaluate": "signprep.inference.cli.evaluate:evaluate",
    "infer": "signprep.inference.cli.infer:infer",
    "export": "signprep.inference.cli.export:export",
}

NAMED_THINGS = {"--data-root": "DIR", "--cache": "NAME.zarr", "--video-path": "FILE"}
"""Options that people give without their name, and what they name."""
STOPPED_BY_KEY = 130
"""Exit code of shells for a program that Ctrl-C ended."""


class LazyGroup(click.Group):
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
    """Sign-language videos to a shared tensor cache, and from there to trained models and answers.

    \b
    Start here:
      signprep demo                                     the whole way on generated videos
      signprep build-cache --data-root DIR --out NAME.zarr
      signprep train --cache NAME.zarr
      signprep evaluate --checkpoint best.ckpt --cache NAME.zarr
      signprep infer --checkpoint best.ckpt --video-path FILE.mp4
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a `SignprepError` becomes one line on stderr and exit code 1, Ctrl-C one and 130."""
    spin_briefly()
    given = list(arguments) if arguments is not None else None
    try:
        code = cli.main(args=given, prog_name="signprep", standalone_mode=False)
    except click.ClickException as error:
        if isinstance(error, click.UsageError) and (meant := _named_instead(error)):
            error = click.UsageError(error.message + meant, ctx=error.ctx)
        error.show()
        sys.exit(error.exit_code)
    except StoppedError as error:
        click.echo(f"signprep: {error}", err=True)
        sys.exit(STOPPED_BY_KEY)
    except SignprepError as error:
        click.echo(f"signprep: error: {error}", err=True)
        sys.exit(1)
    except click.Abort as error:
        by_key = isinstance(error.__cause__, KeyboardInterrupt)
        click.echo("signprep: stopped" if by_key else "signprep: nothing was done", err=True)
        sys.exit(STOPPED_BY_KEY if by_key else 1)
    sys.exit(code if isinstance(code, int) else 0)


def _named_instead(error: click.UsageError) -> str:
    """Return, where a word was given that no command takes as it is, the options that may have been meant."""
    if error.ctx is None or "unexpected extra argument" not in error.message:
        return ""
    parameters = error.ctx.command.params
    if any(isinstance(parameter, click.Argument) for parameter in parameters):
        return ""
    options = [parameter.opts[0] for parameter in parameters]
    meant = [f"{name} {kind}" for name, kind in NAMED_THINGS.items() if name in options]
    return f"; it is given as {' or '.join(meant)}" if meant else ""
