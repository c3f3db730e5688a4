"""The README: one screen to get an idea, commands that are true, and no more than 200 lines."""

from __future__ import annotations

import re

from tests.docs.blocks import ROOT, blocks_of
from trio_uwsgi._program.command_options import OPTIONS, flag_of

TEXT = (ROOT / "README.md").read_text()
BLOCKS = list(blocks_of(TEXT))


def test_it_is_short() -> None:
    """The site has the rest."""
    assert 200 >= len(TEXT.splitlines())


def test_it_begins_with_a_short_program_and_its_test() -> None:
    """They are the first blocks, with the configuration that the test needs; the runner of pages runs them."""
    program, _, test = BLOCKS[:3]
    assert ("hello.py", "test_hello.py") == (program.file_name, test.file_name)
    assert 15 >= len([line for line in program.text.splitlines()[1:] if line])


def test_the_commands_set_up_an_environment_first() -> None:
    """One command line serves an example that exists, and one runs the tests; .ci/run takes both from here."""
    serve, _, test, *_ = (block.text for block in BLOCKS if block.language == "sh")
    assert serve.startswith("python3 -m venv .venv && .venv/bin/pip install -q . && .venv/bin/trio-uwsgi ")
    assert (ROOT / serve.split()[-1]).is_file()
    assert "python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]' && .venv/bin/python -m pytest\n" == test


def test_options_exist() -> None:
    """What is written like an option of the server is one."""
    ours = {flag_of(option).lstrip("-") for option in OPTIONS} | {"factory", "help", "processes", "version"}
    assert set() == set(re.findall(r"--([a-z][a-z-]+)", TEXT)) - ours
