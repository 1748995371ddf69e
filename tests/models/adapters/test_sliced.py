"""Updates of slices of a fused matrix."""

import torch

from finewright.models.adapters.sliced import SlicedColumns, SlicedVector


def test_blocks_and_matrix_are_each_others_inverse():
    columns = SlicedColumns([torch.tensor([0, 1]), torch.tensor([4, 5])], rank=3, num_rows=6)
    blocks = (torch.randn(2, 3), torch.randn(2, 3))
    dense = columns(*blocks)
    assert dense.shape == (6, 6)
    assert torch.equal(dense[:2, :3], blocks[0])
    assert torch.equal(dense[4:, 3:], blocks[1])
    assert int((dense != 0).sum()) == 12
    assert all(torch.equal(old, new) for old, new in zip(blocks, columns.right_inverse(dense), strict=True))


def test_two_slices_of_rank_r_are_one_update_of_rank_2r():
    a, blocks = torch.randn(6, 5), (torch.randn(2, 3), torch.randn(2, 3))
    columns = SlicedColumns([torch.tensor([0, 2]), torch.tensor([1, 3])], rank=3, num_rows=4)
    update = columns(*blocks) @ a
    torch.testing.assert_close(update[[0, 2]], blocks[0] @ a[:3])
    torch.testing.assert_close(update[[1, 3]], blocks[1] @ a[3:])


def test_untrained_entries_of_a_vector_do_not_change():
    start = torch.arange(5.0)
    columns = SlicedVector(torch.tensor([1, 3]), start=start)
    assert columns(torch.tensor([9.0, 8.0])).tolist() == [0, 9, 2, 8, 4]
    assert columns.right_inverse(start).tolist() == [1, 3]
