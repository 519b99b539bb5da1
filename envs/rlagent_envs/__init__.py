"""What happens inside a step: tasks, networks, training, and the Gymnasium environment over it."""

import gymnasium

gymnasium.register(
    id="rlagent/Tuning-v0",
    entry_point="rlagent_envs.gym_env:TuningEnv",
    vector_entry_point="rlagent_envs.vector_env:TuningVectorEnv",
)
