"""Home in a browser: the real server, its page fetched and its websocket spoken to as the page does."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = "from agent.cli import main; main()"
pytest.importorskip("textual_serve", reason="pip install 'trm-agent[serve]'")
import aiohttp  # noqa: E402  (it comes with the extra)


def started(*arguments: str, **more: str) -> subprocess.Popen[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TRM_")}
    return subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM, "serve", *arguments], env=environ | {"PYTHONPATH": str(ROOT)} | more,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (folder / "test_shop.py").write_text("def test_open():\n    assert True\n")
    return folder


@pytest.fixture
def server(project: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    made = started(str(project), "--port", "0", XDG_STATE_HOME=str(tmp_path / "state"))
    yield made
    made.kill()
    made.communicate()


def address(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    return server.stdout.readline().strip()


async def until(websocket: aiohttp.ClientWebSocketResponse, words: str) -> None:
    """Read what the program writes until the words are among it."""
    seen = ""
    async with asyncio.timeout(120):
        while words not in seen:
            message = await websocket.receive()
            assert message.type is aiohttp.WSMsgType.BINARY, (message, seen)
            seen += re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", message.data.decode("utf-8", "replace"))


async def visit(url: str) -> None:
    """The page, then home in a terminal of the browser's size, of another one, and its end by a key."""
    # an address is no name: without `unsafe` the client would keep no cookie of it
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:
        async with browser.get(url) as answer:
            page = await answer.text()
        assert answer.status == 200 and "trm-agent · shop" in page
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        script = re.findall(r'<script src="([^"]+)"', page)[0]
        async with browser.get(script) as answer:
            assert answer.status == 200
        [socket_url] = re.findall(r'data-session-websocket-url="([^"]+)"', page)
        async with browser.ws_connect(f"{socket_url}?width=100&height=30") as websocket:
            await until(websocket, "home · shop")
            await websocket.send_str(json.dumps(["resize", {"width": 120, "height": 40}]))
            await websocket.send_str(json.dumps(["stdin", "?"]))
            await until(websocket, "What am I looking at?")
            await websocket.send_str(json.dumps(["stdin", "q"]))  # closes the help
            await websocket.send_str(json.dumps(["stdin", "q"]))
            async with asyncio.timeout(60):
                while (await websocket.receive()).type is aiohttp.WSMsgType.BINARY:
                    pass
            assert websocket.closed  # by the program's end


async def test_the_page_and_its_terminal_show_home(server: subprocess.Popen[str]) -> None:
    url = address(server)
    assert url.startswith("http://127.0.0.1:")
    await visit(url)
    server.send_signal(signal.SIGINT)
    assert server.wait(30) == 0
    assert server.stderr is not None and "Traceback" not in server.stderr.read()


async def test_nobody_without_the_key_and_no_page_of_others_gets_in(
    server: subprocess.Popen[str],
) -> None:
    url = address(server)
    base, _, key = url.partition("/?key=")
    async with aiohttp.ClientSession() as stranger:
        for path in ("/", "/?key=guess", "/static/js/textual.js", "/ws"):
            async with stranger.get(base + path) as answer:
                assert answer.status == 403, path
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await stranger.ws_connect(f"{base}/ws", origin="http://example.org")
        for origin in ("http://example.org", "http://127.0.0.1:1", "null"):
            with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                await stranger.ws_connect(f"{base}/ws?key={key}", origin=origin)


async def test_the_program_ends_with_its_browser_and_with_the_server(
    server: subprocess.Popen[str],
) -> None:
    url = address(server)
    base, _, key = url.partition("/?key=")
    async with aiohttp.ClientSession() as browser:
        first = await browser.ws_connect(f"{base}/ws?key={key}")
        await until(first, "home · shop")
        [before] = children(server.pid)
        await first.close()
        async with asyncio.timeout(60):
            while Path(f"/proc/{before}").exists():
                await asyncio.sleep(0.1)
        second = await browser.ws_connect(f"{base}/ws?key={key}")
        await until(second, "home · shop")
        [other] = children(server.pid)
        server.terminate()
        assert (await second.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.BINARY)
        await second.close()
        assert await asyncio.to_thread(server.wait, 60) == 0
        assert not Path(f"/proc/{other}").exists()


def children(pid: int) -> list[int]:
    text = "".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(word) for word in text.split()]


def test_a_taken_port_and_a_missing_folder_are_one_line_each(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, line in (
            ((str(project), "--port", port), f"error: port {port}: Address already in use"),
            ((str(project), "--port", "70000"), "error: port 70000: there is no such port"),
            ((str(project / "none"),), f"error: {project / 'none'}: no such folder"),
        ):
            made = started(*arguments)
            out, err = made.communicate(timeout=60)
            assert (made.returncode, out) == (2, "")
            assert err.splitlines()[0] == line and len(err.splitlines()) == 2


def test_without_the_extra_it_says_what_to_install(project: Path) -> None:
    hide = "import sys; sys.modules['textual_serve'] = None; sys.argv = ['trm-agent', 'serve']; "
    done = subprocess.run(
        [sys.executable, "-P", "-c", hide + PROGRAM], cwd=project, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        "error: serve needs textual-serve, which is not installed\n"
        "hint: pip install 'trm-agent[serve]'\n"
    )
