"""The policy that PPO trains: an actor on the observation alone, a critic that may see more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.maskable.policies import MaskableMultiInputActorCriticPolicy
from torch import nn

from rlagent_envs.knobs import HOLD, LEVELS, STARTS


class AsymmetricExtractor(nn.Module):
    """Two networks on features of which the first `visible` belong to the observation.

    The actor's network is given those and no others: what follows them cannot reach it.
    """

    def __init__(self, visible: int, total: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.visible = visible
        self.latent_dim_pi = self.latent_dim_vf = hidden[-1]
        self.policy_net = _tanh_network(visible, hidden)
        self.value_net = _tanh_network(total, hidden)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The latent features of actor and critic, `[batch, hidden]` each."""
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: torch.Tensor) -> torch.Tensor:
        """Of the actor, from the visible features only."""
        return self.policy_net(features[:, : self.visible])

    def forward_critic(self, features: torch.Tensor) -> torch.Tensor:
        """Of the critic, from all features."""
        return self.value_net(features)


class AsymmetricPolicy(MaskableMultiInputActorCriticPolicy):
    """MaskablePPO's policy with an asymmetric critic, and a start near *hold*.

    SB3's own policies for dict observations give every part to the actor, also when their feature
    extractors are not shared. Here the features are the parts one after the other, in the order of
    the space, `observation` first.

    Args:
        hold_bias: added at the start to the logit of *hold*: a policy that changes every setting
            at every decision learns mostly from wrecked runs.
    """

    def __init__(self, *args: Any, hold_bias: float = 1.0, **kwargs: Any) -> None:
        self.hold_bias = hold_bias
        super().__init__(*args, **kwargs)

    def _build_mlp_extractor(self) -> None:
        space = self.observation_space
        if not isinstance(space, spaces.Dict) or next(iter(space)) != "observation":
            raise ValueError("the observation space must be a dict that begins with `observation`")
        if not isinstance(self.net_arch, list):
            raise ValueError(f"net_arch must be a list of hidden sizes, got {self.net_arch}")
        visible = int(np.prod(space["observation"].shape or ()))
        self.mlp_extractor = AsymmetricExtractor(visible, self.features_dim, self.net_arch)  # type: ignore[assignment]

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        if not isinstance(self.action_net, nn.Linear):
            raise TypeError(f"expected a linear layer, got {type(self.action_net).__name__}")
        with torch.no_grad():
            for start, hold in zip(STARTS[: len(LEVELS)], HOLD, strict=True):
                self.action_net.bias[int(start) + int(hold)] += self.hold_bias


def _tanh_network(size: int, hidden: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(size, width), nn.Tanh()]
        size = width
    return nn.Sequential(*layers)
