"""Whether a text says anything, or one thing over and over: what models really said, broken and whole."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.checks.repetition import repeated

# As public issues about broken models and servers show them; most are cut at sixteen tokens, as a prompt's answer is.
GARBAGE = {
    "NaN in the logits": "!!!!!!!!!!!!!!!!",
    "NaN within four tokens": "!!!!",
    "NaN with blanks between": "! ! ! ! ! ! ! ! ! ! ! ! ! ! ! !",
    "NaN line by line": "!\n!\n!\n!\n!\n!\n!\n!",
    "NaN for a whole budget": "!" * 4096,
    "NaN after a good beginning": "The capital of France is!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!",
    "one letter": "GGGGGGGGGGGGGGGG",
    "one letter, small": "gggggggggg",
    "one letter, irregular": "GGGGGGGG GGG\nGGGGGGGGGGGGGGG GGGG GGGGGGGGGG",
    "one letter with others between": "GGGGGGGGGGGGgGGGGGGGGGGGGGGhGGGGGGGGG",
    "at signs": "@@@@@@@@@@@@@@@@@",
    "slashes": "////////////////",
    "hash signs": "################",
    "question marks": "????????????????",
    "quotes": '""""""""""""""""',
    "brackets": "[[[[[[[[[[[[[[[[",
    "braces for ever": "{" * 20000,
    "zeros": "0" * 48,
    "zeros with blanks": "0 " * 40,
    "replacement characters": "\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd",
    "replacement characters and blanks": "\ufffd\ufffd \ufffd\ufffd\ufffd \ufffd \ufffd\ufffd",
    "one word": "the the the the the the the the the the the the the the the the",
    "one word, without blanks": "HelloHowToToToToToToToToToToToToToTo",
    "one word, line by line": "assistant\nassistant\nassistant\nassistant\nassistant\n",
    "one word with commas": "and, and, and, and, and, and, and, and,",
    "one syllable": "Continue for $N$0-th-th-th-th-th-th-th-th-th-th-th-th-th-th",
    "padding": "[PAD][PAD][PAD][PAD][PAD][PAD][PAD][PAD]",
    "a long answer of padding": "[PAD]" * 2000,
    "unused tokens": "<unused32><unused32><unused32><unused32><unused32>",
    "the end of a text": "<|endoftext|><|endoftext|><|endoftext|><|endoftext|><|endoftext|>",
    "unknown tokens": "<unk><unk><unk><unk><unk><unk><unk><unk>",
    "escaped bytes": "\\xef\\xbf\\xbd\\xef\\xbf\\xbd\\xef\\xbf\\xbd\\xef\\xbf\\xbd\\xef\\xbf\\xbd\\xef\\xbf\\xbd",
    "two words": "game over re game over re game over re game over re game over re",
    "a phrase": "I'll use \\boxed{460}. I'll use \\boxed{460}. I'll use \\boxed{460}. I'll use \\boxed{460}.",
    "a sentence": "I'm here to provide assistance within the scope of our conversation.\n" * 3,
    "a sentence after a good beginning": "Paris is the capital. " + "It is also its largest city. " * 5,
    "a phrase and brackets": "Let me know if you'd like to   Let me Bob   Let me   (   " + "Let me   (   Let me)  " * 5,
    "a loop that wanders": "_name/test_name/test_name/test/test_name/test/test/test/test/test_name/test/test" * 6,
    "Chinese, one character": "的的的的的的的的的的的的的的的的",
    "Chinese, one word": "我们" * 12,
    "Chinese, a sentence": "你好。我是一个助手。" * 5,
    "Japanese": "です" * 12,
    "Russian": "привет привет привет привет привет привет привет",
    "Arabic": "لا لا لا لا لا لا لا لا لا لا لا لا",
    "emoji": "😀😀😀😀😀😀😀😀😀😀😀😀",
}

HONEST = {
    "a word": "Yes.",
    "a letter": "B",
    "a number": "4",
    "a number with a point": "3.14159",
    "a large number": "1,000,000,000,000",
    "a large number without commas": "1000000000000000",
    "a repdigit": "111111111",
    "eleven elevens": "11111111111",
    "a binary number": "0b1000000000000000",
    "zero": "0",
    "a PIN": "0000",
    "a record's type": "AAAA",
    "a rating": "*****",
    "a rating with stars": "⭐⭐⭐⭐⭐",
    "a price level": "$$$$",
    "a city": "Paris",
    "a city in Chinese": "北京",
    "a city in Japanese": "東京",
    "a city in Korean": "서울",
    "a city in Russian": "Москва",
    "a city in Arabic": "القاهرة",
    "a city in Hindi": "नई दिल्ली",
    "a city in Thai": "กรุงเทพมหานคร",
    "a city in Greek": "Αθήνα",
    "a city in Hebrew": "ירושלים",
    "a sentence": "The capital of France is Paris.",
    "a sentence that is cut": "The quick brown fox jumps over the lazy dog and then the qui",
    "a sentence in German": "Die Hauptstadt von Deutschland ist Berlin.",
    "a sentence in French": "Bien sûr ! Voici la réponse à votre question : quarante-deux.",
    "a sentence in Spanish": "¡Claro! La respuesta es cuarenta y dos.",
    "a sentence in Portuguese": "Claro, a resposta é quarenta e dois.",
    "a sentence in Turkish": "Türkiye'nin başkenti Ankara olmuştur.",
    "a sentence in Vietnamese": "Thủ đô của Việt Nam là Hà Nội.",
    "a sentence in Chinese": "中国的首都是北京、它有三千多年的历史。",
    "a sentence in Japanese": "日本の首都は東京です。人口は約千四百万人です。",
    "a sentence in Korean": "대한민국의 수도는 서울입니다.",
    "a sentence in Russian": "Столица России — Москва.",
    "a sentence in Arabic": "عاصمة مصر هي القاهرة.",
    "a sentence in Hindi": "भारत की राजधानी नई दिल्ली है।",
    "a sentence in Polish": "Stolicą Polski jest Warszawa.",
    "counting": "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20",
    "counting that is cut": "1, 2, 3, 4, 5, 6",
    "counting line by line": "1\n2\n3\n4\n5\n6\n7\n8\n9\n10",
    "counting in words": "One, two, three, four, five, six, seven, eight, nine, ten",
    "counting in Chinese": "一、二、三、四、五、六、七、八、九、十、十一、十二、十三、十四、十五",
    "counting in threes": "3 6 9 12 15 18 21 24 27 30 33 36 39",
    "Fibonacci's numbers": "0, 1, 1, 2, 3, 5, 8, 13, 21, 34",
    "a matrix of zeros": "0 0 0 0\n0 0 0 0\n0 0 0 0\n0 0 0 0",
    "an identity matrix": "1 0 0 0 0\n0 1 0 0 0\n0 0 1 0 0\n0 0 0 1 0\n0 0 0 0 1",
    "bytes in binary": "01001000 01100101 01101100 01101100 01101111",
    "Morse": "... --- ... / .... . .-.. .--.",
    "a laugh": "ha ha ha",
    "a longer laugh": "hahahahaha",
    "a laugh in Chinese": "哈哈哈哈",
    "a laugh in Thai": "55555",
    "a cheer": "Hooray!!!",
    "a denial": "No, no, no, no.",
    "a scream": "Aaaaaaargh!",
    "a nursery rhyme": "Row, row, row your boat, gently down the stream. Merrily, merrily, merrily, merrily,",
    "a herd": "Buffalo buffalo Buffalo buffalo buffalo buffalo Buffalo buffalo",
    "knocking": "Knock, knock. Who's there? Knock, knock.",
    "an ellipsis": "Well...",
    "an ellipsis in Chinese": "我想……",
    "a line drawn": "Title\n================",
    "a comment's line": "/* ---------------------------------------- */",
    "a comment's line that is cut": "#!/bin/sh\n# ----------------------------------------",
    "a table's head": "| a | b | c | d | e | f |\n|---|---|---|---|---|---|",
    "a table's head that is cut": "| Name | Age | City | Zip |\n|------|-----|------|-----",
    "a table": "| n | n² |\n|---|----|\n| 1 | 1 |\n| 2 | 4 |\n| 3 | 9 |\n| 4 | 16 |",
    "a table of nothing": "| a | b | c |\n|---|---|---|\n| - | - | - |\n| - | - | - |",
    "Python": "def add(a, b):\n    return a + b\n",
    "Python in a fence": "```python\nfor i in range(10):\n    print(i)\n```",
    "C": "int main(void) {\n    for (;;) {\n        if (x) {\n        }\n    }\n}\n",
    "closing brackets": "f(g(h(i(j(k(l(m(n(o(1))))))))))",
    "SQL": "SELECT name FROM users WHERE age > 30 ORDER BY name;",
    "a command": "ls -la /var/log | grep -v nginx",
    "a regular expression": r"^\d{3}-\d{4}$",
    "an address": "https://www.example.com/a/b/c?x=1&y=2",
    "a UUID": "00000000-0000-0000-0000-000000000000",
    "a MAC address": "ff:ff:ff:ff:ff:ff",
    "an IPv6 address": "0000:0000:0000:0000:0000:0000:0000:0001",
    "a hash": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "DNA": "ATGCGTACGTTAGCATCGATCGGATCCTAGGATCTTAGC",
    "JSON": '{"province": "北京市", "city": "北京市", "district": "海淀区"}',
    "JSON with zeros": "[" + ", ".join(["0.0"] * 200) + "]",
    "JSON with zeros, too long to keep": '{"embedding": [' + "0.0, " * 10000,
    "JSON with words": '["no", "no", "no", "no", "no", "no", "no", "no"]',
    "labels": "positive, negative, neutral, positive, positive, negative",
    "answers in a row": "1. yes\n2. no\n3. yes\n4. yes\n5. no\n6. yes\n7. no\n8. no\n9. yes\n10. no",
    "a list": "- apples\n- pears\n- plums\n- cherries\n- grapes",
    "a long list": "\n".join(f"{number}. Item number {number}" for number in range(1, 200)),
    "a multiplication table": "\n".join(f"{a} x {b} = {a * b}" for a in range(1, 13) for b in range(1, 13)),
    "FizzBuzz": "\n".join(
        "Fizz" * (number % 3 == 0) + "Buzz" * (number % 5 == 0) or str(number) for number in range(1, 101)
    ),
    "a chessboard": "r n b q k b n r\np p p p p p p p\n. . . . . . . .\n. . . . . . . .\nP P P P P P P P\nR",
    "a formula": "\\frac{-b \\pm \\sqrt{b^2 - 4ac}}{2a}",
    "emoji": "👍🎉",
    "one broken character at the budget's end": "今日はとても良い天気で\ufffd",
    "spaces": "   Yes   ",
    "thinking": "<think>\nOkay, so I need to find out what 57 plus 85 is. First",
    "random tokens of a tiny model": "FquihelloA=PW brFquihello prompt(Xhello prompt(XhelloA=PW brprom",
}


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in GARBAGE.items()])
def test_garbage_is_called_repetitive(text: str) -> None:
    assert repeated(text) is not None


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in HONEST.items()])
def test_an_honest_answer_is_not_called_repetitive(text: str) -> None:
    assert repeated(text) is None


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in HONEST.items()])
def test_an_honest_answer_is_none_the_worse_for_being_cut(text: str) -> None:
    cut = [text[:size] for size in range(min(len(text), 120))]

    assert [beginning for beginning in cut if repeated(beginning)] == []


@settings(deadline=None, max_examples=200)
@given(unit=st.text(st.characters(categories=["L", "Zs"]), min_size=1, max_size=40).filter(str.strip), data=st.data())
def test_whatever_is_said_forty_times_is_repetitive(unit: str, data: st.DataObject) -> None:
    before = data.draw(st.sampled_from(["", "Sure! ", "The answer is "]))

    assert repeated(before + unit * 40) is not None


@settings(deadline=None, max_examples=300)
@given(text=st.text() | st.text('aA! \n0[{"', max_size=300))
def test_any_text_is_judged(text: str) -> None:
    assert repeated(text) in {None, repeated(text)}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[" * 65536, id="a document deeper than a parser goes"),
        pytest.param('{"a": ' * 10000, id="a document that goes on and on"),
        pytest.param("[" + "9" * 5000 + "]", id="a number longer than a parser takes"),
        pytest.param("\ud800" * 16, id="half of a character"),
        pytest.param("a" * 65536, id="all that is kept, of one character"),
        pytest.param("ab" * 32768, id="all that is kept, of two"),
    ],
)
def test_the_worst_texts_are_judged_too(text: str) -> None:
    assert repeated(text) in {None, repeated(text)}


def test_bytes_that_are_no_text_are_not_judged_as_one() -> None:
    image = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(400)

    assert repeated(image.decode(errors="replace")) is None


def test_words_at_random_are_no_repetition() -> None:
    words = ["the", "of", "and", "to", "in", "is", "it", "you", "that", "he", "was", "for", "on", "are", "with", "as"]
    drawn = random.Random(7)
    texts = (" ".join(drawn.choices(words, k=size)) for size in range(1, 400))

    assert [text for text in texts if repeated(text)] == []
