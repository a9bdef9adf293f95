"""For each rule a recipe that it applies to, and a neighbour that it does not."""

from rule_cases import diffusion, pictures, training

CASES = training.CASES | pictures.CASES | diffusion.CASES
