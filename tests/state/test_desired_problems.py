"""What exactly is wrong with a pyproject.toml that cannot be used, and where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.state.desired import BadFile, parse, revision_of
from tests.state.markers import LINUX_39
from tests.state.reading import FILE, PROJECT_WITH_EXTRAS, declaring, names, problem, read

# What is wrong, and where


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        ('[project\nname = "x"\n', 1, 9, "not valid TOML"),
        ('[project]\nname = "x\n', 2, 10, "not valid TOML"),
        ("[project]\ndependencies = [\n  'numpy',\n", 4, 1, "not valid TOML"),
        ("[project]\na = 1\na = 2\n", 3, 6, "not valid TOML"),
        (b'[project]\nname = "\xff"\n', 2, 9, "not UTF-8"),
        (b"# \xc3\xa4\n[project]\n# \xc3\xa4\xff\n", 3, 4, "not UTF-8"),
        (declaring("numpy>=1.24", "numpy=>1"), 5, 5, "project.dependencies[1]"),
        (declaring("!!"), 4, 5, "'!!'"),
        (declaring("numpy >= 1.24 <2"), 4, 5, "not a valid requirement"),
        (declaring("numpy; python_version"), 4, 5, "not a valid requirement"),
        (declaring("numpy[extra"), 4, 5, "not a valid requirement"),
        (declaring("ok", "numpy; sys_platform ~= 'linux'"), 5, 5, "marker"),
        (declaring("numpy; '3' > 'x'"), 4, 5, "marker"),
        ('[project]\ndependencies = ["numpy", 3]\n', 2, 1, "must be a string, not an integer"),
        ('[project]\ndependencies = "numpy"\n', 2, 1, "must be a list of strings, not a string"),
        ("[project]\n[project.dependencies]\nnumpy = 1\n", 2, 1, "not a table"),
        ("project = 3\n", 1, 1, "`project` must be a table, not an integer"),
        ("[[project]]\nname = 'x'\n", 1, 1, "`project` must be a table, not a list"),
        ("[project]\n[tool]\nuv = 'x'\n", 3, 1, "`tool.uv` must be a table"),
        ("[project]\n[tool.uv]\nsources = []\n", 3, 1, "`tool.uv.sources` must be a table"),
        ("[project]\nrequires-python = '3.x'\n", 2, 1, "`requires-python` is not a version"),
        ("[project]\nrequires-python = 3.9\n", 2, 1, "`requires-python` is not a version"),
        ("[project]\nname='a'\ndynamic = ['dependencies']\n", 3, 1, "dynamic"),
        ("", None, None, "there is no [project] table"),
        ("[tool.poetry]\nname = 'x'\n", None, None, "there is no [project] table"),
        ("lock-version = '1.0'\npackages = []\n", None, None, "there is no [project] table"),
    ],
)
def test_a_bad_file_is_told_with_its_place(text, line, column, reason):
    found = problem(text)
    assert reason in found.reason
    assert (found.line, found.column) == (line, column)
    assert found.file == str(FILE)
    assert found.fix.endswith((".", ")"))
    place = "".join(f":{n}" for n in (line, column) if n is not None)
    assert str(found).startswith(f"{FILE}{place}: ")


def test_the_problem_shows_the_line_itself():
    assert problem(declaring("numpy", "pandas=>2")).text == "    'pandas=>2',"


def test_lines_are_counted_as_editors_count_them():
    # U+2028 and form feed end no line in TOML, nor in an editor.
    text = '[project]\n# a\u2028b\x0bc\ndependencies = [\n  "numpy=>1",\n]\n'.replace("\x0b", "\t")
    found = problem(text)
    assert (found.line, found.text) == (4, '  "numpy=>1",')


def test_the_second_of_two_equal_mistakes_has_its_own_line():
    text = '[project]\nname="s"\ndependencies = [\n"a", # "a=>1" is wrong\n"a=>1",\n]\n'
    assert problem(text).line == 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"extras": ("gpus",)}, "there is no extra `gpus`"),
        ({"extras": ("gpus",)}, "did you mean `gpu`?"),
        ({"groups": ("tests",)}, "the dependency group `tests` cannot be read"),
        ({"groups": ("tests",)}, "did you mean `test`?"),
    ],
)
def test_an_unknown_extra_or_group_is_refused_with_the_nearest(options, words):
    found = problem(PROJECT_WITH_EXTRAS, **options)
    assert words in found.reason
    assert found.line is not None


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ("a = [{include-group = 'b'}]\nb = [{include-group = 'a'}]", "yclic"),
        ("a = [{include-group = 'missing'}]", "missing"),
        ("a = [{include = 'b'}]\nb = []", "a"),
        ("a = 'pytest'", "a"),
        ("a = ['pytest=>8']", "pytest"),
        ("a = [3]", "a"),
        ("a = []\nA = []", "uplicate"),
    ],
)
def test_a_group_that_cannot_be_read_is_told(groups, words):
    text = f"[project]\n[dependency-groups]\n{groups}\n"
    found = problem(text, groups=("a",))
    assert words in found.reason
    assert "PEP 735" in found.fix or "PEP 508" in found.fix
    assert found.line is not None


@pytest.mark.parametrize("tables", ["optional-dependencies = 3", "optional-dependencies = ['a']"])
def test_extras_that_are_no_table_are_refused(tables):
    assert "must be a table" in problem(f"[project]\n{tables}\n", extras=("a",)).reason


def test_an_unused_extra_may_be_wrong():
    # Only what this environment needs has to be right.
    text = "[project]\ndependencies=['numpy']\n[project.optional-dependencies]\ngpu = ['=>']\n"
    assert names(read(text)) == ["numpy"]
    assert "gpu[0]" in problem(text, extras=("gpu",)).reason


@given(st.binary(max_size=200))
def test_whatever_bytes_come_the_answer_is_desired_or_a_problem(text):
    try:
        assert parse(FILE, text, LINUX_39).revision == revision_of(text)
    except BadFile as bad:
        assert bad.problem.reason
        assert bad.problem.line is None or bad.problem.line >= 1


@given(st.text(alphabet=st.sampled_from("numpy[]>=<!~;, '\"\\@#:/.*1\nx"), max_size=40))
def test_whatever_requirement_is_written_the_answer_is_desired_or_a_problem(requirement):
    escaped = requirement.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    text = f'[project]\ndependencies = [\n"{escaped}"\n]\n'.encode()
    try:
        parse(FILE, text, LINUX_39)
    except BadFile as bad:
        assert bad.problem.line == 3


@given(st.integers(min_value=1, max_value=400))
def test_a_file_that_is_being_written_never_names_a_requirement_that_is_not_in_it(length):
    whole = declaring("numpy>=1.24,<2.0", "pandas[excel]>=2", "torch==2.3.1+rocm5.7").encode()
    try:
        found = parse(FILE, whole[:length], LINUX_39)
    except BadFile:
        return
    assert found.requirements == () or found.requirements == read(whole).requirements
