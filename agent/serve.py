"""`trm-agent serve`: home in a browser. Whoever may press its keys may run programs here, so the door has a key.

Page, terminal and the language of the websocket are those of textual-serve. What is shown is the program in a pseudo-terminal
rather than Textual's own driver for the web: home starts commands and comes back, and an editor takes the screen.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import secrets
import shlex
import socket
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from textual_serve.server import Server, to_int

from agent.errors import UsageError

HOST = "127.0.0.1"
LEAVE_SECONDS = 8.0  # for a program whose browser has gone: it stops its tests
_PROGRAM = (
    # the session's leader takes the terminal, else it would hear nothing of a new size
    "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "from agent.cli import main; main()"
)


def listening(port: int) -> socket.socket:
    """A socket on loopback; port 0: any that is free. Raises UsageError where the port is taken or not ours to take."""
    made = socket.socket(socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((HOST, port))
        made.listen()  # whoever reads the address may come at once
    except (OSError, OverflowError) as error:
        made.close()
        said = getattr(error, "strerror", None) or "there is no such port"
        raise UsageError(f"port {port}: {said}", "--port 0 takes one that is free") from None
    return made


class Terminal:
    """The program in a pseudo-terminal of `width` by `height` cells, in `folder`."""

    def __init__(self, arguments: list[str], folder: Path, width: int, height: int) -> None:
        self._master, slave = pty.openpty()
        self.resize(width, height)
        # a person looks on, whatever the server was started by
        environ = {name: value for name, value in os.environ.items() if name != "CI"} | {
            "TERM": "xterm-256color", "COLORTERM": "truecolor",
        }  # fmt: skip
        for name in ("COLUMNS", "LINES", "TMUX"):
            environ.pop(name, None)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, *arguments], cwd=folder, env=environ,
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        )  # fmt: skip
        os.close(slave)

    async def read(self) -> bytes:
        """What the program wrote; nothing after its end."""
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_reader(self._master, lambda: ready.done() or ready.set_result(None))
        try:
            await ready
            return os.read(self._master, 1 << 16)
        except OSError:  # EIO: nobody has the other end any more
            return b""
        finally:
            loop.remove_reader(self._master)

    async def write(self, data: bytes) -> None:
        """Give keys to the program; waits while it reads none."""
        with contextlib.suppress(OSError):
            await asyncio.to_thread(os.write, self._master, data)

    def resize(self, width: int, height: int) -> None:
        """Another size in cells, of which the kernel tells the program."""
        cells = (max(1, min(n, 1000)) for n in (height, width))
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", *cells, 0, 0))

    async def close(self) -> None:
        """End the program, which is given time to stop its tests, and then the terminal."""
        self._process.terminate()
        with contextlib.suppress(TimeoutError):  # what it still writes must not hold it up
            await asyncio.wait_for(self._drained(), LEAVE_SECONDS)
        self._process.kill()  # nothing, if it has ended
        self._process.wait()
        os.close(self._master)

    async def _drained(self) -> None:
        while await self.read():
            pass


class HomeServer(Server):
    """textual-serve's page and a terminal a visit, for those who know the key."""

    def __init__(self, folder: Path, arguments: list[str], port: int) -> None:
        title = f"trm-agent · {folder.name}"
        super().__init__(shlex.join(["trm-agent", *arguments]), HOST, port, title)
        self._folder, self._arguments = folder, arguments
        self._key, self._cookie = secrets.token_urlsafe(24), f"trm-agent-{port}"
        self._visits: set[web.WebSocketResponse] = set()

    @property
    def address(self) -> str:
        """What to open in a browser, with the key."""
        return f"{self.public_url}/?key={self._key}"

    async def app(self) -> web.Application:
        """The application behind the door."""
        made = await self._make_app()
        made.middlewares.append(self._admitted)
        return made

    async def on_startup(self, app: web.Application) -> None:
        """Tells nothing: the command does."""

    async def on_shutdown(self, app: web.Application) -> None:
        """Ends the visits, each of which then ends its program."""
        await asyncio.gather(*(visit.close() for visit in self._visits))

    @web.middleware
    async def _admitted(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Answer who brings the key, from this server's own pages.

        Loopback alone keeps neither other users of the machine out nor pages of other sites, which may open websockets to it.
        """
        shown = request.query.get("key") or request.cookies.get(self._cookie, "")
        origin = request.headers.get("Origin", self.public_url)
        if not secrets.compare_digest(shown.encode(), self._key.encode()) or origin != self.public_url:  # fmt: skip
            raise web.HTTPForbidden(text="Open the address that trm-agent serve printed.\n")
        answer = await handler(request)
        if not answer.prepared:
            answer.set_cookie(self._cookie, self._key, httponly=True, samesite="Strict")
            # the page asks another site for a font, which nothing here does
            answer.headers["Content-Security-Policy"] = (
                "default-src 'self' 'unsafe-inline' data:; "
                f"connect-src 'self' ws://{HOST}:{self.port}; frame-ancestors 'none'"
            )
            answer.headers["Referrer-Policy"] = "no-referrer"
        return answer

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """One visit: a terminal until the program or the browser leaves."""
        websocket = web.WebSocketResponse(heartbeat=15, timeout=2.0)
        await websocket.prepare(request)
        width, height = (to_int(request.query.get(name, ""), n) for name, n in (("width", 80), ("height", 24)))  # fmt: skip
        terminal = Terminal(self._arguments, self._folder, width, height)
        shown = asyncio.create_task(_shown(terminal, websocket))
        self._visits.add(websocket)
        try:
            async for message in websocket:
                if message.type == aiohttp.WSMsgType.TEXT:
                    await _told(terminal, websocket, message.json())
        finally:
            self._visits.discard(websocket)
            shown.cancel()
            await asyncio.gather(shown, return_exceptions=True)
            await terminal.close()
        return websocket


async def _shown(terminal: Terminal, websocket: web.WebSocketResponse) -> None:
    """All that the program writes, to the browser, which is told of the end."""
    while data := await terminal.read():
        await websocket.send_bytes(data)
    await websocket.close()


async def _told(terminal: Terminal, websocket: web.WebSocketResponse, words: Any) -> None:
    """A message of textual-serve's page."""
    match words:
        case ["stdin", str(keys)]:
            await terminal.write(keys.encode())
        case ["resize", {"width": int(width), "height": int(height)}]:
            terminal.resize(width, height)
        case ["ping", data]:
            await websocket.send_json(["pong", data])


def serve_home(folder: Path, arguments: list[str], port: int) -> None:
    """Serve until Ctrl+C or SIGTERM. Raises UsageError for a port that cannot be had."""
    with listening(port) as door:
        server = HomeServer(folder, arguments, door.getsockname()[1])
        print(server.address, flush=True)
        print(f"home of {folder} for a browser on this machine; Ctrl+C ends it", file=sys.stderr)
        web.run_app(
            server.app(), sock=door, print=None, access_log=None, shutdown_timeout=2 * LEAVE_SECONDS
        )
