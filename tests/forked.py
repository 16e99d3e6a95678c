"""Commands in processes of their own that start at once, for torch is imported before."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from wsss_zoo.cli import main
from wsss_zoo.pipeline import command as pipeline


def wait_for(pid: int, seconds: float = 300) -> int:
    """Wait for the end of a child; gives how it ended: exit code, or minus a signal.

    Args:
        pid: The child.
        seconds: After these it is killed.

    Raises:
        TimeoutError: If it was killed.
    """
    end = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise TimeoutError(f"the forked process {pid} did not end within {seconds} seconds")
        time.sleep(0.005)


class ForkedCommand:
    """In place of ``subprocess.Popen``, for ``python -m wsss_zoo``: a fork of this process.

    Args:
        command: Interpreter, ``-m``, ``wsss_zoo`` and arguments.
        env: Variables of the environment; those of this process by default.
        pass_fds: A fork has all of them.
        log: File to which the output is appended.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        log: Path | None = None,
    ) -> None:
        assert list(command[1:3]) == ["-m", "wsss_zoo"]
        self.returncode: int | None = None
        self.pid = os.fork()
        if not self.pid:
            self._run([*command[3:]], env, log)

    def _run(self, args: list[str], env: Mapping[str, str] | None, log: Path | None) -> None:
        code: Any = 1
        try:
            if log is not None:
                # As a terminal does, and not to end with this process.
                os.setsid()
                sys.stdout = sys.stderr = log.open("a", buffering=1, encoding="utf-8")
            if env is not None:
                os.environ.clear()
                os.environ.update(env)
            # The other threads of this process are not there.
            torch.set_num_threads(1)
            # Steps of a pipeline are forks as well.
            pipeline.subprocess = SimpleNamespace(Popen=ForkedCommand)
            sys.argv = ["wsss-zoo", *args]
            code = main()
        except SystemExit as stop:
            code = stop.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self) -> int | None:
        """Wait for the end, and return the exit code; TimeoutError after five minutes."""
        if self.returncode is None:
            self.returncode = wait_for(self.pid)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to the process."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process and those that it started, as if the power went."""
        os.killpg(self.pid, signal.SIGKILL)
        self.wait()
