"""Processes that a measurement watches and ends; each may have ended meanwhile."""

import signal
from collections.abc import Iterable

import psutil


def command_of(process: psutil.Process) -> list[str]:
    """Its words; none if it has ended."""
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to those processes that still run."""
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue
