"""Every message on the page of troubleshooting stands in the source."""

import ast
import re

from tests.site.pages import DOCS, ROOT

ENTRY = re.compile(r"^\*\*`(.+)`\*\*$", re.M)


def templates():
    """Every text of the source, with `\\0` for what is put into it."""
    for top in ("keras_mae", "trainers", "export"):
        for path in (ROOT / top).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def stands_in(message, known):
    """Whether the pieces of a message between its `…` come in one of the texts, with values between them."""
    pieces = [re.escape(piece) for piece in message.strip("…").split("…")]
    pattern = re.compile(".*\\0.*".join(pieces), re.S)
    return any(pattern.search(text) for text in known)


def test_messages_stand_in_the_source():
    known = list(templates())
    messages = ENTRY.findall((DOCS / "troubleshooting.md").read_text(encoding="utf-8"))
    assert len(messages) >= 40 and len(set(messages)) == len(messages)
    missing = [message for message in messages if not stands_in(message, known)]
    assert not missing, "\n".join(missing)
    short = [message for message in messages if len(message.replace("…", "").strip()) < 12]
    assert not short, f"too little to find: {short}"


def test_a_wrong_message_is_seen():
    known = ["there is no command \0\0 \0", "another \0"]
    assert stands_in("there is no command …", known)
    assert not stands_in("there is no command … at all", known) and not stands_in("there … command", known)
    assert not stands_in("another command", known)
