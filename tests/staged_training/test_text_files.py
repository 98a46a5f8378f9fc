"""Encodings: Unicode in any form is read, code pages that are clear too, all others are named."""

import pytest

from staged_training import InputError
from staged_training.tables.reading import read_table
from staged_training.tables.text_files import marked_encoding, open_text, text_encoding

GERMAN = "text;label\nDie Pumpe läuft nicht, bitte zurückrufen;a\nGrüße aus Köln, schöne Tage;b\n"
FRENCH = "text;label\nLa pompe est arrêtée, rappelez dès que possible;a\nVoilà l'été à la plage;b\n"
SPANISH = "text;label\n¿Dónde está el señor? Llámame mañana;a\nTodo está bien, gracias;b\n"
POLISH = "text;label\nPompa się zatrzymała, proszę zadzwonić;a\nZażółć gęślą jaźń, dziękuję;b\n"
TURKISH = "text;label\nPompa durdu, lütfen hemen arayın;a\nŞimdi çıkıyorum, görüşürüz;b\n"
RUSSIAN = "text;label\nНасос остановился, перезвоните мне;a\nПривет, как дела?;b\n"
GREEK = "text;label\nΗ αντλία σταμάτησε, καλέστε με;a\nΚαλημέρα, τι κάνεις;b\n"
HEBREW = "text;label\nהמשאבה נעצרה אנא התקשרו אליי;a\nשלום מה שלומך;b\n"
JAPANESE = "text;label\nポンプが止まりました。すぐに電話してください;a\nこんにちは、元気ですか;b\n"
CHINESE = "text;label\n水泵停了，请马上给我打电话;a\n你好，最近怎么样;b\n"
KOREAN = "text;label\n펌프가 멈췄습니다 전화 주세요;a\n안녕하세요 잘 지내세요;b\n"
ENGLISH = "text;label\n" + "It’s the “right” thing – don’t worry;a\nWe’ll see;b\n" * 5


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"],
)
@pytest.mark.parametrize("text", [GERMAN, RUSSIAN, ENGLISH])
def test_unicode_is_read_in_any_form(text, encoding, tmp_path, caplog):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode(encoding))
    with open_text(path, text_encoding(path)) as file:
        assert file.read() == text
    rows = [line.split(";")[0] for line in text.splitlines()[1:]]
    assert read_table(path, ["text"])["text"].to_pylist() == rows
    assert not caplog.records


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "cp1252"),
        (ENGLISH, "cp1252"),
        ("text;label\ncafé;a\n", "cp1252"),
        ("text;label\nWin £500 now;a\n", "cp1252"),
        ("text;label\nJörg’s bill: 500 €;a\nZoë paid;b\n", "cp1252"),
        (FRENCH, "cp1252"),
        (SPANISH, "cp1252"),
        (POLISH, "cp1250"),
        (TURKISH, "cp1254"),
        (RUSSIAN, "cp1251"),
        (GREEK, "cp1253"),
        (HEBREW, "cp1255"),
        (JAPANESE, "cp932"),
        (CHINESE, "gb18030"),
        (KOREAN, "cp949"),
    ],
)
def test_a_code_page_that_is_clear_is_read_and_told(text, encoding, tmp_path, caplog):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode(encoding))
    rows = [line.split(";")[0] for line in text.splitlines()[1:]]
    assert read_table(path, ["text"])["text"].to_pylist() == rows
    (record,) = caplog.records
    assert f"{path}: line 2 is not UTF-8" in record.getMessage()
    assert f"It was read as {encoding} (" in record.getMessage()


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("text,label\ndìky,a\n", "cp1252"),
        ("text,label\n爱,a\n", "gb18030"),
        ("text,label\nпоздно,a\n", "cp1251"),
        (GERMAN, "mac_roman"),
        (GERMAN, "cp850"),
        (POLISH, "cp852"),
    ],
)
def test_a_code_page_that_is_not_clear_is_refused_and_the_choices_named(text, encoding, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(InputError, match=r"line 2 is not UTF-8 \(byte \d+ of the line\)") as told:
        text_encoding(path)
    assert "It may be " in str(told.value)
    if encoding == "cp1252":
        assert "cp1252" in str(told.value)


def test_damaged_utf8_is_no_code_page(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(GERMAN.encode() + "café\n".encode("cp1252"))
    with pytest.raises(InputError, match=r"line 4 is not UTF-8 \(byte 4 of the line\)"):
        text_encoding(path)


def test_a_stray_nul_is_not_taken_for_utf16(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"n,text\n1,caf\0e\n2,good\n")
    assert marked_encoding(path) == "utf-8-sig"


def test_a_workbook_that_is_called_csv_is_told(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"PK\x03\x04\x14\0")
    with pytest.raises(InputError, match=r"t\.csv: is a workbook or an archive, not text"):
        read_table(tmp_path / "t.csv", [])
