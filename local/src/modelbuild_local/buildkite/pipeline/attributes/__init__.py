"""What single attributes of steps may hold, and what they mean.

``values`` brings the forms that Buildkite accepts to one form, ``retry`` decides on automatic retries,
``matrix`` lists combinations, ``condition`` evaluates ``if``, ``branches`` matches branch patterns, and
``patterns`` runs regular expressions that a person wrote.
"""
