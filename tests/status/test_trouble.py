"""What is said of a file that is wrong, in words and on the wire."""

import msgspec

from reconciler.status import Problem

LINE = '    "studio @ https://bob:hunter22@example.org/studio.whl",'


def test_a_problem_in_words_has_its_place_the_reason_and_what_to_do():
    problem = Problem(file="/p/a.toml", line=3, column=5, reason="it is wrong", fix="Correct it.")

    assert str(problem) == "/p/a.toml:3:5: it is wrong. Correct it."


def test_a_problem_of_a_file_as_a_whole_names_the_file_only():
    assert str(Problem(file="/p/a.toml", reason="it is gone", fix="Put it back.")).startswith(
        "/p/a.toml: it is gone"
    )


def test_a_problem_never_holds_a_password():
    problem = Problem(file="f", reason=f"bad: {LINE}", fix=f"Look at {LINE}", text=LINE)

    assert "hunter22" not in repr(problem)
    assert "hunter22" not in problem.with_line()
    assert "example.org/studio.whl" in problem.with_line()


def test_on_the_wire_the_fix_is_called_mend():
    problem = Problem(file="f", line=1, column=2, reason="r", fix="Do it.", text="t")

    assert msgspec.json.encode(problem) == (
        b'{"file":"f","line":1,"column":2,"reason":"r","mend":"Do it.","text":"t"}'
    )
    assert msgspec.json.decode(msgspec.json.encode(problem), type=Problem) == problem
