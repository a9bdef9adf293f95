"""What follows when the base of a recipe changes, and what is left of the old one."""

from workbench.base_change.change import follows, free, override, preset, with_base

__all__ = ["follows", "free", "override", "preset", "with_base"]
