"""The status page, made from what readings declare: a new metric is on it without a line of code here.

The tables show the first gauges that a reading declares, so a reading declares the most telling ones first.
"""

import html
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Self

from exporter.frozen import frozen
from exporter.reading import Declaration, Distribution, Gauge, Label, Note, Reading, declarations

SERVICES, GPUS, SOURCES, REST = "Services", "GPUs", "Sources", "Host and exporter"
# The first of these labels that a reading has says what it is about, together with those beside it.
SUBJECTS: Mapping[str, Sequence[str]] = {SOURCES: ("source", "target"), SERVICES: ("target",), GPUS: ("gpu",), REST: ()}
TELLING = 4
ENTRIES = 12
LONG = 30
FIGURES = 100
INFO = "info"
UP = ("down", "up")
TIMESTAMP = "_timestamp_seconds"
DURATION = ((1e-6, "µs"), (1e-3, "ms"), (1.0, "s"), (60.0, "min"), (3600.0, "h"), (86400.0, "d"))
SCALES: Mapping[str, Sequence[tuple[float, str]]] = {
    TIMESTAMP: DURATION,
    "_seconds": DURATION,
    "_per_second": ((1, "/s"),),
    "_bytes": ((1, "B"), (2**10, "KiB"), (2**20, "MiB"), (2**30, "GiB"), (2**40, "TiB")),
    "_ratio": ((0.01, "%"),),
    "_watts": ((1, "W"), (1e3, "kW")),
    "_joules": ((1, "J"), (1e3, "kJ"), (1e6, "MJ"), (1e9, "GJ")),
    "_hertz": ((1, "Hz"), (1e3, "kHz"), (1e6, "MHz"), (1e9, "GHz")),
    "_celsius": ((1, "°C"),),
    "": ((1, ""),),
}
STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--dim:#656d76;--line:#d8dee4;--ground:#fff;--raised:#f6f8fa;
--good:#1a7f37;--bad:#cf222e}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--dim:#8d96a0;--line:#30363d;--ground:#0d1117;--raised:#161b22;
--good:#3fb950;--bad:#ff7b72}}
body{margin:0 auto;padding:1.5rem;max-width:100rem;font:14px/1.45 system-ui,sans-serif;color:var(--ink);
background:var(--ground)}
header{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;align-items:baseline}
h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .5rem}h3,h4{font-size:1em;margin:.75rem 0 0}
h4,small,dt,summary,thead tr+tr th{color:var(--dim);font-weight:normal}
a{color:inherit}[title]{cursor:help}summary{cursor:pointer;margin:.5rem 0}
.scroll{overflow:auto;width:fit-content;max-width:100%;max-height:85vh;border:1px solid var(--line);border-radius:6px}
table{border-collapse:separate;border-spacing:0;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .7rem;text-align:left;white-space:nowrap;max-width:16rem;overflow:hidden;text-overflow:ellipsis}
thead{position:sticky;top:0;z-index:2}thead th{background:var(--raised)}th[colspan]{border-left:1px solid var(--line)}
tbody :is(th,td){border-top:1px solid var(--line)}tbody th{font-weight:600;background:var(--ground)}
tr>:first-child{position:sticky;left:0;z-index:1}
td:empty::before{content:"-";color:var(--dim)}td.number{text-align:right}
.up::before,.down::before{content:"";display:inline-block;width:.6em;height:.6em;border-radius:50%;margin-right:.4em;
background:var(--good)}.down::before{background:var(--bad)}.down{color:var(--bad)}
article{margin:.5rem 0;padding:.25rem 1rem;border:1px solid var(--line);border-radius:6px}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(18rem,1fr));gap:.1rem 2rem;margin:.25rem 0 .75rem}
dl div{display:flex;justify-content:space-between;gap:1rem;border-bottom:1px solid var(--line)}
dd{margin:0;text-align:right;overflow-wrap:anywhere}
"""


def page(readings: Iterable[Reading], *, now: float, links: Mapping[str, str]) -> bytes:
    """The whole page, with no script and nothing loaded from elsewhere."""
    known = _known(readings, now)
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    head = element(
        "head",
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'),
        Html("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';style-src 'unsafe-inline'\">"),
        element("title", "model-sidecar"),
        element("style", Html(STYLE)),
    )
    nav = [element("a", name, href=where) for name, where in links.items()]
    body = element(
        "body",
        element("header", element("h1", "model-sidecar"), *nav, element("small", stamp)),
        _section(SERVICES, known[SERVICES], _table, _details),
        _section(GPUS, known[GPUS], _table, _details),
        _section(REST, known[REST], _lists),
        _section(SOURCES, known[SOURCES], _table),
    )
    return f"<!doctype html>{element('html', head, body, lang='en')}".encode(errors="replace")


class Html(str):
    """Text that is escaped already."""

    __slots__ = ()


def element(tag: str, /, *content: str, **attributes: str) -> Html:
    """An element; what is not Html in it is escaped, and an empty attribute is left out."""
    inner = "".join(part if isinstance(part, Html) else html.escape(part) for part in content)
    outer = "".join(f' {name.rstrip("_")}="{html.escape(value)}"' for name, value in attributes.items() if value)
    return Html(f"<{tag}{outer}>{inner}</{tag}>")


@frozen
class Column:
    """One field of a reading, as it is headed."""

    field: str
    group: str
    name: str
    help: str
    telling: bool


@frozen
class Fact:
    """What the readings of a subject say in one column, each with the labels that tell it from the others."""

    column: Column
    look: str
    said: Sequence[tuple[str, str]]

    @property
    def text(self) -> str:
        if len(self.said) == 1:
            return self.said[0][1]
        return _listed([f"{apart} {text}".strip() for apart, text in self.said if text])


Facts = Mapping[Column, Fact]
Subjects = Mapping[str, Facts]


@frozen
class Kind:
    """How readings of one type are shown: in which section, told apart by which labels, in which columns."""

    section: str
    apart: Sequence[str]
    columns: Sequence[Column]

    @classmethod
    def of(cls, reading: type[Reading]) -> Self:
        declared = declarations(reading)
        labels = [name for name, declaration in declared.items() if isinstance(declaration, Label)]
        section = next(title for title, subject in SUBJECTS.items() if set(subject) <= set(labels))
        apart = [label for label in labels if label not in SUBJECTS[section]]
        # The labels of an info are what it says; its constant 1 says nothing.
        shown = [name for name, declaration in declared.items() if _is_shown(declaration) and name != INFO]
        told = [*(apart if INFO in declared else ()), *shown]
        telling = [name for name in told if _is_single(declared[name])][:TELLING]
        columns = [
            Column(
                field=name,
                group=reading.PREFIX.rpartition("_")[2],
                name=name.removesuffix(_unit(name)).replace("_", " "),
                help=declared[name].help,
                telling=name in telling or isinstance(declared[name], Note),
            )
            for name in told
        ]
        return cls(section=section, apart=apart, columns=columns)

    def subject(self, reading: Reading) -> str:
        """What the reading is about, in words."""
        return " ".join(filter(None, (getattr(reading, label) for label in SUBJECTS[self.section])))

    def facts(self, reading: Reading, now: float) -> Iterator[Fact]:
        """What the reading says, and with an empty text what it does not know."""
        apart = " ".join(filter(None, (getattr(reading, label) for label in self.apart)))
        for column in self.columns:
            value = getattr(reading, column.field)
            said = ("" if column.field in self.apart else apart, _text(column.field, value, now))
            yield Fact(column=column, look=_look(column.field, value), said=(said,))


def _is_shown(declaration: Declaration) -> bool:
    return declaration.shown if isinstance(declaration, Note) else not isinstance(declaration, Label)


def _is_single(declaration: Declaration) -> bool:
    return isinstance(declaration, Label) or (isinstance(declaration, Gauge) and not declaration.by)


def _section(title: str, subjects: Subjects, *parts: Callable[[Subjects], Html]) -> Html:
    shown = [part(subjects) for part in parts] if subjects else [element("p", "None.")]
    return element("section", element("h2", title), *shown)


def _table(subjects: Subjects) -> Html:
    """A row for each subject, those with something down first."""
    columns = _columns(subjects)
    spans = Counter(column.group for column in columns)
    groups = (element("th", group, colspan=str(span)) for group, span in spans.items())
    names = (element("th", column.name, title=column.help) for column in columns)
    rows = sorted(subjects.items(), key=lambda row: all(fact.look != "down" for fact in row[1].values()))
    body = (element("tr", element("th", subject), *_cells(facts, columns)) for subject, facts in rows)
    head = (element("tr", element("th"), *groups), element("tr", element("th"), *names))
    return element("div", element("table", element("thead", *head), element("tbody", *body)), class_="scroll")


def _columns(subjects: Subjects) -> Sequence[Column]:
    """The telling columns that hold something; the groups that say what is up stand before the others."""
    telling = [fact for facts in subjects.values() for fact in facts.values() if fact.column.telling]
    order = list(dict.fromkeys(fact.column.group for fact in telling))
    first = {fact.column.group for fact in telling if fact.look in UP}
    empty = {fact.column for fact in telling} - {fact.column for fact in telling if fact.text}
    columns = dict.fromkeys(fact.column for fact in telling if fact.column not in empty)
    return sorted(columns, key=lambda column: (column.group not in first, order.index(column.group)))


def _cells(facts: Facts, columns: Iterable[Column]) -> Iterator[Html]:
    for column in columns:
        fact = facts.get(column)
        text = fact.text if fact else ""
        yield element("td", text, class_=fact.look if fact else "", title=text if len(text) > LONG else "")


def _details(subjects: Subjects) -> Html:
    """Everything known of each subject, folded up."""
    each = (element("article", element("h3", subject), *_listing(facts)) for subject, facts in subjects.items())
    return element("details", element("summary", "Everything known of each"), *each)


def _lists(subjects: Subjects) -> Html:
    return element("div", *(part for facts in subjects.values() for part in _listing(facts)))


def _listing(facts: Facts) -> Iterator[Html]:
    known = [fact for fact in facts.values() if fact.text]
    for group in dict.fromkeys(fact.column.group for fact in known):
        yield element("h4", group)
        yield element("dl", *(_pair(fact) for fact in known if fact.column.group == group))


def _pair(fact: Fact) -> Html:
    return element("div", element("dt", fact.column.name, title=fact.column.help), element("dd", fact.text))


def _known(readings: Iterable[Reading], now: float) -> Mapping[str, Subjects]:
    kinds: dict[type[Reading], Kind] = {}
    known: dict[str, dict[str, dict[Column, Fact]]] = {section: {} for section in SUBJECTS}
    for reading in readings:
        kind = kinds.get(type(reading)) or kinds.setdefault(type(reading), Kind.of(type(reading)))
        facts = known[kind.section].setdefault(kind.subject(reading), {})
        for fact in kind.facts(reading, now):
            earlier = facts.get(fact.column)
            facts[fact.column] = _joined(earlier, fact) if earlier else fact
    return known


def _joined(earlier: Fact, fact: Fact) -> Fact:
    return replace(earlier, said=tuple(dict.fromkeys((*earlier.said, *fact.said))))


def _look(name: str, value: object) -> str:
    match value:
        case bool():
            return UP[value] if name == "up" else ""
        case int() | float():
            return "number"
        case _:
            return ""


def _text(name: str, value: object, now: float) -> str:
    """How a value reads; empty where it is not known."""
    match value:
        case None:
            text = ""
        case bool():
            text = UP[value] if name == "up" else ("no", "yes")[value]
        case int() | float() if name.endswith(TIMESTAMP):
            text = _since(now - value)
        case int() | float():
            text = _measured(name, value)
        case Distribution(counts=counts, sum=total):
            text = f"{_measured(name, total / sum(counts))} mean of {sum(counts)}" if any(counts) else ""
        case Mapping():
            text = _listed(list(_entries(name, value, now)))
        case _:
            text = str(value)
    return text


def _since(seconds: float) -> str:
    span = _measured("_seconds", abs(seconds))
    return f"{span} ago" if seconds >= 0 else f"in {span}"


def _measured(name: str, value: float) -> str:
    scale = SCALES[_unit(name)]
    size, unit = max((step for step in scale if step[0] <= abs(value)), default=scale[0])
    share = value / size
    return (f"{share:.0f} {unit}" if abs(share) >= FIGURES else f"{share:.3g} {unit}").rstrip()


def _unit(name: str) -> str:
    return next(suffix for suffix in SCALES if name.endswith(suffix))


def _entries(name: str, entries: Mapping[object, object], now: float) -> Iterator[str]:
    """What is not zero: the keys where the values only say yes, else keys and values."""
    for key, value in entries.items():
        words = " ".join(key) if isinstance(key, tuple) else str(key)
        if value:
            yield words if value is True or name.endswith(INFO) else f"{words} {_text(name, value, now)}"


def _listed(parts: Sequence[str]) -> str:
    more = [f"{len(parts) - ENTRIES} more"] if len(parts) > ENTRIES else []
    return ", ".join([*parts[:ENTRIES], *more])
