"""How an alert's text reaches a messenger: apprise's Telegram against a Bot API on loopback."""

from __future__ import annotations

import html.parser
import http.server
import json
import threading
from collections.abc import Iterator

import pytest
from apprise.plugins.telegram import NotifyTelegram

from tradealgo.monitor.messenger import LONGEST_TEXT, notifiers, notify
from tradealgo.monitor.shell import tell

ADDRESS = "tgram://123456789:abcdefghijklmnopqrstuvwxyzABCDEF012/42/"


class Read(html.parser.HTMLParser):
    """A message as its reader sees it: what is text, and what was taken for a tag."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self.text, self.tags = "", set[str]()
        self.feed(message)
        self.close()

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        self.tags.add(tag)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, str]]]:
    """What sendMessage was given."""
    found: list[dict[str, str]] = []

    class Take(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            answer = b'{"ok": true, "result": {"message_id": 1}}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Take) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(NotifyTelegram, "notify_url", f"http://127.0.0.1:{server.server_port}/bot")
        yield found
        server.shutdown()


@pytest.mark.parametrize(
    "text",
    [
        "'<' not supported between instances of 'str' and 'float'",
        "<class 'KeyError'>",
        "M&M: <b>short</i>",
        "a_b *c* [x](y)",
    ],
)
def test_a_text_is_no_markup(said: list[dict[str, str]], text: str) -> None:
    """Telegram refuses a message whose tags it can't make sense of: an exception's text must arrive as it is."""
    (sender,), _ = notifiers(ADDRESS)
    assert notify(sender, "CRITICAL", text, "failure")
    assert said[0]["parse_mode"] == "HTML"
    read = Read(said[0]["text"])
    assert text in read.text
    assert read.tags <= {"b"}


def test_a_long_text_is_cut(said: list[dict[str, str]]) -> None:
    """Messengers refuse what is too long, for ever: its beginning is better than nothing."""
    (sender,), _ = notifiers(ADDRESS)
    assert notify(sender, "CRITICAL", "x" * 10_000, "failure")
    assert 1_000 < len(said[0]["text"]) < LONGEST_TEXT + 100


def test_who_cannot_be_told_is_known(said: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch by schedule sends the login's address: an address of people with a typing error mustn't look like a reader."""
    monkeypatch.setenv("TRADEALGO_ALERT_URLS", ADDRESS)
    assert tell("CRITICAL", "log in")
    monkeypatch.setenv("TRADEALGO_ALERT_URLS", f"{ADDRESS} tgram://typing-error/42")
    assert not tell("CRITICAL", "log in")
    assert len(said) == 2


def test_an_address_that_cannot_be_used_is_not_repeated() -> None:
    """Only its kind: a comma in a password would show the half behind it."""
    assert notifiers("mailto://me:hun,ter2@example.com nonsense://x")[1] == ["mailto", "unknown", "nonsense"]
