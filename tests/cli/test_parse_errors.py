"""A mistake on the command line ends in one line with exit code 2."""

import pytest

from kinema import cli


@pytest.mark.parametrize(("arguments", "expected"), [
    (["genrate", "x"], "there is no command 'genrate' (did you mean 'generate'?)"),
    (["zzz"], "there is no command 'zzz'; the commands are generate, extend"),
    (["jobs", "lst"], "there is no command 'jobs lst' (did you mean 'list'?)"),
    (["dataset", "redner"], "there is no command 'dataset redner' (did you mean 'render'?)"),
    (
        ["generate", "x", "--secnds", "3"],
        "kinema generate has no option --secnds (did you mean '--seconds'?)",
    ),
    (["generate", "x", "--qqqq"], "kinema generate has no option --qqqq; see kinema generate --help"),
    (["generate", "x", "y"], "'y' is one argument too many; put text with spaces in quotes"),
    (["generate", "x", "--seconds", "abc"], "--seconds abc: not a number; for example 4"),
    (["generate", "x", "--num-frames", "1.5"], "--num-frames 1.5: not a whole number; for example 17"),
    (["serve", "--port", "abc"], "--port abc: not a whole number; for example 8000"),
    (["generate", "x", "--dtype"], "--dtype needs a value; see kinema generate --help"),
    (["evaluate", "compare", "a"], "kinema evaluate compare needs an argument (The folder"),
    (["extend"], "kinema extend needs"),
])  # fmt: skip
def test_one_line(arguments, expected, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"kinema: {expected}")


@pytest.mark.parametrize("arguments", [["--help"], ["generate", "--help"], ["dataset", "-h"]])
def test_help_is_printed(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert not stopped.value.code
    assert "usage: kinema" in capsys.readouterr().out


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_its_help(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([name, "--help"])
    assert not stopped.value.code
    printed = capsys.readouterr().out
    assert f"usage: kinema {name} " in printed
    assert cli.COMMANDS[name][1] in printed
