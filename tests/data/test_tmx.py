"""Translation memories: which languages are meant, what is text, and which XML is refused."""

from __future__ import annotations

import io
import tracemalloc
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.data.tmx import tmx
from regard.errors import CorpusError

UNIT = '<tu><tuv xml:lang="en"><seg>one</seg></tuv><tuv xml:lang="de"><seg>eins</seg></tuv></tu>'


def document(body: str, srclang: str = "en", before: str = "") -> str:
    header = f'<header srclang="{srclang}"/>'
    return f'<?xml version="1.0"?>\n{before}<tmx version="1.4">{header}\n<body>\n{body}\n</body></tmx>'


def read(
    content: str | bytes, source: str | None = None, target: str | None = None
) -> list[tuple[int, str, str]]:
    raw = content if isinstance(content, bytes) else content.encode()
    return list(tmx(io.BytesIO(raw), "a.tmx", source, target))


def fails(content: str | bytes, source: str | None = None, target: str | None = None) -> str:
    with pytest.raises(CorpusError) as caught:
        read(content, source, target)
    assert str(caught.value).isprintable()
    return str(caught.value)


def unit(**texts: str) -> str:
    variants = "".join(f'<tuv xml:lang="{code}"><seg>{text}</seg></tuv>' for code, text in texts.items())
    return f"<tu>{variants}</tu>\n"


def test_the_header_names_the_source_and_the_other_language_is_the_target():
    assert read(document(UNIT)) == [(4, "one", "eins")]
    assert read(document(UNIT, srclang="de")) == [(4, "eins", "one")]
    assert read(document(UNIT), "de", "en") == [(4, "eins", "one")]
    assert read(document(UNIT, srclang="*all*"), "de") == [(4, "eins", "one")]
    assert read(document(UNIT), None, "de") == [(4, "one", "eins")]


def test_a_language_also_finds_its_regional_forms_whatever_the_case():
    body = unit(**{"EN-us": "color", "DE_AT": "Farbe"}) + unit(**{"en-GB": "colour", "de": "Farbe"})
    assert read(document(body), "en", "de") == [(4, "color", "Farbe"), (5, "colour", "Farbe")]
    assert read(document(unit(**{"en": "a", "en-GB": "b", "de": "c"})), "en", "de") == [(4, "a", "c")]
    assert read(document(unit(**{"en-US": "a", "en-GB": "b", "eng": "c"})), "en-gb", "en-US") == [
        (4, "b", "a")
    ]
    old = UNIT.replace("xml:lang", "lang")
    assert read(document(old)) == [(4, "one", "eins")]


def test_of_several_variants_the_first_counts_and_an_absent_one_is_empty():
    twice = UNIT.replace("</tu>", '<tuv xml:lang="de"><seg>ein</seg></tuv></tu>')
    assert read(document(twice + "\n" + unit(en="two"))) == [(4, "one", "eins"), (5, "two", "")]


def test_codes_of_the_document_are_left_out_and_highlighted_text_stays():
    seg = 'Press <bpt i="1">&lt;b></bpt><hi>OK</hi><ept i="1">&lt;/b></ept> &amp;\n'
    seg += "<ph>{0}<sub>x</sub></ph>go&#x2028;!"
    notes = '<prop type="x">p</prop><note>n</note>'
    body = f'<tu>{notes}<tuv xml:lang="en">{notes}<seg>{seg}</seg></tuv>'
    body += '<tuv xml:lang="de"><seg><![CDATA[<a>]]></seg></tuv></tu>'
    assert read(document(body)) == [(4, "Press OK &\ngo\u2028!", "<a>")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "iso-8859-1"])
def test_the_encoding_is_what_the_xml_says(encoding):
    name = "utf-16" if encoding.startswith("utf-16") else encoding.removesuffix("-sig")
    content = document(unit(en="one", de="gr\u00fcn")).replace('"1.0"', f'"1.0" encoding="{name}"')
    raw = content.encode(encoding) if encoding != "utf-16-le" else b"\xff\xfe" + content.encode(encoding)
    assert read(raw) == [(4, "one", "gr\u00fcn")]


def test_ambiguous_or_absent_languages_are_listed():
    three = document(unit(en="a", de="b", fr="c"))
    assert fails(three) == (
        "a.tmx: one language besides the source 'en' is needed. Languages there: de, en, fr. "
        "Give target_column."
    )
    assert fails(document(UNIT, srclang="*all*")) == (
        "a.tmx: the header names no source language. Languages there: de, en. Give source_column."
    )
    assert fails(three, "en", "es") == (
        "a.tmx: no unit has the target language 'es'. Languages there: de, en, fr. Choose by target_column."
    )
    assert fails(document(UNIT, srclang="en-US"), None, "de").startswith(
        "a.tmx: no unit has the source language 'en-US'"
    )
    assert fails(document(UNIT), "de", "DE").startswith("a.tmx: source and target are both 'de'.")
    assert fails(document(unit(en="a")), "en").startswith(
        "a.tmx: one language besides the source 'en' is needed."
    )
    both = document(unit(**{"en-US": "a", "en-GB": "b", "de": "c"}))
    assert fails(both, "en", "de") == (
        "a.tmx:4: 'en' may mean en-GB or en-US here. Choose one by its whole code."
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (document(UNIT)[:-30], "a.tmx:4: malformed XML: "),
        (document(UNIT.replace("</tu>", "</tv>")), "a.tmx:4: malformed XML: mismatched tag at column"),
        (document("&nbsp;"), "a.tmx:4: malformed XML: undefined entity at column 1"),
        (document("\0"), "a.tmx:4: malformed XML: not well-formed (invalid token)"),
        (document(UNIT).encode().replace(b"one", b"\xff"), "a.tmx:4: malformed XML: not well-formed"),
        ("<html/>", "a.tmx:1: the XML begins with <html>; a TMX file begins with <tmx>."),
        ("one\teins", "a.tmx:1: malformed XML: "),
        (document("<tu><tuv><seg>x</seg></tuv></tu>"), "a.tmx:4: a <tuv> has no language."),
        (document(UNIT).replace('"1.0"', '"1.0" encoding="klingon"'), "a.tmx:1: "),
        (document(UNIT).replace('"1.0"', '"1.0" encoding="shift_jis"'), "a.tmx:1: "),
        (
            document(UNIT + "\n" + unit(en="x" * (2**20 + 1))),
            "a.tmx:5: a text is longer than 1,048,576 characters.",
        ),
        (
            document(f"<!-- {'x' * 3_000_000} -->"),
            "a.tmx:4: a tag or comment is longer than 1,048,576 bytes.",
        ),
    ],
)
def test_xml_that_cannot_be_read_is_named_by_line(content, message):
    assert fails(content).startswith(message)


def test_entities_are_refused_before_they_can_expand():
    lol = '<!DOCTYPE tmx [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
    body = document(unit(en="&b;", de="x"), before=lol + "\n")
    assert fails(body) == (
        "a.tmx:2: the file declares the entity 'a', which is refused as unsafe. Write the text out."
    )
    outside = '<!DOCTYPE tmx [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    assert "declares the entity 'a'" in fails(document(unit(en="&a;", de="x"), before=outside))
    parameter = '<!DOCTYPE tmx [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]>'
    assert "declares the entity 'a'" in fails(document(UNIT, before=parameter))


def test_a_document_type_that_lies_elsewhere_is_not_fetched():
    doctype = '<!DOCTYPE tmx SYSTEM "http://localhost:1/tmx14.dtd">\n'
    assert read(document(UNIT, before=doctype)) == [(5, "one", "eins")]
    message = "a.tmx:5: the entity &nbsp; has no meaning in this file. Write the character itself."
    assert fails(document(unit(en="a&nbsp;b", de="c"), before=doctype)) == message


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1))
def test_escaped_texts_are_read_back_the_same(pairs):
    body = "".join(unit(en=escape(one), de=escape(other)) for one, other in pairs)
    assert [row[1:] for row in read(document(body))] == pairs


def test_units_are_handed_out_while_the_file_goes_by():
    def pieces():
        yield document("").encode().partition(b"</body>")[0]
        for _ in range(20_000):
            yield (UNIT + "\n").encode() * 50
        yield b"</body></tmx>"

    class Stream:
        def __init__(self) -> None:
            self.rest = pieces()

        def read(self, size: int, /) -> bytes:
            return next(self.rest, b"")

    tracemalloc.start()
    try:
        for number, _ in enumerate(tmx(Stream(), "a.tmx", "en", "de")):
            if number == 20_000:
                break
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
