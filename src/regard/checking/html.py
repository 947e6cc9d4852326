"""A report as HTML for a notebook: its own style, no script, nothing loaded, every text escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from itertools import groupby

from regard.checking.drawing import clean, counted
from regard.checking.report import Law, Mistake, Report, Severity

_MARKS = {"right": "✓", "fragile": "!", "wrong": "✗"}

_LIGHT = """
  --good: #1b7a3a; --weak: #8a5a00; --bad: #b3261e;
  --quiet: #5d636b; --line: #dfe0e2; --tint: #f5f5f3;
"""
_DARK = """
  --good: #6fcf8a; --weak: #e5b64c; --bad: #ff8a70;
  --quiet: #a4aab2; --line: #2d3138; --tint: #1b1e23;
"""
# A notebook says by these attributes what it looks like, whatever the system prefers.
_STYLE = f"""
.regard-report {{ {_LIGHT}
  font: 0.9rem/1.5 system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif;
  max-width: 46rem;
}}
@media (prefers-color-scheme: dark) {{ .regard-report {{ {_DARK} }} }}
[data-jp-theme-light="true"] .regard-report, .vscode-light .regard-report {{ {_LIGHT} }}
[data-jp-theme-light="false"] .regard-report, .vscode-dark .regard-report {{ {_DARK} }}
.regard-report :is(p, ul, pre, dl, dd) {{ margin: 0; padding: 0; }}
.regard-report .verdict {{ font-size: 1.25rem; font-weight: 600; }}
.regard-report .quiet {{ color: var(--quiet); }}
.regard-report .heading {{ font-weight: 600; margin: 1.1rem 0 0.3rem; }}
.regard-report .found {{
  border-left: 0.2rem solid var(--line); padding: 0.1rem 0 0.2rem 0.8rem; margin: 0.5rem 0;
}}
.regard-report .found.wrong {{ border-color: var(--bad); }}
.regard-report .found.fragile {{ border-color: var(--weak); }}
.regard-report .right {{ color: var(--good); }}
.regard-report :is(.name, .mark).fragile {{ color: var(--weak); }}
.regard-report :is(.name, .mark).wrong {{ color: var(--bad); }}
.regard-report :is(.name, pre, code, dt, li) {{
  font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 0.93em;
}}
.regard-report .name {{ font-weight: 600; }}
.regard-report code {{ background: none; color: inherit; }}
.regard-report pre {{
  background: var(--tint); color: inherit; border-radius: 0.3rem; margin: 0.4rem 0; padding: 0.5rem 0.7rem;
  overflow-x: auto; white-space: pre; line-height: 1.4;
}}
.regard-report summary {{ cursor: pointer; font-weight: 600; margin: 0.6rem 0 0.2rem; }}
.regard-report ul {{ list-style: none; columns: 18rem; }}
.regard-report dt {{ margin-top: 0.3rem; }}
"""


def page(report: Report) -> str:
    """The report as one HTML element with its style."""
    kind = "right" if report.robust else "fragile" if report.passed else "wrong"
    parts = [
        f'<p class="verdict"><span class="mark {kind}" aria-hidden="true">{_MARKS[kind]}</span> '
        f'{_safe(report.name)} is <span class="mark {kind}">{report.verdict}</span></p>',
        f'<p class="quiet">{_safe(report.called)}</p>',
    ]
    if report.mistakes:
        several = "Likeliest mistakes" if len(report.mistakes) > 1 else "Likeliest mistake"
        parts += [f'<p class="heading">{several}</p>', *map(_mistake, report.mistakes)]
    if report.broken:
        parts += ['<p class="heading">Laws broken</p>', *map(_broken, report.broken)]
    if report.kept:
        parts.append(_folded(counted(report.kept, "kept"), _kept(report.kept)))
    if report.untried:
        parts.append(_folded(counted(report.untried, "not tried"), _untried(report.untried)))
    return f'<div class="regard-report"><style>{_STYLE}</style>{"".join(parts)}</div>'


def _safe(text: str) -> str:
    return escape(clean(text))


def _found(name: str, severity: Severity, body: str) -> str:
    kind = ' <span class="quiet">fragile</span>' if severity == "fragile" else ""
    title = f'<p><span class="name {severity}">{_MARKS[severity]} {_safe(name)}</span>{kind}</p>'
    return f'<div class="found {severity}">{title}{body}</div>'


def _mistake(mistake: Mistake) -> str:
    remedy = f"<p>→ <code>{_safe(mistake.remedy)}</code></p>"
    return _found(mistake.name, mistake.severity, f"<p>{_safe(mistake.explanation)}</p>{remedy}")


def _broken(law: Law) -> str:
    example = f"<pre>{_safe(law.example)}</pre>" if law.example else ""
    return _found(law.name, law.severity, f"<p>{_safe(law.message)}</p>{example}")


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>{body}</details>"


def _kept(laws: Iterable[Law]) -> str:
    rows = [f'<li><span class="right">✓</span> {_safe(law.name)}</li>' for law in laws]
    return f"<ul>{''.join(rows)}</ul>"


def _untried(laws: tuple[Law, ...]) -> str:
    rows = []
    ordered = sorted(laws, key=lambda law: [one.message for one in laws].index(law.message))
    for reason, group in groupby(ordered, key=lambda law: law.message):
        names = ", ".join(_safe(law.name) for law in group)
        rows.append(f'<dt>{names}</dt><dd class="quiet">{_safe(reason)}</dd>')
    return f"<dl>{''.join(rows)}</dl>"
