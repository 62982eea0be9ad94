"""The user's own uv configuration: every layer of it counts, and none can defeat a hold."""

import pytest
import tomli
import tomli_w

from reconciler.state.desired import BadFile
from reconciler.state.holds import HoldSet
from reconciler.uv.settings import stamp_of

# Layers


def test_the_project_is_stronger_than_the_user_and_the_user_than_the_system(layers):
    layers.write(layers.user / "uv" / "uv.toml", 'resolution = "lowest"\nindex-url = "http://user"')
    layers.write(layers.system / "uv" / "uv.toml", 'index-url = "http://sys"\nprerelease = "allow"')
    settings = layers.settings('resolution = "highest"')
    assert settings == {
        "resolution": "highest",
        "index-url": "http://user",
        "prerelease": "allow",
    }


def test_lists_of_several_layers_are_joined_the_strongest_first(layers):
    layers.write(layers.user / "uv" / "uv.toml", 'extra-index-url = ["http://user"]')
    settings = layers.settings('extra-index-url = ["http://project"]')
    assert settings["extra-index-url"] == ["http://project", "http://user"]


def test_tables_of_several_layers_are_filled_up(layers):
    layers.write(layers.user / "uv" / "uv.toml",
                 '[extra-build-variables]\na = { X = "user" }\nb = { Y = "user" }')  # fmt: skip
    settings = layers.settings('[extra-build-variables]\na = { X = "project" }')
    assert settings["extra-build-variables"] == {"a": {"X": "project"}, "b": {"Y": "user"}}


def test_a_uv_toml_beside_the_project_is_in_place_of_its_table(layers):
    layers.write(layers.project / "uv.toml", 'index-url = "http://beside"')
    assert layers.settings('resolution = "lowest"') == {"index-url": "http://beside"}


def test_without_a_table_the_one_of_a_folder_above_counts(layers):
    layers.write(layers.project.parent / "pyproject.toml",
                 '[tool.uv]\nindex-url = "http://above"')  # fmt: skip
    assert layers.settings() == {"index-url": "http://above"}
    assert layers.settings('prerelease = "allow"') == {"prerelease": "allow"}


def test_a_uv_toml_of_a_folder_above_counts_where_nothing_is_nearer(layers):
    layers.write(layers.project.parent / "uv.toml", 'index-url = "http://above"')
    assert layers.settings() == {"index-url": "http://above"}


def test_only_the_first_system_file_counts(layers):
    other = layers.system.parent / "none"
    layers.write(other / "uv" / "uv.toml", 'index-url = "http://first"')
    layers.write(layers.system / "uv" / "uv.toml", 'prerelease = "allow"')
    assert layers.settings() == {"index-url": "http://first"}


def test_a_named_file_is_in_place_of_all_others(layers, tmp_path):
    layers.write(layers.user / "uv" / "uv.toml", 'prerelease = "allow"')
    layers.write(tmp_path / "named.toml", 'index-url = "http://named"')
    layers.environ["UV_CONFIG_FILE"] = str(tmp_path / "named.toml")
    assert layers.settings('resolution = "lowest"') == {"index-url": "http://named"}


@pytest.mark.parametrize("value", ["1", "true", "TRUE", "yes", "on"])
def test_without_configuration_only_the_project_itself_counts(layers, value):
    layers.write(layers.user / "uv" / "uv.toml", 'prerelease = "allow"')
    layers.write(layers.project.parent / "uv.toml", 'prerelease = "allow"')
    layers.environ["UV_NO_CONFIG"] = value
    assert layers.settings() == {}
    assert layers.settings('resolution = "lowest"') == {"resolution": "lowest"}


def test_what_is_said_of_pip_is_stronger_and_lists_are_joined(layers):
    settings = layers.settings(
        'index-url = "http://all"\nextra-index-url = ["http://a"]\n'
        '[pip]\nindex-url = "http://pip"\nextra-index-url = ["http://b"]\n'
    )
    assert settings == {
        "index-url": "http://pip",
        "extra-index-url": ["http://b", "http://a"],
    }


@pytest.mark.parametrize("text", ["[[[", "a = 'b", 'x = "\\q"'])
def test_a_file_that_is_no_toml_is_told_with_its_place(layers, text):
    path = layers.user / "uv" / "uv.toml"
    layers.write(path, f"# fine\n{text}")
    with pytest.raises(BadFile) as caught:
        layers.settings()
    assert caught.value.problem.file == str(path)
    assert caught.value.problem.line == 2
    assert caught.value.problem.column is not None


def test_a_file_that_is_not_utf_8_is_told(layers):
    path = layers.user / "uv" / "uv.toml"
    layers.write(path, "")
    path.write_bytes(b"\xff")
    with pytest.raises(BadFile, match="not UTF-8"):
        layers.settings()


@pytest.mark.parametrize("make", ["missing", "folder", "unreadable parent"])
def test_what_is_no_file_is_passed_over(layers, make):
    path = layers.user / "uv" / "uv.toml"
    if make == "folder":
        path.mkdir(parents=True)
    elif make == "unreadable parent":
        layers.user.mkdir()
        (layers.user / "uv").write_text("")
    assert layers.settings() == {}


# Places


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('find-links = ["wheels"]', {"find-links": ["{project}/wheels"]}),
        ('find-links = ["/opt/wheels", "https://x.test/w"]',
         {"find-links": ["/opt/wheels", "https://x.test/w"]}),
        ('find-links = ["file:///opt/w"]', {"find-links": ["file:///opt/w"]}),
        ('index-url = "../mirror"', {"index-url": "{root}/srv/mirror"}),
        ('extra-index-url = ["./a"]', {"extra-index-url": ["{project}/a"]}),
        ('cache-dir = "cache"', {"cache-dir": "{project}/cache"}),
        ('index = [{ name = "a", url = "mirror", explicit = true }]',
         {"index": [{"name": "a", "url": "{project}/mirror", "explicit": True}]}),
        ('index = [{ url = "https://x.test/simple" }]',
         {"index": [{"url": "https://x.test/simple"}]}),
    ],
)  # fmt: skip
def test_relative_places_start_from_the_file_they_stand_in(layers, tmp_path, text, expected):
    filled = tomli.loads(
        tomli_w.dumps(expected)
        .replace("{project}", str(layers.project))
        .replace("{root}", str(tmp_path))
    )
    assert layers.settings(text) == filled


def test_relative_places_of_the_user_start_from_the_users_folder(layers):
    layers.write(layers.user / "uv" / "uv.toml", 'find-links = ["w"]')
    assert layers.settings() == {"find-links": [str(layers.user / "uv" / "w")]}


# Sifting


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('override-dependencies = ["Torch==2.8", "numpy<2"]',
         {"override-dependencies": ["numpy<2"]}),
        ('override-dependencies = ["torch==2.8"]', {}),
        ('constraint-dependencies = ["torch<3", "nvidia-cublas-cu12", "six"]',
         {"constraint-dependencies": ["six"]}),
        ('build-constraint-dependencies = ["torch<3", "setuptools<80"]',
         {"build-constraint-dependencies": ["setuptools<80"]}),
        ('exclude-dependencies = ["TORCH", "six"]', {"exclude-dependencies": ["six"]}),
        ('no-binary-package = ["torch", "six"]', {"no-binary-package": ["six"]}),
        ('no-build-package = ["torch"]', {}),
        ('no-build-isolation-package = ["torch", "flash-attn"]',
         {"no-build-isolation-package": ["flash-attn"]}),
        ('dependency-metadata = [{ name = "torch", requires-dist = [] }, { name = "six" }]',
         {"dependency-metadata": [{"name": "six"}]}),
        ('[extra-build-dependencies]\ntorch = ["a"]\nflash-attn = ["torch"]',
         {"extra-build-dependencies": {"flash-attn": ["torch"]}}),
        ('[exclude-newer-package]\ntorch = "2020-01-01"\nsix = "2020-01-01"',
         {"exclude-newer-package": {"six": "2020-01-01"}}),
        ('[config-settings-package]\ntorch = { a = "b" }', {}),
        ('override-dependencies = ["=>", "numpy"]', {"override-dependencies": ["=>", "numpy"]}),
    ],
)  # fmt: skip
def test_every_mention_of_a_hold_is_taken_out(layers, text, expected):
    assert layers.settings(text) == expected


def test_where_nothing_is_held_nothing_is_taken_out(layers):
    text = 'override-dependencies = ["torch==2.8"]\n'
    assert layers.settings(text, holds=HoldSet((), {})) == tomli.loads(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[pip]\nno-binary = [":all:"]', {"no-binary": True}),
        ('[pip]\nno-binary = ["six", "torch"]', {"no-binary-package": ["six"]}),
        ('[pip]\nonly-binary = [":all:"]', {"no-build": True}),
        ('[pip]\nonly-binary = ["six"]', {"no-build-package": ["six"]}),
        ('[pip]\nno-binary = [":none:"]', {}),
        ('no-binary = true\n[pip]\nno-binary = ["six"]',
         {"no-binary": True, "no-binary-package": ["six"]}),
    ],
)  # fmt: skip
def test_pips_words_become_uvs_own(layers, text, expected):
    assert layers.settings(text) == expected


# Looking again


def test_the_stamp_changes_with_every_file_that_takes_part(layers, tmp_path):
    named = tmp_path / "named.toml"
    layers.environ["UV_CONFIG_FILE"] = str(named)
    project = layers.project / "pyproject.toml"
    seen = {stamp_of(project, layers.environ)}
    files = [
        named,
        layers.project / "uv.toml",
        layers.project.parent / "uv.toml",
        layers.project.parent / "pyproject.toml",
        layers.user / "uv" / "uv.toml",
        layers.system / "uv" / "uv.toml",
    ]
    for file in files:
        layers.write(file, "")
        seen.add(stamp_of(project, layers.environ))
        file.write_text("offline = true")
        seen.add(stamp_of(project, layers.environ))
        file.unlink()
    assert len(seen) == 1 + 2 * len(files)
    assert stamp_of(project, layers.environ) == stamp_of(project, layers.environ)
