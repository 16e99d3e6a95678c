"""Context and prediction of CPC: nothing comes from below, and the loss is that of loops."""

import math

import pytest
import torch

from tests.each import each
from wsss_zoo.modules import RowContext, RowPrediction


def latents(rows=6, columns=5, count=2, channels=8):
    return torch.randn(count, channels, rows, columns, generator=torch.Generator().manual_seed(0))


def test_context_sees_no_row_below():
    torch.manual_seed(0)
    context, features = RowContext(8, hidden=16, blocks=3).eval(), latents()
    with torch.no_grad():
        before = context(features)
        for row in range(1, 6):
            changed = features.clone()
            changed[:, :, row:] += 1
            after = context(changed)
            assert torch.equal(after[:, :, :row], before[:, :, :row])
            assert not torch.equal(after[:, :, row], before[:, :, row])


def test_context_sees_its_row_and_the_rows_above():
    torch.manual_seed(0)
    context, features = RowContext(8, hidden=16, blocks=4), latents().requires_grad_()
    context(features)[0, :, 3, 2].sum().backward()
    seen = features.grad[0].abs().sum(0) > 0
    assert seen[:4].all()
    assert not seen[4:].any()
    assert not features.grad[1].any()


def naive(prediction, features, context, skip_rows, predict_rows):
    """Every context vector, every distance, every patch of the batch: one at a time."""
    count, _, rows, columns = features.shape
    patches = [(n, i, j) for n in range(count) for i in range(rows) for j in range(columns)]

    def apply(layer, vector):
        return layer.weight[:, :, 0, 0] @ vector + layer.bias

    by_distance = []
    for number in range(predict_rows):
        distance, losses, hits = skip_rows + 1 + number, [], []
        for n, i, j in patches:
            if i + distance >= rows:
                continue
            predicted = apply(prediction.maps[number], context[n, :, i, j])
            scores = [
                float(predicted @ apply(prediction.target, features[p, :, q, r]))
                / prediction.temperature
                for p, q, r in patches
            ]
            own = scores[patches.index((n, i + distance, j))]
            losses.append(math.log(sum(map(math.exp, scores))) - own)
            hits.append(own == max(scores))
        if losses:
            by_distance.append((sum(losses) / len(losses), sum(hits) / len(hits)))
    return [sum(values) / len(by_distance) for values in zip(*by_distance, strict=True)]


@each(("skip_rows", "predict_rows"), [(0, 1), (1, 3), (1, 9), (2, 2)])
def test_loss_and_accuracy_equal_the_loop(skip_rows, predict_rows):
    torch.manual_seed(0)
    prediction = RowPrediction(8, skip_rows, predict_rows, target_dim=4, temperature=0.5)
    features = latents()
    context = features.flip(1).cumsum(2)
    with torch.no_grad():
        loss, accuracy = prediction(features, context)
        expected = naive(prediction, features, context, skip_rows, predict_rows)
    assert [float(loss), float(accuracy)] == pytest.approx(expected, rel=1e-4)


def test_bad_arguments():
    with pytest.raises(ValueError, match="skip_rows is -1 and predict_rows 3"):
        RowPrediction(8, skip_rows=-1)
    with pytest.raises(ValueError, match="skip_rows is 1 and predict_rows 0"):
        RowPrediction(8, predict_rows=0)
    with pytest.raises(ValueError, match="blocks is 0; a context needs at least 1"):
        RowContext(8, blocks=0)
    few = latents(rows=2)
    with pytest.raises(ValueError, match="2 rows of patches leave none to predict after skip_rows"):
        RowPrediction(8)(few, few)
