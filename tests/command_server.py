"""A `wsss-zoo` for shells that starts at once: forks of a process that imported torch before."""

import contextlib
import json
import os
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tests.forked import wait_for
from wsss_zoo.cli import main, training

assert training

# What the shell finds: it hands its arguments, folder, variables and files over, and waits.
_CLIENT = """#!{python} -IS
import array, json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
given = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
files = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))
server.sendmsg([len(given).to_bytes(8, "big")], [files])
server.sendall(given)
sys.exit(server.recv(1)[0])
"""


@contextlib.contextmanager
def commands_on_path(folder: Path) -> Iterator[str]:
    """Serve `wsss-zoo` while the context lasts; gives the folder to put first on PATH.

    Args:
        folder: An empty folder; its path must be short, as those of sockets are.
    """
    address = folder / "socket"
    command = folder / "bin" / "wsss-zoo"
    command.parent.mkdir()
    command.write_text(_CLIENT.format(python=sys.executable, address=str(address)))
    command.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(address))
        server.listen()
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        yield str(command.parent)


def _serve(server: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it was closed
        while True:
            client, _ = server.accept()
            threading.Thread(target=_answer, args=(client,), daemon=True).start()


def _answer(client: socket.socket) -> None:
    with client:
        head, ancillary, *_ = client.recvmsg(8, socket.CMSG_SPACE(3 * 4))
        files = [int.from_bytes(ancillary[0][2][at : at + 4], sys.byteorder) for at in (0, 4, 8)]
        given = b""
        while len(given) < int.from_bytes(head, "big"):
            more = client.recv(1 << 16)
            if not more:
                return  # the shell is gone
            given += more
        pid = os.fork()
        if not pid:
            _run(files, *json.loads(given))
        for file in files:
            os.close(file)
        client.sendall(bytes([wait_for(pid, 600) & 255]))


def _run(files: list[int], args: list[str], folder: str, environment: dict[str, str]) -> None:
    """Be the command: with the shell's files, folder and variables, and a fresh state of Python."""
    code: Any = 1
    try:
        for file, own in zip(files, (0, 1, 2), strict=True):
            os.dup2(file, own)
        sys.stdin, sys.stdout, sys.stderr = map(os.fdopen, (0, 1, 2), "rww")
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        extra = environment.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:0] = [str(Path(path).resolve()) for path in extra if path]
        warnings.resetwarnings()
        # The other threads of the parent are not there.
        torch.set_num_threads(1)
        sys.argv = ["wsss-zoo", *args]
        code = main()
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else bool(code))
