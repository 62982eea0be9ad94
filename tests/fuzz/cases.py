"""Inputs that fuzzing found and that broke a reader once; they are tried in every run."""

from tests.fuzz.studio import MANIFEST, SCRIPT_BESIDE

FACTS_WITHOUT_PLATFORM = (
    b'{"markers": {"python_full_version": "3.9.5"}, "prefix": "/a", "is_venv": true, "purelib": '
    b'"/a", "platlib": "/a", "scripts": "/a", "base": [], "externally_managed": false, '
    b'"suffixes": []}'
)
_WITH_UV = b"""\
[project]
name = "a"
dependencies = ["numpy"]
optional-dependencies.web = ["torch"]
[tool.uv]
sources.numpy = { index = "own" }
"""
_ONE = b"[environments.studio]\n"
_NUMBER = b"1" * 5_000

CASES: tuple[tuple[str, bytes], ...] = (
    ("WHEEL in uv's cache", b"PB\xc3Q\xe2'\xc5"),
    ("WHEEL in uv's cache", b"Tag: py3-none-any\nTag: py3\n"),
    ("WHEEL in uv's cache", b""),
    ("a script that arrives", SCRIPT_BESIDE.partition(b"\n'")[0]),
    ("a script that arrives", SCRIPT_BESIDE.replace(b"python'", b"")),
    ("the manifest", MANIFEST.replace(b"2.3.1", _NUMBER)),
    ("an interpreter", FACTS_WITHOUT_PLATFORM),
    ("uv's version", b"uv " + _NUMBER),
    ("a member's pyproject.toml", b"[project]\ndependencies = ['a; " + b"(" * 2_000 + b"']"),
    ("uv.toml", b"required-version = '>=" + _NUMBER + b"'"),
    ("uv.lock", b"[[package]]\nname = 'torch'\nversion = '" + _NUMBER + b"'"),
    ("a project by itself", b"[project]\nname = 'a'\n[tool.uv]\noverride-dependencies = 5"),
    ("a project by itself", b"[project]\nname = 'a'\n[tool.uv]\ndependency-metadata = 5"),
    ("pyproject.toml", _WITH_UV + b"index = 5\n"),
    ("pyproject.toml", _WITH_UV + b"no-sources-package = 5\n"),
    ("pyproject.toml", _WITH_UV + b"no-sources-package = [5]\n"),
    ("pyproject.toml", _WITH_UV + b"find-links = 5\n"),
    ("pyproject.toml", _WITH_UV + b"no-binary = true\nno-build-package = 5\n"),
    ("pyproject.toml", _WITH_UV + b"dependency-metadata = 5\n"),
    ("uv_cache.json", b'{"env": "==1.*"}'),
    ("uv_cache.json", b'{"env": 5}'),
    ("uv_cache.json", b'{"directories": {"\\u0000": null}}'),
    ("the configuration", _ONE + b"pyproject = '" + b"a" * 300 + b"/pyproject.toml'"),
    ("the configuration", _ONE + b"pyproject = '" + b"a/" * 3_000 + b"'"),
    ("the configuration", _ONE + b"pyproject = 'b'\npython = 'c" + b"[" * 300 + b"'"),
    ("the configuration", _ONE + b"pyproject = '" + b"a/" * 3_000 + b"'"),
    ("a distribution's direct_url.json", b'{"url": "\\ud800", "dir_info": {}}'),
)
