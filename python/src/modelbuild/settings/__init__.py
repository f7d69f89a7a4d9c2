"""The options of the three plugins, as the agent hands them over: one closed model each, in its own module.

``plugins/<name>/plugin.yml`` publishes the same schemas; a test holds the two together. Agents do not
validate by default, so these models are what refuses a wrong option.
"""

from modelbuild.settings.aws import AwsSettings as AwsSettings
