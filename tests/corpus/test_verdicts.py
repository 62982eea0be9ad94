"""Whatever is asked for and whatever is installed: our verdict is uv's.

Runs a few examples, the same ones each time; RECONCILER_TEST_EXAMPLES=N runs N random ones.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings

from tests.corpus.crowd import Crowd, shown
from tests.corpus.families import Family, families
from tests.support.environments import make_venv

ASKED = os.environ.get("RECONCILER_TEST_EXAMPLES")
EXAMPLES = int(ASKED or 60)
BATCH = 20


def test_our_verdict_is_uvs(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path, make_venv(tmp_path / ".venv"))
    agreed, refused, wrong = 0, 0, []

    for batch in batched(random_families(), BATCH):
        numbered, verdicts = crowd.judge(batch)
        for number, family in numbered.items():
            ours, uvs = verdicts.ours[number], verdicts.uvs[number]
            if uvs is None:
                refused += 1
            elif ours is uvs:
                agreed += 1
            else:
                who = {True: "only we see drift", False: "only uv does", None: "we refuse"}[ours]
                wrong.append(f"{who}: {shown(family, number)}")
    print(f"{agreed + len(wrong)} examples, {len(wrong)} disagreements ({refused} uv refuses)")

    assert wrong == [], "\n" + "\n".join(sorted(wrong, key=len)[:60])


def random_families() -> list[Family]:
    """So many examples, each different."""
    found: list[Family] = []

    @settings(
        max_examples=EXAMPLES, phases=[Phase.generate], deadline=None, database=None,
        derandomize=ASKED is None, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(families())
    def collect(family: Family) -> None:
        found.append(family)

    collect()
    return found


def batched(families: list[Family], size: int) -> Iterator[list[Family]]:
    for start in range(0, len(families), size):
        yield families[start : start + size]
