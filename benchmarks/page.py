"""The page of a run, and the documentation's page of the run that was kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from benchmarks import comparison, plots, table
from benchmarks.table import Results

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem;
  background: light-dark(#f6f8fa, #0d1117); color: light-dark(#1f2328, #e6edf3); }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; padding: .3rem .8rem;
  border-bottom: 1px solid light-dark(#d8dee4, #30363d); }
td.yes { color: light-dark(#1a7f37, #56d364); } td.no { color: light-dark(#cf222e, #ff7b72); }
code { font-size: .92em; } .facts { color: light-dark(#59636e, #9198a1); }
svg.plot { max-width: 100%; height: auto; margin: .6rem 0; display: block; }
pre { white-space: pre-wrap; font: inherit; }
"""


def html(results: Results, last: Results | None) -> str:
    """A run as one page that needs nothing else."""
    parts = ["<h1>Keyless beside what it is measured with</h1>", _facts(results["run"])]
    head = "".join(f"<th>{escape(name)}</th>" for name in table.HEAD)
    parts += ["<h2>Targets</h2>", f"<table><tr>{head}</tr>"]
    for what, target, measured, met in table.rows(results):
        cells = f"<td>{_code(what)}</td><td>{escape(target)}</td><td>{_code(measured)}</td>"
        parts.append(f'<tr>{cells}<td class="{met}">{met}</td></tr>')
    parts.append("</table>")
    parts.append(f"<h2>Growth</h2><pre>{escape(table.growth(results))}</pre>")
    parts += [plots.curves(curve) for curve in table.curves(results)]
    parts.append(f"<h2>The last run</h2><pre>{escape(comparison.text(last, results))}</pre>")
    for name, subject in results["subjects"].items():
        parts.append(f"<h2>{escape(name)}</h2>")
        parts += [plots.bars(group) for group in subject.get("groups", ())]
        parts.append(_figures(subject))
        parts += [f'<p class="facts">{escape(note)}</p>' for note in subject.get("notes", ())]
    absent = list(table.missing(results))
    if absent:
        items = "".join(f"<li>{escape(each)}</li>" for each in absent)
        parts.append(f"<h2>Not measured</h2><ul>{items}</ul>")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Keyless: benchmarks</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def keep(results: Results, docs: Path) -> None:
    """Write ``performance.md`` and its pictures into the documentation."""
    run = results["run"]
    machine, versions = run["machine"], run["versions"]
    curves = table.curves(results)
    text = [
        "# Performance",
        "",
        f"`make bench` measured this last, at commit `{run['commit']}`, on {machine['cores']} "
        f"cores ({machine['processor']}), Linux {machine['linux']}, Python {versions['python']},",
        f"AWS CLI {versions.get('aws v1', '–')} and {versions.get('aws v2', '–')}. What is "
        "compared ran in turn, in one run. Figures are medians, in brackets their 95% interval;",
        "a ratio is one of medians ([decision 33](decisions/0033-ratios-of-medians.md)). "
        "`benchmarks/README.md` says what each row is, and how to repeat it.",
        "",
        table.markdown(table.HEAD, table.rows(results)),
        "",
        "## Beside others",
        "",
        table.markdown(("what", "by", "median", "95% are no worse than"), list(_sides(results))),
        "",
    ]
    told = list(table.notes(results))
    if told:
        text += [*(f"- {each}." for each in told), ""]
    absent = list(table.missing(results))
    if absent:
        text += ["Not measured in this run:", "", *(f"- {each}." for each in absent), ""]
    text += ["## How it grows", "", table.growth(results), ""]
    if curves:
        text += ["![Growth curves](performance.svg)", ""]
        (docs / "performance.svg").write_text(plots.sheet(curves) + "\n")
    (docs / "performance.md").write_text("\n".join(text))


def _sides(results: Results) -> Iterator[tuple[str, str, str, str]]:
    """Every side of every group; a group's title stands in its first row."""
    for subject in results["subjects"].values():
        for group in subject.get("groups", ()):
            title = group["title"]
            for name, side in group["sides"].items():
                median, slow = (plots.amount(side[at], group["unit"]) for at in ("median", "p95"))
                yield title, name, median, slow
                title = ""


def _facts(run: Mapping[str, Any]) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in run["machine"].items())
    versions = ", ".join(f"{name} {value}" for name, value in run["versions"].items())
    return (
        f'<p class="facts">Commit {escape(run["commit"])}, {escape(run["when"])}, '
        f"{run['took']:.0f} s. {escape(machine)}. {escape(versions)}.</p>"
    )


def _figures(subject: Mapping[str, Any]) -> str:
    rows = [
        f"<tr><td>{_code(figure['title'])}</td>"
        f"<td>{plots.amount(figure['value'], figure['unit'])}</td></tr>"
        for figure in subject.get("figures", ())
    ]
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _code(words: str) -> str:
    """Markdown's code spans as HTML's."""
    parts = escape(words).split("`")
    return "".join(f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts))
