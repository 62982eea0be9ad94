"""What uv does not see counts only if it is held."""

import zipfile

from reconciler.state.distribution import Unseen
from reconciler.state.installed import InstalledReader
from reconciler.state.unseen import UnseenReader, unseen_of
from tests.state.site import Site

MARKERS = {"python_version": "3.11"}


def test_only_held_packages_and_what_they_pin_are_counted_and_the_own_ones_come_first(tmp_path):
    own, base = Site(tmp_path / "own"), Site(tmp_path / "base")
    for site in (own, base):
        site.folder.mkdir()
    own.add("torchaudio", "2.4.0")
    base.add("torch", "2.3.1", requires=["triton==3.0.0", "numpy"])
    for name, version in {"triton": "3.0.0", "numpy": "1.0", "torchaudio": "2.3.1"}.items():
        base.add(name, version)
    with zipfile.ZipFile(own.folder / "torchvision-0.18.1-py3.11.egg", "w") as egg:
        egg.writestr("EGG-INFO/PKG-INFO", "Name: torchvision\nVersion: 0.18.1\n")
    (own.folder / "torchcodec-0.1-py3.11.egg").write_text("not an egg")
    named = "\n".join(path.name for path in own.folder.glob("*.egg"))
    (own.folder / "easy-install.pth").write_text(f"import sys\n./{named}\n")
    reader = UnseenReader([own.folder], [base.folder])
    installed = InstalledReader([own.folder]).read()
    found = reader.with_held(installed, ("torch*",), MARKERS)
    assert {name: (str(d.version), d.unseen) for name, d in unseen_of(found).items()} == {
        "torch": ("2.3.1", Unseen.BASE),
        "triton": ("3.0.0", Unseen.BASE),
        "torchvision": ("0.18.1", Unseen.EGG),
    }
    assert str(found.version("torchaudio")) == "2.4.0"
    assert reader.with_held(installed, ("torch*",), MARKERS) is found
    base.add("torchtext", "0.1")
    assert "torchtext" in reader.with_held(installed, ("torch*",), MARKERS).distributions
    assert reader.with_held(installed, (), MARKERS) is not found
