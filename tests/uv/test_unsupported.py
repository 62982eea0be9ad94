"""What does not count is named: the setting, where it is, why, and what to do."""

import os
from pathlib import Path

import pytest
import tomli

from reconciler.uv.known_settings import UNSUPPORTED, VARIABLES_UNSUPPORTED
from reconciler.uv.unsupported import unsupported


def told(layers, text: str = "") -> list[str]:
    """The sentences about what does not count, with `text` as the project's [tool.uv]."""
    table = tomli.loads(text)
    project = layers.project / "pyproject.toml"
    return [str(it) for it in unsupported(project, table, layers.environ)]


def test_what_counts_or_has_nothing_to_do_with_it_is_not_spoken_of(layers):
    layers.environ |= {
        "UV_CONSTRAINT": "", "UV_NO_SOURCES": "1", "UV_INDEX_URL": "http://x.test/simple",
        "UV_INDEX_ROCM_PASSWORD": "x", "UV_PUBLISH_TOKEN": "x", "UV_NO_PROGRESS": "1",
        "UV_SYSTEM_PYTHON": "0", "UV_TORCH_BACKEND": "", "UV_RUN_RECURSION_DEPTH": "1",
        "PIP_NO_DEPS": "1",
    }  # fmt: skip
    assert (
        told(
            layers,
            'dev-dependencies = ["x"]\nreinstall = false\nupgrade-package = []\n'
            'required-version = ">=0.1"\nno-sources = true\nmanaged = false\n'
            'sources = { x = { path = "x" } }\n[pip]\nextra = ["x"]\nno-deps = false\n',
        )
        == []
    )


def test_every_setting_that_does_not_count_is_named_with_its_place(layers):
    user = layers.user / "uv" / "uv.toml"
    layers.write(user, "reinstall = true\n[pip]\nsystem = true\nextra = ['gpu']\n")

    found = told(layers, 'later-setting = 1\nrequired-version = ">=99"\n[pip]\nno-deps = true\n')

    project = layers.project / "pyproject.toml"
    starts = [
        f"`later-setting` in [tool.uv] of {project} does not count: Reconciler does not know it. ",
        f"`required-version` in [tool.uv] of {project} does not count: ",
        f"`no-deps` in [tool.uv.pip] of {project} does not count: ",
        f"`reinstall` in {user} does not count: ",
        f"`system` in [pip] of {user} does not count: ",
        f"`extra` in [pip] of {user} does not count: only the project's own [tool.uv.pip] ",
    ]
    wrong = [(s, f) for s, f in zip(starts, found, strict=True) if not f.startswith(s)]
    assert wrong == []


def test_what_a_stronger_file_turns_off_is_not_named(layers):
    layers.write(layers.user / "uv" / "uv.toml", "upgrade = true\n")

    assert told(layers, "upgrade = false") == []
    assert len(told(layers)) == 1


def test_a_table_that_uv_ignores_is_named(layers):
    layers.write(layers.project / "uv.toml", 'prerelease = "allow"\n')

    (found,) = told(layers, 'resolution = "lowest"\nmanaged = true\n')

    assert "(`resolution`) does not count: uv reads the uv.toml beside it instead" in found
    assert str(layers.project / "uv.toml") in found


def test_every_variable_that_does_not_count_is_named(layers):
    for name in (*VARIABLES_UNSUPPORTED, "UV_OF_A_LATER_UV"):
        layers.environ[name] = "something-secret"

    found = told(layers)

    assert len(found) == len(VARIABLES_UNSUPPORTED) + 1
    assert all(text.startswith("the variable `UV_") and text.endswith(".") for text in found)
    assert "secret" not in str(found)


def test_what_a_named_file_says_in_vain_is_named(layers):
    file = layers.project / "limits.txt"
    layers.write(
        file,
        "# one\n\n--index-url https://x.test/simple\n"
        f"six==1.0 \\\n    --hash=sha256:{0:064}\n"
        "-c https://me:hunter22@x.test/c.txt\n",
    )
    layers.environ["UV_CONSTRAINT"] = "limits.txt"

    found = told(layers)

    assert "hunter22" not in str(found)
    assert [text.partition(". ")[0].replace("****@", "") for text in found] == [
        f"`UV_CONSTRAINT`: --index-url in {file}:3 does not count",
        f"`UV_CONSTRAINT`: the hash in {file}:4 is not checked",
        f"`UV_CONSTRAINT`: https://x.test/c.txt ({file}:6) is not fetched",
    ]
    assert layers.settings() == {"constraint-dependencies": ["six==1.0"]}


def test_no_file_that_a_variable_names_says_anything_of_a_hold(layers):
    text = "Torch==9\nnvidia.cublas<1\nsix<2\n"
    for name in ("UV_CONSTRAINT", "UV_OVERRIDE", "UV_BUILD_CONSTRAINT", "UV_EXCLUDE"):
        layers.write(layers.project / f"{name}.txt", text)
        layers.environ[name] = f"{name}.txt"
    layers.environ["UV_NO_SOURCES_PACKAGE"] = "torch six"

    assert layers.settings() == {
        "constraint-dependencies": ["six<2"],
        "override-dependencies": ["six<2"],
        "build-constraint-dependencies": ["six<2"],
        "exclude-dependencies": ["six"],
        "no-sources-package": ["six"],
    }


@pytest.mark.parametrize("named", [UNSUPPORTED, VARIABLES_UNSUPPORTED])
def test_each_says_why_and_what_to_do(named):
    wrong = {
        name: words
        for name, words in named.items()
        if words[0].endswith(".") or not words[1].endswith(".") or os.linesep in "".join(words)
    }
    assert wrong == {}


def test_the_page_names_everything_that_does_not_count():
    page = (Path(__file__).parents[2] / "docs" / "uv-settings.md").read_text()

    assert {n for n in (*UNSUPPORTED, *VARIABLES_UNSUPPORTED) if f"`{n}`" not in page} == set()
