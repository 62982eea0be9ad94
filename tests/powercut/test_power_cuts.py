"""Power cuts in the middle of a command, replayed from what it really wrote to its disk.

An ordinary run tries a hundred. As many as you like, here 10,000:

    RECONCILER_TEST_POWER_CUTS=10000 uv run pytest -n 2 tests/powercut

The cuts follow from a seed, RECONCILER_TEST_POWER_CUT_SEED. What a command writes differs a little
from run to run, so a failure keeps its recording and says how to replay one cut of it.
"""

import os
import pickle
from collections.abc import Callable
from itertools import chain, islice
from pathlib import Path

import pytest

from tests.powercut.cuts import Cut, at_each_flush, sampled
from tests.powercut.judge import judge
from tests.powercut.recording import SCENARIOS, SIZES, fill, record
from tests.support.attacks import COUNTED
from tests.support.index import PackageIndex

_ORDINARY = 210
_STATES = int(os.environ.get("RECONCILER_TEST_POWER_CUTS", _ORDINARY))
_SEED = int(os.environ.get("RECONCILER_TEST_POWER_CUT_SEED", "1"))
_ONE = os.environ.get("RECONCILER_TEST_POWER_CUT", "")
_PASS_EVERY = 25
"""After every so many cuts a whole pass is run as well."""
_SHOWN = 10
_COMBINATIONS = [
    (scenario, kind)
    for scenario in SCENARIOS
    for kind in SIZES
    if scenario == "apply" or kind == "ext4" or _STATES > _ORDINARY
]


@pytest.mark.parametrize(("scenario", "kind"), _COMBINATIONS)
def test_a_power_cut_leaves_the_old_environment_or_the_new_one(
    scenario: str,
    kind: str,
    index: PackageIndex,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    fill(index, tmp_path / "wheels")
    recording = record(kind, scenario, index, tmp_path)
    share = _STATES // len(_COMBINATIONS)
    cuts = chain(
        at_each_flush(recording.epochs, recording.begun),
        sampled(recording.epochs, recording.begun, _SEED),
    )
    wrong, tried = [], 0
    for number, cut in enumerate(islice(cuts, share)):
        try:
            said = judge(recording, cut, index, on=number % _PASS_EVERY == 0)
        except AssertionError as failure:  # the file system cannot be mounted
            said = str(failure)
        tried += 1
        if said:
            wrong.append(f"{cut.spelled()}\n{said}")
    record_property(COUNTED, ["power cuts", kind, tried])
    if wrong:
        kept = tmp_path / "recording"
        kept.write_bytes(pickle.dumps(recording))
        replay = f"RECONCILER_TEST_POWER_CUT={kept}:CUT uv run pytest -n 0 {__file__}"
        pytest.fail(f"{len(wrong)} of {tried} cuts; {replay}\n" + "\n".join(wrong[:_SHOWN]))


if _ONE:

    def test_one_power_cut_again(index: PackageIndex) -> None:
        file, _, cut = _ONE.partition(":")
        recording = pickle.loads(Path(file).read_bytes())
        assert judge(recording, Cut.parse(cut), index, on=False) == ""
