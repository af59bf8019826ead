"""The network that is written down, in PyG's GATConv as well."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from benchmarks.dictionary_pyg import Network, whole_graph
from torch_geometric.data import Batch

from papers.gat.by_hand import by_hand, written_down
from papers.gat.dictionary import all_permutations
from repro.context import Context
from repro.errors import SettingError


@pytest.mark.parametrize("k", [2, 3, 5, 6])
def test_it_answers_every_query_with_static_attention(k: int) -> None:
    [(_, row)] = by_hand({"k": k, "votes": "against"}, [0], Context(Path(".")))
    assert row == {"wrong_answers": 0.0, "reordered_pairs": 0}


def test_equal_votes_fail() -> None:
    """Every query then goes by the ranking, which is the same for all: one key in four, or in seven, is answered."""
    for k in (4, 7):
        [(_, row)] = by_hand({"k": k, "votes": "equal"}, [0], Context(Path(".")))
        assert row["wrong_answers"] == pytest.approx(100 * (1 - 1 / k))


@pytest.mark.parametrize("k", [4, 60])
def test_it_is_a_layer_of_pyg(k: int) -> None:
    """The weights count, not our form of the layer: torch_geometric's GATConv answers all with them too."""
    model = written_down(k, "against")
    graphs = all_permutations(k, 1)[:24]
    with torch.no_grad():
        logits = Network(model)(Batch.from_data_list([whole_graph(graph) for graph in graphs]))
        torch.testing.assert_close(logits.view(*graphs.shape, k), model.logits(graphs), atol=1e-5, rtol=0)
    assert torch.equal(logits.view(*graphs.shape, k).argmax(-1), graphs)


def test_the_vote_of_the_own_key_is_the_weakest() -> None:
    """As the module derives it: -c_j α_qj Z_q exp(0.6 a_q) = -exp(0.4 |a_j - a_q|), smallest at j = q."""
    model = written_down(9, "against")
    with torch.no_grad():
        tables = model.tables()
        scores = tables.scores[: 9 * 9].view(9, 9, 9)[:, 0]  # (key, query)
        carried = tables.features[:-1, 0].view(9, 9, -1)[:, 0, 0]  # c_j of keys with value 0, in its gate
    a = 0.4 * torch.arange(9)
    votes = (carried.log().unsqueeze(1) + scores + 0.6 * a).exp()
    torch.testing.assert_close(votes, (0.4 * (a.unsqueeze(1) - a).abs()).exp())
    assert torch.equal(votes.argmin(0), torch.arange(9))


@pytest.mark.parametrize("k", [1, 128])
def test_a_size_that_does_not_fit_is_refused(k: int) -> None:
    with pytest.raises(SettingError, match=f"k={k}.*take 2 to 127"):
        written_down(k, "against")
