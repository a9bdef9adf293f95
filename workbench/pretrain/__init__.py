"""How critters/base was made: `python -m workbench.pretrain STAGE`, and how good it is."""
