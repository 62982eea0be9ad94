"""What a pyproject.toml declares for one target."""

import hashlib

import pytest
from packaging.requirements import Requirement

from reconciler.state.desired import revision_of
from tests.state.reading import PROJECT_WITH_EXTRAS, declaring, names, read

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


def test_a_byte_order_mark_and_line_ends_of_windows_are_read():
    text = b"\xef\xbb\xbf" + declaring("numpy", "six").replace("\n", "\r\n").encode()
    desired = read(text)
    assert names(desired) == ["numpy", "six"]
    assert [d.line for d in desired.requirements] == [4, 5]
    assert desired.revision == revision_of(text)


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


def test_the_same_requirement_in_many_places_is_one_with_all_its_origins():
    text = """
        [project]
        name = "studio"
        dependencies = ["numpy>=1.24,<2", "pillow"]
        [project.optional-dependencies]
        a = ["Numpy <2, >=1.24; python_version > '3'", "numpy>=1.24", "numpy[x]>=1.24,<2"]
        b = ["studio[a]", "numpy >= 1.24"]
        all = ["studio[a,b]", "studio[b,a]", "pillow"]
        [dependency-groups]
        dev = ["pillow", "PILLOW"]
    """
    desired = read(text, extras=("all", "a", "b"), groups=("dev",))
    extra = "project.optional-dependencies"
    assert [(d.text, d.origins) for d in desired.requirements] == [
        ("numpy>=1.24,<2", ("project.dependencies[0]", f"{extra}.a[0]")),
        ("pillow", ("project.dependencies[1]", f"{extra}.all[2]", "dependency-groups.dev[0]",
                    "dependency-groups.dev[1]")),
        ("numpy>=1.24", (f"{extra}.a[1]", f"{extra}.b[1]")),
        ("numpy[x]>=1.24,<2", (f"{extra}.a[2]",)),
    ]  # fmt: skip


def test_extras_of_extras_are_each_read_once():
    """Thirty levels that each name the next one twice would be read a billion times."""
    levels = "".join(f'e{n} = ["studio[e{n + 1}]", "studio[e{n + 1}]"]\n' for n in range(30))
    text = f'[project]\nname = "studio"\n[project.optional-dependencies]\n{levels}e30 = ["x"]\n'
    assert names(read(text, extras=("e0",))) == ["x"]


# Extras and groups


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
    assert names(read(PROJECT_WITH_EXTRAS, extras=extras)) == expected


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
    assert names(read(PROJECT_WITH_EXTRAS, groups=groups)) == ["numpy", *expected]


def test_origin_names_the_extra_and_the_group():
    desired = read(PROJECT_WITH_EXTRAS, extras=("web-ui",), groups=("test",))
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
