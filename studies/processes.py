"""Processes that a study starts, kills and waits for. They are forked, as imports take longer than a small run."""

import contextlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def fork(work: Callable[[], Any], log: Path, environment: Mapping[str, object] | None = None) -> int:
    """Starts `work` in a process of its own, whose output goes to `log`; returns its number. It ends 0 or 1."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.environ.update({name: str(value) for name, value in (environment or {}).items()})
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def in_process(work: Callable[[], Any], path: Path) -> Any:
    """Returns what `work` returns in a process of its own, so that this one can still be forked; JSON must hold it."""
    answer = path.with_suffix(".answer")
    process = fork(lambda: answer.write_text(json.dumps(work())), path.with_suffix(".log"))
    if wait(process) != 0:
        raise RuntimeError(f"expected an answer, got:\n{path.with_suffix('.log').read_text()[-3000:]}")
    content = json.loads(answer.read_text())
    answer.unlink()
    return content


def wait(process: int) -> int:
    """Waits for the end of a process; returns its exit code, negative if a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def cpu_seconds(process: int) -> float:
    """Returns how long a process has computed, which unlike the time of day does not depend on who else does."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9


def kill_when(process: int, reached: Callable[[], bool]) -> bool:
    """Kills a process as soon as `reached`; returns False if it has ended before."""
    while True:
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            wait(process)
            return False
        if reached():
            os.kill(process, signal.SIGKILL)
            return wait(process) == -signal.SIGKILL
        time.sleep(0.001)
