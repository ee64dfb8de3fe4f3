"""Drawing a token by inverting the cumulative distribution."""

from __future__ import annotations

import torch

from agentgym.engine import Sampling
from agentgym.engines.sampling import Shaping, draw


def test_each_token_is_drawn_on_its_share_of_the_unit_interval() -> None:
    shares = torch.tensor([0.0, 0.25, 0.5, 0.0, 0.25])
    uniforms = torch.tensor([[0.0], [0.2499], [0.2501], [0.7499], [0.7501], [1 - 2**-53]], dtype=torch.float64)
    logits = shares.log().clamp(min=-200).expand(6, 5)
    ids, logprobs, entropy = draw(logits.clone(), uniforms, None)
    assert ids.tolist() == [1, 1, 2, 2, 4, 4]
    torch.testing.assert_close(logprobs.exp(), shares[ids])
    torch.testing.assert_close(entropy, torch.full((6,), 1.0397208))  # 0.5 ln 2 + 0.5 ln 4


def test_every_row_has_its_own_way_of_sampling() -> None:
    logits = torch.tensor([0.1, 0.2, 0.4, 0.3]).log().expand(4, 4).clone()
    rows = [Sampling(), Sampling(temperature=0), Sampling(top_k=2), Sampling(top_p=0.3)]
    uniforms = torch.full((4, 1), 0.95, dtype=torch.float64)
    shaping = Shaping.of(rows, logits.device)
    ids, logprobs, _ = draw(logits, uniforms, shaping)
    assert ids.tolist() == [3, 2, 3, 2]
    torch.testing.assert_close(logprobs.exp(), torch.tensor([0.3, 0.4, 0.3, 0.4]))  # the model's, not the shaped
