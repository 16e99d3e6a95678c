import numpy as np

from wsss_zoo.labeling.specks import without_specks


def test_specks_get_the_class_around_them():
    mask = np.zeros((20, 20), dtype=np.uint8)
    mask[2:12, 2:12] = 3
    mask[5, 5], mask[15, 15], mask[16:18, 2:4] = 1, 2, 2
    clean = without_specks(mask, share=0.01)  # 4 pixels are large enough
    expected = np.zeros_like(mask)
    expected[2:12, 2:12], expected[16:18, 2:4] = 3, 2
    assert np.array_equal(clean, expected)
    assert np.array_equal(without_specks(clean, share=0.01), clean)
    assert np.array_equal(without_specks(mask, share=0.0), mask)


def test_a_mask_of_specks_alone_stays():
    mask = np.arange(9, dtype=np.uint8).reshape(3, 3)
    assert np.array_equal(without_specks(mask, share=0.5), mask)
