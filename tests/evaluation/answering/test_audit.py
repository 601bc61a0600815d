"""The audit changes exactly what each condition claims, and nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.storage.array_store import ArrayStore, StoredClip, write_store
from data.types import Absent, Media, Message, Sample, Text
from evaluation.answering.audit import (
    Prior,
    conditions,
    derangement,
    expected_answer,
    image_only,
    media_of,
    question_only,
    shuffled,
)
from evaluation.answering.identity import data_fingerprint, media_key, prompt_key


def ask(number: int, image: str = "a.png", question: str | Media = "what colour?", answer: str = "red") -> Sample:
    segment = Text(question) if isinstance(question, str) else question
    messages = (
        Message("system", (Text("be brief"),)),
        Message("user", (Media("image", Path(image)), segment)),
        Message("assistant", (Text(answer),)),
    )
    return Sample(str(number), messages, source="test", metadata={"image": image})


def speech(name: str) -> Media:
    return Media("audio", Path(name))


def test_question_only_removes_the_image_and_nothing_else() -> None:
    sample = ask(0)
    changed = question_only(sample)
    assert changed.messages[1].content == (Absent("image"), Text("what colour?"))
    assert changed.messages[0] == sample.messages[0]
    assert changed.messages[2] == sample.messages[2]
    assert (changed.id, changed.metadata) == (sample.id, sample.metadata)
    assert sample.messages[1].content[0] == Media("image", Path("a.png"))


def test_image_only_removes_typed_and_spoken_questions() -> None:
    for question in ("what colour?", speech("q.wav")):
        changed = image_only(ask(0, question=question))
        gone = () if isinstance(question, str) else (Absent("audio"),)
        assert changed.messages[1].content == (Media("image", Path("a.png")), *gone)
        assert expected_answer(changed) == "red"


def test_shuffling_exchanges_only_the_chosen_modality() -> None:
    samples = [ask(i, image=f"{i // 3}.png", question=speech(f"{i}.wav"), answer=str(i)) for i in range(30)]
    changed = shuffled(samples, "image", np.random.default_rng(0))
    for before, after in zip(samples, changed, strict=True):
        assert media_of(after, "image") != media_of(before, "image")
        assert media_of(after, "audio") == media_of(before, "audio")
        assert after.messages[2] == before.messages[2]
        assert after.id == before.id
    shown = [sorted(str(media_of(s, "image")) for s in group) for group in (samples, changed)]
    assert shown[0] == shown[1], "every image is shown as often as before"


def test_shuffling_is_random_and_seeded() -> None:
    samples = [ask(i, image=f"{i}.png") for i in range(20)]
    once, again, other = (shuffled(samples, "image", np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert once == again
    assert once != other


def test_equal_tensors_count_as_the_same_image() -> None:
    def image(value: int) -> Media:
        return Media("image", torch.full((3, 2, 2), value, dtype=torch.uint8))

    samples = [Sample(str(i), (Message("user", (image(i // 2),)), ask(0).messages[2])) for i in range(6)]
    for seed in range(20):
        for before, after in zip(samples, shuffled(samples, "image", np.random.default_rng(seed)), strict=True):
            assert not torch.equal(media_of(before, "image")[0].source, media_of(after, "image")[0].source)


@pytest.mark.parametrize("sizes", [[1, 1], [3, 3], [5, 1, 1, 1, 1, 1], [2, 3, 4], [1] * 40, [4, 4, 1, 1]])
def test_derangement_has_no_fixed_group(sizes: list[int]) -> None:
    keys = [group for group, size in enumerate(sizes) for _ in range(size)]
    keys = list(np.random.default_rng(0).permutation(keys))
    for seed in range(50):
        donors = derangement(keys, np.random.default_rng(seed))
        assert sorted(donors) == list(range(len(keys)))
        assert all(keys[place] != keys[donor] for place, donor in enumerate(donors))


def test_a_derangement_reaches_every_donor() -> None:
    donors = {int(derangement(list("abcde"), np.random.default_rng(seed))[0]) for seed in range(60)}
    assert donors == {1, 2, 3, 4}


def test_too_many_equal_media_cannot_be_deranged() -> None:
    with pytest.raises(ValueError, match="3 of 4 media are equal"):
        derangement(["a", "a", "a", "b"], np.random.default_rng(0))


def test_conditions_apply_where_they_mean_something() -> None:
    rng = np.random.default_rng(0)
    typed = [ask(i, image=f"{i}.png") for i in range(4)]
    spoken = [ask(i, image=f"{i}.png", question=speech(f"{i}.wav")) for i in range(4)]
    assert set(conditions(typed, rng)[0]) == {"question_only", "image_only", "image_shuffled"}
    assert set(conditions(spoken, rng)[0]) == {"question_only", "image_only", "image_shuffled", "audio_shuffled"}
    text = [Sample("0", (Message("user", (Text("hi"),)), Message("assistant", (Text("hello"),))))]
    found, omitted = conditions(text, rng)
    assert not found
    assert "a question and what it is about" in omitted["question_only"]
    assert "something else" in omitted["text_removed"]
    three = [
        replace(s, messages=(Message("user", (*s.messages[1].content, Text("loudly?"))), s.messages[2])) for s in spoken
    ]
    found, _ = conditions(three, rng)
    assert set(found) >= {"question_only", "image_only", "image_removed", "audio_removed"}
    assert "text_removed" not in found, "that is image_only"
    gone = (Absent("image"), Absent("audio"), Text("loudly?"))
    assert found["question_only"].samples[0].messages[0].content == gone, "both media are what is asked about"
    assert found["audio_removed"].samples[0].messages[0].content[1:] == gone[1:]
    same = [ask(i) for i in range(3)]
    assert "3 of 3 media are equal" in conditions(same, rng)[1]["image_shuffled"]


def user(*content: Text | Media) -> Message:
    return Message("user", content)


def test_mixed_rows_are_audited_where_they_qualify() -> None:
    image, text = Media("image", Path("x.png")), Text("what is it?")
    contents = [(text,), (image, text), (speech("q.wav"), text), (Media("image", Path("y.png")), text)]
    samples = [Sample(str(i), (user(*content), ask(0).messages[2])) for i, content in enumerate(contents)]
    found, omitted = conditions(samples, np.random.default_rng(0))
    places = {name: condition.places for name, condition in found.items()}
    assert places == {"question_only": [1, 2, 3], "image_only": [1, 2, 3], "image_shuffled": [1, 3]}
    assert "1 of 1 media are equal" in omitted["audio_shuffled"]
    assert [sample.id for sample in found["image_only"].samples] == ["1", "2", "3"]
    assert [media_of(sample, "image") for sample in found["image_shuffled"].samples] == [
        contents[3][:1],
        contents[1][:1],
    ]


def test_samples_are_exchanged_with_those_that_show_as_many() -> None:
    def showing(number: int, count: int) -> Sample:
        images = [Media("image", Path(f"{number}-{i}.png")) for i in range(count)]
        return Sample(str(number), (user(*images, Text("?")), ask(0).messages[2]))

    samples = [showing(number, 1 + number % 2) for number in range(8)] + [showing(8, 3)]
    found, _ = conditions(samples, np.random.default_rng(0))
    assert found["image_shuffled"].places == list(range(8)), "none but one shows three"
    for before, after in zip(samples, found["image_shuffled"].samples, strict=False):
        assert len(media_of(before, "image")) == len(media_of(after, "image"))
        assert media_of(before, "image") != media_of(after, "image")


def test_blind_baselines_come_from_training_answers() -> None:
    colour = [ask(i, answer="red") for i in range(3)] + [ask(3, answer="blue")]
    present = [ask(i, question="is it there?", answer=answer) for i, answer in enumerate(["no"] * 4 + ["yes"])]
    prior = Prior.fit(colour + present)
    assert prior is not None
    assert prior.majority == "no"
    assert prior.answer(ask(0, question="What  colour?")) == "red"
    assert prior.answer(ask(0, question="never asked")) == "no"


def test_a_spoken_question_is_known_by_its_metadata() -> None:
    prior = Prior.fit([ask(0, answer="red")])
    assert prior is not None
    sample = ask(0, question=speech("q.wav"))
    assert prior.by_question.get("what colour?") == "red"
    spoken = Sample(sample.id, sample.messages, metadata={"question": "What colour?"})
    assert prior.answer(spoken) == "red"


def test_no_training_answers_no_blind_baseline() -> None:
    assert Prior.fit([]) is None


def test_prompts_are_merged_only_when_they_read_the_same() -> None:
    assert prompt_key(ask(0, answer="red")) == prompt_key(ask(1, answer="blue"))
    assert prompt_key(ask(0)) != prompt_key(ask(0, image="b.png"))
    assert prompt_key(ask(0)) != prompt_key(ask(0, question="where?"))
    assert prompt_key(ask(0)) != prompt_key(question_only(ask(0)))
    assert prompt_key(question_only(ask(0))) == prompt_key(question_only(ask(1, image="b.png")))


def test_a_fingerprint_follows_words_media_and_order(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"one")
    (tmp_path / "b.png").write_bytes(b"one")
    first, second = ask(0, image=str(tmp_path / "a.png")), ask(1, image=str(tmp_path / "b.png"))
    original = data_fingerprint([first, second])
    assert data_fingerprint([first, second]) == original
    assert data_fingerprint([second, first]) != original
    assert data_fingerprint([ask(0, image=str(tmp_path / "b.png")), second]) == original, "content, not the name"
    (tmp_path / "b.png").write_bytes(b"two")
    assert data_fingerprint([first, second]) != original


def test_stored_clips_are_known_by_their_place(tmp_path: Path) -> None:
    write_store(tmp_path, [np.zeros(3, np.int16), np.ones(3, np.int16)], np.int16)
    stores = [ArrayStore(tmp_path), ArrayStore(tmp_path)]
    keys = [media_key(Media("audio", StoredClip(store, index))) for store in stores for index in (0, 1)]
    assert keys[:2] == keys[2:]
    assert keys[0] != keys[1]
