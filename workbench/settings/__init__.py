"""Settings declared once, beside the code they steer, and spelled the same in every face.

The TOML file, `key=value` overrides, forms, documentation tables and error messages are all made
from that one declaration.
"""

from workbench.settings.base import Settings, as_dict, from_dict, replace, setting
from workbench.settings.errors import SettingsError
from workbench.settings.overrides import override
from workbench.settings.toml import from_toml, to_toml
from workbench.settings.walk import Entry, differences, walk

__all__ = [
    "Entry",
    "Settings",
    "SettingsError",
    "as_dict",
    "differences",
    "from_dict",
    "from_toml",
    "override",
    "replace",
    "setting",
    "to_toml",
    "walk",
]
