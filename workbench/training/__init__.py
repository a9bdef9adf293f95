"""From a recipe to a trained adapter: the run with its folder, and the loop of steps."""
