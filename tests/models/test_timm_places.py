"""Do the places of timm's networks go through everything that an image's embedding goes through?"""

import pytest
import torch

from cxrvl.models.timm_image import TimmImage

SMALL = {"embed_dim": 24, "depth": 2, "num_heads": 2}


def network(name, **options):
    torch.manual_seed(0)
    return TimmImage(name, in_channels=1, **options).eval()


def test_a_transformer_that_pools_patches_norms_every_place_behind_the_pooling():
    one = network("eva02_tiny_patch14_224", image_size=28, options=SMALL)
    torch.nn.init.normal_(one.network.fc_norm.weight)
    images = torch.rand(3, 1, 28, 28)
    tokens = one.network.forward_features(images)[:, one.network.num_prefix_tokens :]
    expected = one.network.fc_norm(tokens).unflatten(1, (2, 2))
    torch.testing.assert_close(one.places(images), expected)


def test_a_transformer_that_pools_its_first_token():
    one = network("vit_tiny_patch16_224", image_size=32, options=SMALL)
    images = torch.rand(2, 1, 32, 32)
    tokens = one.network.forward_features(images)
    torch.testing.assert_close(one.places(images).flatten(1, 2), tokens[:, 1:])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("convnext_atto", {"depths": [1, 1, 1, 1], "dims": [4, 8, 8, 8]}),
        ("resnet10t", {}),
        ("swin_tiny_patch4_window7_224", {"img_size": 32, "window_size": 1, "embed_dim": 8, "depths": [1, 1, 1, 1],
                                          "num_heads": [1, 1, 1, 1]}),
    ],
)  # fmt: skip
def test_the_only_place_of_a_small_image_is_its_embedding(name, options):
    one = network(name, options=options)
    images = torch.rand(2, 1, 32, 32)
    places = one.places(images)
    assert places.shape == (2, 1, 1, one.num_features)
    torch.testing.assert_close(places[:, 0, 0], one(images))


def test_places_keep_their_order():
    one = network("convnext_atto", options={"depths": [1, 1, 1, 1], "dims": [4, 8, 8, 8]})
    images = torch.rand(1, 1, 64, 96)
    places = one.places(images)
    assert places.shape == (1, 2, 3, one.num_features)
    maps = one.network.forward_features(images)
    single = one.network.forward_head(maps[:, :, 1:2, 2:3])
    torch.testing.assert_close(places[:, 1, 2], single)
