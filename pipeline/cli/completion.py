"""The command `completion`: the script by which a shell completes signprep's commands, options, values and paths."""

import click
from click.shell_completion import get_completion_class

from signprep.pipeline.cli.options import command
from signprep.pipeline.cli.printing import echo_data
from signprep.pipeline.options import REQUIRED, option

SHELLS = ("bash", "zsh", "fish")
PROGRAM, VARIABLE = "signprep", "_SIGNPREP_COMPLETE"


@command("completion", "Print the script by which a shell completes commands.")
def completion(shell: str = option(REQUIRED, "The shell.", positional=True, choices=SHELLS, metavar="SHELL")) -> None:
    """Print the script by which bash, zsh or fish completes commands, options, models, choices and paths.

    Add it to what the shell reads when it starts, once; a new shell then completes by the key Tab. In zsh, `compinit`
    has to come before it. Upgrades of signprep need no new script.

    \b
    Examples:
      signprep completion bash >> ~/.bashrc
      signprep completion zsh >> ~/.zshrc
      signprep completion fish > ~/.config/fish/completions/signprep.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None, shell
    root = click.get_current_context().find_root().command
    echo_data(kind(root, {}, PROGRAM, VARIABLE).source().rstrip())
