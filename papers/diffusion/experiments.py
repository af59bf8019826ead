"""Every experiment of the ledger, from the module that runs it.

They stand in modules of their own because records go stale with the code that made them: an edit of one experiment must
not cost the others theirs.
"""

from papers.diffusion.audits import gaussian_bound, implied_deviation, l_null, nats_to_bits
from papers.diffusion.followed import (
    ancestral,
    discrete_and_continuous,
    langevin,
    likelihood,
    marginals,
    prior_term,
    reverse,
)
from papers.diffusion.guidance import guidance
from papers.diffusion.heartbeat import (
    ceiling,
    ceiling_by_length,
    ceiling_by_steps,
    heartbeat,
    heartbeat_samples,
)
from papers.diffusion.leaves import (
    dead_leaves_bound,
    dead_leaves_by_steps,
    dead_leaves_posterior,
    dead_leaves_samples,
)
from papers.diffusion.parzen import training_set
from papers.diffusion.pictures import pictures_model
from papers.diffusion.posterior import recipe_on_gaussians
from papers.diffusion.swiss import swiss_roll_bound, swiss_roll_path
from papers.diffusion.toy import toy

__all__ = [
    "ancestral",
    "ceiling",
    "ceiling_by_length",
    "ceiling_by_steps",
    "dead_leaves_bound",
    "dead_leaves_by_steps",
    "dead_leaves_posterior",
    "dead_leaves_samples",
    "discrete_and_continuous",
    "gaussian_bound",
    "guidance",
    "heartbeat",
    "heartbeat_samples",
    "implied_deviation",
    "l_null",
    "langevin",
    "likelihood",
    "marginals",
    "nats_to_bits",
    "pictures_model",
    "prior_term",
    "recipe_on_gaussians",
    "reverse",
    "swiss_roll_bound",
    "swiss_roll_path",
    "toy",
    "training_set",
]
