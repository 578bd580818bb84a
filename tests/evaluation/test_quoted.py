"""Quoted numbers: spot checks against the printed tables by hand, and what must hold for every block."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from one2345.evaluation.quoted import LABEL, QuotedColumn, QuotedRow, as_html, as_markdown, quoted_blocks
from one2345.paths import conf_dir

BLOCKS = quoted_blocks()
OURS = {"one2345", "syncdreamer", "triposr", "crm", "instantmesh"}


def row(block: str, method: str) -> QuotedRow:
    (found,) = [b for b in BLOCKS if b.id == block]
    (line,) = [r for r in found.rows if r.method == method]
    return line


@pytest.mark.parametrize(
    ("block", "method", "values"),
    [
        ("one2345pp-gso", "One-2-3-45", ("90.4", "70.8", "52.7", "45 s")),
        ("one2345pp-gso-views", "Zero123", ("20.32", "0.110", "0.856")),
        ("syncdreamer-gso", "One-2-3-45", ("0.0629", "0.4086")),
        ("syncdreamer-gso", "SyncDreamer", ("0.0261", "0.5421")),
        ("syncdreamer-gso-views", "SyncDreamer", ("20.05", "0.798", "0.146")),
        ("wonder3dpp-gso", "One-2-3-45", ("0.0629 ± 0.0009", "0.4086 ± 0.0125")),
        ("triposr-gso", "TripoSR", ("0.111", "0.651", "0.871", "0.980")),
        ("triposr-omni", "One-2-3-45", ("0.197", "0.445", "0.698", "0.907")),
        ("crm-gso", "SyncDreamer", ("0.0140", "0.3900", "75.74")),
        ("crm-gso-texture", "CRM", ("16.22", "0.8381", "0.2143", "87.55")),
        ("zeroshape-omni", "ZeroShape", ("0.2297", "0.4927", "0.8169", "0.310")),
        ("wala-gso", "One-2-3-45", ("4397.18", "0.4159", "0.04422")),
        ("meshformer-gso", "One-2-3-45++", ("0.936", "0.039", "20.97", "0.21")),
        ("times", "One-2-3-45", ("45 s", "single A100")),
    ],
)
def test_numbers_to_the_digit(block, method, values):
    assert row(block, method).values == values


def test_values_as_numbers():
    assert row("wonder3dpp-gso", "One-2-3-45").numbers == (0.0629, 0.4086)
    assert row("one2345pp-gso", "Shap-E").numbers == (91.8, 73.1, 40.8, None)
    assert row("meshformer-gso", "LGM").numbers == (0.776, 0.074, None, None)


@pytest.mark.parametrize("block", BLOCKS, ids=[b.id for b in BLOCKS])
def test_every_block_is_whole(block):
    assert block.citation and block.conventions and block.objects and block.columns and block.rows
    assert re.search(r"arXiv:\d{4}\.\d{5}$", block.citation) or block.id == "times"
    assert block.protocol is None or block.protocol in OURS
    methods = [r.method for r in block.rows]
    assert len(set(methods)) == len(methods)
    assert {c.better for c in block.columns} <= {"higher", "lower", None}
    for line in block.rows:
        assert len(line.values) == len(block.columns)
        assert all(v is None or (isinstance(v, str) and v) for v in line.values)
        assert line.values[0] is not None


def test_percentages_are_percentages_and_shares_are_shares():
    for block in BLOCKS:
        for i, column in enumerate(block.columns):
            numbers = [n for r in block.rows if (n := r.numbers[i]) is not None]
            if column.unit == "%":
                assert all(10 < n <= 100 for n in numbers), (block.id, column.name)
            elif column.name.startswith(("F@", "F-Score", "IoU", "Volume IoU", "Mask IoU", "SSIM", "LPIPS")):
                assert all(0 < n < 1 for n in numbers), (block.id, column.name)


def test_ids_are_unique_and_a_protocol_finds_its_own():
    assert len({b.id for b in BLOCKS}) == len(BLOCKS)
    assert [b.id for b in quoted_blocks("syncdreamer")] == ["syncdreamer-gso", "wonder3dpp-gso"]
    assert [b.id for b in quoted_blocks("crm")] == ["crm-gso", "crm-gso-texture"]
    assert quoted_blocks("instantmesh") == quoted_blocks("one2345-strict") == ()


def test_protocols_of_the_blocks_are_there():
    known = {file.stem for file in (conf_dir() / "protocol").glob("*.yaml")}
    if not known >= OURS:
        pytest.skip(f"conf/protocol has no {', '.join(sorted(OURS - known))} yet")
    assert {b.protocol for b in BLOCKS} - {None} <= known


def test_second_hand_numbers_say_so():
    tagged = {b.id for b in BLOCKS if any("third-party" in line for line in b.caveats)}
    assert tagged == {"wonder3dpp-gso", "wala-gso"}


def test_a_row_with_a_value_too_few_is_refused():
    with pytest.raises(ValueError, match="syncdreamer-gso: x has 1 values for 2 columns"):
        replace(quoted_blocks("syncdreamer")[0], rows=(QuotedRow("x", ("0.1",)),))


@pytest.mark.parametrize("block", BLOCKS, ids=[b.id for b in BLOCKS])
def test_markdown_is_one_table_labelled_quoted(block):
    text = as_markdown(block)
    assert LABEL in text.splitlines()[0]
    assert block.citation in text
    assert all(line in text for line in block.caveats)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(block.rows)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {len(block.columns) + 2}


class _Texts(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.rows = [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)


@pytest.mark.parametrize("block", BLOCKS, ids=[b.id for b in BLOCKS])
def test_html_is_balanced_and_holds_the_values(block):
    html = as_html(block)
    assert LABEL in html
    reader = _Texts()
    reader.feed(html)
    assert not reader.open
    assert reader.rows[0] == ["Method", *(c.title for c in block.columns)]
    assert reader.rows[1:] == [[r.method, *(v or "–" for v in r.values)] for r in block.rows]


def test_renderers_escape():
    odd = replace(
        quoted_blocks("crm")[0],
        title="<script>",
        columns=(QuotedColumn("a|b", None, None),),
        rows=(QuotedRow("<b>|", ("1 < 2",), "x|y"),),
    )
    assert "<script>" not in as_html(odd) and "<b>" not in as_html(odd)
    assert "| &lt;b>\\| (x\\|y) | 1 &lt; 2 |" in as_markdown(odd)
