"""Tables of cases as text: each a line of TOML, and the message below it, indented."""


def cases(text):
    """The pairs of line and message; a message may go on over several lines."""
    found = []
    for line in text.splitlines():
        if line.startswith("    "):
            found[-1][1].append(line.strip())
        elif line:
            found.append((line, []))
    assert all(message for _, message in found)
    return [(line, " ".join(message)) for line, message in found]
