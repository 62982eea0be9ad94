"""What a pyproject.toml declares, and what exactly is wrong with one that cannot be used."""

import hashlib
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from reconciler.state.desired import Desired, FileProblem, parse, revision_of
from tests.state.markers import LINUX_39

FILE = Path("/srv/studio/pyproject.toml")


def read(text: str | bytes, *, extras=(), groups=(), markers=LINUX_39) -> Desired:
    raw = text if isinstance(text, bytes) else textwrap.dedent(text).lstrip("\n").encode()
    return parse(FILE, raw, markers, extras=extras, groups=groups)


def problem(text: str | bytes, **options) -> FileProblem:
    with pytest.raises(FileProblem) as caught:
        read(text, **options)
    return caught.value


def declaring(*requirements: str) -> str:
    lines = "\n".join(f"    {r!r}," for r in requirements)
    return f'[project]\nname = "studio"\ndependencies = [\n{lines}\n]\n'


def names(desired: Desired) -> list[str]:
    return [declared.name for declared in desired.requirements]


# What is read


def test_requirements_are_in_declared_order_with_their_place():
    desired = read(declaring("numpy>=1.24,<2.0", "Hugging_Face.hub", "torch==2.3.1+rocm5.7"))
    assert names(desired) == ["numpy", "hugging-face-hub", "torch"]
    assert [d.origin for d in desired.requirements] == [
        f"project.dependencies[{n}]" for n in range(3)
    ]
    assert [d.line for d in desired.requirements] == [4, 5, 6]
    assert desired.requirements[0].text == "numpy>=1.24,<2.0"
    assert desired.project == "studio"


def test_revision_is_what_sha256sum_prints():
    text = declaring("numpy").encode()
    assert read(text).revision == "sha256:" + hashlib.sha256(text).hexdigest() == revision_of(text)


def test_a_comment_makes_another_revision_of_the_same_requirements():
    one, other = read(declaring("numpy")), read(declaring("numpy") + "# a thought\n")
    assert one.revision != other.revision
    assert one.requirements == other.requirements


@pytest.mark.parametrize(
    ("requirement", "applies"),
    [
        ("tomli; python_version < '3.11'", True),
        ("tomli; python_version >= '3.11'", False),
        ("tomli; python_full_version == '3.9.5'", True),
        ("pywin32; sys_platform == 'win32'", False),
        ("uvloop; sys_platform != 'win32' and implementation_name == 'cpython'", True),
        ("triton; platform_machine == 'aarch64' or platform_system == 'Linux'", True),
        ("driver; platform_release >= '5.0'", False),  # no version by PEP 440: compared as text
        ("thing; extra == 'gpu'", False),
    ],
)
def test_markers_are_those_of_the_target(requirement, applies):
    assert bool(read(declaring(requirement)).requirements) is applies


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("numpy", "numpy"),
        ("Hugging_Face.hub>=0.23", "Hugging_Face.hub>=0.23"),
        ("numpy >=1.24.0 , <2.0,!=1.25", "numpy>=1.24.0,<2.0,!=1.25"),
        ("numpy (>=1.24)", "numpy>=1.24"),
        ("uvicorn[standard]>=0.20; python_version<'4'", "uvicorn[standard]>=0.20"),
        ("x [b, a] ~=1.0 ;sys_platform=='linux'", "x[a,b]~=1.0"),
        ("torch===2.3.1+rocm5.7", "torch===2.3.1+rocm5.7"),
        ("x==2.*", "x==2.*"),
        ("x @ https://x.test/a@b.whl ; python_version<'4'", "x @ https://x.test/a@b.whl"),
        ("x[gpu]@file:///srv/x", "x[gpu] @ file:///srv/x"),
    ],
)
def test_the_text_is_as_written_without_the_marker(written, text):
    [declared] = read(declaring(written)).requirements
    assert declared.text == text
    again, requirement = Requirement(declared.text), declared.requirement
    assert (again.specifier, again.extras, again.url) == (
        requirement.specifier,
        requirement.extras,
        requirement.url,
    )


def test_a_project_may_declare_nothing():
    assert read('[project]\nname = "studio"\n').requirements == ()
    assert read("[project]\n").project is None


def test_uv_table_and_requires_python_are_kept():
    desired = read(
        """
        [project]
        requires-python = ">=3.9,<4"
        [tool.uv]
        index-strategy = "unsafe-best-match"
        """
    )
    assert desired.uv == {"index-strategy": "unsafe-best-match"}
    assert "3.9.5" in desired.requires_python
    assert "4.1" not in desired.requires_python


def test_the_same_requirement_twice_stands_twice():
    desired = read(declaring("numpy>=1.24", "numpy<2"))
    assert [d.text for d in desired.requirements] == ["numpy>=1.24", "numpy<2"]


def test_a_byte_order_mark_is_refused_in_words():
    assert "TOML" in problem(b"\xef\xbb\xbf" + declaring("numpy").encode()).reason


# Extras and groups

EXTRAS = """
    [project]
    name = "Studio_App"
    dependencies = ["numpy"]

    [project.optional-dependencies]
    gpu = ["accelerate", "studio.app[web]"]
    Web_UI = ["fastapi", "tomli; python_version < '3.11'", "exotic; python_version > '3.11'"]
    web = ["uvicorn", "studio-app[gpu]"]
    everything = ["studio-app[gpu,web-ui]"]

    [dependency-groups]
    test = ["pytest>=8"]
    Dev = [{include-group = "test"}, "ruff"]
    app = ["studio-app[web-ui]", {include-group = "dev"}]
"""


@pytest.mark.parametrize(
    ("extras", "expected"),
    [
        ((), ["numpy"]),
        (("web-ui",), ["numpy", "fastapi", "tomli"]),
        (("WEB.UI",), ["numpy", "fastapi", "tomli"]),
        (("gpu",), ["numpy", "accelerate", "uvicorn"]),  # gpu -> web -> gpu again
        (("everything",), ["numpy", "accelerate", "uvicorn", "fastapi", "tomli"]),
        (("web", "web-ui"), ["numpy", "uvicorn", "accelerate", "fastapi", "tomli"]),
    ],
)
def test_extras_are_included_and_may_name_each_other(extras, expected):
    assert names(read(EXTRAS, extras=extras)) == expected


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (("test",), ["pytest"]),
        (("dev",), ["pytest", "ruff"]),
        (("DEV",), ["pytest", "ruff"]),
        (("app",), ["fastapi", "tomli", "pytest", "ruff"]),
    ],
)
def test_groups_include_each_other_and_extras(groups, expected):
    assert names(read(EXTRAS, groups=groups)) == ["numpy", *expected]


def test_origin_names_the_extra_and_the_group():
    desired = read(EXTRAS, extras=("web-ui",), groups=("test",))
    assert [d.origin for d in desired.requirements] == [
        "project.dependencies[0]",
        "project.optional-dependencies.Web_UI[0]",
        "project.optional-dependencies.Web_UI[1]",
        "dependency-groups.test[0]",
    ]


def test_the_line_is_that_of_the_list_and_not_of_another_mention():
    text = """
        [project]
        name = "studio"
        keywords = ["numpy", "pillow"]
        # "numpy" is needed
        dependencies = [
            "numpy",
            'pillow',
        ]
    """
    assert [d.line for d in read(text).requirements] == [6, 7]


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
        (declaring("numpy >= 1.24 <2"), 4, 5, "no valid requirement"),
        (declaring("numpy; python_version"), 4, 5, "no valid requirement"),
        (declaring("numpy[extra"), 4, 5, "no valid requirement"),
        (declaring("ok", "numpy; sys_platform ~= 'linux'"), 5, 5, "marker"),
        (declaring("numpy; '3' > 'x'"), 4, 5, "marker"),
        ('[project]\ndependencies = ["numpy", 3]\n', 2, 1, "must be a string, not an integer"),
        ('[project]\ndependencies = "numpy"\n', 2, 1, "must be a list of strings, not a string"),
        ("[project]\n[project.dependencies]\nnumpy = 1\n", 2, 1, "not a table"),
        ("project = 3\n", 1, 1, "`project` must be a table, not an integer"),
        ("[[project]]\nname = 'x'\n", 1, 1, "`project` must be a table, not a list"),
        ("[project]\n[tool]\nuv = 'x'\n", 3, 1, "`tool.uv` must be a table"),
        ("[project]\n[tool.uv]\nsources = []\n", 3, 1, "`tool.uv.sources` must be a table"),
        ("[project]\nrequires-python = '3.x'\n", 2, 1, "`requires-python` is no version"),
        ("[project]\nrequires-python = 3.9\n", 2, 1, "`requires-python` is no version"),
        ("[project]\nname='a'\ndynamic = ['dependencies']\n", 3, 1, "dynamic"),
        ("", None, None, "there is no [project] table"),
        ("[tool.poetry]\nname = 'x'\n", None, None, "there is no [project] table"),
    ],
)
def test_a_bad_file_is_told_with_its_place(text, line, column, reason):
    found = problem(text)
    assert reason in found.reason
    assert (found.line, found.column) == (line, column)
    assert found.file == FILE
    assert found.mend.endswith((".", ")"))
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
    found = problem(EXTRAS, **options)
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
    assert "PEP 735" in found.mend or "PEP 508" in found.mend
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
    except FileProblem as found:
        assert found.reason
        assert found.line is None or found.line >= 1


@given(st.text(alphabet=st.sampled_from("numpy[]>=<!~;, '\"\\@#:/.*1\nx"), max_size=40))
def test_whatever_requirement_is_written_the_answer_is_desired_or_a_problem(requirement):
    escaped = requirement.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    text = f'[project]\ndependencies = [\n"{escaped}"\n]\n'.encode()
    try:
        parse(FILE, text, LINUX_39)
    except FileProblem as found:
        assert found.line == 3


@given(st.integers(min_value=1, max_value=400))
def test_a_file_that_is_being_written_never_names_a_requirement_that_is_not_in_it(length):
    whole = declaring("numpy>=1.24,<2.0", "pandas[excel]>=2", "torch==2.3.1+rocm5.7").encode()
    try:
        found = parse(FILE, whole[:length], LINUX_39)
    except FileProblem:
        return
    assert found.requirements == () or found.requirements == read(whole).requirements


# Sources


def source_of(table: str, *, requirement="thing", extras=(), groups=()):
    desired = read(
        f"""
        [project]
        dependencies = ["{requirement}"]
        [project.optional-dependencies]
        gpu = ["thing"]
        "odd.name" = ["thing"]
        [dependency-groups]
        dev = ["thing"]
        [tool.uv.sources]
        {table}
        """,
        extras=extras,
        groups=groups,
    )
    return desired.requirements[-1].source


@pytest.mark.parametrize(
    ("table", "url", "editable"),
    [
        ('thing = { path = "../thing" }', "file:///srv/thing", False),
        ('thing = { path = "/opt/thing", editable = true }', "file:///opt/thing", True),
        ('Thing = { url = "https://x.test/t.whl" }', "https://x.test/t.whl", False),
        ('thing = { git = "https://x.test/t", tag = "v1" }', "https://x.test/t", False),
        ('thing = { index = "rocm" }', None, False),
    ],
)
def test_sources_have_absolute_places(table, url, editable):
    source = source_of(table)
    assert source.url == url
    assert source.is_editable is editable
    assert source.is_direct is (url is not None)


@pytest.mark.parametrize(
    ("rev", "expected"),
    [('tag = "v1"', "v1"), ('branch = "main"', "main"), ('rev = "abc"', "abc"), ("", None)],
)
def test_a_git_source_has_its_revision(rev, expected):
    comma = ", " if rev else ""
    assert source_of(f'thing = {{ git = "https://x.test/t"{comma}{rev} }}').revision == expected


MANY = """thing = [
            { index = "win", marker = "sys_platform == 'win32'" },
            { index = "old", marker = "python_version < '3.10'" },
            { index = "new" },
        ]"""


def test_of_several_sources_the_first_that_applies_to_the_target_counts():
    assert source_of(MANY).table == {"index": "old"}


@pytest.mark.parametrize(
    ("options", "index"),
    [({}, "any"), ({"extras": ("gpu",)}, "gpu"), ({"groups": ("dev",)}, "dev")],
)
def test_a_source_may_belong_to_an_extra_or_a_group(options, index):
    table = """thing = [
            { index = "gpu", extra = "GPU" },
            { index = "dev", group = "Dev" },
            { index = "any" },
        ]"""
    assert source_of(table, **options).table == {"index": index}


def test_a_source_belongs_to_an_extra_with_a_dot_in_its_name():
    table = 'thing = [{ index = "odd", extra = "odd.name" }]'
    assert source_of(table, extras=("odd.name",)).table == {"index": "odd"}


def test_a_source_of_an_extra_is_not_that_of_a_group_of_the_same_name():
    table = 'thing = [{ index = "gpu", extra = "dev" }]'
    assert source_of(table, groups=("dev",)) is None


def test_without_a_source_there_is_none():
    assert source_of('other = { index = "rocm" }') is None


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('thing = "rocm"', "`tool.uv.sources.thing` must be a table"),
        ("thing = [3]", "`tool.uv.sources.thing` must be a table"),
        ("thing = { index = 'a', marker = 'sys_platform' }", "marker"),
        ("thing = { index = 'a', marker = 3 }", "marker"),
        ("thing = { index = 'a', marker = \"sys_platform ~= 'l'\" }", "marker"),
    ],
)
def test_a_source_that_cannot_be_understood_is_no_reason_to_look_elsewhere(table, words):
    # To ignore it would be to install another package of that name, from another index.
    text = f"[project]\ndependencies = ['thing']\n[tool.uv.sources]\n{table}\n"
    found = problem(text)
    assert words in found.reason
    assert found.line == 4
