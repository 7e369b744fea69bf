"""Live progress of a run, and how its wall time was used. Reads events; does not use Ray."""

import itertools
import time
from collections import Counter
from collections.abc import Mapping

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from orchestrator.plan.work import Expected
from orchestrator.run.event_log import Event, News
from orchestrator.run.pace import Pace

LONG_WAIT = 60.0  # seconds for which a stage waits before the progress says for what
SETTLED = 60.0  # seconds before which the pace, with the start of engines in it, says nothing of the remaining time
LINE_EVERY = 15.0  # seconds between two lines if the output is not a terminal


class Progress:
    """Running and remaining stages, tokens per second and remaining time: a live table, or lines in a log."""

    def __init__(self, console: Console, left: Counter[str], expected: Mapping[str, Expected] | None = None):
        """`left`: how many stages of each kind are left; `expected`: how long each takes, by address."""
        self._console, self._left = console, Counter(left)
        self._pace = Pace(expected or {})
        self._total = sum(left.values())
        self._waiting: dict[str, Event] = {}
        self._running: dict[str, Event] = {}
        self._done: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._shares: Mapping[str, float] = {}
        self._dollars = 0.0
        self._started = self._last_line = time.time()
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None

    def __enter__(self) -> "Progress":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.update(self._table(), refresh=True)
            self._live.stop()
        else:
            self._console.print(self._line(), soft_wrap=True)

    def update(self, news: News) -> None:
        """Add news and show the progress."""
        self._shares, self._dollars = news.shares, news.dollars
        for event in news.events:
            if event.what == "waiting":
                self._running.pop(event.address, None)  # Its process was lost.
                self._waiting[event.address] = event
            elif event.what == "started":
                self._waiting.pop(event.address, None)
                self._running[event.address] = event
            elif event.what == "finished":
                self._waiting.pop(event.address, None)  # Another run has finished it.
                self._running.pop(event.address, None)
                self._left[event.kind] -= 1
                self._done[event.kind] += 1
                self._pace.finish(event.address, event.seconds)
                self._tokens[event.kind] += event.facts.get("tokens", 0)
            elif event.what == "failed":
                self._waiting.pop(event.address, None)
                self._running.pop(event.address, None)
                self._pace.drop(event.address)
                text = escape(f"{event.address} in {event.trial}: {event.message}")
                self._console.print(f"[red]failed[/red] {text}", soft_wrap=True)
            elif event.what == "note":
                self._console.print(f"[yellow]note[/yellow] {escape(event.message)}", soft_wrap=True)
            elif event.what == "not run":
                text = escape(f"{event.trial}: needs {event.address}, which failed")
                self._console.print(f"[yellow]not run[/yellow] {text}")
        if self._live:
            self._live.update(self._table())
        elif time.time() - self._last_line >= LINE_EVERY:
            self._last_line = time.time()
            self._console.print(self._line(), soft_wrap=True)

    def _remaining(self) -> str:
        left = sum(n for n in self._left.values() if n > 0)
        if not left:
            return "nothing left"
        if time.time() - self._started < SETTLED:
            return f"{left} left"
        now = time.time()
        running = {each.address: (now - each.time, self._shares.get(each.address)) for each in self._running.values()}
        seconds = self._pace.remaining(now - self._started, running)
        return f"{left} left" + (f", about {duration(seconds)} remaining" if seconds is not None else "")

    def _rate(self) -> str:
        sampled = self._tokens["sample"]
        spent = f"; {self._dollars:,.2f} US dollars spent" if self._dollars else ""
        return f"{sampled / (time.time() - self._started):,.0f} tokens/s sampled{spent}"

    def _line(self) -> str:
        running = Counter(event.kind for event in self._running.values())
        now = ", ".join(f"{kind} {n}" for kind, n in sorted(running.items())) or "nothing"
        return (
            f"{duration(time.time() - self._started)}: {sum(self._done.values())} of {self._total} stages done, "
            f"running {now}{self._delayed()}; {self._rate()}; {self._remaining()}"
        )

    def _delayed(self) -> str:
        """The number of stages that wait for resources, and, once that is long, how long and for what."""
        if not self._waiting:
            return ""
        first = min(self._waiting.values(), key=lambda event: event.time)
        since = time.time() - first.time
        return f", waiting {len(self._waiting)}" + (
            f" ({duration(since)} for {first.message})" if since >= LONG_WAIT else ""
        )

    def _table(self) -> Group:
        counts = [Column(title, justify="right") for title in ("done", "running", "left")]
        table = Table("stage", *counts, box=None, pad_edge=False, header_style="bold")
        running = Counter(event.kind for event in self._running.values())
        for kind in dict.fromkeys([*self._left, *self._done]):
            table.add_row(kind, str(self._done[kind]), str(running[kind]), str(max(0, self._left[kind])))
        names = sorted(event.address for event in self._running.values())
        shown = [
            Text(f"  {name.rsplit('-', 1)[0]}", style="dim", no_wrap=True, overflow="ellipsis") for name in names[:8]
        ]
        head = f"{duration(time.time() - self._started)}  {self._rate()}  {self._remaining()}{self._delayed()}"
        return Group(Text(head, style="bold"), table, *shown)


def duration(seconds: float) -> str:
    """`3 min 20 s`, `2 h 5 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def time_split(intervals: list[tuple[str, float, float]], begin: float, end: float) -> dict[str, float]:
    """The seconds from `begin` to `end` by kind of work, from intervals (kind, start, stop). They add up to the whole.

    Kinds that run at the same time share it equally. Time that no interval covers is "orchestration".
    """
    edges = sorted({begin, end, *(t for _, a, b in intervals for t in (a, b) if begin < t < end)})
    split: Counter[str] = Counter()
    for left, right in itertools.pairwise(edges):
        middle = (left + right) / 2
        kinds = {kind for kind, a, b in intervals if a <= middle < b} or {"orchestration"}
        for kind in kinds:
            split[kind] += (right - left) / len(kinds)  # type: ignore[assignment]
    return dict(split)
