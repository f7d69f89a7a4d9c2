"""The options of the three plugins: one closed pydantic model each, in its own module.

``scripts/plugin_options.py`` writes the schemas into ``plugins/<name>/plugin.yml``, and the tables of options
into ``plugins/<name>/README.md``. Agents do not validate by default: these models refuse a wrong option.
"""

from modelbuild.settings.aws import AwsSettings as AwsSettings
