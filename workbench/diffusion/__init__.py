"""The maths of one training step, as pure functions of tensors: noise, timesteps, target, loss."""
