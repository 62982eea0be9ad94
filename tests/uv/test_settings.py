"""The user's own uv configuration: every layer of it counts, and none can defeat a hold."""

import subprocess
from pathlib import Path

import pytest
import tomli
import tomli_w

from reconciler.state.desired import BadFile
from reconciler.state.holds import HoldSet
from reconciler.uv.settings import _KEPT, environ_for_uv, settings_for, stamp_of
from tests.support.environments import uv_binary

HOLDS = HoldSet(("torch", "nvidia-*"), {})


class Layers:
    """The places that uv reads settings from, all below one folder."""

    def __init__(self, root: Path) -> None:
        self.project = root / "srv" / "studio"
        self.user = root / "config"
        self.system = root / "etc"
        self.project.mkdir(parents=True)
        self.environ = {
            "HOME": str(root / "home"),
            "XDG_CONFIG_HOME": str(self.user),
            "XDG_CONFIG_DIRS": f"{root / 'none'}:{self.system}",
        }

    def write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def settings(self, text: str = "", *, holds: HoldSet = HOLDS) -> dict:
        """What comes of it all, with `text` as the project's [tool.uv]."""
        return settings_for(self.project / "pyproject.toml", tomli.loads(text), holds, self.environ)


@pytest.fixture
def layers(tmp_path) -> Layers:
    return Layers(tmp_path)


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
    "text",
    [
        "reinstall = true",
        'reinstall-package = ["torch"]',
        "upgrade = true",
        'upgrade-package = ["torch"]',
        'torch-backend = "cu121"',
        "[pip]\nreinstall = true",
        '[pip]\ntorch-backend = "auto"',
        "[pip]\nupgrade = true",
        '[pip]\nprefix = "/opt"\ntarget = "/opt"\nsystem = true\nbreak-system-packages = true',
        '[pip]\npython = "3.8"\npython-version = "3.8"\npython-platform = "windows"',
        "[pip]\nno-deps = true\nstrict = true",
        'python-downloads = "automatic"',
        "preview = true",
        "managed = false",
        'sources = { torch = { index = "x" } }',
        'default-groups = ["dev"]',
        "unknown-key = 3",
    ],
)
def test_what_could_defeat_a_hold_or_go_elsewhere_is_left_out(layers, text):
    assert layers.settings(text) == {}


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


VALUES = {
    "index": '[{ name = "a", url = "http://127.0.0.1:9/a", explicit = true }]',
    "index-url": '"http://127.0.0.1:9/simple"',
    "extra-index-url": '["http://127.0.0.1:9/simple"]',
    "find-links": '["."]',
    "index-strategy": '"unsafe-best-match"',
    "keyring-provider": '"disabled"',
    "allow-insecure-host": '["x.test:443"]',
    "trusted-publishing": '"never"',
    "cache-dir": '"cache"',
    "http-proxy": '"http://127.0.0.1:9"',
    "https-proxy": '"http://127.0.0.1:9"',
    "no-proxy": '["x.test"]',
    "concurrent-builds": "2",
    "concurrent-downloads": "2",
    "concurrent-installs": "2",
    "exclude-newer": '"2030-01-01T00:00:00Z"',
    "exclude-newer-package": '{ six = "2030-01-01T00:00:00Z" }',
    "prerelease": '"allow"',
    "resolution": '"highest"',
    "fork-strategy": '"fewest"',
    "prerelease-package": '{ six = "allow" }',
    "config-settings": '{ a = "b" }',
    "config-settings-package": '{ six = { a = "b" } }',
    "extra-build-dependencies": '{ six = ["wheel"] }',
    "extra-build-variables": '{ six = { A = "b" } }',
    "dependency-metadata": '[{ name = "six", version = "1.0", requires-dist = [] }]',
    "link-mode": '"copy"',
}


def value_of(key: str) -> str:
    if key in VALUES:
        return VALUES[key]
    return '["six"]' if key.endswith(("-package", "-dependencies")) else "true"


PIP_KEYS = sorted(_KEPT - {
    "index", "allow-insecure-host", "trusted-publishing", "native-tls", "system-certs", "offline",
    "cache-dir", "no-cache", "http-proxy", "https-proxy", "no-proxy", "concurrent-builds",
    "concurrent-downloads", "concurrent-installs", "no-build-package", "no-binary-package",
    "constraint-dependencies", "override-dependencies", "exclude-dependencies",
    "build-constraint-dependencies", "no-binary", "prerelease-package",
    "require-build-hashes",
})  # fmt: skip


def refusal(folder: Path, settings: dict) -> str:
    """What real uv has against a generated uv.toml."""
    path = folder / "generated.toml"
    path.write_text(tomli_w.dumps(settings))
    command = [str(uv_binary()), "cache", "dir", "--config-file", str(path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert answer.returncode == 0 or answer.stderr
    complaints = [line for line in answer.stderr.splitlines() if "deprecated" not in line]
    return "\n".join(complaints)


@pytest.mark.parametrize("key", sorted(_KEPT))
def test_uv_understands_every_setting_that_is_kept(layers, tmp_path, key):
    settings = layers.settings(f"{key} = {value_of(key)}")
    assert list(settings) == [key]
    assert refusal(tmp_path, settings) == ""


@pytest.mark.parametrize("key", [*PIP_KEYS, "no-binary", "only-binary"])
def test_uv_understands_every_pip_setting_in_its_new_place(layers, tmp_path, key):
    value = '["six"]' if key.endswith("-binary") else value_of(key)
    settings = layers.settings(f"[pip]\n{key} = {value}")
    assert settings
    assert refusal(tmp_path, settings) == ""


def test_uv_refuses_what_it_does_not_know(tmp_path):
    # Else the two tests above would show nothing.
    assert "unknown field" in refusal(tmp_path, {"only-binary": ["six"]})


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


# Variables


@pytest.mark.parametrize(
    "name",
    [
        "UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_FIND_LINKS", "UV_CACHE_DIR",
        "UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES", "UV_OFFLINE", "UV_EXCLUDE_NEWER", "UV_PRERELEASE",
        "UV_INDEX_ROCM_USERNAME", "UV_INDEX_ROCM_PASSWORD", "UV_KEYRING_PROVIDER", "UV_NETRC",
        "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC", "HOME", "PATH",
        "LANG", "XDG_CONFIG_HOME", "CUDA_HOME", "ROCM_PATH", "CC", "MAX_JOBS",
    ],
)  # fmt: skip
def test_variables_about_where_packages_come_from_and_how_they_are_built_are_kept(name):
    assert environ_for_uv({name: "x"}) == {name: "x"}


@pytest.mark.parametrize(
    "name",
    [
        "UV_TORCH_BACKEND", "UV_OVERRIDE", "UV_CONSTRAINT", "UV_EXCLUDE", "UV_REINSTALL",
        "UV_UPGRADE", "UV_SYSTEM_PYTHON", "UV_BREAK_SYSTEM_PACKAGES", "UV_PYTHON", "UV_PREFIX",
        "UV_TARGET", "UV_PROJECT", "UV_WORKING_DIRECTORY", "UV_CONFIG_FILE", "UV_NO_CONFIG",
        "UV_NO_DEPS", "UV_PROJECT_ENVIRONMENT", "UV_REQUIRE_HASHES", "UV_BUILD_CONSTRAINT",
        "UV_DRY_RUN", "UV_INDEX_ROCM_OTHER", "PIP_CONSTRAINT", "PIP_INDEX_URL", "PYTHONPATH",
        "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "CONDA_PREFIX",
        "__PYVENV_LAUNCHER__",
    ],
)  # fmt: skip
def test_variables_that_could_lead_uv_elsewhere_are_not_passed_on(name):
    assert environ_for_uv({name: "x"}) == {}
