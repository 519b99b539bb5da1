"""A training that begins with the policy of a controller, which may have had fewer knobs."""

from __future__ import annotations

import numpy as np
import torch
from sb3_contrib import MaskablePPO

from rlagent.controller.file import Controller, bind
from rlagent.controller.policy import weights_to_sb3
from rlagent_envs.knobs import KNOBS
from rlagent_envs.observation import FEATURES


def begin_from(model: MaskablePPO, controller: Controller) -> None:
    """Gives the actor of a fresh model the weights of a controller.

    Features that the controller does not read get zero weights, so that on the knobs that it moves
    the policy is the controller's own; the other knobs stay near *hold*, as in any fresh model.
    The critic is not part of a controller, and begins anew.

    Raises:
        ValueError: if the hidden layers differ, or the controller reads or moves what there is not.
    """
    binding = bind(controller, FEATURES, KNOBS)
    state = model.policy.state_dict()
    given = {
        name: torch.from_numpy(value)
        for name, value in weights_to_sb3(_weights(controller)).items()
    }
    first = "mlp_extractor.policy_net.0.weight"
    hidden = [
        len(state[name]) for name in given if name.startswith("mlp") and name.endswith("weight")
    ]
    if list(controller.hidden) != hidden:
        raise ValueError(
            f"begin_from needs a controller with hidden layers of {hidden}, "
            f"but {controller.name} has {list(controller.hidden)}"
        )
    for name, values in given.items():
        if name == first:
            state[name].zero_()
            state[name][:, binding.feature_indices] = values
        elif name.startswith("action_net"):
            state[name][binding.level_indices] = values
        else:
            state[name].copy_(values)
    model.policy.load_state_dict(state)


def _weights(controller: Controller) -> dict[str, np.ndarray]:
    """Copies, since a controller's arrays must not be changed."""
    return {name: np.array(value) for name, value in controller.weights.items()}
