"""A run's report as one HTML file that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackctl.batch.contact_sheet import Shown
    from stackctl.batch.report import Report

_STYLE = """
:root { color-scheme: light dark; --ink: #1d1d20; --quiet: #66666d; --paper: #fafaf8; --line: #dcdcd8; --card: #fff;
  --good: #1b7f4b; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececee; --quiet: #a0a0a8; --paper: #17171a; --line: #34343a;
  --card: #1f1f23; --good: #5bc98f; --bad: #f28b82; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 70rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2.25rem 0 .6rem; }
p { margin: .25rem 0; } .quiet { color: var(--quiet); } .good { color: var(--good); } .bad { color: var(--bad); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem; margin-top: 1rem; }
.cards div { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .9rem; }
.cards b { display: block; font-size: 1.45rem; font-variant-numeric: tabular-nums; line-height: 1.2; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; background: var(--card); border: 1px solid var(--line); }
th, td { text-align: left; padding: .35rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--quiet); font-weight: 500; } td { overflow-wrap: anywhere; }
td:not(:first-child):not(:last-child), .pairs td:first-child { white-space: nowrap; }
table:not(.pairs) td:first-child, table:not(.pairs) td:last-child:not(.number) { min-width: 11rem; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.shown { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: 1rem;
  margin-top: .75rem; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem; }
figure div { display: grid; grid-template-columns: repeat(3, 1fr); gap: .3rem; align-items: center; }
img { display: block; width: 100%; height: auto; }
figcaption { margin-top: .4rem; font-size: .85rem; overflow-wrap: anywhere; }
figcaption span { white-space: nowrap; }
"""
_ENDED = {
    "ok": ("good", "Finished."),
    "threshold": ("bad", "Ended early: more images failed than the error threshold allows."),
    "cancelled": ("bad", "Stopped before its end; run the same command again to go on."),
    "failed": ("bad", "Failed before its end; run the same command again to go on."),
    "incomplete": ("bad", "Finished, but for what could not be looked at."),
}


def page(report: Report, shown: Sequence[Shown] = ()) -> str:
    """Return the page, with pictures of some images."""
    order, figures = report.order, report.figures
    kind, sentence = _ENDED.get(report.status, ("bad", report.status))
    parts = [
        f"<h1>Batch {escape(order.run)}</h1>",
        f'<p class="{kind}">{escape(sentence)}</p>',
        f'<p class="quiet">{escape(_moment(report.ended))}, after {_clock(figures.seconds)}</p>',
        _cards(report),
        _pictures(shown),
        _quarantined(report),
        _not_looked_at(report),
        _slowest(report),
        "<h2>Model and parameters</h2>",
        _table(("", ""), _parameters(report), kind="pairs"),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Batch {escape(order.run)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _cards(report: Report) -> str:
    figures = report.figures
    cards = [
        (f"{figures.done:,}", "upscaled"),
        (f"{figures.skipped + figures.unchanged:,}", "done before"),
        (f"{figures.quarantined:,}", "quarantined"),
        *([(f"{figures.known_bad:,}", "known to be bad")] if figures.known_bad else []),
        *([(f"{figures.left:,}", "removed meanwhile" if report.status == "ok" else "left")] if figures.left else []),
        (f"{figures.images_per_s:,.2f}", "images per second"),
        (f"{figures.out_pixels_per_s / 1e6:,.1f}", "megapixels written per second"),
        (_bytes(figures.out_bytes), f"written, from {_bytes(figures.in_bytes)}"),
    ]
    return f'<div class="cards">{"".join(f"<div><b>{value}</b>{label}</div>" for value, label in cards)}</div>'


def _pictures(shown: Sequence[Shown]) -> str:
    if not shown:
        return ""
    figures = "\n".join(_figure(each) for each in shown)
    return (
        "<h2>Before and after</h2>\n"
        '<p class="quiet">Each result whole, then its richest detail before and after.</p>\n'
        f'<div class="shown">\n{figures}\n</div>'
    )


def _figure(shown: Shown) -> str:
    words = ("result", "detail before", "detail after")
    pictures = "".join(
        f'<img alt="{word}" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'
        for word, data in zip(words, shown.encoded(), strict=True)
    )
    sizes = "{}×{} → {}×{}".format(*shown.before, *shown.after)
    caption = f'{escape(shown.name)} <span class="quiet">{sizes}</span>'
    return f"<figure><div>{pictures}</div><figcaption>{caption}</figcaption></figure>"


def _quarantined(report: Report) -> str:
    total = report.figures.quarantined
    if not total:
        return ""
    reasons = ", ".join(f"{count:,} × {escape(code or 'unknown')}" for code, count in report.reasons.items())
    rows = [(record.name, record.code, record.reason) for record in report.quarantined]
    more = total - len(rows)
    return (
        f'<h2>Quarantined</h2>\n<p class="quiet">{reasons}</p>\n'
        + _table(("Image", "Code", "Why"), rows)
        + (f'<p class="quiet">{more:,} more are in the manifest.</p>' if more > 0 else "")
    )


def _not_looked_at(report: Report) -> str:
    if not report.left_out:
        return ""
    return "<h2>Not looked at</h2>\n" + _table(("Why",), [(why,) for why in report.left_out])


def _slowest(report: Report) -> str:
    rows = [
        (record.name, f"{record.seconds:.2f} s", f"{record.pixels / 1e6:.2f}", f"{record.out_pixels / 1e6:.2f}")
        for record in report.slowest
    ]
    if not rows:
        return ""
    return "<h2>Slowest images</h2>\n" + _table(("Image", "#Time", "#Megapixels in", "#Megapixels out"), rows)


def _parameters(report: Report) -> list[tuple[str, str]]:
    order, model = report.order, report.order.model
    return [
        ("Model", f"{model.name} version {model.version}{f' ({model.alias})' if model.alias else ''}"),
        ("Digest", model.digest),
        ("Run that made it", model.run_id or "–"),
        ("Input", order.shown("input")),
        ("Output", order.shown("output")),
        ("Quarantine", order.shown("quarantine")),
        ("Output scale", f"{order.options.outscale:g}" if order.options.outscale else "the network's own"),
        ("Format", order.options.format),
        ("Precision", order.options.precision),
        ("Tile", str(order.options.tile) if order.options.tile else "auto"),
        ("Suffix", order.suffix),
        ("Workers", str(order.workers)),
        ("Images per batch", str(order.batch_size)),
        ("Scheduler", order.scheduler or "processes of the run's own"),
    ]


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """Return a table; a heading that begins with # is one of numbers."""
    kinds = [' class="number"' if heading.startswith("#") else "" for heading in headings]
    heads = "".join(
        f"<th{kind}>{escape(text.removeprefix('#'))}</th>" for kind, text in zip(kinds, headings, strict=True)
    )
    lines = "\n".join(
        "<tr>" + "".join(f"<td{kind}>{escape(text)}</td>" for kind, text in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    top = f"<thead><tr>{heads}</tr></thead>" if any(headings) else ""
    return f'<div class="wide"><table class="{kind}">{top}<tbody>\n{lines}\n</tbody></table></div>'


def _moment(at: str) -> str:
    return f"{datetime.fromisoformat(at).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
