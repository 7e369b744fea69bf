"""The results of a study as tables in a terminal."""

from math import exp

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evaluators.analysis.recovery_budget import Budget
from orchestrator.results import hypotheses
from orchestrator.results.read import when
from orchestrator.study.schema import Study

FINDINGS_WIDTH = 190  # so that few claims and no intervals are broken up


def show_results(console: Console, study: Study, results: dict) -> None:
    """Score and paired change by pair, condition, budget and benchmark. `results` is what the report holds as JSON."""
    benchmarks = list(study.benchmarks)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("pair", "condition", "budget"):
        table.add_column(title, justify="right" if title == "budget" else "left", no_wrap=True)
    for name in benchmarks:
        table.add_column(name, no_wrap=True)
    models = dict.fromkeys(reference["model"] for reference in results["references"])
    for model in models:
        scores = {r["benchmark"]: r["score"]["value"] for r in results["references"] if r["model"] == model}
        table.add_row(model, "as it is", "", *(f"{scores[name]:.3f}" if name in scores else "" for name in benchmarks))
    lines: dict[tuple, dict[str, str]] = {}
    for row in results["rows"]:
        point = when(row["recovery"], row["budget"], row["at"])
        key = (f"{row['student']} / {row['teacher']}", row["condition"], point)
        lines.setdefault(key, {})[row["benchmark"]] = _cell(row)
    last = None
    for key, cells in lines.items():
        if key[0] != last:
            table.add_section()
            last = key[0]
        table.add_row(*key, *(cells.get(name, "[dim]not asked[/dim]") for name in benchmarks))
    console.print()
    wide = Console(highlight=False, width=max(console.width, 60 + 30 * len(benchmarks)), file=console.file)
    wide.print(table)
    for line in [*_backs(results["recovery_budgets"]), *_surprises(results["training_perplexities"])]:
        console.print(line, soft_wrap=True)
    for line in _styles(results["styles"]):
        console.print(line, soft_wrap=True)
    rows = results["rows"]
    if rows:
        asked = [name for name in benchmarks if any(row["benchmark"] == name for row in rows)]
        sizes = ", ".join(f"{name} {next(r['n'] for r in rows if r['benchmark'] == name)}" for name in asked)
        cut = max(row["diagnostics"]["truncated"] for row in rows)
        console.print(
            f"[dim]score, change from the original student and its paired 95 % interval; n a seed: {sizes}; seeds "
            f"{', '.join(map(str, study.seeds))}; at most {cut:.1%} of a cell's answers were cut off[/dim]",
            soft_wrap=True,
        )
    if results["findings"]:
        _show_findings(console, results["findings"])


def _show_findings(console: Console, findings: list[dict]) -> None:
    """What the study expected, and what came of it; a claim once for all that it is judged by."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("experiment", "claim", "compared", "pair", "expected", "effect", "n x seeds", "verdict"):
        wraps = title in ("claim", "compared", "effect")
        table.add_column(title, no_wrap=not wraps, max_width=44 if wraps else None)
    colours = {hypotheses.FOUND: "green", hypotheses.OPPOSITE: "red"}
    for group in hypotheses.by_claim(findings):
        said = [str(group[0]["experiment"]), escape(group[0]["claim"])]
        for one in group:
            colour = colours.get(one["verdict"], "dim")
            table.add_row(
                *said,
                escape(f"{hypotheses.compared(one)} versus {one['versus']}"),
                f"{one['student']} / {one['teacher']}",
                hypotheses.expectation(one),
                escape(hypotheses.told(one)),
                hypotheses.size(one),
                f"[{colour}]{one['verdict']}[/{colour}]",
            )
            said = ["", ""]
    console.print()
    Console(highlight=False, width=max(console.width, FINDINGS_WIDTH), file=console.file).print(table)
    counts = f"{hypotheses.counted(findings)}, of {len(findings)}"
    console.print(
        f"[dim]hypotheses: {counts}; effect with its 95 % interval, which is not corrected for their number[/dim]"
    )


def _styles(found: list[dict]) -> list[str]:
    """How many answers of each student read like the teacher's, by benchmark."""
    lines: dict[tuple, list[str]] = {}
    for one in found:
        apart = f"told apart {one['accuracy']:.2f}{'' if one['clear'] else ': hardly'}"
        key = (f"{one['student']} / {one['teacher']}", one["benchmark"], apart)
        point = f"{one['condition']} {when(one['recovery'], one['budget'], one['at'])}"
        lines.setdefault(key, []).append(f"{point} {one['share']['value']:.2f}")
    return [
        f"Answers to {benchmark} in the teacher's style, {pair} ({apart}): {', '.join(shares)}"
        for (pair, benchmark, apart), shares in lines.items()
    ]


def _backs(found: list[dict]) -> list[str]:
    """A line for each pair, and for what of which benchmark is to be back."""
    lines: dict[str, list[str]] = {}
    for one in found:
        head = f"{100 * one['recovered']:g} % of {one['benchmark']} is back, {one['student']} / {one['teacher']}"
        value, low, high = (Budget(**one["budget"][bound]) for bound in ("value", "low", "high"))
        told = f"{one['condition']} at {value} \\[{low}, {high}] {one['recovery']}"
        lines.setdefault(head, []).append(told)
    return [f"{head}: {', '.join(told)}" for head, told in lines.items()]


def _surprises(found: list[dict]) -> list[str]:
    """How surprising each student finds what it is trained on; the same data once, by the first condition it is of."""
    lines = []
    for student in dict.fromkeys(one["student"] for one in found):
        of: dict[tuple, tuple[str, list[str]]] = {}
        for one in (one for one in found if one["student"] == student):
            nll = one["nll"]["all"]
            of.setdefault((nll["value"], nll["low"], nll["high"]), (one["condition"], []))[1].append(one["teacher"])
        told = [
            f"{condition}{f' by {teachers[0]}' if len(set(teachers)) == 1 else ''} "
            f"{exp(value):.3g} \\[{exp(low):.3g}, {exp(high):.3g}]"
            for (value, low, high), (condition, teachers) in of.items()
        ]
        lines.append(f"Perplexity of the training data under {student}: {', '.join(told)}")
    return lines


def _cell(row: dict) -> str:
    change = row["change"]
    colour = "red" if change["high"] < 0 else "green" if change["low"] > 0 else "dim"
    shown = f"{change['value']:+.3f} \\[{change['low']:+.3f}, {change['high']:+.3f}]"
    return f"{row['score']['value']:.3f} [{colour}]{shown}[/{colour}]"
