"""One head of GAT that answers every query of DictionaryLookup, with weights that are written down and not learned.

GAT's attention is static: all queries rank the keys alike (GATv2 paper, Section 3). It does not follow that one head
cannot answer, because its output is attention *times* what a key carries, and LeakyReLU's kink makes the same ranking
steeper for some queries than for others.

Let key j with value v have the score part a_j and carry -c_j e_v: it votes against its own value. Let query q have the
score part -a_q. With LeakyReLU f of slope 0.2 and c_j = exp(-0.6 a_j), the logit of key j's value is

.. math::
    -c_j \\alpha_{qj} = -\\exp(f(a_j - a_q) - 0.6 a_j) / Z_q = -\\exp(0.4 |a_j - a_q| - 0.6 a_q) / Z_q,

since f(x) - 0.6 x = 0.4 |x|. The vote of the query's own key is the weakest, for every permutation and every k, so its
value wins. Keys that vote *for* their values cannot do so from three keys on.

The weights below are those of the released form, self-loops included: k gates ``relu(c_j - [v is not the gate's])`` and
one unit that holds a_j. W is the identity, the bias zero, and a self-loop carries nothing that the last layer reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from papers.gat.dictionary import all_permutations
from papers.gat.lookup import ranking
from papers.gat.lookup_model import SLOPE, WIDTH, Attention
from repro.context import Context
from repro.errors import SettingError

SPACING = 0.4  # of the a_j: votes differ more the wider, and rounding hides the weakest if too wide
BATCH = 1024  # graphs at once

Rows = Iterator[tuple[int, dict[str, float]]]


@torch.no_grad()
def written_down(k: int, votes: str) -> Attention:
    """Return the network.

    Args:
        k: keys; at most 127, for each has a gate and one unit is left.
        votes: ``against`` their own values, as in the module's text; with ``equal`` ones all c_j are 1, so that all
            queries see one and the same key voted against least, which fails: a control.

    Raises:
        SettingError: if the width does not hold so many keys, or there are fewer than two.
    """
    if not 2 <= k < WIDTH:
        raise SettingError(
            f"k={k}: one unit per key and one more must fit into {WIDTH}; take 2 to {WIDTH - 1}"
        )
    model = Attention("gat", k, 1, "released", seed=0)
    assert model.a_query is not None
    for parameter in model.parameters():
        parameter.zero_()
    a = SPACING * torch.arange(k)
    c = (-(1 + SLOPE) / 2 * a).exp() if votes == "against" else torch.ones(k)
    model.keys[:k, :k] = c.unsqueeze(1)  # in every gate
    model.keys[:k, k] = a
    model.values[:, :k] = -1.0  # closes all gates ...
    model.values[:k, :k].fill_diagonal_(0.0)  # ... but the value's own
    model.W.copy_(torch.eye(WIDTH))
    model.a[0, k], model.a_query[0, k] = 1.0, -1.0
    model.out[:k] = -torch.eye(k)
    return model.eval()


@torch.no_grad()
def by_hand(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Ask the network every query of all k! graphs, or of 32,000 where there are more."""
    model = written_down(setting["k"], setting["votes"])
    reordered, _ = ranking(model.tables().scores[: model.k**2, 0])
    for (seed,) in context.chunks(seeds, 1, largest=1):
        graphs = all_permutations(setting["k"], seed)
        wrong = sum(int((model.logits(part).argmax(-1) != part).sum()) for part in graphs.split(BATCH))
        yield seed, {"wrong_answers": 100 * wrong / graphs.numel(), "reordered_pairs": reordered}
