import pytest
import torch
from torch import nn

from tests.callbacks.region_fakes import RegionMethod, ToyNetwork
from wsss_zoo.callbacks.regions.network_outputs import NetworkOutputs, segmentation_networks
from wsss_zoo.methods import CAM, MeanTeacher, Supervised

IMAGE = torch.rand(2, 3, 21, 30)


@pytest.mark.parametrize("network", [("test_resnet", "deeplabv3plus"), ("test_vit", "dpt")])
@pytest.mark.parametrize("features", ["decoder", "backbone"])
def test_one_pass_of_a_segmenter(features, network):
    method = Supervised(4, network[0], architecture=network[1]).eval()
    outputs = NetworkOutputs(method, features)
    with torch.inference_mode():
        logits = method(IMAGE)
        levels = method.network.features(IMAGE)
        seen = outputs.pop_pass()
        decoded = method.network.decoder(levels)
    assert seen.stride == 16
    assert torch.equal(seen.logits, logits)
    assert torch.equal(seen.features, {"decoder": decoded, "backbone": levels[-1]}[features])


def test_the_network_that_is_evaluated_is_heard():
    method = MeanTeacher(4, backbone="test_resnet", evaluate="average").eval()
    assert len(segmentation_networks(method)) == 2
    for parameter in method.average.parameters():
        parameter.data.mul_(0.5)
    outputs = NetworkOutputs(method, "decoder")
    with torch.inference_mode():
        logits = method(IMAGE)
        assert not torch.equal(logits, method.network(IMAGE))
    with pytest.raises(RuntimeError, match="2 times"):
        outputs.pop_pass()
    with torch.inference_mode():
        method(IMAGE)
    assert torch.equal(outputs.pop_pass().logits, logits)


def test_exactly_one_pass():
    method = RegionMethod()
    outputs = NetworkOutputs(method, "decoder")
    with pytest.raises(RuntimeError, match=r"RegionMethod.predict_step ran its network 0 times"):
        outputs.pop_pass()
    outputs.remove()
    method(IMAGE)
    with pytest.raises(RuntimeError, match="0 times"):
        outputs.pop_pass()


def test_networks_have_a_backbone_and_a_decoder():
    assert segmentation_networks(CAM(4, backbone="test_resnet")) == []
    network = ToyNetwork()
    assert segmentation_networks(nn.ModuleDict({"a": network})) == [network]
