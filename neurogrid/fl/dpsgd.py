"""Gradients of single examples, clipped and summed with noise: what an agent steps by that hides each of its windows.

DP-SGD (Abadi et al. 2016, arXiv:1607.00133), with batches drawn by Poisson sampling and divided by the expected number,
as the accounting has it. How one example's gradient is made is torch's business (`torch.func`), so any model works that
torch can map over examples; BatchNorm can't, since there an example's output depends on the others.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from neurogrid.fl.spec import Span

Parameters = Mapping[str, Tensor]
ExampleLoss = Callable[..., Tensor]
"""Of (parameters, one example's tensors without the batch's dimension): a scalar."""
_AT_ONCE = 64
"""Examples whose gradients are in memory together."""


def private_gradient(
    loss: ExampleLoss,
    parameters: Parameters,
    spans: Sequence[Span],
    batch: Sequence[Tensor],
    *,
    clip_norm: float,
    noise_multiplier: float,
    expected: float,
    random: np.random.Generator,
) -> tuple[Tensor, float]:
    """The noisy mean of clipped gradients, as a flat (d,) tensor in the order of `spans`, and the batch's mean loss.

    Args:
        loss: see ExampleLoss.
        parameters: by name, those of `spans` at least.
        spans: what to differentiate by, in order.
        batch: tensors whose first dimension is the examples, which may be none.
        clip_norm: L2 norm to which the whole gradient of an example is cut.
        noise_multiplier: standard deviation of the noise on the sum, as a multiple of `clip_norm`.
        expected: number of examples that a batch has on average, by which the sum is divided.
        random: of the noise.
    """
    own = {span.name: parameters[span.name].detach() for span in spans}
    total = torch.zeros(sum(span.stop - span.start for span in spans), dtype=torch.float64)
    losses, examples = 0.0, len(batch[0])
    each = vmap(grad_and_value(loss), in_dims=(None, *(0 for _ in batch)), randomness="different")
    for start in range(0, examples, _AT_ONCE):
        with warnings.catch_warnings():
            # An LSTM is mapped over examples one by one, which takes as long as a loop of ours would.
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
            found, values = each(own, *(tensor[start : start + _AT_ONCE] for tensor in batch))
        rows = torch.cat([found[span.name].reshape(len(values), -1) for span in spans], dim=1).double()
        norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        # An example whose gradient is not finite says nothing, and must not take the others with it.
        rows = torch.where(torch.isfinite(norms), rows, 0.0)
        norms = torch.where(torch.isfinite(norms), norms, 0.0)
        total += (rows * (clip_norm / norms.clamp(min=clip_norm))).sum(dim=0)
        losses += float(values.sum())
    noise = torch.from_numpy(random.normal(0, noise_multiplier * clip_norm, len(total)))
    return ((total + noise) / expected).float(), losses / examples if examples else float("nan")
