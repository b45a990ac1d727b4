import io
import sys

import pytest

from signprep.pipeline.runtime.progress import progress_bar


class TerminalStream(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("variable", "moves"), [(None, True), ("JPY_PARENT_PID", False)])
def test_a_bar_moves_on_a_terminal_but_not_in_a_notebook_that_would_keep_each_of_its_states(
    variable: str | None, moves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", TerminalStream())
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    monkeypatch.setenv("TERM", "xterm-color")
    if variable is not None:
        monkeypatch.setenv(variable, "7")
    with progress_bar("Building", 3, "clips") as progress:
        for done in range(1, 4):
            progress(done)
    told = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert ("\x1b[" in told) == moves
    assert moves or (told.splitlines() == [told.strip()] and told.startswith("Building: 3/3, "))
