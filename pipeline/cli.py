"""The root command: which commands there are, and how their errors reach a user.

A command lives in the `commands` module of its folder and is imported only when it is asked for or listed; those
modules import nothing heavy themselves. That keeps `signprep --help` under 0.3 s, where torch alone takes 2.4 s.
"""

import importlib
import sys
from collections.abc import Sequence

import click

from signprep.pipeline.errors import SignprepError

COMMANDS = {
    "demo": "signprep.inference.commands:demo",
    "doctor": "signprep.inference.doctor_command:doctor",
    "make-sample": "signprep.pipeline.commands:make_sample",
    "scan": "signprep.pipeline.commands:scan",
    "build-cache": "signprep.cache_builder.commands:build_cache",
    "inspect": "signprep.cache_builder.inspection.commands:inspect",
    "play": "signprep.cache_builder.inspection.commands:play",
    "verify": "signprep.cache_builder.commands:verify",
    "compact": "signprep.cache_builder.commands:compact",
    "forget": "signprep.cache_builder.commands:forget",
    "push": "signprep.cache_builder.sharing.commands:push",
    "pull": "signprep.cache_builder.sharing.commands:pull",
    "diff": "signprep.cache_builder.sharing.merge_commands:diff",
    "merge": "signprep.cache_builder.sharing.merge_commands:merge",
    "train": "signprep.training.commands:train",
    "evaluate": "signprep.inference.evaluate_command:evaluate",
    "infer": "signprep.inference.infer_command:infer",
    "export": "signprep.inference.export.command:export",
}


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
        """Resolve to the hyphenated name, whatever was typed."""
        _, command, rest = super().resolve_command(ctx, args)
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
    """Run the command line; a `SignprepError` becomes one line on stderr and exit code 1."""
    try:
        cli.main(args=list(arguments) if arguments is not None else None, prog_name="signprep")
    except SignprepError as error:
        click.echo(f"signprep: error: {error}", err=True)
        sys.exit(1)
