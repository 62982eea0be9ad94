"""A configuration is read as a whole: all that is wrong with it is said at once."""

import pytest

from reconciler.config import ConfigRejected, load
from tests.config.conftest import ENV

EVERYTHING_WRONG = """\
[environments.studio]
pyproject = "p"
  "interval" = 10
[environments."my studio"]
[service]
log_format = "xml"
[environment.lab]
pyproject = "q"
"""


def test_everything_wrong_is_said_at_once_in_file_order(problems):
    found = [problem.split(": ")[:3] for problem in problems(EVERYTHING_WRONG)]

    assert [(where, key) for where, key, _ in found] == [
        ("3:3", "environments.studio.interval"),
        ("4:1", 'environments."my studio"'),
        ("4:1", 'environments."my studio"'),
        ("6:1", "service.log_format"),
        ("7:1", "environment"),
    ]


DOCUMENTS = [
    (
        "",
        "environments: no environment is configured.",
        'Write [environments.NAME], and pyproject = "..." below it.',
    ),
    (
        "environments = 3",
        "1:1: environments: expected a table, found 3.",
        "Write it as [environments].",
    ),
    (
        '[environments]\nstudio = "/srv/studio"',
        '2:1: environments.studio: expected a table, found "/srv/studio".',
        "Write it as [environments.studio].",
    ),
    (
        '[[defaults]]\n[environments.a]\npyproject = "p"',
        "1:1: defaults: expected a table, found a list of tables.",
        "Write it as [defaults].",
    ),
    (
        "[environments.a]\nextras = []",
        "1:1: environments.a: pyproject is missing.",
        'Write pyproject = "/srv/studio/pyproject.toml" there.',
    ),
    (
        '[environment.a]\n[environments.a]\npyproject = "p"',
        "1:1: environment: unknown table.",
        'Did you mean "environments"?',
    ),
    (
        '[defaults]\npyproject = "p"\n[environments.a]\npyproject = "p"',
        "2:1: defaults.pyproject: cannot be the same for all environments.",
        "Write it in each [environments.NAME].",
    ),
    (
        '[defaults]\ninterval = true\n[environments.a]\npyproject = "p"',
        '2:1: defaults.interval: expected a duration like "300ms" or "10m", found true.',
        'Write interval = "10m".',
    ),
    (
        "[environments.a]\npyproject = ",
        "2:13: not valid TOML: invalid value.",
        "Correct the syntax; see https://toml.io.",
    ),
    (
        '[environments.a]\npyproject = "p"\npyproject = "q"',
        "3:16: not valid TOML: cannot overwrite a value.",
        "Correct the syntax; see https://toml.io.",
    ),
]


@pytest.mark.parametrize(("text", "reason", "mend"), DOCUMENTS)
def test_a_document_that_is_wrong_as_a_whole(problems, text, reason, mend):
    assert problems(text) == [f"{reason} {mend}"]


def test_the_line_itself_is_kept(read):
    with pytest.raises(ConfigRejected) as rejected:
        read('[environments.a]\r\npyproject = "p"\r\ninterval = 10 # often\r\n')

    (problem,) = rejected.value.problems
    assert problem.text == "interval = 10 # often"
    assert (problem.line, problem.column) == (3, 1)
    assert problem.reason.startswith("environments.a.interval: expected a duration")
    assert problem.fix == 'Write interval = "10m".'


def test_the_message_of_the_whole_has_a_line_for_each_problem(read, file):
    with pytest.raises(ConfigRejected) as rejected:
        read("[environments.a]\nmode = 1\nbuild = 2")

    lines = str(rejected.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{file}:") for line in lines)


def test_a_file_that_is_not_there(file):
    with pytest.raises(ConfigRejected) as rejected:
        load(file, ENV)

    assert str(rejected.value) == (
        f"{file}: cannot be read: No such file or directory. Name a readable file with "
        "--config, or correct its permissions."
    )


def test_a_file_that_is_not_text(file):
    file.write_bytes(b'[environments.a]\npyproject = "\xff"\n')

    with pytest.raises(ConfigRejected) as rejected:
        load(file, ENV)

    assert str(rejected.value) == f"{file}:2: not UTF-8 text. Save it as UTF-8."


def test_a_byte_order_mark_is_no_problem(file):
    file.write_bytes(b'\xef\xbb\xbf[environments.a]\npyproject = "p"\n')

    assert list(load(file, ENV).environments) == ["a"]


@pytest.mark.parametrize("name", ["studio", "a", "0.9_x-Y", "x" * 64])
def test_names_that_an_environment_can_have(read, name):
    assert list(read(f'[environments."{name}"]\npyproject = "p"').environments) == [name]


@pytest.mark.parametrize(
    ("name", "instead"),
    [("", "default"), (".hidden", "hidden"), ("-x", "x"), ("a/b", "a-b"), ("ü", "default")],
)
def test_names_that_an_environment_cannot_have(problems, name, instead):
    (problem,) = problems(f'[environments."{name}"]\npyproject = "p"')

    assert problem.endswith(f"Write [environments.{instead}].")


def test_a_name_that_is_too_long(problems):
    (problem,) = problems(f'[environments.{"x" * 65}]\npyproject = "p"')

    assert problem.endswith(f"Write [environments.{'x' * 64}].")
